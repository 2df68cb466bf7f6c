"""Download one file: resume, try again, check its md5."""

from __future__ import annotations

import hashlib
import itertools
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from asd.corpora.alone import alone
from asd.corpora.answers import TryAgain, answered, one_line
from common import UserError

TRIES = 6  # without progress
MOST_TRIES = 100  # in all; a server may let through a byte with each
PAUSE_SECONDS = 2.0  # before the second try, then doubling: 62 s outlast a rate limit per minute
DISK_BYTES = 1 << 20  # block
MOST_BYTES = 64 << 30  # of a file; no archive of DCASE 2020 Task 2 comes near it
SPARE_BYTES = 256 << 20  # that a download leaves free on the disk
DIGITS = 18  # of a length that a server announces


@dataclass(frozen=True)
class Archive:
    """A published file and its md5, 32 hex digits."""

    name: str
    url: str
    md5: str


def download(archive: Archive, path: Path, pause_seconds: float = PAUSE_SECONDS) -> None:
    """Bring a file to `path` unless it is there; `<path>.part` is what a later call goes on from.

    Raises
    ------
    UserError : the server refuses, fails for long, sends too much, or twice sends a file with
        another md5; the disk is too small; or another run is at work in the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path.parent):
        if is_whole(archive, path):
            print(f"{path}: whole, skipped")
        else:
            _download(archive, path, pause_seconds)


def _download(archive: Archive, path: Path, pause_seconds: float) -> None:
    part = path.with_name(f"{path.name}.part")
    for _ in range(2):
        print(f"{path}: downloading {archive.url}", flush=True)
        receive(archive.url, part, pause_seconds)
        found = _md5(part)
        if found == archive.md5:
            part.replace(path)
            return
        part.unlink()
        wrong = f"{path}: md5 {found} found, {archive.md5} expected; deleted"
        print(wrong, flush=True)
    raise UserError(f"{wrong} for the second time, download it later or with another --mirror")


def is_whole(archive: Archive, path: Path) -> bool:
    """Whether a file is there and the one that was published."""
    return path.is_file() and _md5(path) == archive.md5


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(DISK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def receive(url: str, part: Path, pause_seconds: float, most_bytes: int | None = None) -> None:
    """Bring into `part` what it lacks of the file at `url`; whether it is the right one is open.

    Parameters
    ----------
    most_bytes : that the file may have; None: MOST_BYTES

    Raises
    ------
    UserError : the server refuses, fails for long, or sends too much; or the disk is too small.
    """
    total, most, failures = None, _size(part), 0
    for tries in itertools.count(1):
        try:
            with answered(url, _size(part)) as (answer, blocks):
                start, total = _extent(answer, _size(part), total)
                if start is None:
                    part.unlink(missing_ok=True)
                    raise TryAgain("not the file that was begun with, starting over")
                if answer.status_code != 416:  # 416: the part is whole, the body an error page
                    _append(url, blocks, part, start, total, most_bytes or MOST_BYTES)
            return
        except TryAgain as error:
            reason = str(error)
        except urllib3.exceptions.HTTPError:
            reason = "the connection broke or stalled"
        except (requests.ConnectionError, requests.Timeout) as error:
            cause: BaseException = error  # the first one says it shortest
            while cause.__context__:
                cause = cause.__context__
            reason = f"no connection ({one_line(cause)})"
        # ValueError: an address that is none, which a server may send us to.
        except (requests.RequestException, ValueError) as error:
            raise UserError(f"{url}: {one_line(error)}") from error
        # More than there ever was, so that a server which cannot resume and always breaks at the
        # same place is given up.
        failures = 0 if _size(part) > most else failures + 1
        most = max(most, _size(part))
        if failures == TRIES:
            raise UserError(f"{url}: {reason}; {TRIES} tries brought nothing, run again later")
        if tries == MOST_TRIES:
            raise UserError(f"{url}: {reason}; {tries} tries, run again later to go on")
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
        return 0, int(length) if re.fullmatch(f"[0-9]{{1,{DIGITS}}}", length) else None
    number = f"([0-9]{{1,{DIGITS}}})"
    if status == 206 and (match := re.fullmatch(f"bytes {number}-[0-9]+/{number}", span)):
        total = int(match[2])
        return (have if int(match[1]) == have and known in (None, total) else None), total
    if status == 416 and have and span == f"bytes */{have}":
        return have, have
    if status in (206, 416):
        return None, None
    reason = one_line(f"HTTP {status} {answer.reason}")
    if status in (408, 429) or status >= 500:
        raise TryAgain(reason)
    raise UserError(f"{one_line(answer.url)}: {reason}")


def _append(
    url: str, blocks: Iterator[bytes], part: Path, start: int, total: int | None, most_bytes: int
) -> None:
    """Write a body, and never more than the file is said to have."""
    most = _most(url, part, start, total, most_bytes)
    bar = tqdm(desc=part.stem, initial=start, total=total, unit="B", unit_scale=True, disable=None)
    done = start
    with bar, part.open("ab" if start else "wb") as file:
        while done < most and (block := next(blocks, b"")):
            file.write(block[: most - done])
            bar.update(len(block))
            done += len(block)
    if total is None and done >= most:
        part.unlink()
        raise UserError(
            f"{url}: no end after {most / 1e9:.1f} GB, and its length was not told; free some "
            "space, or download it with another --mirror"
        )
    if done < (total or 0):
        raise TryAgain("the connection was closed early")


def _most(url: str, part: Path, start: int, total: int | None, most_bytes: int) -> int:
    """How long a file may become, in bytes.

    Raises
    ------
    UserError : it is told to be longer than any of ours, or than the disk has room for.
    """
    room = max(shutil.disk_usage(part.parent).free + _size(part) - SPARE_BYTES, 0)  # bytes
    if total is None and room:
        return min(most_bytes, room)
    total = total or 0
    if total > most_bytes:
        raise UserError(
            f"{url}: {total / 1e9:.3g} GB are announced, no file of ours has more than "
            f"{most_bytes / 1e9:.3g}; download it with another --mirror"
        )
    if total > room or not room:
        raise UserError(
            f"{part.parent}: {(total - start) / 1e9:.1f} GB are needed to download {part.stem}, "
            f"{max(room - start, 0) / 1e9:.1f} GB are free; free some space and run again"
        )
    return total
