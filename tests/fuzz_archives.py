"""Hostile archives and servers: one line, or a whole folder; nothing else is touched.

    .venv/bin/python -m tests.fuzz_archives --size 4000 --seed 1

An attempt is an archive that is mutated or built to do harm, for a folder that is not there, is to
be added to or to be replaced, each with a clip of the user's own; or an answer of a server.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import socket
import stat
import struct
import threading
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from asd.corpora import answers, fetch, folders, zips
from asd.corpora.archives import fetch_folder
from asd.corpora.fetch import Archive
from common import UserError
from tests.fuzz import main, mutated

MOST_MEMORY = 4 << 20  # bytes beside what there was; bombs unpack to twice that
MOST_LINE = 1200  # characters; it names two files of the folder, which has a long name
MOST_UNPACKED = 1 << 20
BOMBS = [bytes(1 << 19), bytes(8 << 20)]  # within the limit of bytes, and beyond it
NAMES = [
    "{t}/a.wav", "{t}/A.wav", "{t}/train/a.wav", "{t}/train", "{t}/train/a.wav/b.wav", "{t}",
    "{t}/", "{t}/train/", "{t}/.complete", "{t}/.COMPLETE", "{t}/.get_dataset",
    "{t}/train/mine.wav", "{t}/../outside.wav", "../outside.wav", "/outside.wav", "{t}/./a.wav",
    "{t}//a.wav", "{t}\\a.wav", "{t}/..\\outside.wav", "C:\\outside.wav", "C:outside.wav",
    "{t}/a\0.wav", "{t}/a\n.wav", "{t}/a\u2028.wav", "{t}/\xe4.wav", "{t}/a\u0308.wav",
    "{t}/\x1b[2J.wav", "other/a.wav", "", ".", "..", "{t}/..", "{t}/" + "x" * 256,
    "{t}/" + "x/" * 600 + "x", "{t}/" + "\u20ac" * 90,
]  # fmt: skip
KINDS = [0, 0, 0, 0, *(kind | 0o777 for kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK,
                                                 stat.S_IFCHR, stat.S_IFIFO))]  # fmt: skip
SIZES = [0, 1, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF]


def attempt(rng: np.random.Generator, folder: Path) -> str:
    """One hostile input; what came of it: "read", "refused", or the same of a server."""
    with _watched(folder):
        return _server(rng, folder) if rng.random() < 0.2 else _archive(rng, folder)


@contextlib.contextmanager
def _watched(folder: Path) -> Iterator[None]:
    """Small limits; what is beside the data must not change."""
    outside = folder / "outside.wav"
    outside.write_bytes(b"outside")
    with (
        mock.patch.object(zips, "MOST_BYTES", MOST_UNPACKED),
        mock.patch.object(zips, "MOST_DIRECTORY_BYTES", 1 << 16),
        mock.patch.object(fetch, "MOST_BYTES", MOST_UNPACKED),
        mock.patch.object(fetch, "TRIES", 2),
        mock.patch.object(fetch, "MOST_TRIES", 6),
        mock.patch.object(answers, "WATCH_SECONDS", 0.3),
        mock.patch("builtins.print"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # zipfile's, of names that are there twice
        yield
    assert outside.read_bytes() == b"outside"
    assert {path.name for path in folder.iterdir()} <= {"outside.wav", "data"}


@contextlib.contextmanager
def _little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST_MEMORY, f"{peak} bytes of memory"


def _archive(rng: np.random.Generator, folder: Path) -> str:
    """Fetch a folder that a hostile archive is part of."""
    data = folder / "data"
    good = _put(data, "good.zip", _zip([("ToyCar/train/good.wav", b"good" * 50)]))
    toycar = data / "ToyCar"
    state = rng.choice(["absent", "added to", "replaced"])
    if state != "absent":
        fetch_folder(toycar, [good])
        (toycar / "train/mine.wav").write_bytes(b"mine")
    body, truth = _hostile(rng)
    evil = _put(data, "evil.zip", body)
    before = _tree(data)
    wanted = [_put(data, "good.zip", _zip([("ToyCar/train/good.wav", b"good" * 50)])), evil]
    with mock.patch.object(fetch, "receive", side_effect=AssertionError("asked a server")):
        try:
            with _little_memory():
                fetch_folder(toycar, [evil] if state == "replaced" else wanted)
        except UserError as error:
            _check_line(error)
            after = _tree(data)
            after.pop(".download/good.zip", None)
            before.pop(".download/good.zip", None)
            assert after == before, f"changed: {after.items() ^ before.items()}"
            return f"refused, {state}"
    found = _check_whole(toycar, state, evil.md5)
    assert sum(map(len, found.values())) <= min(MOST_UNPACKED, zips.MOST_RATIO * len(body))
    if truth is not None:
        below = {name.removeprefix("ToyCar/"): content for name, content in truth.items()}
        assert found.items() <= below.items(), "an archive's lie was believed"
    assert {path.name for path in data.iterdir()} <= {"ToyCar", ".download"}
    return f"read, {state}"


def _check_line(error: UserError) -> None:
    line = str(error)
    assert line.isprintable() and line and len(line) < MOST_LINE, line


def _check_whole(toycar: Path, state: str, md5: str) -> dict[str, bytes]:
    """The folder has what its marker says, what was the user's, and nothing else.

    Returns
    -------
    what is of the archive with this md5
    """
    held = folders.contents(toycar)
    names = {name: crc for files in held.values() for name, crc in files.items()}
    found = {
        name: content
        for name, content in _tree(toycar).items()
        if content is not None and name != folders.MARKER
    }
    assert md5 in held
    if state != "absent":
        assert found.pop("train/mine.wav") == b"mine"
    if state != "replaced":
        assert found["train/good.wav"] == b"good" * 50
    assert found.keys() == names.keys()
    for name, content in found.items():
        assert isinstance(content, bytes), name
        assert f"{zlib.crc32(content):08x}" == names[name], name
    return {name: found[name] for name in held[md5]}


def _put(data: Path, name: str, body: bytes) -> Archive:
    """Put an archive where a download would bring it."""
    path = data / ".download" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return Archive(name, "http://nobody.invalid/", hashlib.md5(body).hexdigest())


def _tree(folder: Path) -> dict[str, bytes | str | None]:
    """All that is in a folder: files with their bytes, links, folders."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_bytes()
        else:
            found[name] = None
    return found


def _zip(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def _content(rng: np.random.Generator) -> bytes:
    if rng.random() < 0.03:
        return BOMBS[rng.integers(2)]
    return rng.bytes(int(rng.integers(0, 3000)))


def _hostile(rng: np.random.Generator) -> tuple[bytes, dict[str, bytes] | None]:
    """A good archive that was mutated, or one whose entries lie; what of it is no lie, if known."""
    method = int(rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    kind = rng.choice(["good", "good", "mutated", "mutated", "names", "lies", "lies"])
    plain = [(f"ToyCar/{split}/{i}.wav", _content(rng)) for split in ("train", "test")
             for i in range(rng.integers(0, 4))]  # fmt: skip
    if kind == "good":
        return _zip(plain, method), dict(plain)
    if kind == "mutated":
        body = _zip(plain, method)
        if rng.random() < 0.5:  # the directory, where the lies are
            cut = body.find(b"PK\1\2")
            return body[:cut] + mutated(body[cut:], rng), None
        return mutated(body, rng), None
    if kind == "names":
        names = rng.choice(NAMES, 1 if rng.random() < 0.7 else 2)
        plain += [(str(name).format(t="ToyCar"), _content(rng)) for name in names]
    return _built(rng, plain, 0.0 if kind == "names" else 0.4)


def _built(
    rng: np.random.Generator, entries: list[tuple[str, bytes]], lies: float
) -> tuple[bytes, dict[str, bytes]]:
    """An archive byte by byte; each field of its directory lies with a probability."""
    body, directory, truth = bytearray(), bytearray(), {}

    def says(truth: int, *others: int) -> int:
        return int(rng.choice([*others, *SIZES])) if rng.random() < lies / 9 else truth

    def lie() -> bool:
        return rng.random() < lies / 9

    for name, content in entries:
        raw = rng.bytes(5) if lie() else name.encode()
        method = int(rng.choice([0, 8]))
        packed = zlib.compress(content)[2:-4] if method else content
        flags = int(rng.integers(1 << 16)) if lie() else 0x800
        shown = int(rng.choice([0, 8, 9, 12, 14, 93, 99])) if lie() else method
        extra = rng.bytes(int(rng.integers(40))) if lie() else b""
        if lie():
            extra = struct.pack("<2H3Q", 1, 24, *(says(1 << 40, 1 << 63, 3) for _ in range(3)))
        cut = int(rng.integers(len(content) + 1)) if lie() else len(content)
        crc = zlib.crc32(content[:cut])
        sizes = says(len(packed), len(content)), says(cut, len(content) + 1, 1)
        offset = says(len(body), 0, len(body) + 1, 30)
        kind = int(rng.choice(KINDS)) if lies and rng.random() < 0.1 else 0
        if stat.S_IFMT(kind) in (0, stat.S_IFREG):
            truth[name] = content
        body += struct.pack("<4s5H3I2H", b"PK\3\4", 20, flags, method, 0, 0, crc, len(packed),
                            len(content), len(raw), 0) + raw + packed  # fmt: skip
        directory += struct.pack("<4s6H3I5H2I", b"PK\1\2", 0x314, says(20) & 0xFFFF, flags, shown,
                                 0, 0, says(crc), *sizes, len(raw), len(extra), 0, 0, 0,
                                 kind << 16, offset) + raw + extra  # fmt: skip
    ends = says(len(directory), 46, 1 << 17), says(len(body), 0, 1 << 30)
    tail = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, *(says(len(entries)) & 0xFFFF,) * 2, *ends, 0)
    return bytes(body + directory + tail), truth


FILE = bytes(range(256)) * 20
HEADS = [
    "HTTP/1.1 200 OK", "HTTP/1.1 206 Partial Content", "HTTP/1.1 302 Found", "HTTP/1.1 416 Range",
    "HTTP/1.1 304 Not Modified", "HTTP/1.1 100 Continue", "HTTP/1.1 404 \x1b[2J", "HTTP/1.1 500 x",
    "HTTP/1.1 99999 x", "HTTP/9", "", "HTTP/1.1 204 No Content",
]  # fmt: skip
HEADERS = [
    "Content-Length: {n}", "Content-Length: {n}", "Content-Length: 0", "Content-Length: -1",
    "Content-Length: 99999999999999999999", "Content-Length: \xb2", "Content-Length: 1, 2",
    "Content-Length: " + "9" * 5000, "Content-Range: bytes 0-{n}/{n}", "Content-Range: bytes 7-6/5",
    "Content-Range: bytes 100-{n}/{n}", "Content-Range: bytes */{n}", "Content-Range: bytes 1-2/*",
    "Transfer-Encoding: chunked", "Content-Encoding: gzip", "Location: /file", "Location: http://[",
    "Location: file:///etc/passwd", "Location: \xff", "Location: //", "Set-Cookie: a=\x01;;;=",
    "x" * 70000, "a: b\r\n" * 120, ": ", "\0: \0",
]  # fmt: skip
BODIES = [FILE, FILE[:100], FILE[100:], FILE + FILE, b"", b"5\r\nabcde\r\n0\r\n\r\n", b"-5\r\nabc",
          b"ffffffffffffffff\r\nabc", b"0\r\na: b\r\n", b"x" * 70000, bytes(2 << 20)]  # fmt: skip


def _server(rng: np.random.Generator, folder: Path) -> str:
    """Download a file from a server that answers anything."""

    def reply() -> bytes:
        lines = [str(rng.choice(HEADS[:4] if rng.random() < 0.7 else HEADS)),
                 *(str(rng.choice(HEADERS[:2] if rng.random() < 0.4 else HEADERS))
                   for _ in range(rng.integers(0, 4))), "", ""]  # fmt: skip
        head = "\r\n".join(lines).replace("{n}", str(len(FILE))).encode("latin-1")
        body = FILE if rng.random() < 0.4 else BODIES[rng.integers(len(BODIES))]
        return mutated(head + body, rng) if rng.random() < 0.2 else head + body

    replies = [reply() for _ in range(12)]
    data = folder / "data"
    path = data / "file"
    data.mkdir()
    if rng.random() < 0.5:
        (data / "file.part").write_bytes(FILE[:100])
    with _serving(replies) as port, mock.patch.dict(os.environ, {"no_proxy": "127.0.0.1"}):
        url = f"http://127.0.0.1:{port}/file"
        archive = Archive("file", url, hashlib.md5(FILE).hexdigest())
        try:
            with _little_memory():
                fetch.download(archive, path, pause_seconds=0)
            outcome = "downloaded"
        except UserError as error:
            _check_line(error)
            outcome = "server given up"
    if outcome == "downloaded":
        assert path.read_bytes() == FILE and list(data.iterdir()) == [path]
    else:
        assert {left.name for left in data.iterdir()} <= {"file.part"}
        part = data / "file.part"
        assert not part.exists() or part.stat().st_size <= MOST_UNPACKED
    return outcome


@contextlib.contextmanager
def _serving(replies: list[bytes]) -> Iterator[int]:
    """A server that gives the replies in turn, whatever is asked; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)

        def serve() -> None:
            for text in replies:
                with contextlib.suppress(OSError):
                    connection = listener.accept()[0]
                    with connection:
                        connection.settimeout(5)
                        connection.recv(1 << 16)
                        connection.sendall(text)
                        connection.shutdown(socket.SHUT_WR)
                        connection.recv(1)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


if __name__ == "__main__":
    main(__doc__, attempt)
