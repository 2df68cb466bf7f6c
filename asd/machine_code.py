"""Numba's machine code: compiled once, kept on disk, and a barrier where its threads meet."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from numba.core import types

from asd import files

SPINS = 20000  # about 50 us of waiting awake at a barrier
# In a barrier's int64 words, cache lines apart: a mutex, a condition variable (64 bytes at most
# each), how many threads have arrived, and how often all have.
CONDITION, ARRIVED, TURN, BARRIER_WORDS = 16, 32, 48, 64


def compiled(function: Callable) -> Callable:
    """Machine code of a function, made when it is first called, and kept where that can be."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither this folder nor the user's cache can be written to
        return numba.njit(**options)(function)


MOST_WAITING_SECONDS = 120.0  # for another process to compile, which takes one 20 s
SEAL = "machine_code.sha256"  # beside Numba's files: the hash of what they held when last used


def _cache(function: Callable) -> tuple[Path, str]:
    """The file of the seal, and the hash of what Numba keeps beside a compiled function."""
    folder, digest = Path(function.stats.cache_path), hashlib.sha256()
    for path in sorted(folder.glob("*.nb[ic]")):
        digest.update(path.name.encode() + path.read_bytes())
    return folder / SEAL, digest.hexdigest()


def mend_cache(function: Callable) -> None:
    """Remove kept machine code that is not what was sealed: Numba would run it as it is.

    Runs that start together compile it once: the others wait until the first has sealed it, and
    none takes for damaged what another is writing.
    """
    if function.stats.cache_path is None:
        return
    with contextlib.suppress(OSError):  # of a folder that cannot be written to
        _lock(Path(function.stats.cache_path))
        seal, digest = _cache(function)
        if seal.exists() and seal.read_bytes() == digest.encode():
            _unlock()
            return
        for path in seal.parent.glob("*.nb[ic]"):
            path.unlink()


def seal_cache(function: Callable) -> None:
    """Remember what is kept, once all of it has been compiled."""
    if function.stats.cache_path is None:
        return
    with contextlib.suppress(OSError):
        seal, digest = _cache(function)
        with files.whole_file(seal) as temporary:
            temporary.write_text(digest, encoding="utf-8")
    _unlock()


_held: list[int] = []  # what holds the lock of the folder while this process compiles


def _lock(folder: Path) -> None:
    """Wait until no other process compiles what is kept in a folder, but not for ever."""
    if _held:
        return
    lock, end = os.open(folder, os.O_RDONLY), time.monotonic() + MOST_WAITING_SECONDS
    _held.append(lock)
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return
            time.sleep(0.1)
        else:
            return


def _unlock() -> None:
    while _held:
        os.close(_held.pop())


def _pthread(name: str, n_pointers: int) -> types.ExternalFunction:
    return types.ExternalFunction(f"pthread_{name}", types.intp(*[types.uintp] * n_pointers))


mutex_lock, mutex_unlock = _pthread("mutex_lock", 1), _pthread("mutex_unlock", 1)
cond_wait, cond_broadcast = _pthread("cond_wait", 2), _pthread("cond_broadcast", 1)
thread_self = _pthread("self", 0)


def new_barrier() -> np.ndarray:
    """What threads share to meet at `barrier`, (BARRIER_WORDS,) int64."""
    words, library = np.zeros(BARRIER_WORDS, np.int64), ctypes.CDLL(None)
    library.pthread_mutex_init(ctypes.c_void_p(words.ctypes.data), None)
    library.pthread_cond_init(ctypes.c_void_p(words.ctypes.data + 8 * CONDITION), None)
    return words


@compiled
def barrier(words, n_threads):
    """Wait until every thread is here; asleep before long, so that others can have the core."""
    mutex, condition = words.ctypes.data, words.ctypes.data + 8 * CONDITION
    mutex_lock(mutex)
    turn = words[TURN]
    words[ARRIVED] += 1
    if words[ARRIVED] == n_threads:
        words[ARRIVED] = 0
        words[TURN] += 1
        cond_broadcast(condition)
    mutex_unlock(mutex)
    for _ in range(SPINS):  # waking up takes longer than most waits
        if words[TURN] != turn:
            break
        thread_self()  # or TURN would not be read anew
    mutex_lock(mutex)
    while words[TURN] == turn:
        cond_wait(condition, mutex)
    mutex_unlock(mutex)
