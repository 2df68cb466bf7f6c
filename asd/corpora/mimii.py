"""MIMII as it is published: `<machine type>/id_XX/{normal,abnormal}/NNNNNNNN.wav`.

It has no split. The usual one (Purohit et al. 2019, arXiv:1909.09347): all abnormal clips of a
machine id and as many of its normal ones are test clips, the other normal ones train. There the
normal ones are drawn at random; here by a hash of machine type, id and file name. So it is the
same on every machine and at every signal-to-noise ratio, and does not depend on the order in which
the clips were recorded.

Files of all ids have the same names, so a clip is called by its folders, too:
`abnormal_id_00_00000000.wav`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from asd.clips import BadClip, Clip
from asd.corpora.dcase2020 import choose, wavs
from common import UserError

_LABELS = {"normal": 0, "abnormal": 1}
_ID = re.compile("id_([0-9]+)")
_HELP = "./get_dataset.sh --mimii 6 brings mimii/6_dB/dev_data, so -6 and 0"
_LAYOUT = "clips are in id_<XX>/normal and id_<XX>/abnormal"


def find_machine_types(folder: Path, wanted: Sequence[str] = ()) -> list[str]:
    """The machine types of a data folder, sorted; or those wanted, checked to be there.

    Raises
    ------
    UserError : no such folder, none in it; or see `dcase2020.choose`.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of recordings; {_HELP}")
    tops = sorted(top for top in folder.iterdir() if top.is_dir() and top.name[0] != ".")
    found = [top.name for top in tops if _ids(top)]
    if not found:
        raise UserError(f"{folder}: no machine type of MIMII in it, a folder with id_<XX>; {_HELP}")
    return choose(folder, wanted, found)


def has_clips(folder: Path, machine_type: str, split: str) -> bool:
    """Whether there are clips of that split of a machine type."""
    return any(_split(folder / machine_type, place)[split] for place in _ids(folder / machine_type))


def find_clips(
    folder: Path, mode: str, machine_type: str, split: str
) -> tuple[list[Clip], list[BadClip]]:
    """The clips of a split of a machine type, and those that are in no folder of the layout.

    Parameters
    ----------
    folder : the data folder
    mode : "dev" or "eval", which MIMII does not tell apart
    split : "train" or "test"

    Raises
    ------
    UserError : there is none.
    """
    top = folder / machine_type
    clips, known = [], set()
    for place in _ids(top):
        section = place.name.removeprefix("id_")
        parts = _split(top, place)
        known |= {path for paths in parts.values() for path in paths}
        if parts["test"] and not parts["train"]:
            print(f"warning: {place}: as many abnormal clips as normal ones, or more; all are test "
                  "clips, and none of this id trains")  # fmt: skip
        for path in parts[split]:
            alias = f"{path.parent.name}_{place.name}_{path.name}"
            clips.append(Clip(path, machine_type, section, split, _LABELS[path.parent.name],
                              alias=alias))  # fmt: skip
    others = sorted(path for path in top.rglob("*") if _heard(path, top) and path not in known)
    bad = [BadClip(path, f"{_LAYOUT}; move or remove it") for path in others]
    if not clips and not bad:
        raise UserError(f"{top}: no {split} clip in it; {_LAYOUT}, and where an id has no more "
                        "normal clips than abnormal ones, all are test clips")  # fmt: skip
    return clips, bad


def _heard(path: Path, top: Path) -> bool:
    """Whether a path below a folder is a .wav file that is not hidden."""
    hidden = any(part[0] == "." for part in path.relative_to(top).parts)
    return path.suffix.lower() == ".wav" and not hidden


def _ids(top: Path) -> list[Path]:
    """The folders of machine ids."""
    if not top.is_dir():
        return []
    return sorted(path for path in top.iterdir() if path.is_dir() and _ID.fullmatch(path.name))


def _split(top: Path, place: Path) -> dict[str, list[Path]]:
    """The training and the test clips of a machine id."""
    normal, abnormal = (wavs(place / label) if (place / label).is_dir() else []
                        for label in _LABELS)  # fmt: skip

    def drawn(path: Path) -> str:
        return hashlib.sha256(
            f"{top.name}/{place.name}/{path.name}".encode(errors="surrogateescape")
        ).hexdigest()

    normal = sorted(normal, key=drawn)
    return {"train": normal[len(abnormal) :], "test": [*normal[: len(abnormal)], *abnormal]}
