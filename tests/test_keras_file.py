"""Keras files from strangers: what they may hold, and how the rest is refused."""

import io
import json
import zipfile

import h5py
import numpy as np
import pytest

import keras_model
from asd import config
from asd.detectors import kinds
from asd.tflite import keras_file
from common import UserError
from tests import fuzz, fuzz_models


@pytest.fixture(scope="module", autouse=True)
def tensorflow():
    keras_model.start_tensorflow(0)


def load(path):
    detector = kinds.of(config.load_config())
    detector.load(path)
    return detector


def refusal(path):
    with pytest.raises(UserError) as caught:
        load(path)
    line = str(caught.value)
    assert line.startswith(str(path))
    assert len(line.splitlines()) == 1
    return line


@pytest.fixture
def legacy(tmp_path):
    """A whole .h5 file."""
    path = tmp_path / "model_ToyTest.h5"
    path.write_bytes(fuzz_models.whole()[".h5"])
    load(path)
    return path


KERNEL = "model_weights/dense/dense/kernel"


def replaced(path, make):
    """The file with another first kernel, made by a function of its group."""
    with h5py.File(path, "r+") as file:
        (name,) = [n for n in file["model_weights/dense"].attrs["weight_names"] if "kernel" in n]
        group = file["model_weights/dense"]
        values = group[name][()]
        del group[name]
        parent, _, last = name.rpartition("/")
        make(group.require_group(parent) if parent else group, last, values)
    return path


def elsewhere(group, name, values):
    """Its bytes are in another file."""
    there = group.file.filename + ".secret"
    values.astype("<f4").tofile(there)
    group.create_dataset(name, values.shape, "f4", external=[(there, 0, values.nbytes)])


def external_link(group, name, values):
    with h5py.File(group.file.filename + ".other", "w") as other:
        other["kernel"] = values
    group[name] = h5py.ExternalLink(group.file.filename + ".other", "kernel")


def virtual(group, name, values):
    with h5py.File(group.file.filename + ".other", "w") as other:
        other["kernel"] = values
    layout = h5py.VirtualLayout(values.shape, "f4")
    layout[:] = h5py.VirtualSource(group.file.filename + ".other", "kernel", values.shape)
    group.create_virtual_dataset(name, layout)


def huge(group, name, values):
    """24 GB of zeros that take no place in the file."""
    group.create_dataset(name, (80_000, 80_000), "f4", chunks=(1000, 1000), compression="gzip")


HOSTILE = {
    "bytes of another file": (elsewhere, "is stored in another file"),
    "a link to another file": (external_link, "is a link"),
    "a link within the file": (
        lambda group, name, _: group.__setitem__(name, h5py.SoftLink("/model_weights")),
        "is a link",
    ),
    "a virtual array of another file": (virtual, "neither in one piece nor in chunks"),
    "24 GB": (huge, "arrays have more than 268,435,456 bytes"),
    "complex": (lambda g, n, v: g.__setitem__(n, v.astype("c8")), "of the type complex64"),
    "texts": (lambda g, n, _: g.__setitem__(n, ["a", "b"]), "of the type"),
    "no shape": (lambda g, n, _: g.__setitem__(n, h5py.Empty("f4")), "of the type float32"),
    "seven dimensions": (
        lambda g, n, _: g.__setitem__(n, np.zeros((1,) * 7, "f4")), "has 7 dimensions",
    ),
    "a loop of groups": (lambda g, n, _: g.__setitem__(n, g.file["model_weights"]), "there twice"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_arrays_are_plain_and_of_the_file_itself(legacy, what):
    make, expected = HOSTILE[what]
    with fuzz.bounded():
        assert expected in refusal(replaced(legacy, make))


def odd_shapes():
    yield lambda values: values.T
    yield lambda values: values[:-1]
    yield lambda values: values[None]
    yield lambda values: values[:, :0]


@pytest.mark.parametrize("odd", odd_shapes())
def test_arrays_have_the_shapes_of_the_configuration(legacy, odd):
    assert refusal(replaced(legacy, lambda group, name, v: group.__setitem__(name, odd(v))))


def rewritten(path, **members):
    """A .keras file with some members exchanged."""
    with zipfile.ZipFile(io.BytesIO(fuzz_models.whole()[".keras"])) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in (contents | members).items():
            new.writestr(name, content)
    return path


def configuration():
    with zipfile.ZipFile(io.BytesIO(fuzz_models.whole()[".keras"])) as archive:
        return json.loads(archive.read("config.json"))


def with_units(units):
    config = configuration()
    for one in config["config"]["layers"]:
        if one["class_name"] == "Dense" and one["config"]["units"] != 640:
            one["config"]["units"] = units
    return json.dumps(config)


@pytest.mark.parametrize("content", [
    b"", b"null", b"[]", b"{}", b'{"config": {"layers": []}}', b'{"config": {"layers": [3]}}',
    b"[" * 100_000, b'{"config": {"layers": [{"class_name": "Dense", "config": 3}]}}', b"\xff\xfe",
    b'{"config": 1' + b"0" * 5000 + b"}", b" " * (keras_file.MOST_CONFIG_BYTES + 1),
    b'{"config": {"layers": [{"class_name": "Dense", "config": {"name": [[]]}}]}}',
    b'{"config": {"layers": [{"class_name": "D", "config": {"units": Infinity}}]}}',
    b'{"config": {"layers": [{"class_name": "D", "config": {"units": ' + b"[" * 600 + b"]" * 600
    + b"}}]}}",
])  # fmt: skip
def test_a_configuration_that_is_none(tmp_path, content):
    refusal(rewritten(tmp_path / "model_ToyTest.keras", **{"config.json": content}))


def test_a_configuration_that_asks_for_more_memory_than_there_is(tmp_path):
    path = tmp_path / "model_ToyTest.keras"
    assert path == rewritten(path) and load(path)
    with fuzz.bounded():
        for units in (65_536, 10**9, 10**30, 1e308):
            assert "may need more" in refusal(rewritten(path, **{"config.json": with_units(units)}))


def test_a_bomb_in_an_archive(tmp_path):
    zeros = bytes(3 * keras_file.MOST_BYTES)
    for name in ("config.json", "model.weights.h5"):
        path = rewritten(tmp_path / "model_ToyTest.keras", **{name: zeros})
        assert path.stat().st_size < 1_000_000
        assert f"{name} has more than" in refusal(path)


def test_code_in_a_model_is_not_run(tmp_path):
    from keras import Input, Model, layers

    inputs = Input((640,))
    double = layers.Lambda(lambda x: 2 * x, output_shape=(640,))
    harmless = Model(inputs, double(layers.Dense(640)(inputs)))
    for suffix in (".keras", ".h5"):
        path = tmp_path / f"model_ToyTest{suffix}"
        harmless.save(path)
        assert "not a readable Keras model" in refusal(path)


@pytest.mark.parametrize("mode", ["int8", "float8", "int4"])
def test_a_quantised_model_is_named(tmp_path, mode):
    model = keras_model.build(640, (8, 4, 8))
    model.quantize(mode)
    path = tmp_path / "model_ToyTest.keras"
    model.save(path)
    line = refusal(path)
    assert f"is quantised ({mode}" in line
    assert "a model of floats is needed" in line


def test_two_outputs_are_named(tmp_path):
    from keras import Input, Model, layers

    inputs = Input((640,))
    x = layers.Dense(640)(inputs)
    for suffix in (".keras", ".h5"):
        path = tmp_path / f"model_ToyTest{suffix}"
        Model(inputs, [x, layers.Dense(640)(x)]).save(path)
        assert "it has 2 outputs; one is needed" in refusal(path)


def test_a_model_of_mixed_precision_is_run_in_float32_and_that_is_said(tmp_path, capsys):
    from keras import Input, Model, layers

    inputs = Input((640,))
    x = layers.Dense(8, dtype="mixed_float16", activation="relu")(inputs)
    path = tmp_path / "model_ToyTest.keras"
    Model(inputs, layers.Dense(640, dtype="mixed_float16")(x)).save(path)
    predict = load(path).predictor()
    assert predict(fuzz_models.WINDOWS).dtype == np.float32
    told = capsys.readouterr().out
    assert told == f"{path}: its layers compute in mixed_float16, here in float32\n"


def test_random_damage():
    outcomes = fuzz.tried(fuzz_models.attempt, 100, seed=3)
    assert outcomes["refused"] > 50
