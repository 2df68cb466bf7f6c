"""Export to MLflow: what it reads from the files of a run, and a real local store."""

import importlib.util
import os
import re

import pytest
import yaml
from conftest import ROOT, call, make_data, run_script, write_config

from asd import config, files
from asd.evaluation import tracking
from asd.paths import Paths
from common import UserError

INSTALLED = importlib.util.find_spec("mlflow") is not None


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """A folder in which a detector was trained and tested, without tracking."""
    folder = make_data(tmp_path_factory.mktemp("tested"), n_train=6)
    path = write_config(folder, experiment="day", fit={"epochs": 3}, seed=4)
    for name in ("00_train.py", "01_test.py"):
        assert run_script(name, "-d", "-c", path).returncode == 0
    return folder


def test_a_run_is_read_from_its_files(tested):
    paths = Paths(config.load_config(tested / "test.yaml"), "dev")
    run = tracking.read(paths, {"ToyTest": paths.model("ToyTest", ".keras")})
    assert run.parameters["experiment"] == "day"
    assert run.parameters["seed"] == "4"
    assert run.parameters["configuration.fit.epochs"] == "3"
    history = files.read_csv(tested / "model/day/history_ToyTest.csv")[1:]
    assert [epoch for epoch, _ in run.losses] == [1, 2, 3]
    for row, (_, losses) in zip(history, run.losses, strict=True):
        assert losses == {"loss/ToyTest": float(row[1]), "val_loss/ToyTest": float(row[2])}
    for row in files.read_csv(tested / "result/day/metrics.csv")[1:]:
        assert run.metrics[f"auc/ToyTest/{row[1]}"] == float(row[5])
        assert run.metrics[f"pauc/ToyTest/{row[1]}"] == float(row[8])
    names = {path.name for path in run.files}
    assert names >= {"model_ToyTest.json", "history_ToyTest.png", "roc_ToyTest.png",
                     "histogram_ToyTest.png", "result.csv", "metrics.csv",
                     "decisions.csv"}  # fmt: skip


def test_it_is_missed_before_any_work(tested, capsys, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "mlflow" else find_spec(name, *rest),
    )
    values = yaml.safe_load((tested / "test.yaml").read_text()) | {"tracking": "mlflow"}
    (tested / "tracked.yaml").write_text(yaml.safe_dump(values))
    for script in ("00_train.py", "01_test.py"):
        assert call(script, "-d", "-c", tested / "tracked.yaml") == 1
        assert re.fullmatch(r"error: tracking: MLflow is not installed; python -m pip install -r "
                            r"asd/evaluation/tracking\.txt, or set tracking: none\n",
                            capsys.readouterr().err)  # fmt: skip
    with pytest.raises(UserError, match=r"test\.yaml: tracking: none; set it to mlflow"):
        tracking.main(["-d", "-c", str(tested / "test.yaml")])


@pytest.mark.skipif(not INSTALLED, reason="no MLflow; pip install -r asd/evaluation/tracking.txt")
def test_a_real_store_holds_what_the_files_say(tested, tmp_path):
    values = yaml.safe_load((tested / "test.yaml").read_text()) | {"tracking": "mlflow"}
    (tmp_path / "tracked.yaml").write_text(yaml.safe_dump(values))
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    env = os.environ | {"MLFLOW_TRACKING_URI": store, "PYTHONPATH": str(ROOT)}
    done = run_script("01_test.py", "-d", "-c", "tracked.yaml", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"exported to MLflow, {store}: run day_dev\n" in done.stdout

    import mlflow

    client = mlflow.MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("asd")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("day_dev", "FINISHED")
    assert run.data.params["configuration.fit.epochs"] == "3"
    rows = files.read_csv(tested / "result/day/metrics.csv")[1:]
    assert {row[1]: float(row[5]) for row in rows} == {
        row[1]: run.data.metrics[f"auc/ToyTest/{row[1]}"] for row in rows
    }
    history = client.get_metric_history(run.info.run_id, "loss/ToyTest")
    written = files.read_csv(tested / "model/day/history_ToyTest.csv")[1:]
    assert [(one.step, one.value) for one in history] == [(int(r[0]), float(r[1]))
                                                          for r in written]  # fmt: skip
    names = {one.path for one in client.list_artifacts(run.info.run_id)}
    assert names >= {"metrics.csv", "roc_ToyTest.png", "history_ToyTest.csv"}
