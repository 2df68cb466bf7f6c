"""What stands around the routes: who may come in and how often; headers, counts, mistakes."""

from __future__ import annotations

import logging
import time
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apps.server.limits import Door, Gate, Rates, Refused
from apps.server.measures import Measures

log = logging.getLogger("asd.server")
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
OPEN = ("/", "/health/live", "/health/ready", "/openapi.json")  # without a token; and the page
WORK = ("/inference", "/stream")
HEALTH = ("/health/live", "/health/ready")
OTHER = "other"  # in counts: whatever else is asked for, of which there is no end


def error_body(line: str) -> bytes:
    """The body of every answer that is a refusal."""
    return msgspec.json.encode({"detail": line})


class Guard:
    """An ASGI application around another.

    Parameters
    ----------
    page : names that are served to everybody
    counted : paths that are counted by their names
    """

    def __init__(
        self, app: ASGIApp, door: Door, rates: Rates, gate: Gate, measures: Measures,
        page: set[str], counted: set[str],
    ) -> None:  # fmt: skip
        self._app, self._door, self._rates, self._gate = app, door, rates, gate
        self._measures, self._page, self._counted = measures, page, counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            return
        answer, start, inside = _Answer(send), time.perf_counter(), False
        try:
            self._check(scope)
            if scope["path"] in WORK and scope["method"] == "POST":
                self._gate.enter()
                inside = True
                self._measures.inside.set(self._gate.inside)
            await self._app(scope, receive, answer.send)
        except Refused as error:
            await answer.refuse(error.status, error.line, error.retry_seconds)
        except Exception:
            log.exception("a request failed")
            await answer.refuse(500, "internal error; the server's log tells more")
        finally:
            if inside:
                self._gate.leave(scope.get("held", 0))
                self._measures.inside.set(self._gate.inside)
            path = scope["path"] if scope["path"] in self._counted else OTHER
            self._measures.request(path, answer.status, time.perf_counter() - start)

    def _check(self, scope: Scope) -> None:
        path, headers = scope["path"], dict(scope["headers"])
        if path in HEALTH:  # of an orchestrator, by whatever name
            return
        self._rates.check((scope.get("client") or ("?",))[0])
        is_page = path in OPEN or path in self._page
        if not (is_page and self._door.asks_for_token):
            self._door.check(headers)


class _Answer:
    """What is sent, with the headers that every answer has."""

    def __init__(self, send: Send) -> None:
        self._send, self.status, self._started = send, 499, False  # 499: nobody waits for it

    async def send(self, message: Message) -> None:
        """As the application sends it."""
        if message["type"] == "http.response.start":
            self.status, self._started = message["status"], True
            message = {**message, "headers": [*message["headers"], *HEADERS]}
        await self._send(message)

    async def refuse(self, status: int, line: str, retry_seconds: int | None = None) -> None:
        """Send a refusal, where nothing was sent yet."""
        if self._started:
            return
        body = error_body(line)
        # What of the body has not been read is not waited for.
        headers = [(b"content-type", b"application/json"), (b"connection", b"close"),
                   (b"content-length", str(len(body)).encode())]  # fmt: skip
        if retry_seconds is not None:
            headers.append((b"retry-after", str(retry_seconds).encode()))
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        start: dict[str, Any] = {"type": "http.response.start", "status": status}
        await self.send({**start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})
