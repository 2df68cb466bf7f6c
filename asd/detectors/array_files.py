"""Models that are plain arrays, read without trust."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np


def read(path: Path, most_bytes: int) -> dict[str, np.ndarray]:
    """The arrays of a file, read with a bound on their bytes and without running code.

    Raises
    ------
    Exception : of any kind, where the file is damaged or larger.
    """
    with zipfile.ZipFile(path) as archive:  # which reads no more than a member declares
        if sum(member.file_size for member in archive.infolist()) > most_bytes:
            raise ValueError(f"more than {most_bytes:,} bytes")
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
