"""The clips of any corpus of the table, from the layout on disk; nothing is moved or renamed."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from asd.clips import BadClip, Clip
from asd.corpora import attributes, dcase2020, labels, mimii, names, own, rows
from asd.corpora.names import Name
from asd.corpora.rows import Year
from asd.messages import plain
from asd.paths import Paths
from common import UserError

# Layouts of their own, with the functions of this module.
_LAYOUTS: dict[str, ModuleType] = {rows.FOLDER: own, "mimii": mimii}

Found = tuple[list[Path], list[Clip], list[BadClip]]  # in which folders, and what is in them


def find_machine_types(paths: Paths, wanted: Sequence[str] = ()) -> list[str]:
    """Machine types of the data folder, sorted; or those wanted, checked to be there.

    Raises
    ------
    UserError : see `dcase2020.find_machine_types`; or there is no such corpus.
    """
    if layout := _LAYOUTS.get(paths.cfg.corpus):
        return layout.find_machine_types(paths.data, wanted)
    corpus = rows.year(paths.cfg.corpus)
    splits = tuple(dict.fromkeys((*dcase2020.SPLITS, *corpus.test_folders)))
    return dcase2020.find_machine_types(paths.data, wanted, splits)


def has_clips(paths: Paths, machine_type: str, split: str) -> bool:
    """Whether there is anything of a split of a machine type."""
    if layout := _LAYOUTS.get(paths.cfg.corpus):
        return layout.has_clips(paths.data, machine_type, split)
    return any(dcase2020.wavs(folder) for folder in _folders(paths, machine_type, split))


def _folders(paths: Paths, machine_type: str, split: str) -> list[Path]:
    """The folders that hold a split of a machine type, those that are there.

    A folder called as the split counts, too: 2021's test sets are joined by some.
    """
    names_of = (*rows.year(paths.cfg.corpus).folders(split), split)
    places = dict.fromkeys(paths.clips(machine_type, name) for name in names_of)
    return [place for place in places if place.is_dir()]


def find_clips(paths: Paths, machine_type: str, split: str) -> Found:
    """Clips of a split of a machine type, and the .wav files whose names are none of the corpus.

    Training clips come sorted by name; test clips by section, normal before anomalous where names
    tell that, then by name. Test clips of evaluation data have the labels, domains and attributes
    that the published list says, where `evaluation_labels` names one.

    Raises
    ------
    UserError : a folder is missing or holds no .wav file; names are of another year; two clips
        have one name; the list of labels is none, or not of these clips.
    """
    if layout := _LAYOUTS.get(paths.cfg.corpus):
        return _of_layout(layout, paths, machine_type, split)
    corpus = rows.year(paths.cfg.corpus)
    _refuse_other_layouts(corpus, paths.data / machine_type)
    places = _folders(paths, machine_type, split)
    clips: list[Clip] = []
    bad: list[BadClip] = []
    for place in places or [paths.clips(machine_type, corpus.folders(split)[0])]:
        if corpus.year == 2020:
            found = dcase2020.find_clips(place, paths.mode, machine_type, split)
        else:
            found = _in_folder(corpus, place, paths.mode, machine_type, split)
        clips += found[0]
        bad += found[1]
    if corpus.year == 2020:
        _refuse_other_years(corpus, {one.path: _parsed(one.path) for one in bad})
    else:
        clips = _in_order(clips, split)
        _refuse_equal_names(clips)
        clips = attributes.filled(clips, paths.data / machine_type)
    if paths.mode == "eval" and split == "test" and paths.cfg.evaluation_labels:
        clips = _labelled(paths, corpus, machine_type, clips)
    if corpus.has_domains:
        _tell_missing_domain(clips, f"{machine_type} {split}")
    return places, clips, bad


def _of_layout(layout: ModuleType, paths: Paths, machine_type: str, split: str) -> Found:
    if paths.cfg.evaluation_labels:
        listed = f" stand in {own.LIST} or" if layout is own else ""
        raise UserError(
            f"evaluation_labels: {plain(paths.cfg.evaluation_labels)} is for the years of DCASE; "
            f"with corpus: {paths.cfg.corpus} labels{listed} are folders' names"
        )
    clips, bad = layout.find_clips(paths.data, paths.mode, machine_type, split)
    _refuse_equal_names(clips)
    places = {one.path.parent for one in (*clips, *bad)}
    return sorted(places), _in_order(clips, split), bad


def _in_folder(
    corpus: Year, folder: Path, mode: str, machine_type: str, split: str
) -> tuple[list[Clip], list[BadClip]]:
    files = dcase2020.wavs(folder)
    if not files:
        raise UserError(f"{folder}: no .wav file in it; clips are called {_grammar(mode, split)}")
    parsed = {path: _parsed(path) for path in files}
    _refuse_other_years(corpus, parsed)
    _refuse_other_sections(corpus, mode, machine_type, parsed)
    clips, bad = [], []
    for path, name in parsed.items():
        if why := _fault(name, folder.name, mode, split):
            reason = f"the name {why} ({_grammar(mode, split)}); rename or remove the file"
            bad.append(BadClip(path, reason))
        elif isinstance(name, Name):
            clips.append(Clip(path, machine_type, name.section, split, name.label, name.domain,
                              name.attributes))  # fmt: skip
    return clips, bad


def _parsed(path: Path) -> Name | str:
    """The parts of a clip's name, or why it has none."""
    try:
        return names.parse(path.name)
    except ValueError as error:
        return plain(str(error))


def _grammar(mode: str, split: str) -> str:
    if (mode, split) == ("eval", "test"):
        return "section_<XX>_<number>.wav"
    label = "normal" if split == "train" else "<normal or anomaly>"
    return f"section_<XX>_<source or target>_{split}_{label}_<number>_<attributes>.wav"


def _fault(name: Name | str, folder: str, mode: str, split: str) -> str | None:
    """Why a clip of that name cannot be in that folder."""
    if isinstance(name, str):
        return name
    # An anonymous clip of the evaluation data; those that somebody renamed say their label.
    anonymous = (mode, split) == ("eval", "test") and name.label is None
    if name.domain is None and not anonymous:
        return "says no domain, neither source nor target"
    if name.label is None and not anonymous:
        return "says neither normal nor anomaly"
    if name.split not in (None, split):
        return f"says {name.split}, the folder is {folder}"
    if split == "train" and name.label == 1:
        return "says anomaly, training clips are normal"
    of_folder = folder.removesuffix("_test")
    if of_folder in ("source", "target") and name.domain not in (None, of_folder):
        return f"says {name.domain}, the folder is {folder}"
    return None


def _refuse_other_years(corpus: Year, parsed: dict[Path, Name | str]) -> None:
    """Stop at names of 2020 in a later year, and the other way round."""
    here = corpus.year == 2020
    other = [p for p, name in parsed.items() if isinstance(name, Name) and name.of_2020 != here]
    if other:
        years = "2021 or later" if here else "2020"
        raise UserError(
            plain(f"{other[0].parent}: {len(other)} names of DCASE {years}, as {other[0].name}; ")
            + f"corpus is {corpus.name}: set it to their year, and keep one year in a data folder"
        )


def _refuse_other_layouts(corpus: Year, folder: Path) -> None:
    """Stop at a machine type that only other years have, and at test folders of another year."""
    others = [row for row in rows.YEARS.values() if row.year > 2020]  # 2020 takes any machine
    own = {*corpus.dev, *corpus.evaluation}
    of = [row.name for row in others if folder.name in {*row.dev, *row.evaluation}]
    if corpus in others and folder.name not in own and of:
        raise UserError(
            f"{folder}: a machine type of {' and '.join(of)}; corpus is {corpus.name}: set it to "
            "their year, and keep one year in a data folder"
        )
    for row in others:
        for name in set(row.test_folders) - {*corpus.test_folders, "test"}:
            if (folder / name).is_dir() and dcase2020.wavs(folder / name):
                raise UserError(
                    f"{folder / name}: a folder of {row.name}; corpus is {corpus.name}: set it to "
                    f"{row.name}, or move the folder away"
                )


def _refuse_other_sections(
    corpus: Year, mode: str, machine_type: str, parsed: dict[Path, Name | str]
) -> None:
    """Stop at sections that the year does not have for a machine type of its own."""
    known = corpus.sections(mode).get(machine_type)
    for path, name in parsed.items():
        if known and isinstance(name, Name) and name.section not in known:
            raise UserError(
                plain(f"{path}: section {name.section}; ")
                + f"{machine_type} of {corpus.name} has {', '.join(known)} in its {mode} data: "
                "keep one year in a data folder, and set corpus to it"
            )


def _in_order(clips: list[Clip], split: str) -> list[Clip]:
    if split == "train":
        return sorted(clips, key=lambda clip: clip.name)
    return sorted(clips, key=lambda clip: (clip.place, clip.label or 0, clip.name))


def _refuse_equal_names(clips: list[Clip]) -> None:
    places: dict[str, Path] = {}
    for clip in clips:
        other = places.setdefault(clip.name.casefold(), clip.path)
        if other != clip.path:
            raise UserError(plain(f"{other} and {clip.path}: two clips of one name; remove one"))


@functools.cache
def _truths(path: Path, _modified_ns: int) -> labels.Truths:
    return labels.read(path)


def _labelled(paths: Paths, corpus: Year, machine_type: str, clips: list[Clip]) -> list[Clip]:
    """The clips with what the published list says of them."""
    source = Path(paths.cfg.evaluation_labels or "")
    modified = source.stat().st_mtime_ns if source.exists() else 0
    truths = _truths(source, modified)
    if machine_type in corpus.wrong_lists and not source.is_dir():
        raise UserError(
            f"{source}: its labels of {machine_type} are known to be wrong for about half of the "
            "clips; name the official evaluator's folder with evaluation_labels (python -m "
            f"asd.corpora.labels {source} FOLDER names the rows)"
        )
    keys = [(machine_type, clip.name) for clip in clips if clip.label is None]
    said = dict(zip(keys, labels.of_clips(truths, source, keys, corpus.name), strict=True))
    found = []
    for clip in clips:
        if truth := said.get((machine_type, clip.name)):
            domain = clip.domain or truth.domain
            clip = dataclasses.replace(
                clip,
                label=truth.label,
                domain=domain if corpus.has_domains else None,
                attributes=clip.attributes or truth.attributes,
            )
        found.append(clip)
    return found


def _tell_missing_domain(clips: list[Clip], where: str) -> None:
    counts = Counter((clip.section, clip.domain) for clip in clips)
    for section in sorted({clip.section for clip in clips}):
        for domain, other in (("source", "target"), ("target", "source")):
            if counts[section, other] and not counts[section, domain]:
                print(f"warning: {where}, section {section}: no clip of the {domain} domain, "
                      f"{counts[section, other]} of the {other} domain")  # fmt: skip
