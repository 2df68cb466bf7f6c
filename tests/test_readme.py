"""The README's commands one after the other in one folder, on small archives of a local server."""

import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace

import numpy as np
import soundfile
from conftest import ROOT, SAMPLE_RATE, run_script
from test_download import serve, server  # noqa: F401 - a fixture
from test_shell import shell

import keras_model
from asd import files
from asd.corpora import download

SECONDS = 8.1  # the least that baseline.yaml takes is 8
NAMES = {  # what each kind of archive holds
    "dev_data": [
        *(f"train/normal_id_0{k}_{i:08}.wav" for k in (1, 2) for i in range(3)),
        *(f"test/{label}_id_0{k}_{i:08}.wav" for label in ("normal", "anomaly") for k in (1, 2)
          for i in range(2)),
    ],
    "eval_data_train": [f"train/normal_id_05_{i:08}.wav" for i in range(3)],
    "eval_data_test": [f"test/id_05_{i:08}.wav" for i in range(2)],
}  # fmt: skip


def wav(rng):
    content = io.BytesIO()
    samples = 0.05 * rng.standard_normal(int(SECONDS * SAMPLE_RATE))
    soundfile.write(content, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return content.getvalue()


def small_archives(server, monkeypatch):  # noqa: F811
    rng = np.random.default_rng(0)
    for table in (download.DEV, download.EVAL_TRAIN, download.EVAL_TEST):
        for kind, row in list(table.items()):
            stem = row.name.removesuffix(f"_{kind}.zip")
            small = serve(server, row.name, {f"{kind}/{n}": wav(rng) for n in NAMES[stem]})
            monkeypatch.setitem(table, kind, replace(row, md5=small.md5))


def test_its_commands_in_its_own_order(server, tmp_path, monkeypatch):  # noqa: F811
    small_archives(server, monkeypatch)

    def run(script, *arguments):
        done = shell([str(ROOT / script), *arguments], tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    dcase = ("-c", str(ROOT / "recipes/dcase2020.yaml"))
    download.main(["--mirror", server.url])
    run("train.sh")
    run("convert_to_tflite.sh", "--boards", "none")
    quick = {name: (tmp_path / name).read_bytes()
             for name in ("model/model_ToyCar.keras", "result/result.csv")}  # fmt: skip
    assert files.read_json(tmp_path / "model/model_ToyCar.json")["clips"]["count"] == 9

    download.main(["--dcase2020", "--mirror", server.url])
    assert len(server.ranges) == len(server.files) == 18, "each archive once"
    out = run("train.sh", *dcase)
    assert "ToyCar: 3 training clips left out, of ids without test clips" in out
    run("convert_to_tflite.sh", *dcase, "--boards", "none", "-m", "ToyCar")
    record = files.read_json(tmp_path / "model/dcase2020/model_ToyCar.json")
    assert record["clips"]["count"] == 6
    assert len(list((tmp_path / "model/dcase2020").glob("*.keras"))) == 6

    for arguments in (("-e", *dcase), ("-e",)):
        assert "so there is no AUC" in run("train.sh", *arguments)
    for folder in ("dcase2020/eval", "eval"):
        assert (tmp_path / "model" / folder / "model_fan.keras").exists()
        rows = files.read_csv(tmp_path / "result" / folder / "anomaly_score_fan_id_05.csv")
        assert len(rows) == 2

    published = tmp_path / "model/published/model_ToyCar.h5"
    published.parent.mkdir()
    keras_model.start_tensorflow(0)
    keras_model.load(tmp_path / "model/model_ToyCar.keras", 640).save(published)
    same = ("-m", "ToyCar", "-c", str(ROOT / "recipes/published.yaml"))
    assert run_script("01_test.py", "-d", *same, cwd=tmp_path).returncode == 0
    run("convert_to_tflite.sh", *same, "--boards", "none")
    assert (tmp_path / "result/published/result.csv").exists()
    assert {name: (tmp_path / name).read_bytes() for name in quick} == quick
    assert "already trained" in run("train.sh", "-m", "ToyCar")


def test_its_demo_of_a_year(tmp_path):
    """The command as it stands there, with fewer and shorter clips; then the year's YAML file."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(
        r"^    \.venv/bin/python (-m asd\.corpora\.demo --layout dcase2023 --out .*)$", text, re.M
    )
    few = ["--seconds", str(SECONDS), "--train-clips", "4", "--test-clips", "2"]
    command = [sys.executable, *shlex.split(line), *few]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True)
    (block,) = re.findall(r"^((?:    \w+: .*\n)*    evaluation_labels: .*\n)", text, re.M)
    values = block.replace("./dcase2023/", "./demo2023/").replace(": eval_", ": demo2023/eval_")
    frozen = (ROOT / "recipes/frozen.yaml").read_text(encoding="utf-8")
    (tmp_path / "2023.yaml").write_text(re.sub("^ *", "", values, flags=re.M) + frozen)
    for mode, machine_type in (("-d", "fan"), ("-e", "bandsaw")):
        for script in ("00_train.py", "01_test.py"):
            done = run_script(script, mode, "-c", "2023.yaml", "-m", machine_type, cwd=tmp_path)
            assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(rf"^{machine_type} +00 +4 +4 ", done.stdout, re.M)
