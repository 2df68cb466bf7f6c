"""The layout of DCASE 2020 Task 2: `<data>/<machine type>/<split>/<label>_id_XX_NNNNNNNN.wav`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from asd.clips import BadClip, Clip
from common import UserError

# What a clip may be called, by mode and folder.
_NAMES = {
    ("dev", "train"): ("normal_id_XX_NNNNNNNN.wav", r"(?P<label>normal)_id_(?P<id>\d\d)_\d+\.wav"),
    ("dev", "test"): (
        "normal_id_XX_NNNNNNNN.wav or anomaly_id_XX_NNNNNNNN.wav",
        r"(?P<label>normal|anomaly)_id_(?P<id>\d\d)_\d+\.wav",
    ),
    ("eval", "train"): ("normal_id_XX_NNNNNNNN.wav", r"(?P<label>normal)_id_(?P<id>\d\d)_\d+\.wav"),
    ("eval", "test"): ("id_XX_NNNNNNNN.wav", r"(?P<label>)id_(?P<id>\d\d)_\d+\.wav"),
}
_LABELS = {"normal": 0, "anomaly": 1, "": None}


def find_machine_types(folder: Path, wanted: Sequence[str] = ()) -> list[str]:
    """Machine types below a data folder, sorted; or those wanted, checked to be there.

    Raises
    ------
    UserError : no such folder, none in it, or a wanted one that is not there.
    """
    help_line = "./get_dataset.sh downloads recordings, ./get_dataset.sh --demo makes demo sound"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of recordings; {help_line}")
    found = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    if not found:
        raise UserError(f"{folder}: no machine type in it; {help_line}")
    for name in wanted:
        if name not in found:
            raise UserError(f"{folder}: no machine type {name}; found: {', '.join(found)}")
    return list(dict.fromkeys(wanted)) or found


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
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; put clips into it, or choose other machine types with -m"
        )
    expected, pattern = _NAMES[mode, split]
    clips, bad = [], []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".wav" or path.name[0] == ".":
            continue
        if match := re.fullmatch(pattern, path.name, re.IGNORECASE):
            label = _LABELS[match["label"].lower()]
            clips.append(Clip(path, machine_type, match["id"], split, label))
        else:
            bad.append(BadClip(path, f"the name is not {expected}; rename or remove the file"))
    if not clips and not bad:
        raise UserError(f"{folder}: no .wav file in it; clips are called {expected}")
    if split == "test":
        clips.sort(key=lambda clip: (clip.section, clip.label or 0, clip.path.name))
    return clips, bad
