"""The answer of a server, which may do anything: send nothing, too slowly, or without end."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import requests

TIMEOUT_SECONDS = 30.0  # of silence
WATCH_SECONDS = 60.0  # of waiting, in which LEAST_BYTES_PER_SECOND are to come on average
LEAST_BYTES_PER_SECOND = 4000  # with less, an archive of 2 GB takes six days
NETWORK_BYTES = 1 << 16  # block; a connection that stalls costs at most so much
BLOCKS_WAITING = 16  # between the network and the disk
MOST_REDIRECTS = 20
MESSAGE_SIGNS = 200


class TryAgain(Exception):
    """A failure that another try may mend."""


def one_line(text: object) -> str:
    """What a stranger wrote, fit for a message."""
    line = "".join(sign if sign.isprintable() else "?" for sign in str(text))
    return line if len(line) <= MESSAGE_SIGNS else f"{line[:MESSAGE_SIGNS]}..."


class _Session(requests.Session):
    """Follows nothing by itself: it would read into memory whatever comes with a redirect."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def _asked(url: str, have: int) -> requests.Response:
    """The answer, its body still to be read, to a request for what follows the first bytes."""
    # "identity": the bytes of a compressed answer could not be counted.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with _Session() as session:
        for _ in range(MOST_REDIRECTS + 1):
            answer = session.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS)
            target = requests.Session.get_redirect_target(session, answer)
            if target is None:
                return answer
            answer.close()
            url = urllib.parse.urljoin(url, target)
    raise ValueError(f"more than {MOST_REDIRECTS} redirects")


@contextlib.contextmanager
def answered(url: str, have: int) -> Iterator[tuple[requests.Response, Iterator[bytes]]]:
    """The answer to a request for what follows the first `have` bytes, and its body in blocks.

    A thread reads it: nothing that a server sends, be it headers without end or a byte now and
    then, keeps this one waiting for longer than WATCH_SECONDS.

    Raises
    ------
    TryAgain : it comes too slowly.
    """
    came: queue.Queue[Any] = queue.Queue(BLOCKS_WAITING)
    gone = threading.Event()

    def read() -> None:
        try:
            with _asked(url, have) as answer:
                came.put(answer)
                for block in answer.raw.stream(NETWORK_BYTES, decode_content=False):
                    came.put(block)
                    if gone.is_set():
                        return
            came.put(None)
        except Exception as error:
            came.put(error)

    threading.Thread(target=read, daemon=True).start()
    things = _in_time(came)
    try:
        yield next(things), things
    finally:
        gone.set()
        with contextlib.suppress(queue.Empty):  # so that the thread goes on, and ends
            while True:
                came.get_nowait()


def _in_time(came: queue.Queue[Any]) -> Iterator[Any]:
    """What comes until None; an exception is raised. Time counts while this waits, not the disk."""
    waited, n_bytes = 0.0, 0
    while True:
        start, thing = time.monotonic(), b""
        try:
            thing = came.get(timeout=max(WATCH_SECONDS - waited, 0))
            waited += time.monotonic() - start
        except queue.Empty:
            waited = WATCH_SECONDS
        if isinstance(thing, Exception):
            raise thing
        if thing is None:
            return
        n_bytes += len(thing) if isinstance(thing, bytes) else 0
        if waited >= WATCH_SECONDS:
            if n_bytes < LEAST_BYTES_PER_SECOND * WATCH_SECONDS:
                raise TryAgain(
                    f"{n_bytes} bytes in {WATCH_SECONDS:g} s, less than "
                    f"{LEAST_BYTES_PER_SECOND} a second"
                )
            waited, n_bytes = 0.0, 0
        if thing != b"":
            yield thing
