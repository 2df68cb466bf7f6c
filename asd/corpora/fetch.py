"""Download one file: resume, try again, check its md5."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from common import UserError

TRIES = 6  # without progress
PAUSE_SECONDS = 2.0  # before the second try, then doubling: 62 s outlast a rate limit per minute
TIMEOUT_SECONDS = 30.0  # of silence
DISK_BYTES = 1 << 20  # block
NETWORK_BYTES = 1 << 16  # block; a connection that stalls costs at most so much


@dataclass(frozen=True)
class Archive:
    """A published file and its md5, 32 hex digits."""

    name: str
    url: str
    md5: str


class _TryAgain(Exception):
    """A failure that another try may mend."""


def download(archive: Archive, path: Path, pause_seconds: float = PAUSE_SECONDS) -> None:
    """Bring a file to `path` unless it is there; `<path>.part` is what a later call goes on from.

    Raises
    ------
    UserError : the server refuses, fails for long, or twice sends a file with another md5.
    """
    if path.is_file() and _md5(path) == archive.md5:
        print(f"{path}: whole, skipped")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    for _ in range(2):
        print(f"{path}: downloading {archive.url}", flush=True)
        _receive(archive.url, part, pause_seconds)
        found = _md5(part)
        if found == archive.md5:
            part.replace(path)
            return
        part.unlink()
        wrong = f"{path}: md5 {found} found, {archive.md5} expected; deleted"
        print(wrong, flush=True)
    raise UserError(f"{wrong} for the second time, download it later or with another --mirror")


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(DISK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _receive(url: str, part: Path, pause_seconds: float) -> None:
    """Bring into `part` what it lacks of the file at `url`."""
    total, most, failures = None, _size(part), 0
    while True:
        have = _size(part)
        # "identity": the bytes of a compressed answer could not be counted.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        try:
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
                start, total = _extent(answer, have, total)
                if start is None:
                    part.unlink(missing_ok=True)
                    raise _TryAgain("not the file that was begun with, starting over")
                if answer.status_code != 416:  # 416: the part is whole, the body an error page
                    _append(answer, part, start, total)
            return
        except _TryAgain as error:
            reason = str(error)
        except (requests.ConnectionError, requests.Timeout) as error:
            cause: BaseException = error  # the first one says it shortest
            while cause.__context__:
                cause = cause.__context__
            reason = f"no connection ({cause})"
        except requests.RequestException as error:
            raise UserError(f"{url}: {error}") from error
        # More than there ever was, so that a server which cannot resume and always breaks at the
        # same place is given up.
        failures = 0 if _size(part) > most else failures + 1
        most = max(most, _size(part))
        if failures == TRIES:
            raise UserError(f"{url}: {reason}; {TRIES} tries brought nothing, run again later")
        pause = pause_seconds * 2 ** max(failures - 1, 0)
        print(f"{part}: {reason}; next try in {pause:g} s", flush=True)
        time.sleep(pause)


def _extent(
    answer: requests.Response, have: int, known: int | None
) -> tuple[int | None, int | None]:
    """Where an answer's body belongs in the file (None: nowhere), and the length of the file."""
    status, span = answer.status_code, answer.headers.get("Content-Range", "")
    if status == 200:
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    if status == 206 and (match := re.fullmatch(r"bytes (\d+)-\d+/(\d+)", span)):
        total = int(match[2])
        return (have if int(match[1]) == have and known in (None, total) else None), total
    if status == 416 and have and span == f"bytes */{have}":
        return have, have
    if status in (206, 416):
        return None, None
    if status in (408, 429) or status >= 500:
        raise _TryAgain(f"HTTP {status} {answer.reason}")
    raise UserError(f"{answer.url}: HTTP {status} {answer.reason}")


def _append(answer: requests.Response, part: Path, start: int, total: int | None) -> None:
    bar = tqdm(desc=part.stem, initial=start, total=total, unit="B", unit_scale=True, disable=None)
    with bar, part.open("ab" if start else "wb") as file:
        try:
            for block in answer.raw.stream(NETWORK_BYTES, decode_content=False):
                file.write(block)
                bar.update(len(block))
        except urllib3.exceptions.HTTPError as error:
            raise _TryAgain("the connection broke or stalled") from error
    if _size(part) < (total or 0):
        raise _TryAgain("the connection was closed early")
