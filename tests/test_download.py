"""Downloads from a server on this machine that can fail in every way a real one does."""

import contextlib
import errno
import gzip
import hashlib
import http.server
import io
import itertools
import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import asd.corpora.demo
from asd.corpora import alone, answers, download, fetch, folders, zips
from asd.corpora.archives import fetch_folder
from asd.corpora.fetch import Archive
from asd.corpora.folders import held_md5s
from common import UserError
from tests import fuzz_archives
from tests.fuzz import tried

ROOT = Path(__file__).resolve().parent.parent
BODY = bytes(range(256)) * 800  # 204,800 bytes, more than three network blocks
HALF = len(BODY) // 2
CLIPS = {"dev_data": "train/normal_id_01.wav", "eval_data_train": "train/normal_id_05.wav",
         "eval_data_test": "test/id_05.wav"}  # fmt: skip


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        fault = server.faults.pop(0) if server.faults else ""
        server.ranges.append(asked)
        server.sent.append(0)
        if callable(fault):
            return fault(self)
        name = self.path.removeprefix("/moved").removeprefix("/")
        if fault.isdigit() or name not in server.files:
            return self.send_error(int(fault or 404))
        if fault == "redirect":
            return self.answer(302, b"", Location=f"/moved/{name}")
        body = server.files[name]
        start = int(asked[6:-1]) if asked and server.resumes else 0
        if start and start >= len(body):
            return self.answer(416, b"a page about it", Content_Range=f"bytes */{len(body)}")
        if fault == "another range":
            start = 1
        data = body[start : start + (len(body) - start) // 2] if fault == "piece" else body[start:]
        headers = {} if fault == "no length" else {"Content_Length": len(data)}
        if start:
            headers["Content_Range"] = f"bytes {start}-{start + len(data) - 1}/{len(body)}"
        if "gzip" in self.headers["Accept-Encoding"]:  # as GitHub does
            data = gzip.compress(data)
            headers |= {"Content_Length": len(data), "Content_Encoding": "gzip"}
        if fault == "corrupt":
            data = data[:-1] + bytes([data[-1] ^ 1])
        if fault in ("cut", "early cut", "change", "stall"):
            data = data[: len(data) // (9 if fault == "early cut" else 2)]
        if fault == "change":
            server.files[name] = server.changed
        self.answer(206 if start else 200, data, **headers)
        if fault == "stall":
            server.go_on.wait(5)
        return None

    def answer(self, status, data, **headers):
        self.server.sent[-1] = len(data)
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves `files`; request k suffers `faults[k]`. Lists the Range and the bytes sent of each."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # clients that hang up are the subject
        server.files, server.faults, server.ranges, server.sent = {}, [], [], []
        server.resumes, server.changed, server.go_on = True, b"", threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def get(server):
    """Downloads BODY to ./file."""
    server.files["file"] = BODY

    def get(body=BODY, pause_seconds=0.001):
        archive = Archive("file", f"{server.url}/file", hashlib.md5(body).hexdigest())
        fetch.download(archive, Path("file"), pause_seconds)
        assert Path("file").read_bytes() == body
        assert not Path("file.part").exists()

    return get


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def serve(server, name, members):
    """Put a zip on the server; its row of the table."""
    body = members if isinstance(members, bytes) else zipped(members)
    server.files[name] = body
    return Archive(name, f"{server.url}/{name}", hashlib.md5(body).hexdigest())


@pytest.fixture
def tables(server, monkeypatch):
    """The tables' archives of all types, small, on the server; the rows of ToyCar by stem."""
    for table in (download.DEV, download.EVAL_TRAIN, download.EVAL_TEST):
        for kind, row in list(table.items()):
            stem = row.name.removesuffix(f"_{kind}.zip")
            small = serve(server, row.name, {f"{kind}/": "", f"{kind}/{CLIPS[stem]}": stem})
            monkeypatch.setitem(table, kind, replace(row, md5=small.md5))
    rows = [download.DEV["ToyCar"], download.EVAL_TRAIN["ToyCar"], download.EVAL_TEST["ToyCar"]]
    return [replace(row, url=f"{server.url}/{row.name}") for row in rows]


def tree(folder="."):
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if not p.is_dir())


def module(server, *args):
    command = [sys.executable, "-m", "asd.corpora.download", "--mirror", server.url, *args]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True,
                            stdout=subprocess.DEVNULL)  # fmt: skip


# ---------------------------------------------------------------------------------------------
# One file.


def test_a_whole_file_is_not_asked_for_again(get, server):
    get()
    get()
    assert server.ranges == [None]


def test_a_file_that_is_another_is_replaced(get):
    Path("file").write_bytes(b"another")
    get()


@pytest.mark.parametrize("status", ["408", "429", "500", "503"])
def test_passing_errors_are_tried_again_after_growing_pauses(get, server, monkeypatch, status):
    pauses = []
    monkeypatch.setattr(fetch.time, "sleep", pauses.append)
    server.faults = [status] * 3
    get(pause_seconds=2)
    assert pauses == [2, 4, 8]


@pytest.mark.parametrize("status", ["403", "404"])
def test_refusals_are_final(get, server, status):
    server.faults = [status]
    with pytest.raises(UserError, match=f"{server.url}/file: HTTP {status}"):
        get()
    assert len(server.ranges) == 1


def test_gives_up_after_tries_without_progress(get, server):
    server.faults = ["cut"] + ["500"] * 100
    with pytest.raises(UserError, match="HTTP 500"):
        get()
    assert len(server.ranges) == 1 + fetch.TRIES
    assert Path("file.part").read_bytes() == BODY[:HALF]


def test_nobody_answers(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/file"
    with pytest.raises(UserError, match=rf"^{url}: no connection \(.{{,20}} Connection refused\);"):
        fetch.download(Archive("file", url, ""), Path("file"), pause_seconds=0)


def test_an_address_that_is_none_is_not_tried_again(server):
    with pytest.raises(UserError, match="No scheme"):
        fetch.download(Archive("file", "mirror/file", ""), Path("file"), pause_seconds=1000)


def test_a_cut_download_goes_on_where_it_was(get, server):
    server.faults = ["cut"]
    get()
    assert server.ranges == [None, f"bytes={HALF}-"]
    assert server.sent == [HALF, HALF]


def test_a_part_of_an_earlier_run_is_used(get, server):
    Path("file.part").write_bytes(BODY[:1000])
    get()
    assert server.ranges == ["bytes=1000-"]
    assert server.sent == [len(BODY) - 1000]


def test_tries_count_from_the_last_progress(get, server):
    server.faults = ["cut"] * (fetch.TRIES + 3)
    get()
    assert len(server.ranges) == fetch.TRIES + 4


def test_a_server_that_ignores_ranges(get, server):
    server.resumes = False
    Path("file.part").write_bytes(b"x" * 1000)
    server.faults = ["cut"]
    get()
    assert server.ranges == ["bytes=1000-", f"bytes={HALF}-"]


def test_a_server_that_ignores_ranges_and_always_breaks_is_given_up(get, server):
    server.resumes = False
    server.faults = ["cut", "early cut"] * 50
    with pytest.raises(UserError, match="connection"):
        get()
    assert len(server.ranges) == 1 + fetch.TRIES


def test_a_server_that_answers_in_pieces(get, server):
    Path("file.part").write_bytes(BODY[:HALF])
    server.faults = ["piece"]
    get()
    assert server.ranges == [f"bytes={HALF}-", f"bytes={HALF + HALF // 2}-"]


def test_a_server_that_answers_with_another_range_starts_over(get, server, capsys):
    Path("file.part").write_bytes(BODY[:HALF])
    server.faults = ["another range"]
    get()
    assert server.ranges == [f"bytes={HALF}-", None]
    assert "md5" not in capsys.readouterr().out


def test_a_whole_part_is_not_sent_again(get, server):
    Path("file.part").write_bytes(BODY)
    get()
    assert server.ranges == [f"bytes={len(BODY)}-"]


@pytest.mark.parametrize(("length", "faults"), [(len(BODY) + 1, []), (1000, ["416"])])
def test_a_range_that_the_server_has_not_starts_over(get, server, length, faults, capsys):
    Path("file.part").write_bytes((BODY + BODY)[:length])
    server.faults = faults
    get()
    assert server.ranges == [f"bytes={length}-", None]
    assert "md5" not in capsys.readouterr().out


def test_another_length_on_the_server_starts_over(get, server, capsys):
    server.faults, server.changed = ["change"], BODY + b"more"
    get(server.changed)
    assert server.ranges == [None, f"bytes={HALF}-", None]
    assert "md5" not in capsys.readouterr().out


def test_redirects_are_followed_with_the_range(get, server):
    server.faults = ["cut", "redirect"]
    get()
    assert server.ranges == [None, f"bytes={HALF}-", f"bytes={HALF}-"]


def test_a_stalled_connection_is_given_up_and_gone_on_with(get, server, monkeypatch):
    monkeypatch.setattr(answers, "TIMEOUT_SECONDS", 0.2)
    server.faults = ["stall"]
    get()
    assert server.ranges == [None, f"bytes={answers.NETWORK_BYTES}-"]


def test_an_empty_answer_is_a_wrong_file(get, server):
    server.files["file"] = b""
    with pytest.raises(UserError, match="md5 d41d8cd98f00b204e9800998ecf8427e found"):
        get()


def test_an_answer_without_a_length(get, server):
    server.faults = ["no length"]
    get()


def test_a_corrupt_file_is_downloaded_once_more(get, server):
    server.faults = ["corrupt"]
    get()
    assert server.ranges == [None, None]


def test_a_file_twice_corrupt_is_an_error_with_both_md5s(get, server):
    server.faults = ["corrupt"] * 3
    with pytest.raises(UserError) as error:
        get()
    wrong = hashlib.md5(BODY[:-1] + bytes([BODY[-1] ^ 1])).hexdigest()
    for part in ("file", hashlib.md5(BODY).hexdigest(), wrong):
        assert part in str(error.value)
    assert len(server.ranges) == 2
    assert tree() == []


def answer(**headers):
    """The head of an answer, as a server on the network sends it."""
    lines = [f"{key.replace('_', '-')}: {value}" for key, value in headers.items()]
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode("latin-1")


def rest(start):
    """The head of an answer with what follows the first `start` bytes."""
    head = answer(Content_Range=f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
    return head.replace(b"200 OK", b"206 Partial Content")


def endless(head, piece, pause_seconds=0.0):
    """A server that sends the head, then the piece until the client hangs up or the test ends."""

    def send(handler):
        with contextlib.suppress(OSError):
            handler.wfile.write(head)
            while not handler.server.go_on.is_set():
                handler.wfile.write(piece)
                time.sleep(pause_seconds)

    return send


@pytest.fixture
def impatient(monkeypatch):
    """Downloads that give up early."""
    monkeypatch.setattr(answers, "WATCH_SECONDS", 0.2)
    monkeypatch.setattr(answers, "LEAST_BYTES_PER_SECOND", 100_000)
    monkeypatch.setattr(fetch, "TRIES", 2)
    monkeypatch.setattr(fetch, "MOST_BYTES", 1 << 20)


SLOW = {
    "a body": endless(answer(Content_Length=len(BODY)), b"x", 0.01),
    "a body in chunks": endless(answer(Transfer_Encoding="chunked"), b"1\r\nx\r\n", 0.01),
    "trailers": endless(answer(Transfer_Encoding="chunked") + b"0\r\n", b"a: b\r\n"),
    "a status line": endless(b"HTTP/1.1 ", b"2", 0.01),
    "a header": endless(answer()[:-2] + b"x: ", b"x", 0.01),
    "answers before the answer": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("what", SLOW)
def test_a_server_that_trickles_is_given_up(get, server, impatient, what):
    server.faults = [SLOW[what]] * 9
    with pytest.raises(UserError, match=r"/file: \d* bytes in 0.2 s, less than 100000 .*; 2 tr"):
        get()


def test_a_server_that_trickles_once_is_gone_on_with(get, server, impatient):
    server.faults = ["cut", endless(rest(HALF), b"x", 0.01)]
    get()
    assert server.ranges == [None, f"bytes={HALF}-", f"bytes={HALF}-"]


def test_a_server_that_sends_without_end_is_stopped(get, server, impatient):
    server.faults = [endless(answer(), b"x" * 1000)]
    with pytest.raises(UserError, match=r"/file: no end after 0.0 GB, and its length was not"):
        get()
    assert tree() == []


def test_a_server_that_sends_more_than_it_announced(get, server):
    """What it announced is taken, and judged by its md5."""
    server.faults = [endless(answer(Content_Length=len(BODY)) + BODY, BODY)]
    get()
    Path("file").write_bytes(b"")
    Path("file.part").write_bytes(BODY[:HALF])
    server.faults = [endless(rest(HALF) + BODY[HALF:], BODY)]
    get()
    assert server.ranges == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize("length", ["1", str(len(BODY) - 1), "0"])
def test_a_length_that_is_too_short_is_a_wrong_file(get, server, length):
    server.faults = [endless(answer(Content_Length=length), BODY)] * 2
    with pytest.raises(UserError, match="md5 .* found, .* for the second time"):
        get()
    assert tree() == []


@pytest.mark.parametrize("length", ["\xb2", "9" * 5000, "x", "-1", "1, 1"], ids=range(5))
def test_a_length_that_is_no_number_is_none(get, server, length):
    server.faults = [lambda handler: handler.wfile.write(answer(Content_Length=length) + BODY)]
    get()


@pytest.mark.parametrize("length", [(1 << 20) + 1, 10**17])
def test_a_length_that_is_beyond_all_is_refused(get, server, impatient, length):
    server.faults = [lambda handler: handler.wfile.write(answer(Content_Length=length) + BODY)]
    with pytest.raises(UserError, match=r"/file: .* GB are announced, no file of ours has more"):
        get()
    assert len(server.ranges) == 1


def test_a_download_that_the_disk_has_no_room_for(get, server, monkeypatch):
    free = fetch.SPARE_BYTES + len(BODY) - 1
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(UserError, match=r"^\.: 0.0 GB are needed to download file, .*free some"):
        get()
    assert tree() == []
    server.faults = ["no length"]
    with pytest.raises(UserError, match="free some space"):
        get()
    free += 1
    get()


def test_a_full_disk_stops_a_download_of_any_length(get, server, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    server.faults = ["no length"]
    with pytest.raises(UserError, match="0.0 GB are needed .*, 0.0 GB are free"):
        get()


def test_a_part_counts_as_room(get, monkeypatch):
    free = fetch.SPARE_BYTES + len(BODY) - HALF
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    Path("file.part").write_bytes(BODY[:HALF])
    get()


def test_a_byte_with_each_try_is_given_up(get, server, monkeypatch):
    monkeypatch.setattr(fetch, "MOST_TRIES", 9)
    first = answer(Content_Length=len(BODY)) + BODY[:1]
    texts = [first, *(rest(k) + b"x" for k in range(1, 20))]
    server.faults = [lambda handler, text=text: handler.wfile.write(text) for text in texts]
    with pytest.raises(UserError, match="closed early; 9 tries, run again later to go on"):
        get()
    assert len(server.ranges) == 9


@pytest.mark.parametrize(
    "place", ["/file", "//", "http://[", "file:///etc/passwd", "http://127.0.0.1:x/", "\xff", "%",
              "http://\x1b[2J/"],
)  # fmt: skip
def test_redirects_that_lead_nowhere_are_one_line(get, server, monkeypatch, place):
    monkeypatch.setattr(fetch, "TRIES", 1)
    moved = answer(Location=place, Content_Length=0).replace(b"200 OK", b"302 Found")
    server.faults = [lambda handler: handler.wfile.write(moved)] * 99
    with pytest.raises(UserError) as error:
        get()
    assert str(error.value).isprintable() and len(str(error.value)) < 400
    assert len(server.ranges) <= 1 + answers.MOST_REDIRECTS


def test_what_comes_with_a_redirect_is_not_read(get, server, impatient):
    moved = answer(Location="/moved/file").replace(b"200 OK", b"302 Found")
    server.faults = [endless(moved, b"x" * 1000)]
    get()


def test_headers_without_end_are_one_line(get, server, monkeypatch):
    monkeypatch.setattr(fetch, "TRIES", 1)
    server.faults = [endless(answer()[:-2], b"a: b\r\n")]
    with pytest.raises(UserError, match=r"/file: no connection \(got more than 100 headers\)"):
        get()


def test_a_reason_cannot_write_on_the_screen(get, server):
    reason = "\x1b[2J" + "x" * 9999
    server.faults = [
        lambda handler: handler.wfile.write(answer().replace(b"200 OK", f"404 {reason}".encode()))
    ]
    with pytest.raises(UserError) as error:
        get()
    assert str(error.value).isprintable() and len(str(error.value)) < 400


def test_ctrl_c_keeps_the_part(server):
    row = serve(server, "dev_data_ToyCar.zip", BODY)
    server.faults = ["stall"]
    part = Path("dev_data/.download/dev_data_ToyCar.zip.part")
    process = module(server)
    while process.poll() is None and not (part.exists() and part.stat().st_size):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=10)[1]
    assert process.returncode == 130
    assert "Traceback" not in error
    assert tree("dev_data") == [".download/dev_data_ToyCar.zip.part"]
    fetch.download(row, part.with_suffix(""), 0)
    assert server.ranges == [None, f"bytes={answers.NETWORK_BYTES}-"]


# ---------------------------------------------------------------------------------------------
# Folders.


def test_toycar_as_mlperf_tiny_trains_and_nothing_the_second_time(tables, server, capsys):
    download.main(["--mirror", f"{server.url}/moved/"])
    expected = [".complete", CLIPS["dev_data"], CLIPS["eval_data_train"]]
    assert tree() == [f"dev_data/ToyCar/{name}" for name in expected]
    assert len(server.ranges) == 2
    assert not Path("dev_data/.download").exists()
    capsys.readouterr()
    download.main(["--mirror", server.url])
    assert len(server.ranges) == 2
    assert "skipped" in capsys.readouterr().out


def test_dcase2020_layout(tables, server):
    download.main(["--dcase2020", "--mirror", server.url])
    found = sorted(str(path) for path in Path().rglob("*.wav"))
    types = sorted(download.DEV)
    assert found == [f"dev_data/{t}/{CLIPS['dev_data']}" for t in types] + [
        f"eval_data/{t}/{CLIPS[stem]}" for t in types for stem in ("eval_data_test",
                                                                   "eval_data_train")
    ]  # fmt: skip
    assert len(server.ranges) == 18


def test_nothing_is_downloaded_twice(tables, server, capsys):
    """The quick start's ToyCar, then all of DCASE 2020, and the other way round."""
    dev, train, test = tables
    download.main(["--mirror", server.url])
    download.main(["--dcase2020", "ToyCar", "--mirror", server.url])
    assert len(server.ranges) == 3
    out = capsys.readouterr().out
    assert "dev_data/ToyCar: whole, skipped, and holds other archives that are kept" in out
    assert f"eval_data/ToyCar: {train.name} is unpacked in dev_data/ToyCar, linked" in out
    assert held_md5s(Path("dev_data/ToyCar")) == {dev.md5, train.md5}
    assert held_md5s(Path("eval_data/ToyCar")) == {train.md5, test.md5}
    found = sorted(str(path) for path in Path().rglob("*.wav"))
    assert found == [
        *(f"dev_data/ToyCar/{CLIPS[stem]}" for stem in ("dev_data", "eval_data_train")),
        *(f"eval_data/ToyCar/{CLIPS[stem]}" for stem in ("eval_data_test", "eval_data_train")),
    ]
    shutil.rmtree("dev_data")
    download.main(["--dcase2020", "ToyCar", "--mirror", server.url])
    download.main(["--mirror", server.url])
    assert len(server.ranges) == 4, "dev_data alone is brought again, as it was deleted"
    assert held_md5s(Path("dev_data/ToyCar")) == {dev.md5, train.md5}


def test_a_folder_of_an_older_version_is_no_source_but_is_kept(tables, server):
    """Its marker names archives, not their files."""
    dev, train, _ = tables
    fetch_folder(Path("dev_data/ToyCar"), [dev, train])
    marker = Path("dev_data/ToyCar/.complete")
    marker.write_text("".join(f"{archive.md5}\n" for archive in (dev, train)))
    download.main(["--mirror", server.url])
    assert len(server.ranges) == 2
    download.main(["--dcase2020", "ToyCar", "--mirror", server.url])
    assert len(server.ranges) == 4
    assert tree("dev_data/ToyCar") == [".complete", CLIPS["dev_data"], CLIPS["eval_data_train"]]


def test_a_linked_file_that_is_gone_is_downloaded(tables, server):
    dev, train, _ = tables
    fetch_folder(Path("dev_data/ToyCar"), [dev, train])
    Path("dev_data/ToyCar", CLIPS["eval_data_train"]).unlink()
    download.main(["--dcase2020", "ToyCar", "--mirror", server.url])
    assert len(server.ranges) == 4
    assert Path("eval_data/ToyCar", CLIPS["eval_data_train"]).exists()


def test_a_missing_archive_is_added(tables, server):
    dev, train, _ = tables
    folder = Path("dev_data/ToyCar")
    fetch_folder(folder, [dev])
    inode = (folder / CLIPS["dev_data"]).stat().st_ino
    fetch_folder(folder, [dev, train])
    assert tree(folder) == [".complete", CLIPS["dev_data"], CLIPS["eval_data_train"]]
    assert len(server.ranges) == 2
    assert (folder / CLIPS["dev_data"]).stat().st_ino == inode
    assert held_md5s(folder) == {dev.md5, train.md5}
    assert [path.name for path in Path("dev_data").iterdir()] == ["ToyCar"]


def test_a_missing_archive_is_added_without_hard_links(tables, monkeypatch):
    def refuse(*_):
        raise OSError("no hard links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    dev, train, _ = tables
    fetch_folder(Path("dev_data/ToyCar"), [dev])
    fetch_folder(Path("dev_data/ToyCar"), [dev, train])
    assert Path("dev_data/ToyCar", CLIPS["dev_data"]).read_text() == "dev_data"


def test_a_folder_that_was_moved_and_linked_keeps_its_files(tables):
    dev, train, _ = tables
    folder = Path("dev_data/ToyCar")
    fetch_folder(folder, [dev])
    folder.rename("elsewhere")
    folder.symlink_to(Path("elsewhere").resolve())
    fetch_folder(folder, [dev, train])
    assert tree("elsewhere") == [".complete", CLIPS["dev_data"]]
    assert tree(folder) == [".complete", CLIPS["dev_data"], CLIPS["eval_data_train"]]


def test_other_archives_are_replaced_with_a_word_why(tables, server, capsys):
    dev, train, test = tables
    fetch_folder(Path("dev_data/ToyCar"), [dev, train])
    fetch_folder(Path("dev_data/ToyCar"), [train, test])
    assert tree("dev_data/ToyCar") == [".complete", CLIPS["eval_data_test"],
                                       CLIPS["eval_data_train"]]  # fmt: skip
    assert len(server.ranges) == 3, "what it had of them is linked"
    out = capsys.readouterr().out
    assert "dev_data/ToyCar: holds other archives than" in out
    assert "eval_data_train_ToyCar.zip is unpacked in dev_data/ToyCar, linked" in out


def test_a_folder_of_somebody_else_is_not_touched(tables, server):
    Path("eval_data/fan").mkdir(parents=True)
    Path("eval_data/fan/mine.wav").touch()
    with pytest.raises(UserError, match=r"eval_data/fan: .*move or delete"):
        download.main(["--dcase2020", "--mirror", server.url])
    assert tree() == ["eval_data/fan/mine.wav"]
    assert server.ranges == []
    with pytest.raises(UserError, match=r"eval_data/fan: .*move or delete"):
        fetch_folder(Path("eval_data/fan"), [download.DEV["fan"]])


def link(name):
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


def member(name, **values):
    """A member's entry; what the archive says of it beside what is true."""
    entry = zipfile.ZipInfo(getattr(name, "filename", name))
    for key, value in values.items():
        setattr(entry, key, value)
    return entry


def device(kind):
    return member("ToyCar/evil.wav", external_attr=(kind | 0o777) << 16)


@pytest.mark.parametrize(
    "name",
    ["../evil.wav", "/abs.wav", "ToyCar/../../evil.wav", "ToyCar/../evil.wav", "evil.wav",
     "fan/train/evil.wav", ".", "ToyCar", "ToyCar//evil.wav", "ToyCar/./evil.wav", "//evil.wav",
     "ToyCar\\evil.wav", "ToyCar/..\\evil.wav", "C:/evil.wav", "ToyCar/C:evil.wav", "toycar/evil",
     "ToyCar/a\nb.wav", "ToyCar/a\x1b[2J.wav", "ToyCar/a\u2028.wav", "ToyCar/a\t.wav",
     f"ToyCar/{'x' * 256}", "ToyCar/" + "\u20ac" * 86, f"ToyCar/{'x/' * 500}x",
     device(stat.S_IFLNK), device(stat.S_IFCHR), device(stat.S_IFIFO), device(stat.S_IFDIR),
     device(stat.S_IFSOCK), member("ToyCar/train/", external_attr=stat.S_IFLNK << 16)],
    ids=lambda name: ascii(getattr(name, "filename", name))[:40],
)  # fmt: skip
def test_zips_that_lead_elsewhere_are_refused_by_name(server, name):
    row = serve(server, "evil.zip", {"ToyCar/train/a.wav": "a", name: "/etc"})
    with pytest.raises(UserError, match=r"evil.zip: refused, .* is not a plain file") as error:
        fetch_folder(Path("in/ToyCar"), [row])
    assert repr(getattr(name, "filename", name))[:80] in str(error.value)
    assert str(error.value).isprintable()
    assert tree() == ["in/.download/evil.zip"]
    assert [path.name for path in Path("in").iterdir()] == [".download"]


@pytest.mark.parametrize(
    ("names", "why"),
    [(["ToyCar/.complete"], "has the name of a file of ours"),
     (["ToyCar/.COMPLETE"], "has the name of a file of ours"),
     (["ToyCar/.complete/a.wav"], "has the name of a file of ours"),
     (["ToyCar/.get_dataset"], "has the name of a file of ours"),
     (["ToyCar/a.wav", "ToyCar/a.wav"], "would overwrite 'ToyCar/a.wav'"),
     (["ToyCar/a.wav", "ToyCar/A.wav"], "and 'ToyCar/a.wav' are alike"),
     (["ToyCar/\xe4.wav", "ToyCar/a\u0308.wav"], "are alike"),
     (["ToyCar/a/a.wav", "ToyCar/A/b.wav"], "and 'ToyCar/a' are alike"),
     (["ToyCar/a", "ToyCar/a/b.wav"], "'ToyCar/a' is a file and a folder"),
     (["ToyCar/a/b.wav", "ToyCar/a"], "'ToyCar/a' is a file and a folder")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_take_the_place_of_others_are_refused(server, names, why):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    row = serve(server, "evil.zip", buffer.getvalue())
    with pytest.raises(UserError, match=rf"evil.zip: .*{re.escape(why)}"):
        fetch_folder(Path("in/ToyCar"), [row])
    assert tree() == ["in/.download/evil.zip"]
    assert [path.name for path in Path("in").iterdir()] == [".download"]


def test_two_archives_with_a_file_of_one_name_are_refused(server):
    rows = [serve(server, f"{n}.zip", {"ToyCar/a.wav": n}) for n in ("one", "two")]
    with pytest.raises(UserError, match=r"two.zip: would overwrite 'ToyCar/a.wav' of .*one.zip"):
        fetch_folder(Path("ToyCar"), rows)
    assert not Path(".staging-ToyCar").exists()


def test_a_table_that_two_archives_have_is_there_once_or_under_two_names(server):
    table = "fan/attributes_00.csv"
    one, same, other = (
        serve(server, f"{name}.zip", {f"fan/{name}.wav": name, table: text})
        for name, text in (("one", "x"), ("same", "x"), ("other", "y"))
    )
    folder = Path("in/fan")
    fetch_folder(folder, [one])
    (folder / "attributes_00.csv").unlink()
    fetch_folder(folder, [one, same])
    assert (folder / "attributes_00.csv").read_text() == "x", "it is there again"
    (folder / "attributes_00.csv").write_text("mine")
    fetch_folder(folder, [one, same, other])
    assert (folder / "attributes_00.csv").read_text() == "mine"
    assert (folder / "attributes_00_other.csv").read_text() == "y"
    fetch_folder(Path("again/fan"), [other, one], [folder])
    assert Path("again/fan/attributes_00_other.csv").read_text() == "y"
    assert Path("again/fan/attributes_00.csv").read_text() == "x"
    fetch_folder(Path("both/fan"), [one, same, other])
    assert tree("both/fan") == [".complete", "attributes_00.csv", "attributes_00_other.csv",
                                "one.wav", "other.wav", "same.wav"]  # fmt: skip
    fetch_folder(Path("linked/fan"), [one, same, other], [Path("both/fan")])
    assert tree("linked/fan") == tree("both/fan")


def test_what_two_archives_have_below_a_folder_is_refused_unless_it_is_the_same(server):
    for name, fine in (("train/a.csv", False), ("notes.txt", True), ("a.WAV", False)):
        rows = [serve(server, f"{n}.zip", {f"fan/{name}": n}) for n in ("one", "two")]
        if fine:
            fetch_folder(Path(name) / "fan", rows)
            assert tree(Path(name) / "fan") == [".complete", "notes.txt", "notes_two.txt"]
            continue
        with pytest.raises(UserError, match=rf"two.zip: would overwrite 'fan/{name}' of .*one.zip"):
            fetch_folder(Path(name) / "fan", rows)
    taken = {"fan/a.csv": "1", "fan/a_two.csv": "1"}
    rows = [serve(server, "one.zip", taken), serve(server, "two.zip", {"fan/a.csv": "2"})]
    with pytest.raises(UserError, match=r"two.zip: would overwrite 'fan/a.csv' of .*one.zip"):
        fetch_folder(Path("taken/fan"), rows)


def zip_of(*members, method=zipfile.ZIP_STORED, **ends):
    """A zip whose directory says of each member what it likes.

    Parameters
    ----------
    members : a name in bytes, its content as stored, and what the directory says otherwise
    ends : what the end of the directory says otherwise: count, size, offset
    """
    body, directory = bytearray(), bytearray()
    for name, content, values in members:
        says = {"flags": 0x800, "method": method, "crc": zlib.crc32(content), "offset": len(body),
                "packed": len(content), "size": len(content), "attr": 0,
                "extra": b"", "version": 20} | values  # fmt: skip
        fields = (says["version"], says["flags"], says["method"], 0, 0, says["crc"],
                  says["packed"], says["size"], len(name))  # fmt: skip
        body += struct.pack("<4s5H3I2H", b"PK\3\4", *fields, 0) + name + content
        directory += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 20, *fields, len(says["extra"]), 0, 0, 0, says["attr"],
            says["offset"],
        ) + name + says["extra"]  # fmt: skip
    ends = {"count": len(members), "size": len(directory), "offset": len(body)} | ends
    tail = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, ends["count"], ends["count"], ends["size"],
                       ends["offset"], 0)  # fmt: skip
    return bytes(body + directory + tail)


NAME = b"ToyCar/a.wav"
ZEROS = zlib.compress(bytes(1 << 20))[2:-4]  # as deflate
MEGABYTE = {"method": 8, "crc": zlib.crc32(bytes(1 << 20))}
HOSTILE = {
    "more bytes than announced": (
        zip_of((NAME, ZEROS, {"method": 8, "size": 9, "crc": zlib.crc32(bytes(9))})),
        "Bad CRC-32 for file 'ToyCar/a.wav'"),
    "nothing announced": (
        zip_of((NAME, ZEROS, {"method": 8, "size": 0, "crc": 0})),
        "Bad CRC-32 for file 'ToyCar/a.wav'"),
    "more stored than announced": (
        zip_of((NAME, b"a wave", {"size": 1, "crc": zlib.crc32(b"a")})),
        "Bad CRC-32 for file 'ToyCar/a.wav'"),
    "fewer bytes than announced": (
        zip_of((NAME, ZEROS, MEGABYTE | {"size": (1 << 20) + 5}), (b"ToyCar/b", bytes(99999), {})),
        "'ToyCar/a.wav' has another size than it announces"),
    "a bomb": (zip_of((NAME, ZEROS, MEGABYTE | {"size": 1 << 20})),
               "would unpack to more than 100 times its size"),
    "members in one another": (
        zip_of((NAME, b"x" * 99, {}), (b"ToyCar/b.wav", b"x" * 99, {"offset": 30})),
        "overlaps what comes after it"),
    "members at one place": (
        zip_of((NAME, b"x" * 99, {}), (NAME[:-5] + b"b.wav", b"x" * 99, {"offset": 0})),
        "overlaps what comes after it"),
    "a member in the directory": (zip_of((NAME, b"x", {"packed": 99, "size": 99})),
                                  "overlaps what comes after it"),
    "a member beyond the end": (zip_of((NAME, b"x", {"offset": 1 << 30})), "overlaps"),
    "a zip64 member beyond the end": (
        zip_of((NAME, b"x", {"offset": 0xFFFFFFFF,
                             "extra": struct.pack("<2HQ", 1, 8, (1 << 63) - 1)})), "overlaps"),
    "a zip64 size beyond all": (
        zip_of((NAME, b"x", {"size": 0xFFFFFFFF,
                             "extra": struct.pack("<2HQ", 1, 8, 1 << 63)})), "100 times its size"),
    "a zip64 field cut off": (
        zip_of((NAME, b"x", {"size": 0xFFFFFFFF, "extra": struct.pack("<2HI", 1, 4, 1)})),
        "not a sound zip file"),
    "encryption": (zip_of((NAME, b"x" * 20, {"flags": 1})), "'ToyCar/a.wav' is encrypted"),
    "strong encryption": (zip_of((NAME, b"x" * 20, {"flags": 0x41})), "is encrypted"),
    "LZMA": (zip_of((NAME, b"x" * 20, {"method": 14})), "has the compression 14, which is not"),
    "an unknown compression": (zip_of((NAME, b"x", {"method": 99})), "has the compression 99"),
    "an unknown version": (zip_of((NAME, b"x", {"version": 99})), "not a sound zip file"),
    "patch data": (zip_of((NAME, b"x", {"flags": 0x20})), "not a sound zip file"),
    "a name that is not UTF-8": (zip_of((b"ToyCar/\xff.wav", b"x", {})), "not a sound zip file"),
    "a NUL in a name": (zip_of((b"ToyCar/a.wav\0.txt", b"x", {})), "is not a plain file"),
    "no name": (zip_of((b"", b"x", {})), "is not a plain file"),
    "a directory beyond the end": (zip_of((NAME, b"x", {}), size=1 << 30), "not a sound zip file"),
    "a directory before the start": (zip_of((NAME, b"x", {}), offset=0xFFFFFF), "overlaps"),
    "a directory of another place": (zip_of((NAME, b"x", {}), offset=1), "overlaps"),
    "nothing": (b"", "not a sound zip file"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_zip_is_one_line_and_leaves_nothing(server, what):
    body, why = HOSTILE[what]
    row = serve(server, "evil.zip", body)
    with pytest.raises(UserError, match=rf"in/\.download/evil\.zip: .*{re.escape(why)}") as error:
        fetch_folder(Path("in/ToyCar"), [row])
    assert str(error.value).isprintable()
    assert tree() == ["in/.download/evil.zip"]
    assert [path.name for path in Path("in").iterdir()] == [".download"]


@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [("MOST_MEMBERS", 2, "has 3 members, more than any data set of ours"),
     ("MOST_DIRECTORY_BYTES", 100, "a list of members of 1[0-9]+ bytes"),
     ("MOST_BYTES", 2, "with 0 GB is larger than any data set of ours")],
)  # fmt: skip
def test_a_zip_beyond_all_limits_is_refused(server, monkeypatch, limit, value, why):
    monkeypatch.setattr(zips, limit, value)
    row = serve(server, "evil.zip", {f"ToyCar/{n}.wav": n for n in "abc"})
    with pytest.raises(UserError, match=f"evil.zip: .*{why}"):
        fetch_folder(Path("in/ToyCar"), [row])
    assert tree() == ["in/.download/evil.zip"]


@pytest.mark.parametrize(("before", "after"), [(b"", b"more"), (b"before", b"")])
def test_a_zip_with_garbage_around_it_is_read(server, before, after):
    body = before + zip_of((NAME, b"a wave", {})) + after
    fetch_folder(Path("ToyCar"), [serve(server, "a.zip", body)])
    assert Path("ToyCar/a.wav").read_text() == "a wave"


def test_a_damaged_zip_is_one_line(server):
    body = zipped({"ToyCar/train/a.wav": "a wave"}).replace(b"a wave", b"a wage")
    row = serve(server, "bad.zip", body)
    with pytest.raises(UserError, match=r"bad.zip: not a sound zip file .*CRC"):
        fetch_folder(Path("ToyCar"), [row])
    assert not Path("ToyCar").exists()


def test_a_page_instead_of_a_zip_is_one_line(server):
    with pytest.raises(UserError, match=r"bad.zip: not a sound zip file"):
        fetch_folder(Path("ToyCar"), [serve(server, "bad.zip", b"<html>")])


def test_a_kept_file_is_never_written_to(tables, server):
    dev = tables[0]
    folder = Path("dev_data/ToyCar")
    fetch_folder(folder, [dev])
    same = serve(server, "same.zip", {f"ToyCar/{CLIPS['dev_data']}": "other"})
    with pytest.raises(UserError, match=r"same.zip: would overwrite"):
        fetch_folder(folder, [dev, same])
    assert (folder / CLIPS["dev_data"]).read_text() == "dev_data"


def test_a_full_disk_is_seen_before_unpacking(tables, monkeypatch):
    for row in tables:
        fetch.download(row, Path("dev_data/.download", row.name))
    monkeypatch.setattr(zips.shutil, "disk_usage", lambda _: SimpleNamespace(free=3))
    with pytest.raises(UserError, match=r"dev_data: .* GB are needed to unpack ToyCar, 0.0 GB"):
        fetch_folder(Path("dev_data/ToyCar"), tables)
    assert {path.split("/")[1] for path in tree()} == {".download"}


def test_interrupted_unpacking_leaves_nothing_and_the_archives(tables, server):
    copy, copied = zips._copy, []

    def interrupt(source, sink, size):
        copied.append(1)
        if len(copied) == 2:
            raise KeyboardInterrupt
        return copy(source, sink, size)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(zips, "_copy", interrupt)
        fetch_folder(Path("dev_data/ToyCar"), tables)
    assert not Path("dev_data/ToyCar").exists()
    fetch_folder(Path("dev_data/ToyCar"), tables)
    assert tree("dev_data") == [f"ToyCar/{n}" for n in sorted([".complete", *CLIPS.values()])]
    assert len(server.ranges) == 3


def test_an_interrupted_swap_is_mended(tables, server):
    dev, train, _ = tables
    folder, rename = Path("dev_data/ToyCar"), Path.rename
    fetch_folder(folder, [dev])

    def interrupt(path, target):
        if target == folder:
            raise KeyboardInterrupt
        rename(path, target)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", interrupt)
        fetch_folder(folder, [dev, train])
    assert not folder.exists()
    fetch_folder(folder, [dev])
    assert len(server.ranges) == 2
    assert tree("dev_data/ToyCar") == [".complete", CLIPS["dev_data"]]
    assert not list(Path("dev_data").glob(".[so]*"))
    fetch_folder(folder, [dev, train])
    assert len(server.ranges) == 2


def test_a_half_deleted_folder_does_not_come_back(tables):
    dev, train, _ = tables
    folder = Path("dev_data/ToyCar")
    fetch_folder(folder, [dev])

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(folders, "_same", interrupt)
        fetch_folder(folder, [dev, train])
    assert Path("dev_data/.old-ToyCar").exists()
    shutil.rmtree(folder)
    folders.mend(folder)
    assert tree("dev_data") == [".download/eval_data_train_ToyCar.zip"]


MINE = "train/mine.wav"


@pytest.fixture
def changed(tables):
    """dev_data/ToyCar with the archives dev and train, a clip of one's own, and one of train's
    in whose place there is another."""
    dev, train, _ = tables
    folder = Path("dev_data/ToyCar")
    fetch_folder(folder, [dev, train])
    (folder / MINE).write_text("mine")
    (folder / CLIPS["eval_data_train"]).unlink()  # it may be linked elsewhere
    (folder / CLIPS["eval_data_train"]).write_text("mine, in the place of another")
    return folder


def contents(folder):
    return {name: Path(folder, name).read_bytes() for name in tree(folder)}


def test_own_clips_stay_in_a_folder_that_is_replaced(changed, tables, capsys):
    dev, _, test = tables
    fetch_folder(changed, [test])
    assert tree("dev_data") == [
        f"ToyCar/{name}" for name in (".complete", CLIPS["eval_data_test"], MINE,
                                      CLIPS["eval_data_train"])
    ]  # fmt: skip
    assert (changed / MINE).read_text() == "mine"
    assert (changed / CLIPS["eval_data_train"]).read_text() == "mine, in the place of another"
    kept = f"dev_data/ToyCar: {MINE}, {CLIPS['eval_data_train']} kept, no archive brought that"
    assert kept in capsys.readouterr().out
    fetch_folder(changed, [dev])
    assert (changed / MINE).read_text() == "mine", "a folder that has been replaced knows it too"


def test_own_clips_stay_without_hard_links(changed, tables, monkeypatch):
    def refuse(*_):
        raise OSError("no hard links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    fetch_folder(changed, [tables[2]])
    assert (changed / MINE).read_text() == "mine"
    assert (changed / CLIPS["eval_data_train"]).read_text() == "mine, in the place of another"
    assert [path.name for path in Path("dev_data").iterdir()] == ["ToyCar"]


def test_an_own_clip_in_the_place_of_an_archives_stops_before_the_download(changed, tables, server):
    _, train, test = tables
    before, asked = contents("dev_data"), len(server.ranges)
    with pytest.raises(UserError, match=f"would overwrite {changed / CLIPS['eval_data_train']}, "):
        fetch_folder(changed, [train, test])
    assert contents("dev_data") == before
    assert len(server.ranges) == asked
    (changed / CLIPS["eval_data_train"]).rename("mine.wav")
    fetch_folder(changed, [train, test])
    assert (changed / CLIPS["eval_data_train"]).read_text() == "eval_data_train"
    assert (changed / MINE).read_text() == "mine"


@pytest.mark.parametrize("name", ["test/id_05.wav", "test", "test/id_05.wav/mine.wav"])
def test_an_own_clip_in_the_place_of_a_new_one_stops_the_run(tables, name):
    dev, _, test = tables
    folder = Path("dev_data/ToyCar")
    fetch_folder(folder, [dev])
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("mine")
    before = contents(folder)
    place = re.escape(str(folder / name.removesuffix("/mine.wav")))
    for wanted in ([test], [dev, test]):
        with pytest.raises(UserError, match=f"{test.name}: would overwrite {place}, .* move that"):
            fetch_folder(folder, wanted)
        assert contents(folder) == before
        assert tree("dev_data") == [".download/eval_data_test_ToyCar.zip",
                                    *(f"ToyCar/{name}" for name in before)]  # fmt: skip


def test_own_links_stay_links(tables):
    dev, train, test = tables
    folder, mine = Path("dev_data/ToyCar"), Path("mine")
    fetch_folder(folder, [dev])
    mine.mkdir()
    (mine / "a.wav").write_text("mine")
    (folder / "more").symlink_to(mine.resolve())
    (folder / "train/gone.wav").symlink_to("nowhere")
    fetch_folder(folder, [dev, train])
    fetch_folder(folder, [test])
    assert (folder / "more").readlink() == mine.resolve()
    assert (folder / "train/gone.wav").readlink() == Path("nowhere")
    assert tree(mine) == ["a.wav"]


def test_nothing_is_written_through_a_link(tables):
    dev, train, _ = tables
    folder, away = Path("dev_data/ToyCar"), Path("away")
    fetch_folder(folder, [dev])
    (folder / "train").rename(away)
    (folder / "train").symlink_to(away.resolve())
    with pytest.raises(UserError, match="would overwrite dev_data/ToyCar/train, .* move that"):
        fetch_folder(folder, [dev, train])
    assert tree(away) == ["normal_id_01.wav"]


def test_a_clip_that_comes_while_the_folder_is_made_stays(tables, monkeypatch, capsys):
    dev, _, test = tables
    folder, copy = Path("dev_data/ToyCar"), zips._copy
    fetch_folder(folder, [dev])

    def come(*args):
        (folder / MINE).write_text("mine")
        return copy(*args)

    monkeypatch.setattr(zips, "_copy", come)
    fetch_folder(folder, [test])
    assert (folder / MINE).read_text() == "mine"
    assert tree("dev_data") == [
        f"ToyCar/{name}" for name in (".complete", CLIPS["eval_data_test"], MINE)
    ]
    assert f"{MINE} kept" in capsys.readouterr().out


def test_a_clip_that_comes_in_the_place_of_a_new_one_stays_aside(tables, monkeypatch):
    dev, _, test = tables
    folder, copy = Path("dev_data/ToyCar"), zips._copy
    fetch_folder(folder, [dev])

    def come(*args):
        (folder / "test").mkdir()
        (folder / CLIPS["eval_data_test"]).write_text("mine")
        return copy(*args)

    monkeypatch.setattr(zips, "_copy", come)
    for _ in range(2):
        with pytest.raises(UserError, match=r"\.old-ToyCar: test/id_05.wav .*; move the folder"):
            fetch_folder(folder, [test])
        assert Path("dev_data/.old-ToyCar", CLIPS["eval_data_test"]).read_text() == "mine"
        assert (folder / CLIPS["eval_data_test"]).read_text() == "eval_data_test"
    Path("dev_data/.old-ToyCar").rename("mine")
    fetch_folder(folder, [test])
    assert tree(folder) == [".complete", CLIPS["eval_data_test"]]


def test_a_folder_that_somebody_makes_meanwhile_stays(tables, monkeypatch):
    folder, copy = Path("dev_data/ToyCar"), zips._copy

    def come(*args):
        (folder / "train").mkdir(parents=True)
        (folder / MINE).write_text("mine")
        return copy(*args)

    monkeypatch.setattr(zips, "_copy", come)
    with pytest.raises(UserError, match="dev_data/ToyCar: not made by get_dataset.sh"):
        fetch_folder(folder, tables[:1])
    assert tree("dev_data") == [".download/dev_data_ToyCar.zip", f"ToyCar/{MINE}"]


@pytest.mark.parametrize("sums", [True, False])
def test_a_folder_of_an_older_version_is_not_replaced(tables, server, sums):
    """Its files could not be told from those of the user."""
    dev, train, test = tables
    folder = Path("dev_data/ToyCar")
    fetch_folder(folder, [dev])
    (folder / MINE).write_text("mine")
    marker = folder / ".complete"
    names = [f" {CLIPS['dev_data']}\n"] if sums else []
    marker.write_text("".join([f"{dev.md5}\n", *names]))
    before = contents(folder)
    with pytest.raises(UserError, match=r"dev_data/ToyCar: .* older version; .* move or delete"):
        fetch_folder(folder, [train, test])
    assert contents(folder) == before and len(server.ranges) == 1
    fetch_folder(folder, [dev, train])
    assert (folder / MINE).read_text() == "mine"
    assert held_md5s(folder) == {dev.md5, train.md5}


def test_an_own_clip_is_not_linked_as_an_archives(changed, server, tables):
    _, train, test = tables
    fetch_folder(Path("eval_data/ToyCar"), [train, test], [changed])
    found = Path("eval_data/ToyCar", CLIPS["eval_data_train"])
    assert found.read_text() == "eval_data_train"
    assert len(server.ranges) == 4


def test_archives_of_two_folders_with_one_name_do_not_meet(server):
    """Where a file system has no hard links, a copy would go into the first one's file."""
    rows = [serve(server, f"{n}.zip", {"fan/a.wav": n}) for n in ("one", "two")]
    for row, place in zip(rows, ("a", "b"), strict=True):
        fetch_folder(Path(place, "fan"), [row])
    with pytest.raises(UserError, match="a.wav: in two archives"):
        fetch_folder(Path("c/fan"), rows, [Path("a/fan"), Path("b/fan")])
    assert [Path(place, "fan/a.wav").read_text() for place in "ab"] == ["one", "two"]
    assert not Path("c/fan").exists() and tree("c") == []


LEFT = [".old-fan/mine.wav", ".old-mine.wav", ".staging-fan/mine.wav", ".staging-ToyCar2/mine.wav"]


def test_what_others_have_beside_a_folder_stays(tables):
    dev, _, test = tables
    for name in LEFT:
        Path("dev_data", name).parent.mkdir(parents=True, exist_ok=True)
        Path("dev_data", name).write_text("mine")
    Path("dev_data/.old-link").symlink_to(".old-fan")
    fetch_folder(Path("dev_data/ToyCar"), [dev])
    fetch_folder(Path("dev_data/ToyCar"), [test])
    assert tree("dev_data") == sorted(
        [*LEFT, "ToyCar/.complete", f"ToyCar/{CLIPS['eval_data_test']}"]
    )
    assert Path("dev_data/.old-link").is_symlink()


@pytest.mark.parametrize("name", [".old-ToyCar", ".staging-ToyCar"])
@pytest.mark.parametrize("kind", ["folder", "link", "file", "backup"])
def test_what_others_have_in_the_way_stops_the_run(tables, server, name, kind):
    dev, train, _ = tables
    folder, other = Path("dev_data/ToyCar"), Path("dev_data", name)
    fetch_folder(folder, [dev])
    if kind == "backup":
        shutil.copytree(folder, other)
    elif kind == "link":
        other.symlink_to("ToyCar")
    elif kind == "file":
        other.write_text("mine")
    else:
        (other / "train").mkdir(parents=True)
        (other / MINE).write_text("mine")
    before = contents("dev_data")
    with pytest.raises(UserError, match=rf"dev_data/\{name}: in the way, not left .*; move it"):
        fetch_folder(folder, [dev, train])
    assert contents("dev_data") == before and len(server.ranges) == 1


def test_a_link_to_a_disk_that_is_away_stays(tables, server):
    Path("dev_data").mkdir()
    Path("dev_data/ToyCar").symlink_to("/nowhere/ToyCar")
    with pytest.raises(UserError, match="dev_data/ToyCar: not made by get_dataset.sh"):
        fetch_folder(Path("dev_data/ToyCar"), tables)
    assert Path("dev_data/ToyCar").is_symlink() and server.ranges == []


@pytest.mark.parametrize("line", ["not hex", " ../../mine.wav\t00000000", " /etc/passwd", "\xff"])
def test_a_damaged_marker_is_one_line(tables, line):
    dev, train, _ = tables
    folder = Path("dev_data/ToyCar")
    fetch_folder(folder, [dev])
    with (folder / ".complete").open("ab") as file:
        file.write(line.encode("latin-1") + b"\n")
    for place, elsewhere in ((folder, []), (Path("eval_data/ToyCar"), [folder])):
        with pytest.raises(UserError, match=r"dev_data/ToyCar/\.complete: damaged .* move or del"):
            fetch_folder(place, [dev, train], elsewhere)


STEPS = ("rename", "replace", "unlink", "mkdir", "rmdir", "write_text", "hardlink_to")


def interrupted(monkeypatch, at, work):
    """Do the work, killed before its step number `at`; whether it was."""
    done = 0
    with monkeypatch.context() as patch:
        for name, do in [(name, getattr(Path, name)) for name in STEPS]:

            def step(*args, do=do, **kwargs):
                nonlocal done
                done += 1
                if done > at:  # a killed program takes no further step either
                    raise KeyboardInterrupt
                return do(*args, **kwargs)

            patch.setattr(Path, name, step)
        with contextlib.suppress(KeyboardInterrupt):
            work()
    return done > at


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_a_run_that_is_killed_at_any_step_loses_nothing(tables, monkeypatch, keep, linked):
    dev, _, test = tables
    wanted = [dev, test] if keep else [test]
    brought = [CLIPS["eval_data_test"], *([CLIPS["dev_data"]] if keep else [])]
    for at in itertools.count():
        folder = Path(f"{at}/ToyCar")
        fetch_folder(folder, [dev])
        (folder / MINE).write_text("mine")
        if linked:
            folder.rename(f"{at}/real")
            folder.symlink_to("real")
        killed = interrupted(monkeypatch, at, lambda folder=folder: fetch_folder(folder, wanted))
        texts = [path.read_text() for path in Path(str(at)).rglob("mine.wav")]
        assert texts and set(texts) == {"mine"}, at
        fetch_folder(folder, wanted)
        assert tree(folder) == sorted([".complete", MINE, *brought]), at
        assert (folder / MINE).read_text() == "mine"
        assert sorted(path.name for path in Path(str(at)).iterdir()) == (
            ["ToyCar", "real"] if linked else ["ToyCar"]), at  # fmt: skip
        if not killed:
            break
    assert at > 12


def test_a_second_run_is_refused(tables, server):
    Path("dev_data").mkdir()
    with alone.alone(Path("dev_data")), pytest.raises(UserError, match="another"):
        fetch_folder(Path("dev_data/ToyCar"), tables)
    assert server.ranges == []


def test_a_second_run_is_refused_that_would_change_what_the_first_links(tables, server):
    Path("dev_data").mkdir()
    with alone.alone(Path("dev_data")), pytest.raises(UserError, match="dev_data: another"):
        fetch_folder(Path("eval_data/ToyCar"), tables, [Path("dev_data/ToyCar")])
    assert server.ranges == []


def test_two_names_of_one_folder_are_locked_once(tables):
    Path("dev_data").mkdir()
    Path("eval_data").symlink_to("dev_data")
    fetch_folder(Path("eval_data/fan"), [], [Path("dev_data/ToyCar")])


def test_two_downloads_into_one_folder_are_refused(get, server):
    with alone.alone(Path()), pytest.raises(UserError, match=r"^\.: another run works in it; wait"):
        get()
    assert server.ranges == []
    get()


def test_a_lock_ends_with_its_process(get):
    code = (
        "import time; from pathlib import Path; from asd.corpora.alone import alone\n"
        "with alone(Path('.')): print(flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(UserError, match="another"):
            get()
        process.kill()
    get()
    assert tree() == ["file"]


def test_a_file_system_without_locks(tables, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(alone.fcntl, "flock", refuse)
    fetch_folder(Path("dev_data/ToyCar"), tables)
    assert Path("dev_data/ToyCar/.complete").exists()


def test_hostile_archives_and_servers():
    """By hand: python -m tests.fuzz_archives --size 4000"""
    outcomes = tried(fuzz_archives.attempt, 60)
    assert {word.split(",")[0] for word in outcomes} >= {"read", "refused", "server given up"}


# ---------------------------------------------------------------------------------------------
# Command line.


def test_the_tables_name_eighteen_archives():
    tables = {
        "dev_data": (3678171, download.DEV),
        "eval_data_train": (3727685, download.EVAL_TRAIN),
        "eval_data_test": (3841772, download.EVAL_TEST),
    }
    for stem, (record, table) in tables.items():
        assert sorted(table) == ["ToyCar", "ToyConveyor", "fan", "pump", "slider", "valve"]
        for kind, row in table.items():
            assert row.name == f"{stem}_{kind}.zip"
            assert row.url == f"https://zenodo.org/records/{record}/files/{row.name}"
    md5s = {row.md5 for _, table in tables.values() for row in table.values()}
    assert len(md5s) == 18 and {len(bytes.fromhex(md5)) for md5 in md5s} == {16}


def test_an_unknown_type_is_told_the_valid_ones(server):
    with pytest.raises(UserError, match=r"Toycar.*ToyCar, ToyConveyor, fan, pump, slider, valve"):
        download.main(["fan", "Toycar", "--mirror", server.url])
    assert server.ranges == []


def test_reference(server, monkeypatch, capsys):
    names = [row.name for row in download.REFERENCE]
    rows = [serve(server, name, name.encode()) for name in names]
    monkeypatch.setattr(download, "REFERENCE", [replace(row, url="") for row in rows])
    for _ in range(2):
        download.main(["--reference", "--mirror", server.url])
        assert tree() == sorted(f"reference/{name}" for name in names)
        assert len(server.ranges) == 6
    assert "ad01.h5" in names
    Path("reference/ad01.h5").write_text("mine")
    with pytest.raises(UserError, match=r"reference/ad01\.h5: not the published one; move or del"):
        download.main(["--reference", "--mirror", server.url])
    assert Path("reference/ad01.h5").read_text() == "mine"
    assert "recipes/published.yaml says how" in capsys.readouterr().out


def test_demo(monkeypatch):
    calls = []
    monkeypatch.setattr(asd.corpora.demo, "main", calls.append)
    download.main(["--demo"])
    assert calls == [[]]


@pytest.mark.parametrize("option", ["--demo", "--reference"])
def test_types_are_for_recordings(option):
    with pytest.raises(SystemExit, match="2"):
        download.main([option, "fan"])


def test_a_missing_file_is_one_line_on_stderr(server):
    process = module(server, "fan")
    error = process.communicate(timeout=10)[1]
    assert process.returncode == 1
    assert error == f"error: {server.url}/dev_data_fan.zip: HTTP 404 Not Found\n"
