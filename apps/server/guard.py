"""What stands around the routes: who may come in and how often; headers, counts, mistakes."""

from __future__ import annotations

import logging
import time

import msgspec
from starlette.responses import Response
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


def refusal(error: Refused) -> Response:
    """The answer to a request that is not served; what of its body is unread is not waited for."""
    headers = {"connection": "close"}
    if error.retry_seconds is not None:
        headers["retry-after"] = str(error.retry_seconds)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    body = msgspec.json.encode({"detail": error.line})
    return Response(body, error.status, headers, "application/json")


def failure() -> Response:
    """The answer where the service itself is at fault."""
    return refusal(Refused(500, "internal error; the server's log tells more"))


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
            await refusal(error)(scope, receive, answer.send)
        except Exception:
            log.exception("a request failed")
            if not answer.started:
                await failure()(scope, receive, answer.send)
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
        self._send, self.status, self.started = send, 499, False  # 499: nobody waits for it

    async def send(self, message: Message) -> None:
        """As the application sends it."""
        if message["type"] == "http.response.start":
            self.status, self.started = message["status"], True
            message = {**message, "headers": [*message["headers"], *HEADERS]}
        await self._send(message)
