"""The fields of a multipart form, as its bytes arrive: in memory, and no more than is allowed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from apps.server.limits import Gate, Limits, Refused

MOST_PARTS, MOST_HEADER_BYTES, MOST_TEXT_BYTES = 8, 4096, 200
BLOCK_BYTES, MOST_BYTES, MOST_FREE_BYTES = 1 << 19, 1 << 21, 1 << 24  # of blocks that are kept


class Pool:
    """Memory for bodies, used again: blocks that come and go leave holes between them."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def take(self, count: int) -> bytearray:
        """A block of at least so many bytes."""
        for i, block in enumerate(self._free):
            if len(block) >= count:
                return self._free.pop(i)
        return bytearray(-(-max(count, 1) // BLOCK_BYTES) * BLOCK_BYTES)

    def give(self, block: bytearray) -> None:
        """Take a block back, unless there are enough."""
        if len(block) <= MOST_BYTES and sum(map(len, self._free)) + len(block) <= MOST_FREE_BYTES:
            self._free.append(block)
            self._free.sort(key=len)


class Form:
    """The parts of a form by name, fed with its bytes; their contents stand in `memory`."""

    def __init__(self, boundary: bytes, memory: bytearray) -> None:
        self.memory, self._at = memory, 0
        self._fields: dict[str, tuple[int, int]] = {}
        self.whole = False
        self._header = [bytearray(), bytearray()]
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        callbacks = {
            "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
            "on_header_end": self._header_ends,
            "on_headers_finished": self._begin,
            "on_part_data": self._data,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)

    def feed(self, data: bytes) -> None:
        """Take some bytes.

        Raises
        ------
        Refused : 400, they are not of a form.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise Refused(400, "the form is malformed; send multipart/form-data with a field "
                          "named file") from error  # fmt: skip

    def _add(self, i: int, data: bytes) -> None:
        self._header[i] += data
        if len(self._header[i]) > MOST_HEADER_BYTES:
            raise Refused(400, f"a header of the form has more than {MOST_HEADER_BYTES} bytes")

    def _header_ends(self) -> None:
        name, value = (bytes(one) for one in self._header)
        self._headers[name.lower()] = value
        self._header = [bytearray(), bytearray()]

    def _begin(self) -> None:
        _, options = parse_options_header(self._headers.pop(b"content-disposition", b""))
        self._headers.clear()
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name in self._fields or len(self._fields) >= MOST_PARTS:
            raise Refused(400, "a field comes twice, or there are too many; send one named file")
        self._fields[name], self._name = (self._at, self._at), name

    def _data(self, data: bytes, start: int, end: int) -> None:
        until = self._at + end - start
        if until > len(self.memory):  # of a body that did not tell its length
            self.memory.extend(bytes(max(len(self.memory), until - len(self.memory))))
        self.memory[self._at : until] = memoryview(data)[start:end]
        self._at = until
        self._fields[self._name] = self._fields[self._name][0], until

    def _end(self) -> None:
        self.whole = True

    def part(self, name: str) -> memoryview | None:
        """A field; None where it is not there."""
        if name not in self._fields:
            return None
        return memoryview(self.memory)[slice(*self._fields[name])]

    def text(self, name: str) -> str | None:
        """A field of text; None where it is not there.

        Raises
        ------
        Refused : 400, it is too long, or no text.
        """
        content = self.part(name)
        try:
            if content is not None and len(content) > MOST_TEXT_BYTES:
                raise ValueError
            return None if content is None else bytes(content).decode()
        except ValueError as error:
            raise Refused(400, f"the field {name} is no text, or longer than {MOST_TEXT_BYTES} "
                          "bytes; leave it out") from error  # fmt: skip


class Body:
    """The bytes of a request, counted as they arrive."""

    def __init__(self, headers: dict[str, str], limits: Limits, gate: Gate) -> None:
        self._limits, self._gate, self.held = limits, gate, 0
        length = headers.get("content-length", "")
        self.promised = int(length) if length.isdecimal() and len(length) < 20 else 0
        if self.promised > limits.bytes:
            self._too_long()

    def _too_long(self) -> None:
        raise Refused(413, f"longer than {self._limits.megabytes:g} MB; send a shorter recording, "
                      "or flac")  # fmt: skip

    async def read(self, stream: AsyncIterator[bytes], take: Any) -> None:
        """Hand on every piece.

        Raises
        ------
        Refused : 413, they are too many; 503, those of all requests are.
        """
        async for piece in stream:
            if self.held + len(piece) > self._limits.bytes:
                self._too_long()
            self._gate.hold(len(piece))
            self.held += len(piece)
            take(piece)


def boundary_of(content_type: str) -> bytes:
    """What parts the fields of a form of that type.

    Raises
    ------
    Refused : 415, it is no form; 400, it tells none.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise Refused(415, "not multipart/form-data; send the recording as its field named file")
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= 200:
        raise Refused(400, "the form tells no boundary; let the client library make the header")
    return boundary
