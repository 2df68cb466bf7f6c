"""Worker processes: one function over many items, results in order, with a progress bar."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from tqdm import tqdm

from common import UserError

ITEMS_PER_TASK = 16

Item, Result = TypeVar("Item"), TypeVar("Result")


def in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    title: str,
    workers: int = 0,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """Results of `function` for each item, computed by processes of one thread each.

    Parameters
    ----------
    function : of a module, so that it can be named to another process
    title : of the progress bar
    workers : processes; 0 for one per core
    initializer, initargs : called once in each process

    Raises
    ------
    UserError : a process was killed.
    """
    if not items:
        return
    n_workers = min(workers or os.cpu_count() or 1, -(-len(items) // ITEMS_PER_TASK))
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(
        n_workers, context, initializer=initializer, initargs=initargs
    )
    try:
        with _inherited():
            results = pool.map(function, items, chunksize=ITEMS_PER_TASK)
        yield from tqdm(results, title, len(items), unit="clip", mininterval=0.5)
    except concurrent.futures.process.BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed, perhaps for want of memory; try fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _inherited() -> Iterator[None]:
    """Processes started inside leave Ctrl-C to their parent and use one thread each.

    The signal is blocked, not ignored: one that comes meanwhile is delivered to the parent after.
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    before = {name: os.environ.get(name) for name in threads}
    os.environ.update(threads)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
