"""Worker threads: one function over many items, results in order, with a progress bar.

For functions that spend their time in NumPy and in files, which let other threads run meanwhile.
"""

from __future__ import annotations

import concurrent.futures
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

WAITING_PER_WORKER = 8  # items taken on ahead of the one whose result is asked for

Item, Result = TypeVar("Item"), TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Sequence[Item], title: str, workers: int = 0
) -> Iterator[Result]:
    """Results of `function` for each item, computed by threads a little ahead.

    Parameters
    ----------
    title : of the progress bar
    workers : threads; 0 for one per core
    """
    from tqdm import tqdm

    n_workers = workers or os.cpu_count() or 1
    waiting: deque[concurrent.futures.Future[Result]] = deque()
    pool = concurrent.futures.ThreadPoolExecutor(n_workers)
    try:
        with tqdm(desc=title, total=len(items), unit="clip", mininterval=0.5) as bar:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > WAITING_PER_WORKER * n_workers:
                    yield waiting.popleft().result()
                    bar.update()
            while waiting:
                yield waiting.popleft().result()
                bar.update()
    finally:
        pool.shutdown(cancel_futures=True)
