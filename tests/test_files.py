"""Files that appear only when whole, and their names."""

import os
import random
import re
import subprocess
import sys

import numpy as np
import pytest

from asd import config, files
from asd.paths import Paths, record_of
from common import HERE, UserError


def test_a_file_appears_only_when_whole(tmp_path):
    path = tmp_path / "new" / "file.csv"
    with pytest.raises(RuntimeError), files.whole_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []
    path.write_text("before")
    with pytest.raises(TypeError):
        files.write_csv(path, [("a", 1), None])
    assert path.read_text() == "before"
    files.write_csv(path, [("a", np.float64(0.1)), ("b", 1 / 3)])
    assert path.read_bytes() == b"a,0.1\nb,0.3333333333333333\n"
    assert [p.name for p in path.parent.iterdir()] == ["file.csv"]


def test_damaged_json_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json: damaged"):
        files.read_json(tmp_path / "a.json")


def test_a_run_has_its_names():
    cfg = config.load_config()
    dev, evaluation = Paths(cfg, "dev"), Paths(cfg, "eval")
    assert str(dev.model("fan", ".keras")) == "model/model_fan.keras"
    assert str(dev.tflite("fan", "_quant")) == "model/model_fan_quant.tflite"
    assert str(record_of(dev.tflite("fan", ""))) == "model/model_fan.tflite.json"
    assert str(record_of(dev.model("fan", ".keras"))) == "model/model_fan.json"
    assert str(dev.scores("fan", "01")) == "result/anomaly_score_fan_id_01.csv"
    assert str(dev.scores("fan", "01", "")) == "result/tflite_anomaly_score_fan_id_01.csv"
    assert str(dev.result("_quant")) == "result/tflite_quant_result.csv"
    assert str(evaluation.model("fan", ".keras")) == "model/eval/model_fan.keras"
    assert str(evaluation.table("parity")) == "result/eval/parity.csv"
    assert str(evaluation.data) == "eval_data"


def test_no_two_runs_share_a_name():
    baseline, dcase = config.load_config(), config.load_config(HERE / "recipes/dcase2020.yaml")
    runs = [Paths(cfg, mode) for cfg in (baseline, dcase) for mode in ("dev", "eval")]
    for folders in ({run.models for run in runs}, {run.results for run in runs}):
        assert len(folders) == len(runs)


def test_no_text_becomes_a_formula(tmp_path):
    texts = ["=cmd|' /C calc'!A0", "+1.wav", "-x", "@SUM(A1)", "\tx", "\uff1dx"]
    numbers = [-1.5, "-1.5", "+3", "-1e-05", np.float64(-2)]
    apostrophes = ["'=x", "it's", "'", "''-x", "'-1.5"]
    files.write_csv(tmp_path / "a.csv", [texts, numbers, apostrophes])
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines() == [
        "'=cmd|' /C calc'!A0,'+1.wav,'-x,'@SUM(A1),'\tx,'\uff1dx",
        "-1.5,-1.5,+3,-1e-05,-2.0",
        "''=x,it's,','''-x,''-1.5",
    ]
    rows = files.read_csv(tmp_path / "a.csv")
    assert rows == [texts, ["-1.5", "-1.5", "+3", "-1e-05", "-2.0"], apostrophes]


def test_any_text_comes_back_from_a_csv(tmp_path):
    rng, letters = random.Random(0), [*"=+-@\t\r\n'\",;1.e aé", "\uff1d", "\uff20", "\udcff"]
    for _ in range(500):
        rows = [
            ["".join(rng.choices(letters, k=rng.randrange(6))) for _ in range(rng.randrange(4))]
            for _ in range(rng.randrange(4))
        ]
        files.write_csv(tmp_path / "a.csv", rows)
        assert files.read_csv(tmp_path / "a.csv") == rows


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"a":' * 100 + b"1" + b"}" * 100, b"\xff", b"9" * 5000, b"[1]", b"null",
     b'{"a": "x\ny"}', b""],
    ids=lambda content: ascii(content[:10]),
)  # fmt: skip
def test_a_damaged_record_is_one_line(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    for read in (files.read_mapping, lambda path: files.read_keys(path, "a.b")):
        with pytest.raises(UserError, match=r"a\.json: damaged.*; remove it") as caught:
            read(tmp_path / "a.json")
        assert str(caught.value).isprintable()


IN_ASCII = """
import collections
from pathlib import Path
import os
from asd import files
from asd.embedded import codegen
from asd.corpora import demo
name = os.fsdecode(b"caf \\xff.wav")
for text in (name, "m\\xb2", "\\u540d"):
    files.write_csv(Path("a.csv"), [[text]])
    assert files.read_csv(Path("a.csv")) == [[text]]
    files.write_json(Path("a.json"), {"name": text})
    assert files.read_json(Path("a.json")) == {"name": text}
files.write_csv(Path("a.csv"), [["m\\xb2", os.fsdecode(b"\\xff")]])
demo.main(["--out", "demo", "-m", "DemoFan", "--ids", "1", "--train-clips", "1", "--test-clips",
           "1", "--seconds", "0.2", "--no-eval"])
try:
    codegen.generate(b"no model")
except Exception as error:
    assert "TFLite" in str(error), error
codegen.fill("model.h.in", collections.defaultdict(int))
"""


@pytest.mark.parametrize("utf8", [True, False], ids=["UTF-8", "ASCII"])
def test_text_is_utf8_whatever_the_locale(tmp_path, utf8):
    ascii_names = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = os.environ | {"PYTHONPATH": str(HERE)} | ({} if utf8 else ascii_names)
    command = [sys.executable, "-X", "warn_default_encoding", "-W", "error::EncodingWarning"]
    done = subprocess.run([*command, "-c", IN_ASCII], cwd=tmp_path, env=environment,
                          capture_output=True, encoding="utf-8")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.csv").read_bytes() == b"m\xc2\xb2,\xff\n"


def test_result_file_can_be_none_of_our_names():
    paths = Paths(config.load_config(), "dev")
    tables = [
        paths.table(name)
        for name in ("metrics", "official", "decisions", "parity", "embeddings", "mcu", "skipped")
    ]
    pictures = [paths.picture(kind, "fan") for kind in ("roc", "histogram")]
    scores = [paths.scores("fan", "00"), paths.scores("fan", "00", "_quant")]
    models = [paths.model("fan", ".keras"), paths.history("fan", ".csv"), paths.tflite("fan", "")]
    more = [paths.scores_source("fan"), paths.result(""), Paths(paths.cfg, "eval").results]
    more += [paths.normal_scores("fan"), paths.decisions("fan", "00"), paths.submission]
    for path in (*tables, *pictures, *scores, *models, *more):
        assert re.fullmatch(config.OTHER_FILES, path.name), path
    assert not re.fullmatch(config.OTHER_FILES, paths.result().name)
