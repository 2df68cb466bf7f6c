"""Recordings that appear in a folder: each once, when it is whole."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from asd import wav
from common import UnusableClip

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 60.0  # with one that stays cut short, before that is told


class State(NamedTuple):
    """A file as the file system tells it."""

    mtime: int  # ns
    size: int  # bytes


class Seen(NamedTuple):
    """Since when a file has not changed."""

    state: State
    since: float  # s, monotonic


Key = tuple[str, int]  # name and inode: a file moved into another's place is another


class Watch:
    """The recordings of a folder, those that are there and those to come.

    A file is whole when neither its size nor its time has changed for a while, and it holds the
    samples that its header promises. One that does not is waited for, for a minute, and then given
    out all the same, so that somebody is told; and again, should it change. Names that begin with a
    dot are left alone.

    Parameters
    ----------
    settle : seconds without a change
    """

    def __init__(self, folder: Path, settle: float) -> None:
        self.folder, self.settle = folder, settle
        self._seen: dict[Key, Seen] = {}
        self._given: dict[Key, State | None] = {}  # None: whole, never again

    def files(self, once: bool = False) -> Iterator[Path]:
        """Whole recordings, the oldest first.

        Parameters
        ----------
        once : end when all that are there are done; those cut short are not waited for

        Raises
        ------
        OSError : the folder is not there or cannot be read.
        """
        while True:
            waiting = self._look()
            ready = [one for one in waiting if self._is_ready(one, once)]
            for path, _ in ready:
                yield path
            if once and not waiting:
                return
            if not ready:
                time.sleep(min(POLL_SECONDS, self.settle))

    def _look(self) -> list[tuple[Path, Key]]:
        """What is to be heard, the oldest first; what is gone is forgotten."""
        found: dict[Key, Seen] = {}
        for path in self.folder.iterdir():
            if path.suffix.lower() == ".wav" and not path.name.startswith("."):
                try:
                    facts = path.stat()
                except OSError:
                    continue
                if stat.S_ISREG(facts.st_mode):
                    key, now = (path.name, facts.st_ino), State(facts.st_mtime_ns, facts.st_size)
                    before = self._seen.get(key)
                    same = before is not None and before.state == now
                    found[key] = before if same else Seen(now, time.monotonic())
        self._seen = found
        self._given = {key: one for key, one in self._given.items() if key in found}
        waiting = [key for key, one in found.items() if not self._is_done(key, one.state)]
        waiting.sort(key=lambda key: (found[key].state.mtime, key))
        return [(self.folder / key[0], key) for key in waiting]

    def _is_done(self, key: Key, state: State) -> bool:
        return key in self._given and self._given[key] in (None, state)

    def _is_ready(self, one: tuple[Path, Key], once: bool) -> bool:
        path, key = one
        state, since = self._seen[key]
        still = time.monotonic() - since
        if still < self.settle:
            return False
        try:
            wav.check(path)
        except UnusableClip:
            if still < PATIENCE_SECONDS and not once:
                return False
            self._given[key] = state
        else:
            self._given[key] = None
        return True
