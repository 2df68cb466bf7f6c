"""The layout of DCASE 2020 Task 2: `<data>/<machine type>/<split>/<label>_id_XX_NNNNNNNN.wav`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from asd.clips import BadClip, Clip
from asd.messages import plain
from common import UserError

# What a clip may be called, by mode and folder.
_NORMAL = r"(?P<label>normal)_id_(?P<id>\d+)_\d+\.wav"
_NAMES = {
    ("dev", "train"): ("normal_id_<id>_<number>.wav", _NORMAL),
    ("dev", "test"): (
        "normal_id_<id>_<number>.wav or anomaly_id_<id>_<number>.wav",
        r"(?P<label>normal|anomaly)_id_(?P<id>\d+)_\d+\.wav",
    ),
    ("eval", "train"): ("normal_id_<id>_<number>.wav", _NORMAL),
    ("eval", "test"): ("id_<id>_<number>.wav", r"(?P<label>)id_(?P<id>\d+)_\d+\.wav"),
}
_IN_WORDS = "<id> and <number> are digits, as in normal_id_01_00000000.wav"
MOST_FOUND = 1000  # letters of names in a message
_LABELS = {"normal": 0, "anomaly": 1, "": None}
SPLITS = ("train", "test")


def find_machine_types(
    folder: Path, wanted: Sequence[str] = (), splits: Sequence[str] = SPLITS
) -> list[str]:
    """Machine types below a data folder, sorted; or those wanted, checked to be there.

    A machine type is a folder that holds `train` or `test`. Others are left out, and said.

    Parameters
    ----------
    splits : the folders of which a machine type has at least one

    Raises
    ------
    UserError : no such folder, none in it, or a wanted one that is not there; or two of them
        whose files would have the same names.
    """
    help_line = "./get_dataset.sh downloads recordings, ./get_dataset.sh --demo makes demo sound"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of recordings; {help_line}")
    inside = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    found = [name for name in inside if _is_machine_type(folder / name, splits)]
    for name in wanted:
        if name in inside and name not in found:
            raise UserError(f"{folder / name}: {_why_not(folder / name, splits)}")
    chosen = choose(folder, wanted, found)
    strays = [name for name in inside if name not in found]
    if not found:
        why = (
            f"{folder / strays[0]}: {_why_not(folder / strays[0], splits)}" if strays else help_line
        )
        raise UserError(f"{folder}: no machine type in it; {why}")
    for name in () if wanted else strays:
        print(f"left out {folder / name}: {_why_not(folder / name, splits)}")
    return chosen


def choose(folder: Path, wanted: Sequence[str], found: Sequence[str]) -> list[str]:
    """The wanted machine types of those found in a data folder, or all of them.

    Raises
    ------
    UserError : a wanted one is not there; one of those chosen is another's name with the suffix of
        a model file, so that files of both would have the same names.
    """
    for name in wanted:
        if name not in found:
            known = plain(", ".join(found), MOST_FOUND) or "none"
            raise UserError(f"{folder}: no machine type {plain(name)}; found: {known}")
    chosen = list(dict.fromkeys(wanted)) or list(found)
    for name in chosen:
        # model_fan_quant.tflite is of fan, its weights int8, and of fan_quant, float.
        other = re.sub("_(quant(_fullint(_micro(_intio)?)?)?|fp32)$", "", name)
        if other != name and other in found:
            raise UserError(
                f"{folder}: files of {name} would have the names of files of {other}; rename "
                "one of the two folders"
            )
    return chosen


def _is_machine_type(folder: Path, splits: Sequence[str]) -> bool:
    return any((folder / split).is_dir() for split in splits)


def _why_not(folder: Path, splits: Sequence[str]) -> str:
    """Why a folder is no machine type, and which folder in it might be meant."""
    try:
        inner = [p for p in sorted(folder.iterdir()) if p.is_dir() and _is_machine_type(p, splits)]
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    meant = f"; move {inner[0]} up in its place, or name {folder} as data folder" if inner else ""
    return f"neither train nor test in it, so no machine type{meant}"


def wavs(folder: Path) -> list[Path]:
    """The .wav files of a folder, sorted; not those that are hidden.

    Raises
    ------
    UserError : there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; put clips into it, or choose other machine types with -m"
        )
    files = sorted(folder.iterdir())
    return [path for path in files if path.suffix.lower() == ".wav" and path.name[0] != "."]


def find_clips(
    folder: Path, mode: str, machine_type: str, split: str
) -> tuple[list[Clip], list[BadClip]]:
    """Clips of a folder, and the .wav files whose names say no id or label.

    Training clips come sorted by name; test clips by id, then normal before anomalous.

    Parameters
    ----------
    folder : usually `<data>/<machine type>/<split>`
    mode : "dev" or "eval"
    split : "train" or "test"

    Raises
    ------
    UserError : the folder is missing or holds no .wav file.
    """
    expected, pattern = _NAMES[mode, split]
    clips, bad = [], []
    for path in wavs(folder):
        if match := re.fullmatch(pattern, path.name, re.IGNORECASE | re.ASCII):
            label = _LABELS[match["label"].lower()]
            clips.append(Clip(path, machine_type, match["id"], split, label))
        else:
            reason = f"the name is not {expected} ({_IN_WORDS}); rename or remove the file"
            bad.append(BadClip(path, reason))
    if not clips and not bad:
        raise UserError(f"{folder}: no .wav file in it; clips are called {expected} ({_IN_WORDS})")
    if split == "test":
        clips.sort(key=lambda clip: (clip.place, clip.label or 0, clip.path.name))
    return clips, bad
