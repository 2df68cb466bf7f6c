"""What the service refuses: too much, too often, too many at once, or somebody without a token."""

from __future__ import annotations

import hmac
import re
import time
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from common import UserError

MOST_CLIENTS = 10_000  # whose rates are remembered
LEAST_TOKEN = 16  # letters
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Refused(Exception):
    """A request that is not served: a status and one line that names the remedy."""

    def __init__(self, status: int, line: str, retry_seconds: int | None = None) -> None:
        super().__init__(line)
        self.status, self.line, self.retry_seconds = status, line, retry_seconds


class Limits(NamedTuple):
    """What a request may cost."""

    megabytes: float = 16  # of a request's body
    seconds: float = 60  # of sound
    read_seconds: float = 30  # until a body has arrived
    per_second: float = 200  # requests of a client, on average
    at_once: int = 64  # requests that are read, wait or are worked on
    waiting_megabytes: float = 64  # bodies of all of these together

    @property
    def bytes(self) -> int:
        """Of a request's body."""
        return int(self.megabytes * 2**20)


class Rates:
    """A token bucket for each client: so many requests a second on average, twice that at once."""

    def __init__(self, per_second: float) -> None:
        self._per_second, self._most = per_second, max(2 * per_second, 1)
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, when

    def check(self, client: str, now: float | None = None) -> None:
        """Take a token.

        Raises
        ------
        Refused : 429, the client has none left.
        """
        now = time.monotonic() if now is None else now
        tokens, then = self._clients.pop(client, (self._most, now))
        tokens = min(self._most, tokens + (now - then) * self._per_second)
        enough = tokens >= 1
        self._clients[client] = tokens - enough, now
        if len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)
        if not enough:
            wait = int((1 - tokens) / self._per_second) + 1
            raise Refused(429, f"more than {self._per_second:g} requests a second; wait and send "
                          "them more slowly", wait)  # fmt: skip


class Gate:
    """How many requests are read, wait or are worked on, and what their bodies take."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._most_bytes = limits, int(limits.waiting_megabytes * 2**20)
        self.inside, self.bytes = 0, 0

    @property
    def full(self) -> bool:
        """Whether the next request would be sent away."""
        return self.inside >= self._limits.at_once

    def enter(self) -> None:
        """Take a place; `leave` gives it back.

        Raises
        ------
        Refused : 503, there is none.
        """
        if self.full:
            raise Refused(503, f"{self.inside} requests are being served; send it again later", 1)
        self.inside += 1

    def leave(self, held: int) -> None:
        """Give back a place and the bytes that were held."""
        self.inside -= 1
        self.bytes -= held

    def hold(self, count: int) -> None:
        """Hold some more bytes.

        Raises
        ------
        Refused : 503, all bodies together are too long.
        """
        if self.bytes + count > self._most_bytes:
            raise Refused(503, "too many recordings arrive at once; send it again later", 1)
        self.bytes += count


class Door:
    """Who may come in: whoever has the token, or without one whoever is on this machine."""

    def __init__(self, token: str | None) -> None:
        self._token = token and token.encode()

    @property
    def asks_for_token(self) -> bool:
        """Whether a token is needed, but for the page itself."""
        return self._token is not None

    def check(self, headers: dict[bytes, bytes]) -> None:
        """Look at a request's headers, names in small letters.

        Raises
        ------
        Refused : 401, without the token; 400, by a name that is not this machine's, as a page in
            a browser on it may be made to ask (DNS rebinding).
        """
        if self._token is None:
            host = headers.get(b"host", b"").decode("latin-1")
            if re.sub(r":\d*$", "", host).strip("[]").lower() not in LOOPBACK:
                raise Refused(400, "this service answers to 127.0.0.1 and localhost only; start it "
                              "with --token-file to serve other names")  # fmt: skip
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        right = hmac.compare_digest(given.strip(), self._token)
        if scheme.lower() != b"bearer" or not right:
            raise Refused(401, "no or another token; send the header Authorization: Bearer TOKEN")


def token_of(path: Path | None) -> str | None:
    """The token in a file, its only line.

    Raises
    ------
    UserError : it is too short, or more than one word.
    """
    if path is None:
        return None
    token = path.read_text(encoding="utf-8", errors="replace").strip()
    if not re.fullmatch(rf"[!-~]{{{LEAST_TOKEN},1000}}", token):
        raise UserError(f"{path}: a token is one word, {LEAST_TOKEN} ASCII letters at least; make "
                        f"one: openssl rand -hex 32 > {path}")  # fmt: skip
    return token


def check_host(host: str, token: str | None) -> None:
    """See that only this machine reaches a service without a token.

    Raises
    ------
    UserError : others would.
    """
    if token is None and host not in LOOPBACK:
        raise UserError(f"--host {host}: without a token the service binds to 127.0.0.1 only; give "
                        "--token-file FILE")  # fmt: skip
