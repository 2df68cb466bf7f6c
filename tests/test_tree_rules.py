"""The rules of a tree on shapes that rounds accepted: names are theirs, contents are stubs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from apps.submission import tree, tree_rules
from asd import cli, files
from asd.embedded import codegen
from asd.tflite import writer
from asd.tflite.int8 import IntDense, Scale

FIGURES = {
    "accuracy": "100.1 ulp-mlperf: Top-1: 77.4%\n100.1 ulp-mlperf: AUC: 0.86\n",
    "performance": "100.1 ulp-mlperf: Median throughput is    176.699 inf./sec.\n",
    "energy": "100.1 ulp-mlperf: Median energy cost is 160.2 uJ/inf.\n",
}
OLD, NEW = ("log.txt", "results.txt", "script.async"), ("log.txt", "results.json", "results.txt")
TRACES = ("trace1-energy.bin", "trace1-timestamps.json")
PICTURES = tuple(f"energy_inf_{i:03}.png" for i in range(5))


def put(root: Path, *names: str) -> None:
    """Files that hold their names."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")


def put_results(model: Path, names: tuple[str, ...], energy: tuple[str, ...] = ()) -> None:
    """The modes of a benchmark; energy only with further names."""
    for mode in ("accuracy", "performance", *(["energy"] if energy else [])):
        put(model / mode, *names, *(energy if mode == "energy" else ()))
        for results in (model / mode).glob("*results.txt"):
            results.write_text(FIGURES[mode])


def put_system(path: Path, *lacking: str) -> None:
    """A systems file without some fields."""
    names = (*tree_rules._FIELDS, *tree_rules._WANTED)
    put(path.parent, path.name)
    fields = {name: "x" for name in names if name not in lacking}
    path.write_text(json.dumps(fields | {"Status": "Available"}))


def nested(root: Path) -> None:
    """v1.0: a folder an implementation around the systems, whose files have other names."""
    home = root / "closed/a"
    for one in ("ad", "ic", "kws", "vww"):
        put_results(home / "results/micro_nn/BOARD_1" / one, OLD, TRACES)
        put_results(home / "results/micro_native/BOARD_1" / one, OLD)
    put(home / "code", "README.md", "micro_nn/BOARD_1/main.c")
    put(home / "systems", "Checklist v1.0.pdf", "system_description_BOARD_1.json")


def prefixed(root: Path) -> None:
    """v1.0: names that begin with the mode's, and a session of single runs."""
    home = root / "closed/a"
    for mode in ("accuracy", "performance"):
        names = tuple(f"{mode}_{name}" for name in OLD)
        put(home / "results/KIT/ad" / mode, *names)
        (home / "results/KIT/ad" / mode / names[1]).write_text(FIGURES[mode])
    (home / "results/KIT/ad/performance/performance_results.txt").write_text(
        "90.0 ulp-mlperf:   Runtime      :     10.785 sec.\n"
        "90.0 ulp-mlperf:   Throughput   :  10199.626 inf./sec.\n"
    )
    put(home, "readme.md", "code/anomaly_detection/api/main.cpp")
    put_system(home / "systems/KIT.json")


def long_names(root: Path) -> None:
    """v1.0: the long names of benchmarks, and systems described in folders."""
    home = root / "closed/a"
    for one in ("anomaly_detection", "image_classification", "keyword_spotting"):
        put_results(home / "results/chip_650" / one, OLD, TRACES)
    put(home / "code", ".gitignore", "anomaly_detection/model/x.c", "common/common.mk")
    put(home / "systems/chip_650", "chip_650.json", "Checklist.pdf")


def several(root: Path) -> None:
    """v1.1 and v1.2: many systems, one without ad, systems without Hardware Notes."""
    home = root / "closed/a"
    for system in ("BOARD_1_int8", "BOARD_2_int8", "BOARD_2_float"):
        put_results(home / "results" / system / "ad", OLD)
        put_results(home / "results" / system / "ic", OLD)
        put_system(home / f"systems/{system}.json", "Hardware Notes")
    put_results(home / "results/BOARD_3/kws", OLD)
    put(home, "README.md", "code/BOARD_1/anomaly_detection/main.c", "code/LICENSE.md")


def dotted(root: Path) -> None:
    """v1.2: what a file manager left everywhere."""
    home = root / "closed/a"
    for one in ("ad", "vww"):
        put_results(home / "results/PHONE" / one, (*OLD, "._log.txt", "._results.txt"))
        put(home / "results/PHONE" / one, "._accuracy", "._.DS_Store")
    put_system(home / "systems/PHONE.json")
    put(home, ".DS_Store", "systems/._PHONE.json", "systems/~$Checklist.docx", "models/ad.eai")
    put(home, "code/anomaly_detection/._api", "code/anomaly_detection/main.cpp")


def streaming(root: Path) -> None:
    """v1.3: streaming wakeword beside it and alone, pictures of the energy."""
    home = root / "closed/a"
    for one in ("ad", "ic", "kws", "vww"):
        put_results(home / "results/BOARD_P" / one, NEW, PICTURES)
    for system in ("BOARD_P", "BOARD_P_70MHz"):
        put(home / "results" / system / "sww/energy", *NEW, "energy_inf_000.png")
        put_system(home / f"systems/{system}.json", "Inference Framework")
    put(home, "code/BOARD_P/anomaly_detection/main.c", "code/BOARD_P/tests.yaml")
    put(root, "closed/README.md", "README.md", ".github/CODEOWNERS", "open/README.md")


# Systems whose ad is looked at, and what is not looked at besides the place of the code.
SHAPES = {
    nested: (2, ["systems/BOARD_1.json: missing; the descriptions of other names",
                 "results/micro_native/BOARD_1: ic, kws, vww",
                 "systems/BOARD_1.json: missing; the descriptions of other names",
                 "results/micro_nn/BOARD_1: ic, kws, vww"]),
    prefixed: (1, []),
    long_names: (1, ["systems/chip_650.json: missing; the descriptions of other names",
                     "results/chip_650: image_classification, keyword_spotting"]),
    several: (3, ["results/BOARD_1_int8: ic", "results/BOARD_2_float: ic",
                  "results/BOARD_2_int8: ic", "results/BOARD_3: kws"]),
    dotted: (1, ["results/PHONE: vww"]),
    streaming: (1, ["results/BOARD_P: ic, kws, sww, vww", "results/BOARD_P_70MHz: sww"]),
}  # fmt: skip
every_shape = pytest.mark.parametrize("shape", list(SHAPES), ids=lambda shape: shape.__name__)
CODE = "closed/a/code/ad/<implementation>: missing; where else in code/ the code of ad is"


def check(root: Path) -> int:
    """Exit status of the command."""
    return cli.run(lambda: tree.main(["--check", str(root)]))


@every_shape
def test_accepted_shapes_are_not_broken(shape, tmp_path, capsys):
    shape(tmp_path)
    assert check(tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{tmp_path}: every rule that was checked holds"
    assert any(line.startswith("warning: ") for line in lines)
    systems, unchecked = SHAPES[shape]
    found = tree_rules.check_tree(tmp_path)
    assert found.systems == systems
    assert found.unchecked == [CODE, *(f"closed/a/{line}" for line in unchecked)]
    assert [line for line in lines if line.startswith("not checked: ")] == [
        f"not checked: {line}" for line in found.unchecked
    ]


@every_shape
def test_what_is_wrong_with_ad_in_them_is_found(shape, tmp_path, capsys):
    shape(tmp_path)
    results = next(p for p in sorted(tmp_path.rglob("accuracy/*results.txt"))
                   if p.parts[-3] in ("ad", "anomaly_detection") and p.name[0] != ".")  # fmt: skip
    results.write_text(FIGURES["accuracy"].replace("0.86", "0.84"))
    (results.parent / "notes.txt").write_text("x")
    assert check(tmp_path) == 1
    error = capsys.readouterr().err
    assert "2 rules are broken" in error
    assert "results.txt: AUC 0.84 is under 0.85" in error
    assert "accuracy/notes.txt: does not belong there" in error


def test_the_other_benchmarks_are_not_looked_at(tmp_path):
    streaming(tmp_path)
    for path in tmp_path.rglob("kws/accuracy/results.txt"):
        path.unlink()
    assert tree_rules.check_tree(tmp_path).problems == []


def test_a_tree_without_ad_holds_nothing_to_check(tmp_path, capsys):
    put_results(tmp_path / "closed/a/results/BOARD/kws", NEW)
    put(tmp_path, "closed/a/code/main.c")
    assert check(tmp_path) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}: holds no results of ad to check\n"


# The model of the code


def model(seed: int) -> bytes:
    """A small int8 TFLite file."""
    weights = np.random.default_rng(seed).integers(-127, 128, (4, 4), np.int8)
    scale = Scale(0.5, 3)
    layer = IntDense(weights, None, np.float32([0.01]), False, scale, scale)
    return writer.of_integers([layer], int8_io=True)


@pytest.fixture
def implementation(tmp_path):
    """Code of a model in a tree that is whole, with the record of the model."""
    home = tmp_path / "closed/a"
    put_results(home / "results/BOARD/ad", NEW)
    put_system(home / "systems/BOARD.json")
    folder = home / "code/ad/c"
    codegen.write(model(1), folder / "model")
    (tmp_path / "one.tflite").write_bytes(model(1))
    record = {"sha256": files.file_hash(tmp_path / "one.tflite")}
    files.write_json(folder / "quantisation.json", record)
    return folder


def test_code_of_the_model_passes(implementation, tmp_path, capsys):
    assert check(tmp_path) == 0
    assert capsys.readouterr().out == f"{tmp_path}: every rule holds\n"


@pytest.mark.parametrize("names", [("model.h",), ("model.c",), ("model_weights.h",), None])
def test_code_of_another_model_is_broken(implementation, tmp_path, capsys, names):
    """All of it, or a part, as where one was generated over the other and broken off."""
    text = codegen.generate(model(2))
    for name in names or text:
        (implementation / "model" / name).write_text(text[name])
    assert check(tmp_path) == 1
    error = capsys.readouterr().err
    for name in names or ("model.h", "model.c", "model_weights.h"):
        assert f"code/ad/c/model/{name}: generated from another model, " in error
    assert f"{len(names or '123')} rules are broken" in error


def test_without_a_record_the_tflite_files_of_the_code_are_compared(implementation, tmp_path):
    (implementation / "quantisation.json").unlink()
    found = tree_rules.check_tree(tmp_path)
    assert (found.problems, len(found.unchecked)) == ([], 1)
    assert "closed/a/code/ad/c: the model of the code, as" in found.unchecked[0]
    (implementation / "float.tflite").write_bytes(b"another")
    assert len(tree_rules.check_tree(tmp_path).problems) == 3
    (implementation / "one.tflite").write_bytes(model(1))
    found = tree_rules.check_tree(tmp_path)
    assert (found.problems, found.unchecked) == ([], [])


@pytest.mark.parametrize(
    "head", ["", "/* Generated by asd.embedded.codegen; do not edit. */\n", "\0\xff"]
)
def test_foreign_code_is_not_checked(implementation, tmp_path, capsys, head):
    for path in (implementation / "model").iterdir():
        path.write_text("")
    (implementation / "model.h").write_text(f"{head}int x;\n", encoding="latin-1")
    assert check(tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == [
        "not checked: closed/a/code/ad/c: which model the code holds, as no file of it says that",
        f"{tmp_path}: every rule that was checked holds",
    ]
