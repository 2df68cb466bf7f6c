"""Load a running service, and see that every answer is right.

    python -m apps.server.load --port 5000 --pid PID --requests 10000 CLIPS

CLIPS is a folder of recordings, or of folders of them. A share of the requests is malformed:
damaged and cut wav files, forms without a file, other types, too long a body. A clip's verdict has
to be the same each time and, with --scores, the score that 01_test.py or 03_tflite_test.py wrote.
Prints requests a second, latency, memory of the process PID (Linux) and wrong answers; exit status
1 where there are any.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from asd import files

BOUNDARY = b"----load"
RELATIVE = 1e-6  # how far a score may be from that of a CSV file
FORM = f"multipart/form-data; boundary={BOUNDARY.decode()}"
REFUSED = frozenset((400, 413, 415, 422))
WARM_UP = 200  # requests before memory is looked at
HEADER_BYTES = 64  # of a wav file, where damage is worst
SECONDS = 60  # a request may take


class Request(NamedTuple):
    """What is sent, and what has to come back."""

    kind: str
    body: bytes
    content_type: str = FORM
    statuses: frozenset[int] = frozenset((200,))
    score: float | None = None  # exactly that


def form(content: bytes, name: str = "file") -> bytes:
    """A multipart form of one file."""
    head = b'Content-Disposition: form-data; name="%s"; filename="a.wav"' % name.encode()
    return b"--%s\r\n%s\r\n\r\n%s\r\n--%s--\r\n" % (BOUNDARY, head, content, BOUNDARY)


def malformed(content: bytes, rng: random.Random) -> Request:
    """A request that is wrong in some way."""
    kind = rng.choice(("header", "anywhere", "cut", "text", "no file", "no form", "half a form"))
    may_be_right = REFUSED | {200}  # damage may leave a recording
    if kind == "header":
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(min(HEADER_BYTES, len(damaged)))] = rng.randrange(256)
        return Request(kind, form(bytes(damaged)), statuses=may_be_right)
    if kind == "anywhere":
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 50)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        return Request(kind, form(bytes(damaged)), statuses=may_be_right)
    if kind == "cut":
        return Request(kind, form(content[: rng.randrange(len(content))]), statuses=REFUSED)
    if kind == "text":
        return Request(kind, form(b"no sound"), statuses=frozenset((415,)))
    if kind == "no file":
        return Request(kind, form(content, "sound"), statuses=frozenset((400,)))
    if kind == "no form":
        return Request(kind, content, "audio/wav", frozenset((415,)))
    whole = form(content)
    return Request(kind, whole[: rng.randrange(len(whole) - 10)], statuses=frozenset((400,)))


class Client:
    """A connection that is opened again where the service closes it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args, self._connection = args, None

    def send(self, request: Request) -> tuple[int, dict]:
        """Status and answer."""
        for attempt in (0, 1):
            try:
                return self._send(request)
            except (http.client.RemoteDisconnected, ConnectionError):
                self.close()  # a kept connection may have been closed meanwhile
                if attempt:
                    raise
        raise AssertionError

    def _send(self, request: Request) -> tuple[int, dict]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                self._args.host, self._args.port, timeout=SECONDS
            )
        headers = {"Content-Type": request.content_type}
        if self._args.token_file:
            headers["Authorization"] = f"Bearer {self._args.token_file.read_text().strip()}"
        self._connection.request("POST", "/inference", request.body, headers)
        response = self._connection.getresponse()
        answer = json.loads(response.read())
        if response.will_close:
            self.close()
        return response.status, answer

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def wrong(request: Request, status: int, answer: dict) -> str | None:
    """What is wrong with an answer."""
    if status not in request.statuses:
        return f"{request.kind}: {status} {answer}"
    if status != 200:
        line = answer.get("detail", "")
        bad = set(answer) != {"detail"} or not line or "\n" in line or "Traceback" in line
        return f"{request.kind}: {answer}" if bad else None
    if request.score is not None and answer["score"] != request.score:
        return f"{request.kind}: score {answer['score']}, not {request.score}"
    return None


class Load:
    """Clients that send until all is sent, and what they found."""

    def __init__(self, args: argparse.Namespace, clips: Sequence[Request], raw: list[bytes]):
        self._args, self._clips, self._raw = args, clips, raw
        self._lock, self._left = threading.Lock(), args.requests
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.seconds: list[float] = []

    def run(self) -> float:
        """Send everything; the seconds that it took."""
        start = time.perf_counter()
        threads = [
            threading.Thread(target=self._work, args=(i,)) for i in range(self._args.clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start

    def _work(self, number: int) -> None:
        rng, client = random.Random(self._args.seed * 1000 + number), Client(self._args)
        while True:
            with self._lock:
                if self._left <= 0:
                    break
                self._left -= 1
            request = rng.choice(self._clips)
            if rng.random() < self._args.malformed:
                request = malformed(rng.choice(self._raw), rng)
            start = time.perf_counter()
            try:
                status, answer = client.send(request)
                fault = wrong(request, status, answer)
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                status, fault = 0, f"{request.kind}: {type(error).__name__} {error}"
                client.close()
            with self._lock:
                self.statuses[status] += 1
                self.seconds.append(time.perf_counter() - start)
                if fault:
                    self.wrong.append(fault)
        client.close()


def resident_megabytes(pid: int | None) -> float:
    """Memory of a process; 0 where it is not known."""
    path = Path(f"/proc/{pid}/status")
    if pid is None or not path.is_file():
        return 0.0
    (line,) = [one for one in path.read_text().splitlines() if one.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def known(args: argparse.Namespace) -> tuple[list[Request], list[bytes], list[str]]:
    """The clips with their scores, asked for one after the other; and wrong ones."""
    told = {name: float(score) for path in args.scores for name, score in files.read_csv(path)}
    paths = sorted(args.clips.rglob("*.wav"))[: args.most_clips]
    names = Counter(path.name for path in paths)
    told = {name: score for name, score in told.items() if names[name] == 1}
    client, requests, faults = Client(args), [], []
    for path in paths:
        request = Request(path.name, form(path.read_bytes()))
        status, answer = client.send(request)
        if status != 200:
            faults.append(f"{path.name}: {status} {answer}")
            continue
        expected = told.get(path.name, answer["score"])
        if abs(answer["score"] - expected) > RELATIVE * abs(expected):
            faults.append(f"{path.name}: {answer['score']}, the CSV file has {expected}")
        requests.append(request._replace(score=answer["score"]))
    client.close()
    named = sum(path.name in told for path in paths)
    print(f"{len(paths)} clips, {named} of them compared with CSV files")
    return requests, [path.read_bytes() for path in paths], faults


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; 1 where an answer was wrong."""
    args = _arguments(argv)
    requests, raw, faults = known(args)
    if not requests:
        print("error: no recording that the service takes;", *faults[:1], file=sys.stderr)
        return 1
    warm = argparse.Namespace(**{**vars(args), "requests": min(WARM_UP, args.requests)})
    Load(warm, requests, raw).run()
    before = resident_megabytes(args.pid)
    load = Load(args, requests, raw)
    seconds = load.run()
    after = resident_megabytes(args.pid)
    faults += load.wrong
    times = sorted(load.seconds)
    print(f"{args.requests} requests of {args.clients} clients, {args.malformed:.0%} malformed, in "
          f"{seconds:.1f} s: {args.requests / seconds:.1f} a second")  # fmt: skip
    median, late = (times[int(len(times) * share)] for share in (0.5, 0.99))
    print(f"latency: median {median:.3f} s, 99 % {late:.3f} s")
    print(f"answers by status: {dict(sorted(load.statuses.items()))}")
    print(f"resident: {before:.1f} MB before, {after:.1f} MB after")
    print(f"load of this machine: {' '.join(f'{one:.1f}' for one in os.getloadavg())}")
    print(f"{len(faults)} wrong answers", *faults[:10], sep="\n")
    return 1 if faults else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m apps.server.load", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    option = parser.add_argument
    option("clips", type=Path, metavar="CLIPS")
    option("--host", default="127.0.0.1")
    option("--port", type=int, default=5000)
    option("--pid", type=int, help="of the service, to tell its memory")
    option("--token-file", type=Path, metavar="FILE")
    option("--requests", type=int, default=10_000)
    option("--clients", type=int, default=16)
    option("--malformed", type=float, default=0.3, help="share of the requests")
    option("--most-clips", type=int, default=100)
    option("--seed", type=int, default=0)
    option("--scores", type=Path, nargs="*", default=[], metavar="CSV",
           help="anomaly_score files, by the names of clips")  # fmt: skip
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
