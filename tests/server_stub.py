"""A stand-in of the inference service: the page's files, a model, and answers made up."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css",
         ".json": "application/json", ".wasm": "application/wasm"}  # fmt: skip
ANSWER = {
    "Anomaly": True,
    "Details": {"Message": "Component is clogged", "Probabilities": [0.1, 0.2, 0.6, 0.1]},
    "score": 12.5,
    "threshold": 9.25,
    "threshold_how": "90% of normal clips lie below it",
    "false_alarm_rate": {"nominal": 0.1, "low": 0.05, "high": 0.19},
    "model": {"machine_type": "ToyTest", "sha256": "ab" * 32},
    "worst": {"band_hz": [1200.0, 1700.0], "seconds": [0.5, 1.0]},
    "seconds": 1.5,
    "rate_hz": 16000,
    "channels": 1,
    "changed": [],
    "warnings": ["12 dB louder than the training clips"],
}


class Stub:
    """What the stand-in serves, and what was asked of it.

    Attributes
    ----------
    page, made : folders of the page's files, and of model.json and model.wasm
    models : what GET /models answers
    answer, status : what POST /inference answers
    asked : method and path of each request
    sent : bodies of POST /inference
    """

    def __init__(self, page: Path, made: Path, models: list[dict[str, Any]]) -> None:
        self.page, self.made, self.models = page, made, models
        self.answer, self.status = ANSWER, 200
        self.asked: list[str] = []
        self.sent: list[bytes] = []

    def file(self, path: str) -> Path | None:
        """The file of a request."""
        name = path.removeprefix("/page/")
        found = [self.page / "index.html"] if path == "/" else [self.page / name, self.made / name]
        return next((one for one in found if "/" not in name[1:] and one.is_file()), None)


@contextlib.contextmanager
def served(stub: Stub) -> Iterator[str]:
    """The stand-in at an address."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

        def _answer(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _json(self, status: int, value: object) -> None:
            self._answer(status, json.dumps(value).encode(), "application/json")

        def do_GET(self) -> None:
            stub.asked.append(f"GET {self.path}")
            if self.path == "/models":
                self._json(200, stub.models)
            elif path := stub.file(self.path):
                self._answer(200, path.read_bytes(), TYPES[path.suffix])
            else:
                self._json(404, {"detail": "not found"})

        def do_POST(self) -> None:
            stub.asked.append(f"POST {self.path}")
            stub.sent.append(self.rfile.read(int(self.headers["Content-Length"])))
            self._json(stub.status, stub.answer)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
