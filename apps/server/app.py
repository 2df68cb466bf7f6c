"""The routes of the service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, NamedTuple

import msgspec
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from apps.server import api, measures, models, pages, sound, streams
from apps.server.forms import Body, Form, Pool, boundary_of
from apps.server.guard import OPEN, Guard, failure, refusal
from apps.server.limits import Door, Gate, Limits, Rates, Refused
from apps.server.models import Model
from apps.server.pages import Page
from asd.evaluation.alarms import Rule
from common import __version__

UP = "server is up"
JSON = "application/json"
REFUSALS = (408, 413, 415, 422, 503)
RAW = "application/octet-stream"  # samples of 16 bits, little endian, mono
Name = Annotated[str | None, Query(max_length=200)]


class Settings(NamedTuple):
    """What the command line says."""

    token: str | None = None
    limits: Limits = Limits()
    rule: Rule = Rule(2, 3)
    workers: int = 1  # threads that judge


def json_of(values: Any, status: int = 200) -> Response:
    """Plain values as an answer."""
    return Response(msgspec.json.encode(values), status, media_type=JSON)


class Service:
    """Models, and the threads that judge by them."""

    def __init__(self, there: dict[str, Model], settings: Settings) -> None:
        self.models, self.settings = there, settings
        self.gate, self.pool = Gate(settings.limits), Pool()
        self.measures = measures.Measures(there)
        self.streams = streams.Streams(settings.rule, settings.limits)
        self._pool = ThreadPoolExecutor(settings.workers, "judge")

    async def read(self, body: Body, request: Request, take: Callable[[bytes], Any]) -> None:
        """Take a request's body piece by piece, no more of it than is allowed."""
        seconds = self.settings.limits.read_seconds
        try:
            await asyncio.wait_for(body.read(request.stream(), take), seconds)
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise Refused(408, f"the body took more than {seconds:g} s to arrive; send it "
                          "again") from error  # fmt: skip
        except ClientDisconnect as error:
            raise Refused(400, "the body ends early; send it again") from error
        finally:
            request.scope["held"] = body.held

    def body(self, request: Request) -> Body:
        """A request's body, still to be read."""
        return Body(request.headers, self.settings.limits, self.gate)

    async def work(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function in a thread that judges."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def verdict(self, form: Form, machine_type: Name, machine_id: Name) -> dict[str, Any]:
        """The verdict on the recording in a form, by the address or else by the form."""
        content = form.part("file")
        if not form.whole or content is None:
            raise Refused(400, "no whole field named file in the form; send the recording as it")
        model = models.chosen(self.models, machine_type or form.text("machine_type"))
        machine_id = machine_id or form.text("machine_id")
        return await self.work(self._infer, content, model, machine_id)

    def _infer(self, content: memoryview, model: Model, machine_id: str | None) -> dict[str, Any]:
        heard = sound.read(content, model.feature, self.settings.limits)
        return models.judge(model, heard, machine_id)


def build(there: dict[str, Model], settings: Settings, page: dict[str, Page]) -> Guard:
    """The application.

    Parameters
    ----------
    there : models by machine type
    page : files of the page by name
    """
    service = Service(there, settings)
    app = FastAPI(title="Anomalous sound", version="1", docs_url=None, redoc_url=None)
    _inference(app, service)
    _streams(app, service)
    _telling(app, service)
    counted = {route.path for route in app.routes} | {"/"}
    files = _page(app, page)
    for kind in (HTTPException, RequestValidationError, Refused, Exception):
        app.add_exception_handler(kind, _refuse)
    if settings.token:
        document = app.openapi()  # kept by the framework
        document["components"] = {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}
        }
        for path, methods in document["paths"].items():
            for one in methods.values():
                one["security"] = [] if path in OPEN else [{"token": []}]
    rates = Rates(settings.limits.per_second)
    return Guard(app, Door(settings.token), rates, service.gate, service.measures, files, counted)


async def _refuse(request: Request, error: Exception) -> Response:
    """Whatever is not served, in one line."""
    if isinstance(error, Refused):
        return refusal(error)
    if isinstance(error, HTTPException):
        line = {404: "no such path", 405: "not by this method"}.get(error.status_code, "malformed")
        answer = refusal(Refused(error.status_code, f"{line}; see /openapi.json"))
        answer.headers.update(error.headers or {})
        return answer
    if isinstance(error, RequestValidationError):
        where = ", ".join(sorted({str(one["loc"][-1]) for one in error.errors()}))
        return refusal(Refused(400, f"missing or malformed: {where}; see /openapi.json"))
    return failure()


def _inference(app: FastAPI, service: Service) -> None:
    """The route that judges an upload."""

    @app.post("/inference", responses=api.answers(api.VERDICT, *REFUSALS),
              openapi_extra=api.body("multipart/form-data", api.FORM))  # fmt: skip
    async def inference(request: Request, machine_type: Name = None, machine_id: Name = None):
        """The verdict on a recording, the field `file` of a form."""
        boundary, body = boundary_of(request.headers.get("content-type", "")), service.body(request)
        form = Form(boundary, service.pool.take(body.promised))
        try:
            await service.read(body, request, form.feed)
            answer = await service.verdict(form, machine_type, machine_id)
        finally:
            service.pool.give(form.memory)
        service.measures.verdict(answer)
        return json_of(answer)


def _streams(app: FastAPI, service: Service) -> None:
    """The route that judges a stream."""

    @app.post("/stream", responses=api.answers(api.STREAMED, *REFUSALS),
              openapi_extra=api.body(RAW, {"type": "string", "format": "binary"}))  # fmt: skip
    async def stream(
        request: Request,
        session: str = Query(pattern="^[A-Za-z0-9_-]{8,64}$"),
        rate_hz: int = Query(ge=sound.RATES_HZ[0], le=sound.RATES_HZ[1]),
        machine_type: Name = None,
    ) -> Response:
        """The next piece of a stream: 16 bit samples, little endian, mono."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != RAW:
            raise Refused(415, f"send {RAW}: samples of 16 bits, little endian, mono")
        model, content = models.chosen(service.models, machine_type), bytearray()
        await service.read(service.body(request), request, content.extend)
        samples = streams.samples_of(bytes(content))
        if len(samples) > service.settings.limits.seconds * rate_hz:
            raise Refused(413, "a longer piece than is allowed; send shorter ones")
        one = service.streams.get(session, model, rate_hz)

        def take() -> dict[str, Any]:
            with one.lock:
                return one.told(one.take(samples))

        answer = await service.work(take)
        for stretch in answer["stretches"]:
            if "verdict" in stretch:
                service.measures.verdict(stretch["verdict"])
        return json_of(answer)


def _telling(app: FastAPI, service: Service) -> None:
    """The routes that tell of the service."""

    @app.get("/models", responses=api.answers(api.MODELS))
    async def told() -> Response:
        """The models that are served."""
        return json_of([one.told for one in service.models.values()])

    @app.get("/health/live", responses=api.answers(api.STATUS))
    async def live() -> Response:
        """Whether it answers at all."""
        return json_of({"status": "live"})

    @app.get("/health/ready", responses=api.answers(api.STATUS, 503))
    async def ready() -> Response:
        """Whether it can take another recording."""
        if service.gate.full:
            raise Refused(503, "as many requests as it serves at once; send it again later", 1)
        return json_of({"status": "ready"})

    @app.get("/version", responses=api.answers(api.VERSION))
    async def version() -> Response:
        """Which version it is."""
        return json_of({"version": __version__})

    @app.get("/metrics", responses=api.answers(None, kind="text/plain"))
    async def measured() -> Response:
        """Counts and times, for Prometheus."""
        return Response(service.measures.text(), media_type=measures.CONTENT_TYPE)


def _page(app: FastAPI, page: dict[str, Page]) -> set[str]:
    """The page; the paths of its files."""

    @app.get("/", responses=api.answers(None, kind="text/plain"))
    async def root(request: Request) -> Response:
        """The page for a browser; one line for others."""
        vary = {"vary": "accept"}
        if "text/html" in request.headers.get("accept", "") and pages.INDEX in page:
            return Response(page[pages.INDEX].content, 200, vary, page[pages.INDEX].content_type)
        return Response(UP, 200, vary, "text/plain")

    def add(path: str, file: Page) -> None:
        async def served() -> Response:
            return Response(file.content, 200, {"cache-control": "no-cache"}, file.content_type)

        app.add_api_route(path, served, include_in_schema=False)

    taken = {route.path for route in app.routes}
    paths = {f"{top}{name}": file for name, file in page.items() for top in ("/page/", "/")}
    for path, file in paths.items():
        if path not in taken:
            add(path, file)
    return set(paths) - taken
