"""The tables of a demo set: attributes, and labels of evaluation clips as a year publishes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from asd.corpora import demo_sound, names
from asd.corpora.demo_plan import DemoClip, Options
from asd.corpora.demo_states import DOMAINS
from asd.corpora.labels import ATTRIBUTES, DATA, DOMAIN

EVALUATOR = "evaluator"  # the folder of what the official evaluator publishes
Tables = dict[str, list[Sequence[str]]]  # rows by path in the set's folder


def of(options: Options, clips: Iterable[DemoClip]) -> Tables:
    """All tables of a set but that of the causes. Sets of Demo types have none."""
    corpus, tables = options.corpus, {}
    of_year = [clip for clip in clips if clip.machine_type not in demo_sound.MACHINES]
    for (mode, machine_type, section), group in groupby(of_year, _section):
        some = list(group)
        if corpus.has_attributes_files:
            path = f"{mode}_data/{machine_type}/attributes_{section}.csv"
            tables[path] = _attributes(some)
        anonymous = sorted((clip for clip in some if clip.full_name), key=lambda clip: clip.path)
        if not anonymous:
            continue
        listed = tables.setdefault(list_name(options), [])
        if [machine_type] not in listed:
            listed.append([machine_type])
        listed += [(clip.name, clip.full_name) for clip in anonymous]
        if corpus.has_attributes_files:
            name = f"{machine_type}_section_{section}_test.csv"
            for what, rows in _ground_truth(options, anonymous).items():
                tables[f"{EVALUATOR}/{what}/ground_truth_{name}"] = rows
    return tables


def list_name(options: Options) -> str:
    """The list of the year."""
    return f"eval_data_list_{options.corpus.year}.csv"


def _section(clip: DemoClip) -> tuple[str, str, str]:
    return clip.mode, clip.machine_type, clip.section


def _attributes(clips: Sequence[DemoClip]) -> list[Sequence[str]]:
    """Of the clips of a section whose names may say them."""
    some = [clip for clip in clips if clip.domain and not clip.full_name]
    rows = [(f"{clip.machine_type}/{clip.folder}/{clip.name}", *_pairs(clip)) for clip in some]
    return [_header(rows[0]), *rows]


def _header(row: Sequence[str]) -> list[str]:
    numbers = range(1, len(row[1:]) // 2 + 1)
    return ["file_name", *(f"d{i}{kind}" for i in numbers for kind in ("p", "v"))]


def _pairs(clip: DemoClip) -> list[str]:
    return [part for pair in clip.attributes.items() for part in pair] or [names.NO_ATTRIBUTE] * 2


def _ground_truth(options: Options, clips: Sequence[DemoClip]) -> Tables:
    """What the official evaluator publishes of a section; in 2022 with the attributes' columns."""
    labels = [(clip.name, str(int(clip.cause is not None))) for clip in clips]
    domains = [(clip.name, str(DOMAINS.index(clip.domain))) for clip in clips]
    full = [(clip.name, clip.full_name.removesuffix(".wav")) for clip in clips]
    if options.corpus.year == 2022:
        full = [(f"{clip.machine_type}/{clip.folder}/{clip.name}", *_pairs(clip), clip.full_name)
                for clip in clips]  # fmt: skip
        full.insert(0, _header(full[0][:-1]))
    return {DATA: labels, DOMAIN: domains, ATTRIBUTES: full}
