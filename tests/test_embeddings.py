"""Embeddings of the frozen detector: networks from files, their layouts, and what is refused."""

from __future__ import annotations

import importlib.util
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from conftest import SAMPLE_RATE, call, clip_frames, frames_of, write_clip, write_config

import common
import keras_model
from asd import config, embeddings, files
from asd.detectors import kinds
from asd.embeddings import engines, layout
from asd.sections import Choice
from asd.tflite import litert
from common import UnusableClip, UserError

N_MELS, WIDTH, STEP = 128, 6, 40  # of the log-mel frames, of embeddings; samples of a wave's frame
KNN = {"kind": "knn", "distance": "euclidean", "neighbours": 1}
SUFFIXES = (".keras", ".tflite", ".onnx")


def weights(n_inputs):
    """Of a layer with ReLU, (n_inputs, WIDTH) and (WIDTH,) float32."""
    rng = np.random.default_rng(n_inputs)
    w = 0.1 * rng.standard_normal((n_inputs, WIDTH)) / np.sqrt(n_inputs)
    return w.astype(np.float32), rng.standard_normal(WIDTH).astype(np.float32)


def expected(frames):
    """The embedding of frames, (n, n_inputs), by NumPy: a layer with ReLU, its mean over time."""
    w, b = weights(frames.shape[1])
    return np.maximum(frames.astype(np.float64) @ w + b, 0).mean(axis=0)


def keras_network(shape, waves=False):
    """The same in Keras; shape without the batch."""
    keras_model.start_tensorflow(0)
    from keras import Input, Model, layers

    inputs = x = Input(shape)
    if waves:
        x = layers.Reshape((-1, STEP))(x)
    x = layers.Dense(WIDTH, activation="relu", name="dense")(x)
    model = Model(inputs, layers.GlobalAveragePooling1D()(x))
    model.get_layer("dense").set_weights(weights(STEP if waves else N_MELS))
    return model


def tflite_network(model, calibration=None):
    """A Keras model as TensorFlow converts it; int8 with a function that calibrates it."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if calibration:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = calibration
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def onnx_network(shape, waves=False, pooled=True, output=None, inputs=("x",), kind=1):
    """The same as ONNX; shape with the batch."""
    pytest.importorskip("onnx", reason="onnx makes the networks of this test")
    from onnx import helper, numpy_helper

    w, b = weights(STEP if waves else N_MELS)
    arrays = {"w": w, "b": b, "steps": np.array([1, -1, STEP] if pooled else [-1, STEP])}
    nodes = [helper.make_node("Reshape", ["x", "steps"], ["frames"])] if waves else []
    nodes += [
        helper.make_node("MatMul", ["frames" if waves else "x", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["y"]),
    ]
    if pooled:
        nodes.append(helper.make_node("ReduceMean", ["y"], ["mean"], axes=[1], keepdims=0))
    outputs = ["mean" if pooled else "y", *(output or [])]
    graph = helper.make_graph(
        nodes, "network",
        [helper.make_tensor_value_info(name, kind, shape) for name in inputs],
        [helper.make_tensor_value_info(name, 1, None) for name in outputs],
        [numpy_helper.from_array(values, name) for name, values in arrays.items()],
    )  # fmt: skip
    version = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[version], ir_version=9)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A folder with one function of log-mel frames as log_mel.*, one of samples as wave.*."""
    folder = tmp_path_factory.mktemp("networks")
    for name, shape, waves in (("log_mel", (None, N_MELS), False), ("wave", (1600,), True)):
        model = keras_network(shape, waves)
        model.save(folder / f"{name}.keras")
        (folder / f"{name}.tflite").write_bytes(tflite_network(model))
        if importlib.util.find_spec("onnx"):
            content = onnx_network((1, *(n or "n" for n in shape)), waves).SerializeToString()
            (folder / f"{name}.onnx").write_bytes(content)
    return folder


def network(path, takes, feature=None, **values):
    """The embedding that a YAML file would name."""
    if path.suffix == ".onnx":
        pytest.importorskip("onnxruntime", reason="onnxruntime runs the networks of this test")
    values = {"path": str(path), "input": takes, **values}
    choice = Choice(path.with_name("test.yaml"), "detector.embedding", "file", values)
    return embeddings.of(choice, feature or config.load_config().feature)


def recipe(data, path, takes="log_mel", **feature):
    """A YAML file of the frozen detector with a network."""
    embedding = {"kind": "file", "path": str(path), "input": takes}
    detector = {"kind": "frozen", "backend": KNN, "embedding": embedding}
    return write_config(data, detector=detector, feature=feature)


def whole(**changed):
    """The configuration's feature, of the whole of each clip."""
    values = {"central_frames": None} | changed
    return common.msgspec.structs.replace(config.load_config().feature, **values)


@pytest.mark.parametrize("takes", ["log_mel", "wave"])
def test_keras_tflite_and_onnx_of_one_function_are_the_same_detector(data, networks, takes, capsys):
    """Through the scripts, as a user runs them."""
    found = {}
    for suffix in SUFFIXES:
        if suffix == ".onnx" and not all(map(importlib.util.find_spec, ("onnx", "onnxruntime"))):
            continue
        path = recipe(data, networks / f"{takes}{suffix}", takes)
        assert call("00_train.py", "-d", "-c", path, "--overwrite") == 0
        assert call("01_test.py", "-d", "-c", path) == 0
        with np.load(data / "model/model_ToyTest.npz") as arrays:
            found[suffix] = arrays["embeddings"], files.read_csv(data / "result/result.csv")
    feature = config.load_config(path).feature
    for i, clip in enumerate(frames_of(data).clips):
        if takes == "log_mel":
            of_clip = expected(clip_frames(clip.path, feature))
        else:  # frames 4 to 43 see these samples; the last piece of 1600 ends with them
            samples = soundfile.read(clip.path, dtype="float32")[0][3 * 512 : 44 * 512]
            pieces = [*np.split(samples[:20800], 13), samples[-1600:]]
            of_clip = np.mean([expected(one.reshape(-1, STEP)) for one in pieces], axis=0)
        for vectors, _ in found.values():
            np.testing.assert_allclose(vectors[i], of_clip, rtol=1e-5, atol=1e-5)
    assert all(rows == found[".keras"][1] for _, rows in found.values())
    capsys.readouterr()
    assert call("02_convert.py", "-d", "-c", path) == 0
    assert "detector.kind frozen has nothing that becomes TFLite or C" in capsys.readouterr().out


def test_a_model_without_the_key_is_one_of_mean_mel_frames(data, capsys):
    detector = {"kind": "frozen", "backend": KNN}
    old = kinds.of(config.load_config(write_config(data, detector=detector)))
    assert old.made_of["detector"] == {"kind": "frozen"}
    assert old.rows.settings == old.made_of["feature"]
    assert call("00_train.py", "-d", "-c", data / "test.yaml") == 0
    write_config(data, detector=detector | {"embedding": {"kind": "mean_mel"}})
    assert call("00_train.py", "-d", "-c", data / "test.yaml") == 0
    assert "already trained" in capsys.readouterr().out
    assert call("01_test.py", "-d", "-c", data / "test.yaml") == 0


def test_a_changed_file_meets_neither_a_model_nor_a_store_of_the_old_one(data, networks, capsys):
    path = shutil.copy(networks / "log_mel.keras", data / "one.keras")
    recipe(data, path)
    assert call("00_train.py", "-d", "-c", data / "test.yaml") == 0
    before = kinds.of(config.load_config(data / "test.yaml"))
    other = keras_network((None, N_MELS))
    other.get_layer("dense").set_weights([2 * values for values in weights(N_MELS)])
    other.save(path)
    capsys.readouterr()
    for name in ("00_train.py", "01_test.py"):
        assert call(name, "-d", "-c", data / "test.yaml") == 1
        assert re.search(r"error: .*model_ToyTest\.npz: trained with detector\.embedding\."
                         r"file_sha256 \w{64}, the configuration says \w{64}; [^\n]*\n$",
                         capsys.readouterr().err)  # fmt: skip
    doubled, once = frames_of(data), before.rows.of(frames_of(data).clips[0].path).rows
    np.testing.assert_allclose(doubled[0], 2 * once, rtol=1e-5)
    shutil.move(shutil.copy(networks / "log_mel.keras", path), data / "moved.keras")
    recipe(data, data / "moved.keras")
    assert call("01_test.py", "-d", "-c", data / "test.yaml") == 0


def test_another_embedding_is_not_the_models(data, networks, capsys):
    recipe(data, networks / "log_mel.keras")
    assert call("00_train.py", "-d", "-c", data / "test.yaml") == 0
    write_config(data, detector={"kind": "frozen", "backend": KNN})
    assert call("01_test.py", "-d", "-c", data / "test.yaml") == 1
    assert "trained with detector.embedding." in capsys.readouterr().err


def test_a_network_is_loaded_once(networks, monkeypatch):
    first = engines.of_file(networks / "log_mel.tflite")
    monkeypatch.setitem(engines.ENGINES, ".tflite", None)
    assert engines.of_file(networks / "log_mel.tflite") is first


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_threads_do_not_disturb_each_other(networks, suffix):
    run = network(networks / f"log_mel{suffix}", "log_mel")._engine.run
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal((1, 20 + i % 5, N_MELS)).astype("f") for i in range(300)]
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(run, clips))
    for clip, output in zip(clips, outputs, strict=True):
        np.testing.assert_allclose(output[0], expected(clip[0]), rtol=1e-4, atol=1e-5)


def test_int8_networks_are_run_by_their_scales(tmp_path):
    rng = np.random.default_rng(0)
    clips = rng.normal(-50, 10, (20, 1, 40, N_MELS)).astype("f")
    model = keras_network((40, N_MELS))
    (tmp_path / "a.tflite").write_bytes(tflite_network(model, lambda: ([one] for one in clips)))
    run = network(tmp_path / "a.tflite", "log_mel")._engine.run
    for clip in clips:
        values = run(clip)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values[0], expected(clip[0]), atol=0.1)
    assert np.ptp([run(clip) for clip in clips]) > 1


# Layouts.


@pytest.mark.parametrize("shape", [(None,), (1, None), (None, None), (1, 1, None), (None, None, 1),
                                   (500,), (1, 500), (1, 500, 1)])  # fmt: skip
def test_waves_go_into_any_shape_that_is_theirs(shape):
    wave = np.arange(1200, dtype=np.float32)
    pieces = list(layout.of_waves(shape).inputs(wave))
    for piece in pieces:
        assert piece.ndim == len(shape)
        assert piece.size == max(piece.shape) == (500 if 500 in shape else 1200)
        assert all(n in (None, m) for n, m in zip(shape, piece.shape, strict=True))
    starts = [0, 500, 700] if 500 in shape else [0]
    assert [piece.flat[0] for piece in pieces] == starts
    for piece, start in zip(pieces, starts, strict=True):
        np.testing.assert_array_equal(piece.ravel(), wave[start : start + piece.size])


@pytest.mark.parametrize(
    ("shape", "mels_first"),
    [((None, 8), False), ((8, None), True), ((1, 8), False), ((8, 96), True), ((1, None, 8), False),
     ((None, 8, None), True), ((1, 96, 8, 1), False), ((None, None, 8, 1), False),
     ((1, 1, 8, 96), True), ((None, 1, 96, 8), False)],
)  # fmt: skip
def test_frames_go_into_any_shape_that_is_theirs(shape, mels_first):
    frames = np.random.default_rng(0).random((200, 8), np.float32)
    found = layout.of_frames(shape, 8)
    pieces = list(found.inputs(frames))
    length = {(1, 8): 1}.get(shape, 96 if 96 in shape else 200)
    assert len(pieces) == -(-200 // length)
    for i, piece in enumerate(pieces):
        assert all(n in (None, m) for n, m in zip(shape, piece.shape, strict=True))
        start = min(i * length, 200 - length)
        there = piece.reshape((8, length) if mels_first else (length, 8))
        wanted = frames[start : start + length]
        np.testing.assert_array_equal(there.T if mels_first else there, wanted)


def test_a_clip_that_is_shorter_than_the_network_takes_is_repeated():
    (piece,) = layout.of_waves((1, 10)).inputs(np.arange(4.0, dtype=np.float32))
    assert piece.tolist() == [[0, 1, 2, 3, 0, 1, 2, 3, 0, 1]]
    frames = np.array([[1, 2], [3, 4]], np.float32)
    (piece,) = layout.of_frames((1, 2, 5), 2).inputs(frames)
    assert piece.tolist() == [[[1, 3, 1, 3, 1], [2, 4, 2, 4, 2]]]
    whole_number = list(layout.of_waves((1, 2)).inputs(np.arange(4.0, dtype=np.float32)))
    assert [piece.tolist() for piece in whole_number] == [[[0, 1]], [[2, 3]]]


@pytest.mark.parametrize("shape", [(), (1,), (16, 500), (None, 1), (1, None, None), (1, 500, 2),
                                   (32, 500, 1), (1, 2, 3, 4, 5)])  # fmt: skip
def test_waves_of_an_unknown_layout_are_refused_with_the_shape(shape):
    said = re.escape(f"({', '.join('any' if n is None else str(n) for n in shape)})")
    with pytest.raises(UserError, match=f"^its input has the shape {said}, and .*; export it .*$"):
        layout.of_waves(shape)


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        ((None,), "log-mel frames are "),
        ((32, None, 8), "log-mel frames are "),
        ((1, 3, None, 8), "log-mel frames are "),
        ((1, 8), None),
        ((1, 1, 8), "log-mel frames are "),
        ((1, 96, 64), r"no axis of 8 mel bands \(feature\.n_mels\); set that to"),
        ((1, None, None), r"no axis of 8 mel bands \(feature\.n_mels\); export it with a fixed"),
        ((1, 8, 8, 1), "either axis of 8 may be the mel bands; export it for another number of"),
    ],
)
def test_frames_of_an_unknown_layout_are_refused_with_the_shape(shape, problem):
    if problem is None:
        assert layout.of_frames(shape, 8).length == 1
        return
    with pytest.raises(UserError, match=rf"^its input has the shape \(.*\), and {problem}.*$"):
        layout.of_frames(shape, 8)


@pytest.fixture
def fake(monkeypatch):
    """A function that makes an embedding of a function and its input's shape."""

    def make(run, shape=(1, None), width=None, takes="wave", feature=None, **values):
        engine = engines.Engine("0" * 64, shape, width, run)
        monkeypatch.setattr(engines, "of_file", lambda path: engine)
        monkeypatch.setattr(files, "is_file", lambda path: True)
        values = {"path": "net.onnx", "input": takes} | values
        return embeddings.of(Choice("a.yaml", "detector.embedding", "file", values),
                             feature or whole())  # fmt: skip

    return make


@pytest.mark.parametrize("shape", [(6,), (1, 6), (3, 6), (1, 3, 6)])
def test_several_vectors_become_one_by_pooling(fake, shape, tmp_path):
    values = np.random.default_rng(0).standard_normal(shape).astype("f")
    path = write_clip(tmp_path / "a.wav")
    by_hand = values.reshape(-1, 6)
    for pooling, pooled in (("mean", by_hand.mean(axis=0)), ("max", by_hand.max(axis=0))):
        rows = fake(lambda _: values, pooling=pooling).rows
        assert rows.width == 6
        np.testing.assert_allclose(rows.of(path).rows, [pooled], rtol=1e-6)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "unfinished.wav", "b.wav"])
def test_a_network_hears_every_sample_of_a_clip_and_nothing_else(fake, tmp_path, name):
    """Whatever the frames: of 16 bits, compressed, without its length, of floats."""
    kind = {"a.flac": {}, "b.wav": {"subtype": "FLOAT"}}.get(name, {})
    path = write_clip(tmp_path / name, n_samples=24001, **kind)
    samples = soundfile.read(path, dtype="float32")[0]
    if name == "unfinished.wav":
        content = bytearray(path.read_bytes())
        at = content.index(b"data") + 4
        content[at : at + 4] = bytes(4)
        path.write_bytes(content)
    heard = []

    def run(wave):
        heard.append(wave[0].copy())
        return wave[:, :2]

    for hop, n_fft in ((512, 1024), (700, 64), (7, 11)):
        fake(run, width=2, feature=whole(hop_length=hop, n_fft=n_fft)).rows.of(path)
        np.testing.assert_array_equal(heard.pop(), samples)
    fake(run, width=2, feature=whole(central_frames=(0, 5))).rows.of(path)
    np.testing.assert_array_equal(heard.pop(), samples[: 4 * 512 + 512])
    fake(run, width=2, feature=whole(central_frames=(40, 46))).rows.of(path)
    np.testing.assert_array_equal(heard.pop(), samples[39 * 512 : 46 * 512])


def test_a_store_of_samples_does_not_depend_on_mel_bands(fake):
    def settings(**changed):
        return fake(lambda x: x, width=2, feature=whole(**changed)).rows.settings

    assert settings() == settings(n_mels=64, power=1.0, n_fft=512, hop_length=100, frames=3)
    within = {"central_frames": (4, 44)}
    assert settings() != settings(**within) != settings(**within, hop_length=100)
    assert settings() != settings(sample_rate=8000)


# What is refused.


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        (np.zeros(()), r"its output has the shape \(\), and an embedding is"),
        (np.zeros((2, 3, 4)), r"its output has the shape \(2, 3, 4\), and an embedding is"),
        (np.zeros((1, 4, 1, 1)), r"its output has the shape \(1, 4, 1, 1\), and an embedding is"),
        (np.zeros((1, 0)), r"its output has the shape \(1, 0\), and an embedding is"),
        (np.zeros((1, 5)), "its output has 5 values for a clip and 4 for others"),
        (["text"], "does not run on a clip of the shape .*; use longer clips, or"),
    ],
)
def test_an_output_that_is_no_embedding_is_named(fake, tmp_path, output, problem):
    made = fake(lambda _: output, width=4)
    with pytest.raises(UserError, match=f"^net.onnx: .*{problem}.*$"):
        made.rows.of(write_clip(tmp_path / "a.wav"))


def test_a_clip_without_an_embedding_is_named_and_can_be_left_out(data, fake, capsys):
    quiet = data / "dev_data/ToyTest/train/normal_id_01_00000003.wav"
    soundfile.write(quiet, np.zeros(24000), SAMPLE_RATE)

    def run(wave):
        with np.errstate(invalid="ignore"):
            return wave[:, :4] / wave.std()

    fake(run, width=4)
    recipe(data, "net.onnx", "wave")
    for pooling in ("mean", "max"):
        with pytest.raises(UnusableClip, match=r"net\.onnx gives it .* that is not finite"):
            fake(run, width=4, pooling=pooling).rows.of(quiet)
    assert call("00_train.py", "-d", "-c", data / "test.yaml") == 1
    assert re.search(r"^error: .*normal_id_01_00000003.wav: net.onnx gives it an embedding that is "
                     r"not finite; replace it \(--skip-bad-clips goes on without\)$",
                     capsys.readouterr().err, re.MULTILINE)  # fmt: skip
    assert call("00_train.py", "-d", "-c", data / "test.yaml", "--skip-bad-clips") == 0


def test_a_clip_that_is_too_loud_for_the_power_is_no_fault_of_the_network(fake, tmp_path):
    made = fake(lambda x: x[0, :1], (1, None, 128), 128, "log_mel", whole(power=10.0, n_fft=4096))
    tone = 9 * np.sin(np.arange(24000) / 3)
    soundfile.write(tmp_path / "a.wav", tone, SAMPLE_RATE, "FLOAT")
    with pytest.raises(UnusableClip, match=r"too loud for feature\.power"):
        made.rows.of(tmp_path / "a.wav")


def test_a_network_that_does_not_run_ends_the_scripts_in_one_line(data, networks, capsys):
    """In the threads that compute a store."""
    model = keras_network((None, N_MELS))
    from keras import Input, Model, layers

    x = inputs = Input((None, N_MELS))
    x = layers.Conv1D(2, 60)(x)  # clips have 40 frames
    model = Model(inputs, layers.GlobalAveragePooling1D()(x))
    model.save(data / "long.keras")
    (data / "long.tflite").write_bytes(tflite_network(model))
    for suffix in (".keras", ".tflite"):
        recipe(data, data / f"long{suffix}")
        assert call("00_train.py", "-d", "-c", data / "test.yaml") == 1
        assert re.search(rf"error: \S*long{suffix}: it does not run on a clip of the shape "
                         r"\(1, 40, 128\) \(.*\); use longer clips, or export it .*\n$",
                         capsys.readouterr().err)  # fmt: skip


@pytest.mark.parametrize("kind", ["Conv1D", "dilated", "AveragePooling1D", "MaxPooling1D"])
def test_litert_is_not_given_less_than_a_kernel_takes(tmp_path, kind):
    """It would read beyond its memory, and die of that or not."""
    keras_model.start_tensorflow(0)
    from keras import Input, Model, layers

    layer, least = {
        "Conv1D": (layers.Conv1D(2, 5), 5),
        "dilated": (layers.Conv1D(2, 5, dilation_rate=3), 13),  # its shapes are known as it runs
        "AveragePooling1D": (layers.AveragePooling1D(7), 7),
        "MaxPooling1D": (layers.MaxPooling1D(7), 7),
    }[kind]
    inputs = Input((None, 8))
    model = Model(inputs, layers.GlobalAveragePooling1D()(layer(inputs)))
    (tmp_path / "a.tflite").write_bytes(tflite_network(model))
    run = engines.of_file(tmp_path / "a.tflite").run
    clip = np.random.default_rng(0).random((1, least + 10, 8), np.float32)
    for n in (least + 10, least, least + 1):
        wanted = model(clip[:, :n]).numpy()
        np.testing.assert_allclose(run(clip[:, :n]), wanted, rtol=1e-4, atol=1e-5)
    for n in (least - 1, 1):
        with pytest.raises(ValueError, match="a kernel of 1 x . on 1 x |LiteRT crashes on it"):
            run(clip[:, :n])
    np.testing.assert_allclose(run(clip), model(clip).numpy(), rtol=1e-4, atol=1e-5)


def test_integers_of_every_type_are_clamped_to_it():
    values = np.array([-1e6, -1, 0, 0.25, 1.5, 2.5, 1e6], np.float32)
    for kind, wanted in ((np.int8, [-128, 2, 3, 3, 4, 6, 127]), (np.uint8, [0, 2, 3, 3, 4, 6, 255]),
                         (np.int16, [-32768, 2, 3, 3, 4, 6, 32767])):  # fmt: skip
        integers = litert.to_integers(values, 1.0, 3, kind)
        assert integers.dtype == kind
        assert integers.tolist() == [*wanted[:4], 5, 5, wanted[-1]]
        assert litert.to_float(integers, 2.0, 3)[1:4].tolist() == [-2, 0, 0]


def test_files_that_are_no_network_are_named_by_the_yaml(data):
    (data / "folder.keras").mkdir()
    named = r"test\.yaml: key detector\.embedding: path names no"
    for name in ("a.onnx", "folder.keras", "a\nb.tflite", 300 * "a" + ".onnx"):
        recipe(data, data / name)
        with pytest.raises(UserError, match=rf"{named} file that is there; put .*: ") as said:
            kinds.of(config.load_config(data / "test.yaml"))
        assert str(said.value).isprintable()
    for name in ("a.pt", "a.h5", "a", ".onnx"):
        (data / name).touch()
        recipe(data, data / name)
        with pytest.raises(UserError, match=rf"{named} network \(\.keras, \.tflite, \.onnx\): "):
            kinds.of(config.load_config(data / "test.yaml"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files_are_named(tmp_path, networks, suffix):
    content = (path := networks / f"log_mel{suffix}").exists() and path.read_bytes()
    damaged = [b"", b"nothing of the kind " * 20]
    if content:
        damaged += [content[:40], content[: len(content) // 2], content[: len(content) - 30]]
        swapped = networks / f"log_mel{SUFFIXES[SUFFIXES.index(suffix) - 2]}"
        damaged += [swapped.read_bytes()] if swapped.exists() else []
    for i, some in enumerate(damaged):
        (tmp_path / f"{i}{suffix}").write_bytes(some)
        with pytest.raises(UserError) as raised:
            network(tmp_path / f"{i}{suffix}", "log_mel")
        assert re.fullmatch(rf"\S+/{i}\{suffix}: [^\n]+; [^\n]+", str(raised.value))


def test_keras_networks_of_another_make_are_named(tmp_path):
    keras_model.start_tensorflow(0)
    from keras import Input, Model, layers, ops

    a, b, words = Input((None, N_MELS)), Input((None, N_MELS)), Input((None, 8), dtype="int32")
    hidden = layers.Lambda(lambda x: ops.sum(x, axis=1))(a)
    made = {
        r"it has 2 inputs, and one is needed": Model([a, b], layers.Add()([a, b])),
        r"it has 2 outputs, and one is needed": Model(a, [a, layers.ReLU()(a)]),
        r"its input is of int32; one of float32": Model(words, layers.Embedding(3, 4)(words)),
        r"not a readable Keras model \(.*\); save it anew": Model(a, hidden),
    }
    for i, (problem, model) in enumerate(made.items()):
        model.save(tmp_path / f"{i}.keras")
        with pytest.raises(UserError, match=rf"^\S+/{i}\.keras: {problem}.*$"):
            engines.of_file(tmp_path / f"{i}.keras")
    two = tmp_path / "two.tflite"
    two.write_bytes(tflite_network(made["it has 2 inputs, and one is needed"]))
    with pytest.raises(UserError, match=r"/two\.tflite: it has 2 inputs, and one is needed"):
        engines.of_file(two)


def test_onnx_networks_of_another_make_are_named(tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime runs the networks of this test")
    shape = (1, "n", N_MELS)
    made = {
        r"it has 2 inputs, and one is needed": onnx_network(shape, inputs=("x", "z")),
        r"it has 2 outputs, and one is needed": onnx_network(shape, output=["sum"]),
        r"not an ONNX model that onnxruntime .* runs \(.*\); ": onnx_network(shape, kind=7),
    }
    for i, (problem, model) in enumerate(made.items()):
        (tmp_path / f"{i}.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(UserError, match=rf"^\S+/{i}\.onnx: {problem}.*$"):
            engines.of_file(tmp_path / f"{i}.onnx")


def test_weights_in_another_file_are_refused_as_they_could_change_unseen(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="onnxruntime runs the networks of this test")
    onnx = pytest.importorskip("onnx", reason="onnx makes the networks of this test")
    monkeypatch.chdir(tmp_path)
    how = {"save_as_external_data": True, "location": "a.data", "size_threshold": 10}
    onnx.save(onnx_network((1, "n", N_MELS)), "a.onnx", **how)
    with pytest.raises(UserError, match=r"a\.onnx: its weights are in another file; make it one"):
        engines.of_file(tmp_path / "a.onnx")
    onnx.save(onnx.load("a.onnx"), "one.onnx")
    assert engines.of_file(tmp_path / "one.onnx").shape == (1, None, N_MELS)


def test_onnx_vectors_of_steps_in_time_are_pooled_here(tmp_path):
    """As those of a network that takes (samples,), and does not tell its output's shape."""
    model = onnx_network(("n",), waves=True, pooled=False)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    path = write_clip(tmp_path / "a.wav")
    made = network(tmp_path / "a.onnx", "wave", whole())
    samples = soundfile.read(path, dtype="float32")[0]
    of_clip = expected(samples.reshape(-1, STEP))
    np.testing.assert_allclose(made.rows.of(path).rows, [of_clip], rtol=1e-5)


def test_without_onnxruntime_the_remedy_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(UserError, match=r"^\S+/a\.onnx: ONNX .* -m pip install -r (\S+)$") as said:
        engines.of_file(tmp_path / "a.onnx")
    file = common.Path(str(said.value).split()[-1])
    assert re.search(r"^onnxruntime==\S+", file.read_text(), re.MULTILINE)


def test_wrong_keys_are_named(data):
    wrong = {
        "detector.embedding.kind": {"kind": "fil"},
        "detector.embedding.path": {"kind": "file", "input": "wave"},
        "detector.embedding.input": {"kind": "file", "path": "a.onnx", "input": "mfcc"},
        "detector.embedding.pooling": {"kind": "file", "path": "a.onnx", "input": "wave",
                                       "pooling": "median"},
        "detector.embedding.paht": {"kind": "file", "paht": "a.onnx"},
        "detector.embedding": "mean_mel",
    }  # fmt: skip
    for key, values in wrong.items():
        write_config(data, detector={"kind": "frozen", "backend": KNN, "embedding": values})
        with pytest.raises(UserError, match=rf"test\.yaml: .*key {re.escape(key)}\b"):
            kinds.of(config.load_config(data / "test.yaml"))


def test_a_keras_network_is_compiled_with_its_weights_as_constants_unless_they_are_large(
    monkeypatch,
):
    keras_model.start_tensorflow(0)
    import keras
    import tensorflow as tf

    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    spec = tf.TensorSpec((None, 8, 8, 1), tf.float32)
    values = tf.constant(np.random.default_rng(0).standard_normal((1, 8, 8, 1)), tf.float32)
    (embedding,) = (call := engines.constant(model, spec))(values)
    assert not [one.type for one in call.graph.get_operations() if "Variable" in one.type]
    np.testing.assert_allclose(embedding, model(values), rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(
        engines, "CONSTANT_BYTES", sum(4 * w.numpy().size for w in model.weights) - 1
    )
    (large,) = (call := engines.constant(model, spec))(values)
    graph = call.get_concrete_function().graph
    assert [one.type for one in graph.get_operations() if "Variable" in one.type]
    np.testing.assert_allclose(large, embedding, rtol=1e-5, atol=1e-6)
