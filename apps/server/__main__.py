"""Serve trained models: recordings come in over HTTP, verdicts go out; see apps/server/README.md.

    python -m apps.server --model model/model_<type>_quant_fullint_micro_intio.tflite --port 5000

Needs what apps/server/requirements.txt names, and no TensorFlow.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):  # before NumPy is imported
    os.environ[_name] = "1"

import argparse
import ctypes
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from apps.server import limits, pages
from apps.server.limits import Limits
from asd import messages, workers
from asd.evaluation.alarms import Rule
from common import UserError

ARENAS, MMAP_THRESHOLD = -8, -3  # of glibc's mallopt
MOST_CONNECTIONS = 1000
GRACE_SECONDS = 10  # for what is being served when it ends


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal ends it; the exit status."""
    args = _arguments(argv)
    try:
        server, listening, lines = _prepare(args)
    except (UserError, OSError) as error:
        print("error:", messages.plain(str(error)), file=sys.stderr)
        return 1
    print("\n".join(lines), flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again when it has ended
        signal.signal(number, lambda *_: sys.exit(0))
    server.run(sockets=[listening])
    return 0


def _prepare(args: argparse.Namespace):
    """What serves, where it listens, and what to say of it."""
    _bound_memory()
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # or forms could flood the log
    import uvicorn

    from apps.server import app, causes, models

    token = limits.token_of(args.token_file)
    limits.check_host(args.host, token)
    rule = Rule(*args.alarm)
    if not 1 <= rule.k <= rule.n <= 1000:
        raise UserError(f"--alarm {rule.k} {rule.n}: K is at least 1 and at most N, N at most 1000")
    count = args.threads or workers.allowed()
    there = causes.give(models.load_all(args.model, count), args.causes)
    bounds = Limits(
        args.max_megabytes, args.max_seconds, args.read_seconds, args.rate, args.at_once
    )
    page = pages.read([pages.HERE, *args.page])
    built = app.build(there, app.Settings(token, bounds, rule, count), page)
    listening = _listen(args.host, args.port)
    config = uvicorn.Config(
        built, log_level="warning", access_log=False, server_header=False, proxy_headers=False,
        lifespan="off", ws="none", timeout_graceful_shutdown=GRACE_SECONDS,
        limit_concurrency=MOST_CONNECTIONS, backlog=256,
    )  # fmt: skip
    host, port = listening.getsockname()[:2]
    lines = [f"{name}: threshold {one.facts.threshold.value:.6g}" for name, one in there.items()]
    lines.append(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    if token is None:
        lines.append("without --token-file it answers to this machine only (127.0.0.1)")
    return uvicorn.Server(config), listening, lines


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise UserError(f"--host {host} --port {port}: {error.strerror or error}; name another "
                        "one") from error  # fmt: skip
    listening.setblocking(False)
    # Connections inherit it: without, an answer waits for the client's delayed acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _bound_memory() -> None:
    """Let glibc give memory back: threads' own arenas would keep the most that each ever used."""
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(ARENAS, 2)
        libc.mallopt(MMAP_THRESHOLD, 1 << 20)
    except (OSError, AttributeError):  # another C library
        logging.getLogger(__name__).debug("no mallopt")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m apps.server", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    option = parser.add_argument
    option("--model", type=Path, action="append", required=True, metavar="FILE",
           help="a TFLite file of 02_convert.py, repeatable: one per machine type")  # fmt: skip
    option("--causes", type=Path, action="append", default=[], metavar="FILE",
           help="a classifier of python -m apps.explore causes --save, repeatable")  # fmt: skip
    option("--host", default="127.0.0.1", help="another than 127.0.0.1 needs --token-file")
    option("--port", type=int, default=5000, help="0: any that is free")
    option("--token-file", type=Path, metavar="FILE", help="the bearer token that clients send")
    option("--alarm", type=int, nargs=2, default=(2, 3), metavar=("K", "N"),
           help="a stream's alarm: K of its last N stretches are anomalous")  # fmt: skip
    option("--page", type=Path, action="append", default=[], metavar="FOLDER",
           help="more files for the page: model.wasm and model.json")  # fmt: skip
    option("--threads", type=int, default=0, metavar="N", help="that judge; one per core")
    option("--max-megabytes", type=float, default=Limits().megabytes, help="of a request")
    option("--max-seconds", type=float, default=Limits().seconds, help="of a recording")
    option("--read-seconds", type=float, default=Limits().read_seconds,
           help="until a request's body has arrived")  # fmt: skip
    option("--rate", type=float, default=Limits().per_second, help="requests a second of a client")
    option("--at-once", type=int, default=Limits().at_once, help="requests that are served or wait")
    args = parser.parse_args(argv)
    for name in ("max_megabytes", "max_seconds", "read_seconds", "rate", "at_once"):
        if not 0 < getattr(args, name) < 1e6:
            parser.error(f"--{name.replace('_', '-')} is above 0 and below a million")
    if args.threads < 0:
        parser.error("--threads is 0 or more")
    return args


if __name__ == "__main__":
    sys.exit(main())
