"""What of a model's C folder is compiled: the source of its TFLite file, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from conftest import board_or_skip, write_clip
from networks import int_dense, tflite

import common
from asd import files, paths
from asd.clips import Clip, Scores
from asd.embedded import boards, codegen, host, stream, targets
from asd.embedded.costs import Cost
from asd.evaluation import streaming
from asd.tflite import litert
from common import UserError
from tests import streams

N_MELS, N_FRAMES = 8, 3  # of the model's windows
N_CLIPS, CLIP_FRAMES = 2, 5
WIDTH = N_MELS * N_FRAMES


class Converted:
    """A small model as 02_convert.py leaves it."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(4)
        narrow, wide = (rng.integers(-99, 99, n, np.int8) for n in ((4, WIDTH), (WIDTH, 4)))
        layers = [
            int_dense(narrow, np.zeros(4, np.int32), [0.01], True, (0.4, 5), (0.3, -128)),
            int_dense(wide, np.zeros(WIDTH, np.int32), [0.01], False, (0.3, -128), (0.4, 9)),
        ]
        self.model, self.folder = folder / "model_A.tflite", folder / "model_A_c"
        self.model.write_bytes(tflite(layers))
        codegen.write(self.model.read_bytes(), self.folder)
        clips = rng.normal(0, 20, (N_CLIPS, CLIP_FRAMES, N_MELS)).astype(np.float32)
        scores = common.anomaly_scores(litert.predictor(self.model), clips, N_FRAMES)
        named = tuple(Clip(Path(f"{i}.wav"), "A", "00", "test", 0) for i in range(N_CLIPS))
        self._keras, self._clips = Scores(named, np.array(scores)), list(clips)

    def measure(self, *ready: boards.Board) -> tuple[list[Cost], list[str]]:
        given = self._keras, self._clips, N_FRAMES, common.reconstruction_error, (1e-6, None)
        return targets.measure(self.model, self.folder, *given, ready)


@pytest.fixture
def converted(tmp_path: Path) -> Converted:
    """A converted model, where there is a compiler."""
    if host.compiler() is None:
        pytest.skip("no C compiler: apt install gcc")
    return Converted(tmp_path)


def marker(folder: Path) -> str:
    """C that makes a file as soon as it is loaded into a process of this machine."""
    return (
        "#include <stdio.h>\n__attribute__((constructor)) static void mark(void)\n"
        f'{{ FILE *file = fopen("{folder / "ran"}", "w"); if (file) fclose(file); }}\n'
    )


def test_the_mark_is_made_where_it_is_compiled(tmp_path: Path):
    """Else the tests below could not fail."""
    if host.compiler() is None:
        pytest.skip("no C compiler: apt install gcc")
    (tmp_path / "model.c").write_text(marker(tmp_path) + "void model_run(void) {}\n")
    host.runner(host.build(tmp_path, tmp_path), 1)
    assert (tmp_path / "ran").is_file()


def linked(path: Path) -> None:
    elsewhere = path.parent.parent / path.name
    elsewhere.write_text(marker(elsewhere.parent) + path.read_text())
    path.unlink()
    path.symlink_to(elsewhere)


def with_another_byte(text: str) -> str:
    at = max(i for i, letter in enumerate(text) if letter.isalnum())
    return f"{text[:at]}{'0' if text[at] != '0' else '1'}{text[at + 1 :]}"


def rewritten(change: Callable[[str], str]) -> Callable[[Path], object]:
    return lambda path: path.write_text(change(path.read_text()))


CHANGES: dict[str, Callable[[Path], object]] = {
    "more": lambda path: rewritten(lambda text: marker(path.parent.parent) + text)(path),
    "a byte": rewritten(with_another_byte),
    "a line": rewritten(lambda text: f"{text}\n"),
    "cut": rewritten(lambda text: text[:-1]),
    "empty": rewritten(lambda text: ""),
    "linked": linked,
    "missing": Path.unlink,
}


@pytest.mark.parametrize("name", codegen.names())
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_source_is_refused(converted, name, change, tmp_path):
    CHANGES[change](converted.folder / name)
    wrong = "is missing" if change == "missing" else "differs"
    with pytest.raises(UserError) as caught:
        converted.measure()
    assert str(caught.value) == (
        f"{converted.folder}: not the C source of model_A.tflite: {name} {wrong}; run 02_convert.py"
    )
    assert not (tmp_path / "ran").exists()


def test_the_source_of_another_model_or_rounding_is_refused(converted):
    codegen.write(converted.model.read_bytes(), converted.folder, "double")
    with pytest.raises(UserError, match="model_weights.h differs; run 02_convert.py"):
        converted.measure()


def test_a_folder_that_is_not_there_is_named(converted, tmp_path):
    converted.folder = tmp_path / "nowhere"
    with pytest.raises(UserError, match="nowhere: not the C source of model_A.tflite: .* missing"):
        converted.measure()


STRAY = ("evil.c", "model.c.c", "string.h", "stdint.h", "stddef.h")


@pytest.mark.parametrize("board", ["", "mps2-an386"])
def test_what_else_lies_in_the_folder_is_not_compiled(converted, board, tmp_path):
    for name in STRAY:
        (converted.folder / name).write_text("#error compiled\n" + marker(tmp_path))
    (converted.folder / "link.c").symlink_to(converted.folder / "evil.c")
    (converted.folder / "folder.c").mkdir()
    ready = [board_or_skip(board)] if board else []
    costs, failures = converted.measure(*ready)
    assert failures == []
    assert [(cost.board, cost.verdict) for cost in costs] == [
        ("host", "pass"), *((one.name, "pass") for one in ready),
    ]  # fmt: skip
    assert not (tmp_path / "ran").exists()


def test_what_comes_after_the_comparison_is_not_compiled(converted, tmp_path, monkeypatch):
    """Between the comparison and the compiler there is time to change a file."""
    build = host.build

    def late(folder: Path, work: Path) -> Path:
        (converted.folder / "model.c").write_text(marker(tmp_path))
        return build(folder, work)

    monkeypatch.setattr(host, "build", late)
    costs, failures = converted.measure()
    assert ([cost.verdict for cost in costs], failures) == (["pass"], [])
    assert not (tmp_path / "ran").exists()


def test_the_names_are_those_of_the_source(converted):
    assert tuple(codegen.generate(converted.model.read_bytes())) == codegen.names()
    assert sorted(codegen.names()) == sorted(path.name for path in converted.folder.iterdir())


def test_a_compiler_of_other_words_is_one_line(tmp_path, monkeypatch):
    """Bytes that are no text, and no word of an error."""
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\nprintf 'caf\\351\\n'\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setattr(host, "compiler", lambda: str(compiler))
    with pytest.raises(UserError, match=r"cc failed: caf\ufffd$"):
        host.build(tmp_path, tmp_path)


def test_the_source_of_a_stream_is_checked_too(converted, tmp_path, monkeypatch):
    """Where the record tells of one; its C runs on the first clip."""
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "0.wav")
    rule = streams.stream_of(streams.feature_of(n_mels=N_MELS, frames=N_FRAMES))
    told = {streaming.KEY: msgspec.to_builtins(rule)}
    files.write_json(paths.record_of(converted.model), told)
    missing = f"{stream.names()[0]} is missing; run 02_convert.py"
    with pytest.raises(UserError, match=missing):
        converted.measure()
    stream.write(converted.model.read_bytes(), rule, converted.folder)
    (cost,), failures = converted.measure()
    assert (cost.verdict, cost.stream_differs, failures) == ("pass", 0, [])
    assert cost.stream_error < 1e-3
    for name in stream.names():
        path = converted.folder / name
        text = path.read_text()
        path.write_text(with_another_byte(text))
        with pytest.raises(UserError, match=f"{name} differs; run 02_convert.py"):
            converted.measure()
        path.write_text(text)
