"""The pipeline: parameters, data sets, steps; with kfp what is compiled and a run on this machine.

What needs kfp runs in the environment of its own that tests/run.sh makes.
"""

import contextlib
import hashlib
import io
import math
import os
import signal
import subprocess
import sys
import zipfile

import grids
import msgspec
import numpy as np
import pytest
import yaml
from conftest import ROOT, write_clip
from test_download import serve, server  # noqa: F401 - a fixture

from apps.pipeline import dataset, parameters, steps
from common import UserError

# Name, type in the intermediate representation, default: those of the published pump run.
PUBLISHED = {
    "dataset_url": ("STRING", None),
    "max_fpr": ("NUMBER_DOUBLE", 0.1),
    "feature_n_mels": ("NUMBER_INTEGER", 128),
    "feature_frames": ("NUMBER_INTEGER", 5),
    "feature_n_fft": ("NUMBER_INTEGER", 1024),
    "feature_hop_length": ("NUMBER_INTEGER", 512),
    "feature_power": ("NUMBER_DOUBLE", 2.0),
    "fit_compile_optimizer": ("STRING", "adam"),
    "fit_compile_loss": ("STRING", "mean_squared_error"),
    "fit_epochs": ("NUMBER_INTEGER", 100),
    "fit_batch_size": ("NUMBER_INTEGER", 512),
    "fit_shuffle": ("BOOLEAN", True),
    "fit_validation_split": ("NUMBER_DOUBLE", 0.1),
    "fit_verbose": ("NUMBER_INTEGER", 1),
}
OURS = {"detector": ("STRING", "dcase2020"), "seed": ("NUMBER_INTEGER", 0),
        "gate": ("NUMBER_DOUBLE", 0.5)}  # fmt: skip


# Parameters.


def test_defaults_are_the_published_ones_and_become_the_yaml(tmp_path):
    values = msgspec.structs.asdict(parameters.Parameters())
    assert values.keys() == PUBLISHED.keys() | OURS.keys()
    parameters.write(parameters.checked({"fit_epochs": 3, "seed": 7}), tmp_path / "run.yaml")
    run = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert run["fit"]["epochs"] == 3 and run["seed"] == 7 and run["max_fpr"] == 0.1
    assert run["fit"]["compile"] == {"optimizer": "adam", "loss": "mean_squared_error"}
    assert run["feature"]["central_frames"] is None  # whole clips, as published
    assert (run["feature"]["n_mels"], run["feature"]["hop_length"]) == (128, 512)


@pytest.mark.parametrize(
    "values, line",
    [
        ({"fit_epochs": 0}, "key fit_epochs: expected int >= 1, and this is 0"),
        ({"fit_shuffle": "False"}, "key fit_shuffle: expected bool, got str, and this is 'False'"),
        ({"fit_validation_split": 1.0}, "key fit_validation_split: expected float < 1.0"),
        ({"max_fpr": math.nan}, "key max_fpr: "),
        ({"fit_verbose": 3}, "key fit_verbose: expected one of 0, 1, 2"),
        ({"feature_n_mels": 10**6}, "key feature_n_mels: expected int <= 4096"),
        ({"feature_power": -1.0}, "key feature_power: expected float > 0.0"),
        ({"n_mels": 64}, "unknown key n_mels; did you mean feature_n_mels?"),
        ({"detector": "nothing"}, "key detector: no recipe 'nothing'; known: adacos_fixed, "),
        ({"detector": "scac_fixed"}, "key detector: scac_fixed trains on several machine types"),
    ],
)
def test_a_wrong_parameter_is_named_by_its_own_name(values, line):
    with pytest.raises(UserError) as caught:
        parameters.checked(values)
    assert str(caught.value).startswith(f"parameters: {line}")


def test_names_that_keras_lacks_are_found_before_the_download(tmp_path):
    for key in ("fit_compile_optimizer", "fit_compile_loss"):
        with pytest.raises(UserError, match=f"key {key}: Keras knows no such name.*no_such"):
            steps.configure({key: "no_such"}, tmp_path / "run.yaml")


def test_command_lines_give_the_types_that_are_wanted():
    import argparse

    parser = argparse.ArgumentParser()
    parameters.add_arguments(parser)
    words = "--fit_shuffle false --max_fpr 1e-1 --fit_epochs 3 --dataset_url 12 --gate 1"
    found = parameters.from_arguments(parser.parse_args(words.split()))
    assert (found.fit_shuffle, found.max_fpr, found.fit_epochs) == (False, 0.1, 3)
    assert (found.dataset_url, found.gate, found.seed) == ("12", 1.0, 0)


# Data sets.


def zipped(names, top=""):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(f"{top}{name}", f"of {name}")
    return content.getvalue()


CLIPS = [f"{machine}/{name}" for machine in ("fan", "pump") for name in (
    "train/normal_id_00_00000000.wav", "test/normal_id_00_00000001.wav",
    "test/anomaly_id_00_00000000.wav")]  # fmt: skip


@pytest.mark.parametrize("top", ["", "dev_data/"])
def test_a_zip_of_machine_folders_is_unpacked(tmp_path, top):
    (tmp_path / "all.zip").write_bytes(zipped([*CLIPS, "notes/read.txt"], top))
    for url in (str(tmp_path / "all.zip"), (tmp_path / "all.zip").as_uri()):
        folder = tmp_path / f"data{len(url)}"
        assert dataset.bring(url, folder) == ["fan", "pump"]
        found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.wav"))
        assert found == sorted(CLIPS)
        assert steps.machine_types(folder) == ["fan", "pump"]
    assert not list(tmp_path.glob(".data*"))


def test_a_served_zip_is_tried_again_and_its_md5_checked(server, tmp_path):  # noqa: F811
    content = zipped(CLIPS)
    server.files["all.zip"] = content
    url, md5 = f"{server.url}/all.zip", hashlib.md5(content).hexdigest()
    server.faults[:] = ["503", "cut"]
    assert dataset.bring(url, tmp_path / "one", pause_seconds=0) == ["fan", "pump"]
    assert dataset.bring(f"{url}#md5={md5.upper()}", tmp_path / "two", 0) == ["fan", "pump"]
    with pytest.raises(UserError, match=f"md5 {md5} found, {'0' * 32} expected"):
        dataset.bring(f"{url}#md5={'0' * 32}", tmp_path / "three", 0)
    assert not list((tmp_path / "three").iterdir())
    # The name of a published archive: whatever else is served under it is refused.
    server.files["dev_data_pump.zip"] = content
    with pytest.raises(UserError, match="90e7091ef722b7238a7f1009365779cd expected"):
        dataset.bring(f"{server.url}/dev_data_pump.zip", tmp_path / "four", 0)


@pytest.mark.parametrize(
    "url, line",
    [
        ("{server}/none.zip", "{server}/none.zip: HTTP 404 Not Found"),
        ("nowhere.zip", "nowhere.zip: no such file; name a zip, or its address with https://"),
        ("ftp://host/a.zip", "ftp://host/a.zip: neither http, https nor file; take one of them"),
        ("{folder}/flat.zip", "{folder}/flat.zip: no folder in it has train/ and test/; a data "),
        ("{folder}/loose.zip", "{folder}/loose.zip: no folder in it has train/ and test/; a data "),
        ("{folder}/text.zip", "{folder}/text.zip: not a sound zip file (File is not a zip file)"),
        ("{folder}/out.zip", "{folder}/out.zip: refused, '../fan/train/a.wav' is not a plain file"),
        ("{folder}/flat.zip#md5=00", "{folder}/flat.zip#md5=00: only #md5= and 32 hex digits "),
        ("{folder}/flat.zip#md5=" + "0" * 32, "{folder}/flat.zip: has another md5 than 000000"),
    ],
)
def test_what_is_no_data_set_is_one_line_and_leaves_nothing(server, tmp_path, url, line):  # noqa: F811
    (tmp_path / "flat.zip").write_bytes(zipped(["fan/a.wav", "pump/b.wav"]))
    (tmp_path / "loose.zip").write_bytes(zipped(["a.wav"]))
    (tmp_path / "out.zip").write_bytes(zipped([*CLIPS, "../fan/train/a.wav"]))
    (tmp_path / "text.zip").write_text("a page that says sorry")
    places = {"server": server.url, "folder": str(tmp_path)}
    with pytest.raises(UserError) as caught:
        dataset.bring(url.format(**places), tmp_path / "data", pause_seconds=0)
    assert str(caught.value).startswith(line.format(**places))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "data").iterdir()) and not list(tmp_path.glob(".data*"))


# Steps.


def results(folder, scores, figures):
    folder.mkdir()
    rows = "".join(f"{name},{score!r}\n" for name, score in scores.items())
    (folder / "anomaly_score_fan_id_00.csv").write_text(rows)
    head = "machine_type,id,clips,normal,anomalous,auc,auc_low,auc_high,pauc,pr_accuracy,note\n"
    (folder / "metrics.csv").write_text(head + figures)
    return folder


def test_curves_and_metrics_are_finite_and_those_of_the_scores(tmp_path):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 500)
    values = rng.normal(labels, 1.0)
    names = [f"{('normal', 'anomaly')[k]}_id_00_{i:08}.wav" for i, k in enumerate(labels)]
    folder = results(tmp_path / "r", dict(zip(names, values.tolist(), strict=True)),
                     "fan,00,500,250,250,.75,.7,.8,.6,70,\nfan,02,9,9,0,,,,,,no anomalous\n"
                     "fan,average,509,259,250,.75,.7,.8,.6,70,without id 02\n")  # fmt: skip
    curve = steps.roc_curve(folder)
    assert np.isfinite(curve).all() and len(curve.fpr) <= steps.ROC_POINTS
    assert (np.diff(curve.thresholds) < 0).all()
    for fpr, tpr, threshold in zip(*curve, strict=True):  # the plain meaning of a point
        called = values >= threshold
        assert fpr == called[labels == 0].mean() and tpr == called[labels == 1].mean()
    assert curve.fpr[0] == curve.tpr[0] == 0 and curve.fpr[-1] == curve.tpr[-1] == 1
    assert steps.metrics(folder, "fan") == {"fan_id_00_AUC": 75.0, "fan_id_00_pAUC": 60.0}
    assert steps.passes(folder, 0.75) and not steps.passes(folder, 0.7501)


def test_what_is_undefined_passes_no_gate_and_has_no_curve(tmp_path):
    names = {f"normal_id_00_{i:08}.wav": float(i) for i in range(3)}
    figures = "fan,00,3,3,0,,,,,,none\nfan,average,3,3,0,,,,,,no id has an AUC\n"
    folder = results(tmp_path / "r", names, figures)
    assert steps.roc_curve(folder) is None
    assert steps.metrics(folder, "fan") == {} and steps.passes(folder, 0.0) is False


def test_a_killed_script_is_told_with_its_exit_status(monkeypatch):
    for code in (
        f"import os; os.kill(os.getpid(), {signal.SIGKILL:d})",
        "import sys; sys.exit(137)",
    ):
        with pytest.raises(UserError, match="fan: it was killed by SIGKILL, exit status 137; give"):
            steps.run_python("fan: it", ["-c", code])
    with pytest.raises(UserError, match=r"^fan: it ended with 3: no message$"):
        steps.run_python("fan: it", ["-c", "import sys; sys.exit(3)"])
    with pytest.raises(UserError, match=r"^fan: it ended with 1: ZeroDivisionError: division by"):
        steps.run_python("fan: it", ["-c", "1/0"])
    said = "import sys; sys.exit('error: a.wav: silent')"
    with pytest.raises(UserError, match=r"^fan: it: a.wav: silent$"):
        steps.run_python("fan: it", ["-c", said], may_fail=1)
    assert steps.run_python("fan: it", ["-c", "import sys; sys.exit(1)"], may_fail=1) == 1


# With kfp.


@pytest.fixture(scope="module")
def kfp():
    """Run the app in the environment that has kfp."""
    python = ROOT / ".venv-pipeline/bin/python"
    if not python.exists():
        pytest.skip(f"no {python}: see apps/pipeline/README.md")

    def run(*words, cwd=ROOT, **env):
        command = [python, "-m", "apps.pipeline", *map(str, words)]
        env = os.environ | {"PYTHONPATH": str(ROOT), "ASD_PYTHON": sys.executable} | env
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)

    return run


def test_the_pipeline_that_is_here_is_what_compiles(kfp, tmp_path):
    done = kfp("compile", tmp_path / "again.yaml", "--tag", "COMMIT")
    assert done.returncode == 0, done.stderr
    kept = (ROOT / "apps/pipeline/pipeline.yaml").read_bytes()
    assert (tmp_path / "again.yaml").read_bytes() == kept


def test_its_parameters_artefacts_and_order():
    text = (ROOT / "apps/pipeline/pipeline.yaml").read_text(encoding="utf-8")
    spec, *_ = yaml.safe_load_all(text)
    found = spec["root"]["inputDefinitions"]["parameters"]
    for name, (kind, default) in (PUBLISHED | OURS).items():
        assert found[name]["parameterType"] == kind, name
        assert found[name].get("defaultValue") in (default, "" if default is None else default)
    assert found.keys() == PUBLISHED.keys() | OURS.keys()
    kinds = {
        (name, artefact): value["artifactType"]["schemaTitle"]
        for name, component in spec["components"].items() if "executorLabel" in component
        for artefact, value in component.get("outputDefinitions", {}).get("artifacts", {}).items()
    }  # fmt: skip
    assert kinds["comp-download", "dataset"] == "system.Dataset"
    assert kinds["comp-train", "model"] == kinds["comp-release", "released"] == "system.Model"
    assert kinds["comp-train", "loss"] == "system.HTML"
    assert kinds["comp-roc-curve", "roc"] == "system.ClassificationMetrics"
    assert kinds["comp-metrics", "metrics"] == "system.Metrics"
    assert kinds["comp-summarise", "results"] == "system.Dataset"
    for name in ("comp-summarise", "comp-test", "comp-parity"):
        assert kinds[name, "report"] == "system.HTML"
    tasks = spec["root"]["dag"]["tasks"]
    assert "configure" in tasks["download"]["dependentTasks"]
    assert tasks["download"]["retryPolicy"]["maxRetryCount"] == 3
    for name, executor in spec["deploymentSpec"]["executors"].items():
        container = executor["container"]
        assert container["image"].split(":")[1] == "COMMIT", name
        assert container["resources"]["resourceCpuLimit"], name
        assert container["resources"]["resourceMemoryLimit"], name
        assert "pip install" not in " ".join(container["command"] + container["args"]), name


def test_images_accelerator_and_registry_are_options(kfp, tmp_path):
    words = ["--tag", "abc", "--registry", "host/asd/", "--accelerator", "nvidia.com/gpu"]
    assert kfp("compile", tmp_path / "p.yaml", *words).returncode == 0
    executors = yaml.safe_load((tmp_path / "p.yaml").read_text())["deploymentSpec"]["executors"]
    train = executors["exec-train"]["container"]
    assert train["image"] == "host/asd/asd-train:abc"
    assert train["resources"]["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert "accelerator" not in executors["exec-test"]["container"]["resources"]
    done = kfp("compile", tmp_path / "p.yaml", "--tag", "a b")
    assert (
        done.stderr == "error: --tag 'a b': letters, digits, _, . and - make a tag, 128 at most\n"
    )


def demo_zip(folder):
    """Two machine types, few short clips: faults are loud."""
    for machine in ("fan", "pump"):
        for i in range(6):
            write_clip(folder / f"{machine}/train/normal_id_00_{i:08}.wav", i)
            write_clip(folder / f"{machine}/test/normal_id_00_{i:08}.wav", 20 + i)
            tone = 0.5 if machine == "fan" else 0.0
            write_clip(folder / f"{machine}/test/anomaly_id_00_{i:08}.wav", 40 + i, tone)
    path = folder / "small.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for wav in folder.rglob("*.wav"):
            archive.write(wav, wav.relative_to(folder))
    return path


def test_a_run_here_from_zip_to_released_models(kfp, tmp_path):
    archive = demo_zip(tmp_path / "set")
    done = kfp("local", "--dataset_url", archive, "--fit_epochs", "2", "--gate", "0.9",
               "--feature_n_mels", "16", "--out", "runs", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr + _log(tmp_path)
    runs = tmp_path / "runs"
    found = {path.name for path in runs.glob("*/**/released/*.tflite")}
    assert found == {"model_fan_quant_fullint_micro_intio.tflite"}  # pump's faults are inaudible
    assert list(runs.glob("*/**/released/model_fan_c/*.c"))
    (table,) = runs.glob("*/summarise/results")
    assert table.read_text().startswith("fan\nid,AUC,pAUC\n00,1.0,1.0\nAverage,1.0,1.0\n\npump\n")
    assert "fan" in done.stdout and "100.00" in done.stdout
    metadata = "".join(path.read_text() for path in runs.glob("*/**/executor_output.json"))
    for name in ("fan_id_00_AUC", "fan_id_00_pAUC", "pump_id_00_AUC", "confidenceMetrics"):
        assert name in metadata
    report = (runs / "report.html").read_text()
    for machine in ("fan", "pump"):
        assert f'href="report_{machine}.html"' in report
    assert "100.00" in report and "<title>" in report
    # fan was converted, and its report tells of it; pump was not.
    own = {machine: (runs / f"report_{machine}.html").read_text() for machine in ("fan", "pump")}
    assert ("The parity ladder" in own["fan"], "The parity ladder" in own["pump"]) == (True, False)
    assert "runs/report.html: the report" in done.stdout
    pages = [path.read_text() for path in runs.glob("*/**/train/loss")]
    assert len(pages) == 2 and all("data:image/png;base64," in page for page in pages)


def _log(folder):
    with contextlib.suppress(FileNotFoundError):
        return (folder / "runs/log.txt").read_text()[-5000:]
    return ""


def test_a_failed_step_is_one_line_with_its_name(kfp, tmp_path):
    done = kfp("local", "--dataset_url", "none.zip", "--out", "runs", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == ("error: download: none.zip: no such file; name a zip, or its address "
                           "with https://\n")  # fmt: skip


@pytest.mark.parametrize("words", [("local",), ("submit", "--host", "http://127.0.0.1:1")])
def test_a_wrong_value_ends_before_anything_is_done(kfp, tmp_path, words):
    done = kfp(*words, "--fit_epochs", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: parameters: key fit_epochs: expected int >= 1, and this is 0\n"
    assert not list(tmp_path.iterdir())


def test_a_cluster_that_is_not_there_is_one_line(kfp):
    done = kfp("submit", "--host", "http://127.0.0.1:1", "--tag", "x")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: http://127.0.0.1:1: no Kubeflow Pipelines API answers there ("
    )
    assert done.stderr.count("\n") == 1


def test_without_kfp_the_remedy_is_said(monkeypatch):
    from apps.pipeline import __main__ as app

    monkeypatch.setattr(app.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"kfp is not installed.*pip install -r apps/pipeline/"):
        app.main(["local"])


def test_its_environment_has_the_versions_of_the_scripts():
    def pins(path):
        lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
        return dict(line.split("==") for line in lines if line)

    own, scripts = pins(ROOT / "apps/pipeline/requirements.txt"), pins(ROOT / "requirements.txt")
    shared = own.keys() & scripts.keys()
    assert shared == own.keys() - {"kfp"}
    assert {name: own[name] for name in shared} == {name: scripts[name] for name in shared}


def test_a_grid_as_a_pipeline_gives_the_table_of_this_machine(kfp, tmp_path):
    few = {"recipes": ["frozen.yaml"], "seeds": [1]}
    tables = {}
    for engine in ("local", "kubeflow"):
        path = grids.make(tmp_path / engine, **few)
        broken = path.parent / "dev_data/ToyB/test/normal_id_01_00000000.wav"
        broken.write_bytes(b"no wav")
        if engine == "local":
            done = grids.run(path)
        else:
            done = kfp("grid", "grid.yaml", "--engine", engine, cwd=path.parent)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "frozen ToyB seed1: FAILED, 00_train.py ended with status 1;" in done.stdout
        assert "normal_id_01_00000000.wav" in done.stdout  # the end of its log
        broken.unlink()  # what failed is run again, what is done is kept
        before = (path.parent / "result/small_frozen_ToyA_seed1/metrics.csv").stat()
        again = ["grid", "grid.yaml", "--engine", engine]
        done = kfp(*again, cwd=path.parent) if engine == "kubeflow" else grids.run(path)
        assert done.returncode == 0 and "2 cells, 1 done already" in done.stdout
        after = (path.parent / "result/small_frozen_ToyA_seed1/metrics.csv").stat()
        assert after.st_mtime_ns == before.st_mtime_ns
        tables[engine] = (path.parent / "result/small/grid.csv").read_text()
    assert tables["local"] == tables["kubeflow"] and "ToyB" in tables["local"]


def test_a_grid_for_a_cluster_names_what_it_lacks(kfp, tmp_path):
    path = grids.make(tmp_path, kubeflow={"host": "http://127.0.0.1:1", "tag": "x"})
    done = kfp("grid", "grid.yaml", "--engine", "kubeflow", cwd=tmp_path)
    lacking = "error: key kubeflow.dataset_url: empty; name a zip that the cluster can reach\n"
    assert done.stderr == lacking
    grids.write(tmp_path, kubeflow={"host": "http://127.0.0.1:1", "tag": "x", "dataset_url": "u"})
    done = kfp("grid", path.name, "--engine", "kubeflow", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "127.0.0.1:1: no Kubeflow Pipelines API answers there" in done.stderr
