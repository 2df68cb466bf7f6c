"""Networks for the microcontroller: front end and body, their TFLite files, centres, the front."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import pytest
from conftest import UNITS, call, write_config
from test_embedding import DETECTOR, FIT, year_2023

import common
import keras_model
from asd import cli, files
from asd.backends import centres
from asd.evaluation import front
from asd.sections import Choice
from asd.tflite import body, flatbuffer, fold, keras_chain, macs, reader
from asd.tflite.convert import MCU, convert
from common import UserError

keras_model.start_tensorflow(0)

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from asd.networks import kinds, parts, patches, student  # noqa: E402
from asd.networks.settings import Student  # noqa: E402

RATE, N = 16000, 40000  # Hz; samples, 79 frames of 512
SMALL = {"channels": [8, 8], "steps": [1, 2], "size": 16}
NETWORKS = {
    "student": SMALL,
    "multiresnet": {"width": 8, "n_ffts": [2048], "fft": True, "gap": True},
    "mean_mel": {"n_mels": 32, "hidden": [16], "size": 8},
}
LENGTHS = {"student": N, "multiresnet": 72000, "mean_mel": N}  # samples
COUNTS = {"student": (3, 1), "multiresnet": (1, 2), "mean_mel": (1, 1)}  # rows a clip, tensors
FLOAT = body.NETWORK_VARIANTS[0]


def network_of(kind):
    """A network whose normalisations have seen something."""
    n_samples = LENGTHS[kind]
    keras.utils.set_random_seed(1)
    network = kinds.build(Choice(None, "network", kind, NETWORKS[kind]), n_samples, RATE)
    for _ in range(5):
        network(waves(n_samples=n_samples), training=True)
    return network


def waves(n=3, n_samples=N, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((n, n_samples)) * rng.uniform(0.2, 1, (n, 1))).astype("f4")


SIGNALS = {
    "noise": waves(1)[0],
    "a tone, whose quiet bands float32 would fill": np.float32(
        0.5 * np.sin(2 * np.pi * 1000 * np.arange(N) / RATE)
    ),
    "silence": np.zeros(N, np.float32),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_patches_are_the_frames_of_the_scripts(name):
    layer = patches.LogMelPatches(RATE, 32, 1024, 512, 32, 32)
    wave, half = SIGNALS[name], 512
    frames = common.log_mel(np.pad(wave, (half, half)), layer.feature)  # (79, 32), dB
    found = layer(tf.constant(wave[None])).numpy()
    assert found.shape == (3, 32, 32) == layer.compute_output_shape((1, N))
    for patch, start in zip(found, (0, 32, 47), strict=True):  # the last ends with the clip
        np.testing.assert_allclose(patch, frames[start : start + 32], atol=1e-3)


def test_patches_cover_the_clip():
    assert patches.starts(64, 32, 32).tolist() == [0, 32]
    assert patches.starts(65, 32, 16).tolist() == [0, 16, 32, 33]
    with pytest.raises(ValueError, match="31 frames"):
        patches.starts(31, 32, 32)
    with pytest.raises(UserError, match="network.frames 32: it takes 15872 or more"):
        student.build(Student(), 15871, RATE)
    assert student.build(Student(), 15872, RATE).output_shape == (None, 64)


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_parts_are_the_network(tmp_path, kind):
    network_of(kind).save(tmp_path / "one.keras")
    network = keras.models.load_model(tmp_path / "one.keras", compile=False)
    split = parts.split(network)
    heard = waves(n_samples=LENGTHS[kind])
    tensors = split.tensors(heard)
    count = COUNTS[kind][0]
    assert (split.n_rows, len(tensors)) == COUNTS[kind]
    rows = split.body(tensors, training=False)
    expected = network(heard, training=False)
    found = np.reshape(rows, (3, count, -1)).mean(axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not split.front.trainable_variables, "what is learnt is in the body"


def test_dense_layers_look_at_mean_levels():
    """By formula, from the log-mel frames of the scripts."""
    network = network_of("mean_mel")
    split, heard = parts.split(network), waves()
    feature = network.get_layer("frames").feature
    levels = np.stack([common.log_mel(np.pad(one, 512), feature).mean(0) for one in heard])

    def normalised(x, name):
        norm = network.get_layer(name)
        mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
        gamma, beta = (norm.gamma.numpy(), norm.beta.numpy()) if norm.affine else (1, 0)
        return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta

    x = np.clip(normalised(levels, "bands"), -3, 3)
    np.testing.assert_allclose(split.tensors(heard)[0], x, atol=1e-3)
    x = np.clip(normalised(x @ network.get_layer("d0").kernel.numpy(), "d0.bn"), 0, 6)
    last = network.get_layer("embed")
    x = x @ last.kernel.numpy() + last.bias.numpy()
    np.testing.assert_allclose(network(heard), x, atol=1e-3)


def test_a_network_without_front_end_is_told():
    inputs = keras.Input((8,))
    with pytest.raises(UserError, match="has no front end that could stay outside"):
        parts.split(keras.Model(inputs, keras.layers.Dense(2)(inputs)))


def rows_of(split, seed):
    n_samples = split.front.input_shape[-1]
    tensors = [one.numpy() for one in split.tensors(waves(8, n_samples, seed))]
    return lambda: body.rows_of(tensors, split.names)


def embedded(path, split, seed):
    run = body.runner(path)
    return np.concatenate([run(row) for row in rows_of(split, seed)()])


@pytest.mark.parametrize("kind", NETWORKS)
def test_bodies_become_tflite(tmp_path, kind):
    split = parts.split(network_of(kind))
    tensors = split.tensors(waves(8, LENGTHS[kind], 2))
    expected = split.body(tensors, training=False).numpy()
    path = tmp_path / "body.tflite"
    for variant, most in ((FLOAT, 1e-4), (MCU, 0.1)):
        content = body.convert(split, variant, rows_of(split, 1))
        path.write_bytes(content)
        error = np.linalg.norm(embedded(path, split, 2) - expected, axis=1)
        assert (error <= most * np.linalg.norm(expected, axis=1)).all(), variant
    facts = reader.describe(content)
    assert {one["type"] for one in facts["inputs"] + facts["outputs"]} == {"int8"}
    assert len(facts["inputs"]) == len(split.names) and facts["weights"]["per_channel"]
    names = {one["name"] for one in facts["operators"]}
    assert not names & {"QUANTIZE", "DEQUANTIZE"}, "integers throughout"


def test_an_operator_that_tflite_lacks_is_named():
    @keras.saving.register_keras_serializable("test")
    class Cholesky(keras.layers.Layer):
        def call(self, x):
            return tf.linalg.cholesky(x)

    inputs = keras.Input((N,))
    layer = patches.LogMelPatches(RATE, 8, 1024, 512, 8, 8)
    x = keras.layers.Flatten()(Cholesky()(layer(inputs)))
    split = parts.split(keras.Model(inputs, patches.MeanOfPatches(10)(x)))
    with pytest.raises(UserError, match=r"\(float32\) has no operator for tf.Cholesky; ") as told:
        body.convert(split, FLOAT)
    assert "\n" not in str(told.value)


def test_weights_of_convolutions_have_a_scale_per_channel():
    inputs = keras.Input((N,))
    layer = patches.LogMelPatches(RATE, 8, 1024, 512, 8, 8)
    images = keras.layers.Reshape((8, 8, 1))(layer(inputs))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(images))
    split = parts.split(keras.Model(inputs, patches.MeanOfPatches(10)(x)))
    content = body.convert(split, MCU, rows_of(split, 1))
    assert reader.describe(content)["weights"]["per_channel"]
    _, graph = flatbuffer.parsed(content)
    (weights,) = (one for one in graph.tensors if list(one.shape) == [4, 3, 3, 1])
    assert len(set(weights.quantization.scale)) == 4


class Clips:
    """Clips that remember which were read."""

    def __init__(self):
        self.read = []

    def wave(self, i):
        self.read.append(i)
        return waves(8, seed=3)[i]


def test_calibration_is_drawn_by_the_seed_from_the_clips_given():
    split, clips = parts.split(network_of("student")), Clips()
    drawn = []
    for seed in (0, 0, 1):
        count, rows = body.calibration(split, clips, [1, 4, 6], 5, seed)
        drawn.append([row["patches"].tobytes() for row in rows()])
        assert count == len(drawn[-1]) == 5
    assert drawn[0] == drawn[1] != drawn[2]
    assert body.convert(split, MCU, rows) == body.convert(split, MCU, rows), "the same bytes"
    assert set(clips.read) == {1, 4, 6}
    count, rows = body.calibration(split, clips, [1, 4, 6], 500, 0)
    tensors = [split.tensors(waves(8, seed=3)[i][None])[0].numpy() for i in (1, 4, 6)]
    found = np.concatenate([row["patches"] for row in rows()])
    np.testing.assert_array_equal(found, np.concatenate(tensors))


def test_multiply_accumulates_are_those_of_the_layers():
    chain = keras_chain.of_model(keras_model.build(640, UNITS))
    windows = np.random.default_rng(0).normal(-20, 5, (50, 640)).astype("f4")
    assert macs.multiply_accumulates(convert(fold.fold_batch_norm(chain), MCU, windows)) == 264_192
    split = parts.split(network_of("student"))
    stem, first = 16 * 16 * 8 * 9, 16 * 16 * 8 * (9 + 8)
    second, dense = 8 * 8 * 8 * (9 + 8), 8 * 16
    for variant in body.NETWORK_VARIANTS:
        content = body.convert(split, variant, rows_of(split, 1))
        assert macs.multiply_accumulates(content) == stem + first + second + dense


def test_the_students_own_size_fits():
    split = parts.split(student.build(Student(), 160_000, RATE))
    tensors = [np.random.default_rng(0).uniform(-3, 3, (8, 32, 32)).astype("f4")]
    content = body.convert(split, MCU, lambda: body.rows_of(tensors, split.names))
    assert len(content) < 100_000 and macs.multiply_accumulates(content) < 2_000_000


EMBEDDINGS = np.random.default_rng(5).normal(size=(60, 16)).astype("f4")
DOMAINS = ["source"] * 50 + ["target"] * 10


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "half_chord"])
def test_centres_stand_for_clips(tmp_path, distance):
    kept = {kind: centres.fit(EMBEDDINGS, DOMAINS, 4, kind, distance)
            for kind in ("int8", "float32")}  # fmt: skip
    exact, small = kept["float32"], kept["int8"]
    assert len(exact.vectors) == len(small.vectors) == 4 + 10, "target clips are kept"
    assert small.bytes == 14 * 16 + (14 * 4 if distance == "euclidean" else 0)
    assert exact.bytes == 14 * 16 * 4
    np.testing.assert_allclose(exact.score(EMBEDDINGS)[50:], 0, atol=1e-6)
    others = np.random.default_rng(6).normal(size=(20, 16)).astype("f4")
    scale = exact.score(others).mean()
    np.testing.assert_allclose(small.score(others), exact.score(others), atol=0.02 * scale)
    small.save(tmp_path / "centres.npz")
    again = centres.load(tmp_path / "centres.npz")
    np.testing.assert_array_equal(again.score(others), small.score(others))


@pytest.mark.parametrize(("embeddings", "domains", "count"), [
    (np.repeat(EMBEDDINGS[:2], 5, axis=0), ["source"] * 10, 2),
    (EMBEDDINGS[:3], ["target"] * 3, 3),
    (EMBEDDINGS[:1], [""], 1),
])  # fmt: skip
def test_few_clips_have_few_centres(embeddings, domains, count):
    kept = centres.fit(embeddings, domains, 16, "int8", "cosine")
    assert len(kept.vectors) == count
    np.testing.assert_allclose(kept.score(embeddings), 0, atol=1e-3)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no centres", None])
def test_damaged_centres_are_told(tmp_path, content):
    path = tmp_path / "centres.npz"
    if content is None:
        np.savez(path, vectors=np.zeros((2, 3), "i8"), scales=np.ones(2), distance="cosine")
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match="no readable centres .*run 02_convert.py"):
        centres.load(path)


def point(bytes_, clip_macs, auc):
    return front.Point("one", "embedding", 1, auc, None, bytes_, 0, clip_macs, 1.0)


def test_the_front_is_what_nothing_beats():
    points = [point(10, 10, 0.7), point(20, 5, 0.6), point(20, 20, 0.7), point(30, 30, 0.9),
              point(30, 30, 0.9)]  # fmt: skip
    assert [one.is_best for one in front.marked(points)] == [True, True, False, True, True]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A folder with a student and an auto-encoder that have gone through the scripts."""
    folder = year_2023(tmp_path_factory.mktemp("student"))
    network = {"kind": "student", "frames": 16, "step": 16} | SMALL
    student_yaml = written(folder, "student", detector=DETECTOR | {"network": network}, fit=FIT)
    (folder / "dense").mkdir()
    dense_yaml = written(folder, "dense", fit={"epochs": 1})
    outs = []
    for name, path in itertools.product(
        ("00_train.py", "01_test.py", "02_convert.py"), (student_yaml, dense_yaml)
    ):
        outs.append(call(name, "-d", "-c", path))
    assert not any(outs)
    for path in (student_yaml, dense_yaml):
        # So little training need not hold the bars; all that is compared is written all the same.
        assert call("03_tflite_test.py", "-d", "-c", path, "--boards", "none") in (0, 1)
    return folder


def written(folder, name, **values):
    parity = {"per_channel": {"score_max": None, "score_median": 0.5, "auc_drop": 1.0}}
    path = write_config(folder, corpus="dcase2023", experiment=name,
                        feature={"central_frames": None}, parity=parity, **values)  # fmt: skip
    return path.rename(folder / f"{name}.yaml")


def test_the_scripts(converted, tmp_path, capsys):
    model, result = converted / "model/student", converted / "result/student"
    record = files.read_json(model / f"model_all{MCU.suffix}.tflite.json")
    assert record["calibration"]["clips"] == 12 and record["calibration"]["seed"] == 0
    assert record["rows"] == 2 and record["samples"] == RATE
    rows = files.read_csv(result / "parity.csv")
    assert [(row[0], row[1]) for row in rows[1:]] == [
        (variant.suffix, name) for name in ("fan", "valve") for variant in body.NETWORK_VARIANTS
    ]
    assert [float(row[4]) < 1e-4 for row in rows[1:]] == [True, False] * 2
    header, *rows = files.read_csv(result / "embeddings.csv")
    assert header[:2] == ["variant", "machine_type"] and len(rows) == 4
    assert all(float(row[-1]) > 0.9 for row in rows)
    with np.load(model / "model_fan_centres.npz") as arrays:
        assert arrays["vectors"].shape == (4 + 2, 16) and arrays["vectors"].dtype == np.int8
    again = {path: path.read_bytes() for path in model.glob("*.tflite")}
    assert call("02_convert.py", "-d", "-m", "fan", "-c", converted / "student.yaml") == 0
    assert {path: path.read_bytes() for path in again} == again, "by the clips of all types"
    assert call("03_tflite_test.py", "-d", "-m", "fan", "-c", converted / "student.yaml") == 0
    assert "PARITY KEPT in all 2 comparisons" in capsys.readouterr().out


def test_the_front(converted, tmp_path, capsys):
    both = [
        part for name in ("student", "dense") for part in ("-c", str(converted / f"{name}.yaml"))
    ]
    assert cli.run(lambda: front.main(["-d", *both, "--out", str(tmp_path)])) == 0
    header, *rows = files.read_csv(tmp_path / "front.csv")
    values = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    own, dense = values["student"], values["dense"]
    sizes = {name: (converted / f"model/{name}").glob(f"*{MCU.suffix}.tflite")
             for name in values}  # fmt: skip
    assert {name: int(row["model_bytes"]) for name, row in values.items()} == {
        name: max(path.stat().st_size for path in paths) for name, paths in sizes.items()
    }
    assert int(dense["inference_macs"]) == 264_192
    assert float(dense["inferences_a_clip"]) == 14  # windows of 5 of 18 frames
    assert float(own["inferences_a_clip"]) == 2 and int(own["beside_bytes"]) == 6 * 16
    results = files.read_csv(converted / f"result/dense/tflite{MCU.suffix}_result.csv")
    averages = [float(row[1]) for row in results if row and row[0] == "Average"]
    assert float(dense["auc"]) == pytest.approx(np.mean(averages))
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    assert "dense" in capsys.readouterr().out


def test_the_front_takes_no_other_files_scores(converted, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(converted, copy)
    yaml = written(copy, "dense", fit={"epochs": 1})
    source = copy / f"result/dense/tflite{MCU.suffix}_anomaly_score_fan_dev.json"
    record = files.read_json(source)
    files.write_json(source, record | {"sha256": "0" * 64})
    command = ["-d", "-c", str(yaml), "--out", str(copy)]
    assert cli.run(lambda: front.main(command)) == 1
    assert "run 03_tflite_test.py" in capsys.readouterr().err
    source.unlink()
    assert cli.run(lambda: front.main(command)) == 1
    assert "run 03_tflite_test.py" in capsys.readouterr().err


def test_centres_of_another_model_are_not_taken(converted, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(converted, copy)
    network = {"kind": "student", "frames": 16, "step": 16} | SMALL
    yaml = written(copy, "student", detector=DETECTOR | {"network": network}, fit=FIT)
    fan, valve = (copy / f"model/student/model_{name}_centres.npz" for name in ("fan", "valve"))
    fan.write_bytes(valve.read_bytes())
    assert call("03_tflite_test.py", "-d", "-c", yaml) == 1
    assert "model_fan_centres.npz: damaged, or not the file" in capsys.readouterr().err
    for one in (fan, fan.with_suffix(".json")):
        one.write_bytes(one.with_name(one.name.replace("fan", "valve")).read_bytes())
    assert call("03_tflite_test.py", "-d", "-c", yaml) == 1
    assert "made from another model than" in capsys.readouterr().err


@pytest.mark.parametrize(("convert", "named"), [
    ({"dense_weights": "per_tensor"}, "convert.dense_weights: per_tensor"),
    ({"reference_fold": True}, "convert.reference_fold: true"),
])  # fmt: skip
def test_what_is_for_dense_chains_is_refused(converted, tmp_path, capsys, convert, named):
    copy = tmp_path / "copy"
    shutil.copytree(converted, copy)
    network = {"kind": "student", "frames": 16, "step": 16} | SMALL
    yaml = written(copy, "student", detector=DETECTOR | {"network": network}, fit=FIT,
                   convert=convert)  # fmt: skip
    assert call("02_convert.py", "-d", "-c", yaml) == 1
    assert named in capsys.readouterr().err
