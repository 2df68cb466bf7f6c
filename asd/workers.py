"""One function over many items in threads: results in order, with a progress bar.

For functions that spend their time in NumPy and in files, which let other threads run meanwhile.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

ITEMS_TOGETHER = 8  # one by one, handing over took 6 % of the time of short clips
MOST_WAITING = 256  # items whose results may wait in memory for whoever takes them

Item, Result = TypeVar("Item"), TypeVar("Result")


def cores() -> int:
    """Cores to compute on: OMP_NUM_THREADS where that says so, else those that are `allowed`.

    A run that shares a machine with others, as a grid's cells do, is told its share so.
    """
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) else allowed()


def allowed() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def number(workers: int) -> int:
    """Threads to use: as many as are asked for, or with 0 one for each core that this run has."""
    import joblib

    return joblib.effective_n_jobs(workers or -1)


def in_order(
    function: Callable[[Item], Result], items: Sequence[Item], title: str, workers: int = 0
) -> Iterator[Result]:
    """Results of `function` for each item, computed by threads a little ahead.

    Parameters
    ----------
    title : of the progress bar
    workers : threads; 0 for one per core
    """
    import joblib
    from tqdm import tqdm

    n_workers = number(workers)
    free = threading.Semaphore(n_workers)

    def one(item: Item) -> Result:
        with free:
            return function(item)

    pool = joblib.Parallel(
        n_workers, require="sharedmem", return_as="generator", batch_size=ITEMS_TOGETHER
    )
    bar = tqdm(desc=title, total=len(items), unit="clip", mininterval=0.5)
    try:
        with pool, bar:
            for first in range(0, len(items), MOST_WAITING):
                some = items[first : first + MOST_WAITING]
                for result in pool(joblib.delayed(one)(item) for item in some):
                    yield result
                    bar.update()
    finally:
        for _ in range(n_workers):  # after an interrupt, until nobody is in the middle of an item
            free.acquire()
