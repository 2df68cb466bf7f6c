"""The shell scripts: the environment they make, and the demo from its sound to its verdict."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from asd import files


def shell(command, cwd, **environment):
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=600,
        env=os.environ | environment,
    )  # fmt: skip


@pytest.fixture
def house(tmp_path):
    """A copy of the project without data or environment, whose only requirement is small."""
    folder = tmp_path / "a house"
    skip = shutil.ignore_patterns(".*", "*_data", "features", "model", "result", "reference")
    shutil.copytree(ROOT, folder, ignore=skip)
    (folder / "requirements.txt").write_text("tqdm\n")
    (folder / "00_train.py").write_text("import sys, tqdm; print(sys.argv[1:])\n")
    (folder / "01_test.py").write_text("import sys, tqdm; sys.exit('--fail' in sys.argv)\n")
    return folder


def test_the_environment_is_made_once_and_again_when_requirements_change(house, tmp_path):
    first = shell([str(house / "train.sh"), "-m", "fan", "x y"], tmp_path, PYTHON=sys.executable)
    assert first.returncode == 0, first.stderr
    assert "preparing .venv" in first.stdout
    assert "['-d', '-m', 'fan', 'x y']" in first.stdout
    marker = house / ".venv" / "marker"
    marker.touch()
    second = shell([str(house / "train.sh"), "-e"], tmp_path)
    assert "preparing" not in second.stdout
    assert "['-e']" in second.stdout
    assert marker.exists()
    (house / "requirements.txt").write_text("tqdm  # changed\n")
    shell([str(house / "train.sh")], tmp_path, PYTHON=sys.executable)
    assert not marker.exists()
    failed = shell([str(house / "train.sh"), "--fail"], tmp_path)
    assert failed.returncode == 1


def test_a_failed_installation_is_said_and_tried_again(house, tmp_path):
    (house / "requirements.txt").write_text("./no/such/package\n")
    for _ in range(2):
        done = shell([str(house / "train.sh")], tmp_path, PYTHON=sys.executable)
        assert done.returncode == 1
        assert "error: pip could not install" in done.stderr
        assert "preparing .venv" in done.stdout


def test_without_a_suitable_python_the_remedy_is_said(house, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "env", "dirname", "cmp"):
        (tools / name).symlink_to(shutil.which(name))
    done = shell([str(house / "train.sh")], tmp_path, PATH=str(tools), PYTHON="")
    assert done.returncode == 1
    assert "error: no Python 3.10 to 3.13" in done.stderr


@pytest.mark.parametrize("name", ["train.sh", "convert_to_tflite.sh"])
def test_without_data_the_scripts_say_what_to_do(tmp_path, name):
    done = shell([str(ROOT / name)], tmp_path)
    assert done.returncode == 1
    assert "./get_dataset.sh" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_is_shown_once(tmp_path):
    done = shell([str(ROOT / "train.sh"), "-h"], tmp_path)
    assert done.returncode == 0
    assert done.stdout.count("usage:") == 1


def test_the_demo_tells_the_whole_story(tmp_path):
    train = shell([str(ROOT / "train.sh"), "--demo"], tmp_path)
    assert train.returncode == 0, train.stdout + train.stderr
    header, *rows = files.read_csv(tmp_path / "result/metrics.csv")
    rows = [dict(zip(header, row, strict=True)) for row in rows]
    by_id = [row for row in rows if row["id"].isdigit()]
    assert len({row["machine_type"] for row in by_id}) >= 2
    assert len(by_id) >= 4
    for row in by_id:
        assert 0.6 < float(row["auc"]) < 0.995, row
    convert = shell([str(ROOT / "convert_to_tflite.sh"), "--demo"], tmp_path)
    assert convert.returncode == 0, convert.stdout + convert.stderr
    assert "PARITY KEPT in all" in convert.stdout
    assert len(list((tmp_path / "model").glob("*.tflite"))) == 10
    check_false_alarms(tmp_path)


def check_false_alarms(folder):
    """Normal test clips are above a service's thresholds as often as their intervals say."""
    above, lows, highs = [], [], []
    for record in (folder / "model").glob("*_intio.tflite.json"):
        facts = files.read_json(record)["serving"]
        lows.append(facts["false_alarms"]["low"])
        highs.append(facts["false_alarms"]["high"])
        tables = f"tflite_*_intio_anomaly_score_{facts['machine_type']}_id_*.csv"
        for path in (folder / "result").glob(tables):
            scores = [float(score) for name, score in files.read_csv(path)
                      if name.startswith("normal")]  # fmt: skip
            above += [score > facts["threshold"]["value"] for score in scores]
    assert len(lows) == 2 and len(above) == 100
    assert min(lows) <= sum(above) / len(above) <= max(highs)
