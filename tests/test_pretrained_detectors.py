"""Recipes with pre-trained transformers, on small random ones and tiny demo sound: 00 and 01."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch_files
import yaml
from conftest import ROOT, call

from asd import cli, config, embeddings, files
from asd.corpora import demo
from asd.detectors import kinds
from asd.networks import architecture, convert
from asd.paths import Paths
from asd.sections import Choice
from common import UserError

SECONDS = 1.5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with demo sound of two machine types and converted networks; not to be changed."""
    folder = tmp_path_factory.mktemp("pretrained")
    size = ["--train-clips", "4", "--test-clips", "2", "--seconds", str(SECONDS)]
    argv = ["--layout", "dcase2023", "-m", "fan", "valve", *size, "--out", str(folder / "demo")]
    assert cli.run(lambda: demo.main(argv)) == 0
    for kind, checkpoint in (("beats", torch_files.beats()), ("eat", torch_files.eat())):
        source = torch_files.write(folder / f"{kind}.pt", checkpoint)
        convert.convert(source, folder / f"{kind}.npz")
    return folder


def written(made, folder, recipe, detector, **changed):
    """A recipe with other folders, and few numbers changed."""
    values = {"base": str(ROOT / "recipes" / f"{recipe}.yaml"), "experiment": "", "workers": 2}
    values |= {"corpus": "dcase2023", "dev_directory": str(made / "demo/dev_data")}
    values |= {"eval_directory": str(made / "demo/eval_data")}
    values |= {f"{key}_directory": str(folder / key) for key in ("feature", "model", "result")}
    path = folder / f"{recipe}.yaml"
    path.write_text(yaml.safe_dump(values | {"detector": detector} | changed))
    return path


@pytest.mark.parametrize("kind", ["beats", "eat"])
def test_the_frozen_recipe(made, tmp_path, kind, capsys):
    own = {"kind": kind, "path": str(made / f"{kind}.npz")}
    if kind == "eat":
        own |= {"least_frames": 160, "pooling": "cls"}
    cfg = written(made, tmp_path, "beats", {"embedding": own})
    assert call("00_train.py", "-d", "-c", cfg) == 0
    assert call("01_test.py", "-d", "-c", cfg) == 0
    for machine_type in ("fan", "valve"):
        with np.load(tmp_path / f"model/model_{machine_type}.npz") as arrays:
            embeddings = arrays["embeddings"]
        assert embeddings.shape[1] == 24 and len(np.unique(embeddings, axis=0)) > 1
        rows = files.read_csv(tmp_path / f"result/anomaly_score_{machine_type}_id_00.csv")
        assert len(rows) == 8 and np.isfinite([float(row[1]) for row in rows]).all()
    capsys.readouterr()
    assert call("00_train.py", "-d", "-c", cfg) == 0
    assert capsys.readouterr().out.count("; kept") == 2
    other = torch_files.beats(seed=9) if kind == "beats" else torch_files.eat(seed=9)
    changed = tmp_path / "other.npz"
    convert.convert(torch_files.write(tmp_path / "other.pt", other), changed)
    cfg = written(made, tmp_path, "beats", {"embedding": own | {"path": str(changed)}})
    assert call("00_train.py", "-d", "-c", cfg) == 1
    assert "embedding.file_sha256" in capsys.readouterr().err


def embedding_of(path, kind="beats", **values):
    feature = config.load_config(ROOT / "recipes/beats.yaml").feature
    choice = Choice(Path("my.yaml"), "detector.embedding", kind, {"path": str(path), **values})
    return embeddings.of(choice, feature).rows.of_samples


def noise(n_samples, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal(n_samples).astype(np.float32)


@pytest.mark.parametrize("kind", ["beats", "eat"])
def test_embeddings_of_clips_of_any_length(made, kind):
    """What is pooled are the tokens of the network; a clip shorter than a patch is repeated."""
    from asd.networks import pretrained
    from asd.networks.scaling import SCALINGS

    path, scaling = made / f"{kind}.npz", SCALINGS[kind]
    of = embedding_of(path, kind)
    network = pretrained.frozen(path, architecture.sha256(path), kind, scaling)
    for n_samples in (2800, 24000, 40001):
        tokens = network(noise(n_samples)[None]).numpy()[0, kind == "eat" :]
        np.testing.assert_allclose(of(noise(n_samples))[0], tokens.mean(0), rtol=0, atol=5e-5)
        most = embedding_of(path, kind, pooling="max")(noise(n_samples))
        np.testing.assert_allclose(most[0], tokens.max(0), rtol=0, atol=5e-5)
    short = noise(1000)
    least = {"beats": 2800, "eat": 400}[kind]
    repeated = np.resize(short, max(least, len(short)))
    np.testing.assert_array_equal(of(short), of(repeated))
    of_pieces = embedding_of(path, kind, seconds=1.0)(noise(40000))
    pieces = [of(noise(40000)[first : first + 16000])[0] for first in (0, 16000, 24000)]
    np.testing.assert_allclose(of_pieces[0], np.mean(pieces, 0), rtol=0, atol=5e-5)


def test_the_token_of_the_clip(made):
    from asd.networks import pretrained
    from asd.networks.scaling import SCALINGS

    path = made / "eat.npz"
    network = pretrained.frozen(path, architecture.sha256(path), "eat", SCALINGS["eat"])
    found = embedding_of(path, "eat", pooling="cls")(noise(20000))
    expected = network(noise(20000)[None]).numpy()[0, 0]
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize(("values", "message"), [
    ({"pooling": "cls"}, "detector.embedding.pooling"),
    ({"kind": "eat"}, "holds a network of the kind beats; write kind: beats"),
    ({"kind": "eat", "least_frames": 100}, "least_frames 100: a multiple of 16"),
    ({"seconds": 0}, "detector.embedding.seconds"),
    ({"path": "none.npz"}, "path names no file that is there"),
    ({"path": "\0"}, "path names no file that is there"),
])  # fmt: skip
def test_wrong_keys_of_an_embedding_are_named(made, values, message):
    with pytest.raises(UserError, match=message) as raised:
        embedding_of(**{"path": made / "beats.npz"} | values)
    assert "\n" not in str(raised.value)


# What learns

LORA = {"rank": 2, "alpha": 4.0, "layers": ["q", "v"]}


def lora_of(made, folder, kind="beats", **changed):
    network = {"kind": kind, "path": str(made / f"{kind}.npz"), "lora": LORA, "width": 8}
    if kind == "eat":
        network |= {"least_frames": 160, "pooling": "mean"}
    detector = {"network": network | changed, "seconds": 1.0, "learn_from": "own",
                "optimiser": {"learning_rate": 0.01, "weight_decay": 0.01, "warm_up_steps": 2},
                "backend": {"kind": "knn", "distance": "cosine", "neighbours": 1}}  # fmt: skip
    return written(made, folder, "beats_lora", detector,
                   fit={"epochs": 3, "batch_size": 4, "verbose": 0})  # fmt: skip


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """A folder in which the recipe has been trained and tested; not to be changed."""
    folder = tmp_path_factory.mktemp("lora")
    cfg = lora_of(made, folder)
    assert call("00_train.py", "-d", "-c", cfg) == 0
    assert call("01_test.py", "-d", "-c", cfg) == 0
    return folder


def weights_of(path):
    import keras

    import asd.networks.pretrained  # noqa: F401 - which Keras then knows

    model = keras.models.load_model(path, compile=False)
    return {one.path: one.numpy() for one in model.weights}


def test_the_recipe_that_learns(made, trained):
    """LoRA has moved from where it began; the transformer is that of the file, bit for bit."""
    weights = weights_of(trained / "model/model_all.keras")
    _, arrays = architecture.read(made / "beats.npz", "beats")
    for name, values in arrays.items():
        np.testing.assert_array_equal(weights[name], values, err_msg=name)
    moved = [one for name, one in weights.items() if name.endswith("lora_b")]
    assert len(moved) == 6 and all(np.abs(one).max() > 0 for one in moved)
    losses = [float(row[1]) for row in files.read_csv(trained / "model/history_all.csv")[1:]]
    assert len(losses) == 3 and np.isfinite(losses).all()
    for machine_type in ("fan", "valve"):
        with np.load(trained / f"model/model_{machine_type}.npz") as arrays:
            assert arrays["embeddings"].shape[1] == 8
        assert len(files.read_csv(trained / f"result/anomaly_score_{machine_type}_id_00.csv")) == 8
    record = files.read_json(trained / "model/model_all.json")["configuration"]
    network = record["detector"]["network"]
    assert network["file_sha256"] == architecture.sha256(made / "beats.npz")
    assert "path" not in network


def test_the_recipe_of_eat(made, tmp_path):
    cfg = lora_of(made, tmp_path, "eat")
    assert call("00_train.py", "-d", "-c", cfg) == 0
    assert call("01_test.py", "-d", "-c", cfg) == 0
    assert (tmp_path / "result/official.csv").exists()


def test_a_moved_file_trains_nothing_and_another_is_named(made, trained, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    shutil.copy(made / "beats.npz", tmp_path / "moved.npz")
    cfg = lora_of(made, folder, path=str(tmp_path / "moved.npz"))
    assert call("00_train.py", "-d", "-c", cfg) == 0
    assert capsys.readouterr().out.count("; kept") == 3
    source = torch_files.write(tmp_path / "other.pt", torch_files.beats(seed=5))
    convert.convert(source, tmp_path / "moved.npz")
    assert call("00_train.py", "-d", "-c", cfg) == 1
    assert "detector.network.file_sha256" in capsys.readouterr().err


def test_resumed_training_equals_uninterrupted_training(made, trained, tmp_path, monkeypatch):
    """Interrupted after the second of three epochs: the same weights, bit for bit."""
    from asd.discriminative import Learner

    cfg, save, epochs = lora_of(made, tmp_path), Learner.save, []

    def interrupted(learner, path, history, fingerprint):
        save(learner, path, history, fingerprint)
        if len(history) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Learner, "save", interrupted)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        assert call("00_train.py", "-d", "-c", cfg) not in (0, 1)
        raise SystemExit
    monkeypatch.undo()
    one_epoch = Learner.epoch
    monkeypatch.setattr(Learner, "epoch",
                        lambda self, *a: epochs.append(a[1]) or one_epoch(self, *a))  # fmt: skip
    assert call("00_train.py", "-d", "-c", cfg) == 0
    assert epochs == [3]
    ours, theirs = (weights_of(one / "model/model_all.keras") for one in (tmp_path, trained))
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name], err_msg=name)


def test_the_recipe_says_what_the_toolkit_has():
    """Batch 8, 25 epochs, a learning rate that rises to 1e-4 in 5000 steps."""
    cfg = config.load_config(ROOT / "recipes/beats_lora.yaml")
    own = cfg.detector.values
    assert (cfg.fit.batch_size, cfg.fit.epochs) == (8, 25)
    assert own["optimiser"] == {"learning_rate": 1e-4, "weight_decay": 0.01, "warm_up_steps": 5000}
    assert own["network"]["pooling"] == "attentive" and own["network"]["lora"]["layers"] == [
        "q",
        "v",
    ]


def test_without_the_network_the_converter_is_named(made, tmp_path):
    cfg = config.load_config(lora_of(made, tmp_path, path="none.npz"))
    with pytest.raises(UserError, match=r"path names no file .*asd\.networks\.convert"):
        kinds.of(cfg, Paths(cfg, "dev"))
