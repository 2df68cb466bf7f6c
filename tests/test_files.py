"""Files that appear only when whole, and their names."""

import numpy as np
import pytest

from asd import config, files
from asd.files import Paths
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
    assert str(files.record(dev.tflite("fan", ""))) == "model/model_fan.tflite.json"
    assert str(files.record(dev.model("fan", ".keras"))) == "model/model_fan.json"
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
