"""The comparison of networks with PyTorch: its logic, without PyTorch; never its timings."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from apps.benchmarks import measure, networks, serving
from asd import cli, config, files
from common import UserError

SHAPES = [{"name": "a"}, {"name": "b"}]
# Seconds of wall and CPU of two convolutions, by way: each is fastest at one.
ALONE = {"ours": [[1.0, 2.0], [3.0, 6.0]], "first": [[4.0, 8.0], [1.0, 2.0]],
         "last": [[4.0, 8.0], [4.0, 8.0]]}  # fmt: skip
STEPS = {"ours": (4.0, 8.0), "first": (8.0, 16.0), "last": (5.0, 40.0)}


class Told:
    """In the place of a process: what it would answer."""

    off = 0.0

    def __init__(self, command):
        self.module, self.work = command[2], command[3]

    def ask(self, action, *arguments):
        way = "ours" if self.module.endswith("_ours") else arguments[0]
        wall, cpu = STEPS[way] if action == "step" else (0.0, 0.0)
        result = {"shapes": SHAPES, "convolutions": ALONE.get(way)}.get(action)
        if action == "embeddings":
            values = np.array([1.0, -2.0]) + (0 if way == "ours" else self.off)
            np.savez(self.work / ("ours.npz" if way == "ours" else "theirs.npz"), training=values)
        return {"wall": wall, "cpu": cpu, "result": result}

    def end(self):
        pass


@pytest.fixture
def pair(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "Worker", Told)
    case = networks.CASES["spectrogram"]
    return networks.Pair(case, networks.SIZES["small"], sys.executable, tmp_path)


def test_the_share_is_of_the_fastest_way_of_each_convolution(pair):
    rows = {(row.what, row.unit): row for row in networks.steps(pair, 0.0)}
    wall = rows["step, of what its convolutions reach alone, spectrogram branch, by s", "%"]
    cpu = rows["step, of what its convolutions reach alone, spectrogram branch, by CPU s", "%"]
    assert set(wall.ours) == {100 * (1 + 1) / 4} and set(cpu.ours) == {100 * (2 + 2) / 8}
    assert set(wall.published) == {100 * 2 / 5}  # the faster of PyTorch's two layouts
    assert set(cpu.published) == {100 * 4 / 16}
    step = rows["training step, spectrogram branch, PyTorch", "s"]
    assert (step.published, step.ours, step.least) == ([8.0, 8.0], [4.0, 4.0], 1)
    alone = rows["its convolutions alone, spectrogram branch, PyTorch", "CPU s"]
    assert (set(alone.published), set(alone.ours)) == ({10.0}, {8.0})


def test_short_steps_are_timed_together_and_have_no_convolutions(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "Worker", Told)
    monkeypatch.setitem(STEPS, "masked", (20.0, 60.0))
    monkeypatch.setitem(STEPS, "closed", (10.0, 40.0))
    case = networks.CASES["made"]
    pair = networks.Pair(case, networks.SIZES["small"], sys.executable, tmp_path)
    pair.shapes = []
    rows = list(networks.steps(pair, 0.0))
    assert case.steps == 20 and len(rows) == 4  # two ways of PyTorch by two clocks
    assert (rows[0].published, rows[0].ours) == ([1.0, 1.0], [0.2, 0.2])
    assert (rows[3].published, rows[3].ours) == ([2.0, 2.0], [0.4, 0.4])


def test_other_networks_are_not_compared(pair, monkeypatch):
    monkeypatch.setattr(Told, "off", 1e-4)  # of 2, so half of what is too far
    assert pair.check() == pytest.approx(5e-5)
    monkeypatch.setattr(Told, "off", 3e-4)
    with pytest.raises(UserError, match="training in PyTorch is 1.5e-04 off"):
        pair.check()


def test_the_table_names_pytorch(pair, tmp_path):
    rows = list(networks.steps(pair, 0.0))
    measure.write_table(tmp_path / "networks.csv", rows, "pytorch")
    header, *table = files.read_csv(tmp_path / "networks.csv")
    assert header[2:6] == ["pytorch", "pytorch_low", "pytorch_high", "ours"]
    assert len(table) == len(rows)
    assert measure.show(rows, "PyTorch").startswith("| what | unit | PyTorch | ours |")


def test_without_pytorch_the_remedy_is_told(tmp_path, capsys):
    for python in (tmp_path / "none", sys.executable):
        arguments = ["--torch", str(python), "--out", str(tmp_path), "--size", "small"]
        assert cli.run(lambda arguments=arguments: networks.main(arguments)) == 1
        assert "bin/pip install -r apps/benchmarks/requirements.txt" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_worker_answers_and_its_end_is_told():
    code = ("from apps.benchmarks.serving import serve\n"
            "serve({'add': lambda a, b: print('heard') or a + b,"
            " 'fail': lambda: 1 / 0})")  # fmt: skip
    worker = serving.Worker([sys.executable, "-c", code])
    answer = worker.ask("add", 2, 3)
    assert answer["result"] == 5 and answer["wall"] >= 0 and answer["cpu"] >= 0
    with pytest.raises(RuntimeError, match="fail: ZeroDivisionError"):
        worker.ask("fail")
    worker.end()


def test_our_side_trains_measures_and_is_the_network_of_the_recipe(pair):
    from apps.benchmarks import networks_ours

    settings = pair.size
    cfg = config.load_config(pair.work / "case.yaml")
    way = networks_ours.Way(cfg, {"classes": settings.classes, "batch": settings.batch}, pair.work)
    with np.load(pair.work / "weights.npz") as arrays:
        names = set(arrays.files)
        assert arrays["centres"].shape == (16, settings.classes * networks.SUB_CLUSTERS)
    described = networks_ours.shapes(way.network, settings.batch)
    assert len(names) == 1 + len(way.network.trainable_weights)
    assert {one["name"] for one in described} <= names
    assert [one["of_input"] for one in described] == [False] + [True] * (len(described) - 1)
    seconds = networks_ours.Convolutions(described)()
    assert np.shape(seconds) == (len(described), 2) and np.min(seconds) >= 0
    before = [one.numpy() for one in way.network.weights]
    way.embeddings(2)
    assert all(np.array_equal(a, b) for a, b in zip(before, way.network.weights, strict=True))
    assert np.isfinite(way.step(1))
    assert not np.array_equal(before[-1], way.network.weights[-1])


@pytest.mark.parametrize("name", ["cpresnet", "made"])
def test_our_side_of_2021_takes_steps_and_writes_what_is_compared(name, tmp_path, monkeypatch):
    from apps.benchmarks import networks_ours

    monkeypatch.setattr(networks, "Worker", Told)
    size = networks.SIZES["small"]
    networks.Pair(networks.CASES[name], size, sys.executable, tmp_path)
    cfg = config.load_config(tmp_path / "case.yaml")
    way = networks_ours.WAYS[cfg.detector.kind](cfg, {"batch": size.batch}, tmp_path)
    way.embeddings(1)
    with np.load(tmp_path / "ours.npz") as one, np.load(tmp_path / "weights.npz") as weights:
        assert np.isfinite(one["loss"]) and len(one["training"]) == 2 * size.batch
        before = dict(weights)
    assert way.step(2) < float(np.load(tmp_path / "ours.npz")["loss"])
    way.embeddings(1)
    described = networks_ours.shapes(way.network, size.batch)
    if name == "cpresnet":  # 24 of blocks, of the input, of classes, of two shortcuts
        assert len(described) == len(before) == 28
        assert {one["kernel"][0] for one in described} == {1, 3, 5}
    else:
        assert not described
        closed = before["h1/kernel"] == 0
        assert closed.sum() == 16 * 15 / 2  # each unit sees those of at most its own degree
