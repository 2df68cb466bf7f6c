"""Downloads from a server on this machine that can fail in every way a real one does."""

import contextlib
import errno
import gzip
import hashlib
import http.server
import io
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import asd.corpora.demo
from asd.corpora import archives, download, fetch
from asd.corpora.archives import fetch_folder, held_md5s
from asd.corpora.fetch import Archive
from common import UserError

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
    monkeypatch.setattr(fetch, "TIMEOUT_SECONDS", 0.2)
    server.faults = ["stall"]
    get()
    assert server.ranges == [None, f"bytes={fetch.NETWORK_BYTES}-"]


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
    assert server.ranges == [None, f"bytes={fetch.NETWORK_BYTES}-"]


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
    archives.shutil.rmtree("dev_data")
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


@pytest.mark.parametrize(
    "name",
    ["../evil.wav", "/abs.wav", "ToyCar/../../evil.wav", "ToyCar/../evil.wav", "evil.wav",
     "fan/train/evil.wav", ".", link("ToyCar/evil.wav"), link("ToyCar/train")],
)  # fmt: skip
def test_zips_that_lead_elsewhere_are_refused_by_name(server, name):
    row = serve(server, "evil.zip", {"ToyCar/train/a.wav": "a", name: "/etc"})
    with pytest.raises(UserError, match=r"evil.zip: refused") as error:
        fetch_folder(Path("in/ToyCar"), [row])
    assert repr(getattr(name, "filename", name)) in str(error.value)
    assert tree() == ["in/.download/evil.zip"]
    assert not Path("in/ToyCar").exists()


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
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: SimpleNamespace(free=3))
    with pytest.raises(UserError, match=r"dev_data: .* GB are needed to unpack ToyCar, 0.0 GB"):
        fetch_folder(Path("dev_data/ToyCar"), tables)
    assert {path.split("/")[1] for path in tree()} == {".download"}


def test_interrupted_unpacking_leaves_nothing_and_the_archives(tables, server):
    copy, copied = archives.shutil.copyfileobj, []

    def interrupt(source, sink, size):
        copied.append(1)
        if len(copied) == 2:
            raise KeyboardInterrupt
        copy(source, sink, size)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(archives.shutil, "copyfileobj", interrupt)
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
        patch.setattr(archives.shutil, "rmtree", interrupt)
        fetch_folder(folder, [dev, train])
    archives.shutil.rmtree(folder)
    archives._mend(folder.parent)
    assert not folder.exists()


def test_a_second_run_is_refused(tables, server):
    Path("dev_data").mkdir()
    with archives._alone(Path("dev_data")), pytest.raises(UserError, match="another"):
        fetch_folder(Path("dev_data/ToyCar"), tables)
    assert server.ranges == []


def test_a_file_system_without_locks(tables, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(archives.fcntl, "flock", refuse)
    fetch_folder(Path("dev_data/ToyCar"), tables)
    assert Path("dev_data/ToyCar/.complete").exists()


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
