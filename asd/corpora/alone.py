"""One program at a time in a folder: a lock that ends with its process."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from common import UserError


@contextlib.contextmanager
def alone(*folders: Path) -> Iterator[None]:
    """Hold the locks of these folders, which are there; nothing is written into them.

    Raises
    ------
    UserError : another run holds one of them.
    """
    places = {os.path.realpath(folder): folder for folder in folders}  # a second lock would fail
    with contextlib.ExitStack() as stack:
        for real, folder in sorted(places.items()):
            handle = os.open(real, os.O_RDONLY)
            stack.callback(os.close, handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"{folder}: another run works in it; wait for it to end, then run again"
                ) from error
            except OSError:  # some network file systems cannot lock a folder: go on unguarded
                pass
        yield
