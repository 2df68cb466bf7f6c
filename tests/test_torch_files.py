"""PyTorch's checkpoints read without it: what is in them, and what is refused."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch_files
from conftest import ROOT

from asd import cli
from asd.networks import architecture, convert, torch_file
from asd.networks.torch_pickle import Tensor
from common import UserError
from tests import fuzz

WRITERS = {"zip": torch_files.write, "legacy": torch_files.write_legacy}


@pytest.fixture(scope="module")
def beats(tmp_path_factory):
    return torch_files.write(tmp_path_factory.mktemp("torch") / "beats.pt", torch_files.beats())


def read(path):
    """All values, with arrays in the place of tensors."""

    def plain(checkpoint, value):
        if isinstance(value, dict):
            return {key: plain(checkpoint, one) for key, one in value.items()}
        return checkpoint.array(value) if isinstance(value, Tensor) else value

    return torch_file.opened(path, lambda one: plain(one, one.values))


@pytest.mark.parametrize("writer", WRITERS)
def test_values_of_all_types(tmp_path, writer):
    rng = np.random.default_rng(0)
    arrays = {kind: rng.integers(0, 9, (2, 3)).astype(kind) for kind in torch_files.STORAGES}
    whole = rng.standard_normal((4, 6)).astype(np.float32)
    plain = {"i": [1, -300, 70000, 2**40], "f": 0.5, "s": "words", "n": None, "b": (True, False)}
    values = {"arrays": OrderedDict(arrays), "whole": whole, "plain": plain, "empty": {}, "t": ()}
    found = read(WRITERS[writer](tmp_path / "x.pt", values))
    for kind, array in arrays.items():
        own = found["arrays"][kind]
        if kind == "uint16":  # bfloat16: the upper half of a float
            array = (array.astype(np.uint32) << 16).view(np.float32)
        np.testing.assert_array_equal(own, array)
        assert own.dtype == array.dtype
    np.testing.assert_array_equal(found["whole"], whole)
    assert found["plain"] == plain and found["empty"] == {} and found["t"] == ()


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_pickles_of_other_protocols(tmp_path, protocol):
    values = {"cfg": {"a": [1, (2, 3.5)], "b": {"c": None}}, "model": OrderedDict(x=1)}
    content = pickle.dumps(values, protocol)
    path = torch_files.write(tmp_path / "x.pt", {}, {"data.pkl": content})
    assert read(path) == values


def test_views_of_a_storage(tmp_path):
    """Tensors that share a storage: turned, shifted, of one number."""
    numbers = np.arange(24, dtype=np.float32)
    with_views = {
        "turned": torch_files.Of(torch_files.Stored(0, numbers), (6, 4), (1, 6)),
        "shifted": torch_files.Of(torch_files.Stored(0, numbers), (2, 3), (8, 2), 5),
        "one": torch_files.Of(torch_files.Stored(0, numbers), (), (), 7),
        "none": torch_files.Of(torch_files.Stored(0, numbers), (0, 3), (3, 1)),
    }
    found = read(torch_files.write(tmp_path / "x.pt", with_views))
    np.testing.assert_array_equal(found["turned"], numbers.reshape(4, 6).T)
    np.testing.assert_array_equal(found["shifted"], 5 + np.array([[0, 2, 4], [8, 10, 12]]))
    assert found["one"] == 7 and found["none"].shape == (0, 3)


# Converted


@pytest.mark.parametrize("writer", WRITERS)
def test_the_command_line(tmp_path, writer):
    """As a user runs it; both formats give the same file, and TensorFlow is not loaded."""
    source = WRITERS[writer](tmp_path / "x.pt", torch_files.beats())
    code = (
        "import runpy, sys; sys.argv = ['convert', *sys.argv[1:]]\n"
        "try: runpy.run_module('asd.networks.convert', run_name='__main__')\n"
        "finally: print({'tensorflow', 'keras', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, source, tmp_path / "x.npz"], cwd=ROOT,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout == f"{tmp_path / 'x.npz'}: Beats, 3 blocks of width 24\nset()\n"
    made, arrays = architecture.read(tmp_path / "x.npz", "beats")
    assert (made.layers, made.width, made.patch_width, made.buckets) == (3, 24, 12, 20)
    expected = torch_files.beats()["model"]
    for ours, theirs in (("block1/q", "encoder.layers.1.self_attn.q_proj"),
                         ("project", "post_extract_proj")):  # fmt: skip
        np.testing.assert_array_equal(arrays[f"{ours}/kernel"], expected[f"{theirs}.weight"].T)
        np.testing.assert_array_equal(arrays[f"{ours}/bias"], expected[f"{theirs}.bias"])


def test_half_precision_and_new_names_of_the_convolution(tmp_path):
    """As newer PyTorch writes weight normalisation; float16 becomes float32."""
    checkpoint = torch_files.beats()
    usual = torch_files.write(tmp_path / "a.pt", checkpoint)
    convert.convert(usual, tmp_path / "a.npz")
    model, name = checkpoint["model"], "encoder.pos_conv.0"
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        model[f"{name}.parametrizations.weight.{new}"] = model.pop(f"{name}.{old}")
    model["encoder.layer_norm.bias"] = model["encoder.layer_norm.bias"].astype(np.float16)
    convert.convert(torch_files.write(tmp_path / "b.pt", checkpoint), tmp_path / "b.npz")
    one, other = (architecture.read(tmp_path / f"{x}.npz", "beats")[1] for x in "ab")
    np.testing.assert_array_equal(one["position/kernel"], other["position/kernel"])
    np.testing.assert_allclose(one["norm/beta"], other["norm/beta"], rtol=1e-3)
    assert other["norm/beta"].dtype == np.float32


def test_a_tuned_beats_without_its_classifier(tmp_path):
    checkpoint = torch_files.beats(finetuned_model=True)
    checkpoint["model"]["predictor.weight"] = np.zeros((5, 24), np.float32)
    convert.convert(torch_files.write(tmp_path / "a.pt", checkpoint), tmp_path / "a.npz")
    assert (tmp_path / "a.npz").exists()


def test_stored_positions_are_compared(tmp_path):
    import transformers_by_formula as formulas

    checkpoint = torch_files.eat()
    name = "modality_encoders.IMAGE.fixed_positional_encoder.positions"
    right = formulas.positions(9, 24).astype(np.float32)[None]
    checkpoint["model"][name] = right
    convert.convert(torch_files.write(tmp_path / "a.pt", checkpoint), tmp_path / "a.npz")
    checkpoint["model"][name] = right[..., ::-1].copy()
    assert "are no sines" in refusal(torch_files.write(tmp_path / "b.pt", checkpoint))


# Refused


def refusal(path):
    """The one line that a file ends in; nothing is written."""
    target = path.with_suffix(".npz")
    with pytest.raises(UserError) as raised:
        convert.convert(path, target)
    assert not target.exists()
    text = str(raised.value)
    assert text.startswith(f"{path}: ") and "\n" not in text and len(text) < 600
    assert ";" in text  # and the remedy
    return text


class Command:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_command_is_not_run(tmp_path):
    """In the place of a value, in both formats, by every way that a pickle names a function."""
    marker = tmp_path / "run"
    for protocol in (0, 1, 2, 4):
        content = pickle.dumps({"cfg": Command(marker)}, protocol)
        hostile = torch_files.write(tmp_path / "x.pt", {}, {"data.pkl": content})
        text = refusal(hostile)
        # A text protocol's operations are refused before what they name is read.
        assert "system, which is no part of weights" in text or protocol < 2, text
        hostile.write_bytes(content)
        refusal(hostile)
    legacy = torch_files.write_legacy(tmp_path / "y.pt", {"cfg": Command(marker)})
    assert "posix.system, which is no part of weights; nothing was run" in refusal(legacy)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Command(marker)))
    assert marker.exists()  # it would have


@pytest.mark.parametrize("name", [
    "builtins eval", "torch load", "torch.nn Module", "collections defaultdict",
    "torch._utils _rebuild_tensor", "asd.files write_json", "a\x1b[31m b",
])  # fmt: skip
def test_other_names_are_refused(tmp_path, name):
    content = b"\x80\x02c" + name.replace(" ", "\n").encode() + b"\n."
    text = refusal(torch_files.write(tmp_path / "x.pt", {}, {"data.pkl": content}))
    assert "it names" in text and "\x1b" not in text


def made_of(*operations):
    return b"\x80\x02" + b"".join(operations) + b"."


ORDERED = b"ccollections\nOrderedDict\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
FLOATS = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0" + b"0X\x03\0\0\0cpuK\x06tQ"
HOSTILE = {
    "a known name called with others": made_of(ORDERED, b"](K\x01e\x85R"),
    "a storage called": made_of(b"ctorch\nFloatStorage\n)R"),
    "a name given a state": made_of(ORDERED, b"}b"),
    "a new object": made_of(ORDERED, b")\x81"),
    "an instance": made_of(b"(ios\nsystem\n"),
    "an extension": made_of(b"\x82\x01"),
    "a reference by text": made_of(b"Pname\n"),
    "an empty stack": made_of(b"R"),
    "no mark": made_of(b"t"),
    "nothing remembered": made_of(b"h\x05"),
    "a key that hashes for ever": made_of(b"})", b"q\x00h\x00\x86" * 40, b"Ns"),
    "a list told apart": made_of(b"]", b"q\x00(" + b"h\x00" * 9 + b"e"),
    "a memory of its own size": made_of(b"Nr\xff\xff\xff\xff"),
    "a text of a lying length": made_of(b"\x8d" + struct.pack("<Q", 2**62) + b"x"),
    "bytes of a lying length": made_of(b"\x96" + struct.pack("<Q", 2**40) + b"x"),
    "negative sizes": made_of(REBUILD, b"(", FLOATS, b"J\xff\xff\xff\xffK\x02\x85K\x01\x85tR"),
    "sizes of words": made_of(REBUILD, b"(", FLOATS, b"K\x00X\x01\0\0\0aK\x01\x85tR"),
    "a tensor of nothing": made_of(REBUILD, b"(NK\x00)))tR"),
    "no end": b"\x80\x02}",
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_end_in_one_line(tmp_path, name):
    with fuzz.bounded():
        refusal(torch_files.write(tmp_path / "x.pt", {}, {"data.pkl": HOSTILE[name]}))


def tensor_of(folder, shape, strides, offset=0, numbers=6):
    """A checkpoint whose first parameter is such a tensor."""
    checkpoint = torch_files.beats()
    storage = torch_files.Stored("lie", np.zeros(numbers, np.float32))
    checkpoint["model"]["layer_norm.weight"] = torch_files.Of(storage, shape, strides, offset)
    return torch_files.write(folder / "x.pt", checkpoint)


def test_lying_sizes(tmp_path):
    """Numbers that a tensor, or its storage, does not have."""
    for shape, strides, offset, numbers in (
        ((12,), (1,), 0, 6), ((12,), (1,), 1, 12), ((12,), (0,), 0, 1), ((12,), (2,), 0, 12),
    ):  # fmt: skip
        text = refusal(tensor_of(tmp_path, shape, strides, offset, numbers))
        assert "larger than its" in text
    path = torch_files.write(tmp_path / "x.pt", torch_files.beats(), {"data/3": bytes(8)})
    assert "has 8 bytes, and" in refusal(path)
    path = torch_files.write(tmp_path / "x.pt", torch_files.beats(), {"data/3": None})
    assert "data/3" in refusal(path)
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        content, storages = torch_files.pickled(torch_files.beats())
        archive.writestr("archive/data.pkl", content)
        for key, values in storages.items():
            archive.writestr(f"archive/data/{key}", values.tobytes())
    assert "is compressed, which PyTorch never does" in refusal(path)


def test_numbers_of_the_other_byte_order(tmp_path, beats):
    path = torch_files.write(tmp_path / "x.pt", torch_files.beats(), {"byteorder": b"big"})
    assert "most significant byte first" in refusal(path)


@pytest.mark.parametrize("writer", WRITERS)
def test_damaged_files_end_in_one_line(tmp_path, writer):
    """Cut anywhere, or with some bytes changed."""
    content = WRITERS[writer](tmp_path / "whole.pt", torch_files.beats()).read_bytes()
    rng, ended = np.random.default_rng(0), 0
    path = tmp_path / "x.pt"
    with fuzz.bounded():
        for cut in (0, 1, 2, 30, 1000, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:cut])
            refusal(path)
        for _ in range(60):
            damaged = bytearray(content)
            for at in rng.integers(0, len(content), 20):
                damaged[at] = rng.integers(256)
            path.write_bytes(damaged)
            try:
                convert.convert(path, tmp_path / "out.npz")
            except UserError as error:
                assert "\n" not in str(error)
                ended += 1
    assert ended > 30 if writer == "zip" else ended > 0  # a stream has no checksums


CFG = {
    "no cfg": ({"cfg": None}, "holds no cfg and model"),
    "another network": ({"cfg": {"a": 1}}, "its cfg is neither of BEATs nor of EAT"),
}


@pytest.mark.parametrize("name", CFG)
def test_other_checkpoints(tmp_path, name):
    changed, message = CFG[name]
    assert message in refusal(torch_files.write(tmp_path / "x.pt", torch_files.beats() | changed))
    assert "holds no cfg" in refusal(torch_files.write(tmp_path / "y.pt", [1]))


@pytest.mark.parametrize(("key", "value", "message"), [
    ("encoder_layers", 10**9, "cfg.layers"), ("encoder_layers", "3", "cfg.layers"),
    ("encoder_layers", [3], "cfg key encoder_layers is a list"),
    ("encoder_attention_heads", 5, "width 24 is no multiple of heads 5"),
    ("activation_fn", "swish", "cfg.activation"), ("input_patch_size", 8, "input_patch_size is 8"),
    ("num_buckets", 2, "buckets 2: 4 or more"), ("layer_norm_first", True, "exclude each other"),
    ("encoder_embed_dim", 48, "parameter post_extract_proj.weight is (24, 12)"),
    ("encoder_embed_dim", 65520, "are the most"),
    ("encoder_layers", 2, "parameters that are not known here: encoder.layers.2."),
    ("encoder_layers", 4, "lacks parameters that its cfg asks for: encoder.layers.3."),
])  # fmt: skip
def test_a_cfg_that_does_not_fit(tmp_path, key, value, message):
    checkpoint = torch_files.beats()
    checkpoint["cfg"][key] = value
    assert message in refusal(torch_files.write(tmp_path / "x.pt", checkpoint))


@pytest.mark.parametrize(("key", "value", "message"), [
    ("in_chans", 3, "image.in_chans is 3; 1 is known"),
    ("use_alibi_encoder", True, "use_alibi_encoder is True; False is known"),
    ("num_extra_tokens", 0, "cfg.tokens"), ("prenet_depth", "x", "are no numbers"),
    ("embed_dim", 768, "image.embed_dim is 768; 24 is known"),
])  # fmt: skip
def test_a_cfg_of_eat_that_does_not_fit(tmp_path, key, value, message):
    image = torch_files.EAT["modalities"]["image"] | {key: value}
    checkpoint = torch_files.eat()
    checkpoint["cfg"]["model"] = checkpoint["cfg"]["model"] | {"modalities": {"image": image}}
    assert message in refusal(torch_files.write(tmp_path / "x.pt", checkpoint))


def test_parameters_that_are_none(tmp_path):
    for name, value, message in (
        ("layer_norm.weight", np.full(12, np.nan, np.float32), "is not finite"),
        ("layer_norm.weight", np.zeros(12, np.int64), "not of floats"),
        ("layer_norm.weight", "words", "is str, and its cfg asks for (12,)"),
        ("more", np.zeros(2, np.float32), "not known here: more;"),
        ("encoder.layers.2.self_attn.relative_attention_bias.weight",
         np.zeros((20, 4), np.float32), "different relative_attention_bias"),
    ):  # fmt: skip
        checkpoint = torch_files.beats()
        checkpoint["model"][name] = value
        assert message in refusal(torch_files.write(tmp_path / "x.pt", checkpoint))
    checkpoint = torch_files.beats()
    del checkpoint["model"]["encoder.layers.0.fc1.bias"]
    text = refusal(torch_files.write(tmp_path / "x.pt", checkpoint))
    assert "lacks parameters that its cfg asks for: encoder.layers.0.fc1.bias;" in text


def test_the_target_is_an_npz_file(beats, capsys):
    assert cli.run(lambda: convert.main([str(beats), "x.pt"])) == 1
    assert "the file to write is called .npz" in capsys.readouterr().err


# The converted file


def rewritten(folder, changed, config=None):
    """A converted network with other arrays, those of None left out."""
    source = torch_files.write(folder / "x.pt", torch_files.beats())
    convert.convert(source, folder / "x.npz")
    with np.load(folder / "x.npz") as there:
        arrays = {name: there[name] for name in there.files} | changed
    if config:
        arrays["config"] = np.array(str(arrays["config"]).replace(*config))
    np.savez(folder / "x.npz", **{name: one for name, one in arrays.items() if one is not None})
    return folder / "x.npz"


@pytest.mark.parametrize(("changed", "config", "message"), [
    ({"norm/beta": None}, None, "lacks array norm/beta"),
    ({"more": np.zeros(1, "f4")}, None, "has an unknown array more"),
    ({"norm/beta": np.zeros(24)}, None, "array norm/beta is float64 (24,), not float32 (24,)"),
    ({"norm/beta": np.zeros(23, "f4")}, None, "array norm/beta is float32 (23,)"),
    ({"norm/beta": np.full(24, np.inf, "f4")}, None, "holds what is no number"),
    ({"norm/beta": np.array([print])}, None, "not a converted network"),
    ({"config": None}, None, "no config in it"),
    ({"config": np.zeros(3)}, None, "config is damaged"),
    ({}, ('"layers": 3', '"layers": 0'), "config.layers"),
    ({}, ('"width"', '"wdth"'), "config.wdth"),
    ({}, ('"kind": "beats"', '"kind": []'), "config.kind"),
    ({}, ('"kind": "beats"', '"kind": "eat"'), "write kind: eat"),
])  # fmt: skip
def test_a_damaged_network_is_one_line(tmp_path, changed, config, message):
    path = rewritten(tmp_path, changed, config)
    with pytest.raises(UserError) as raised:
        architecture.read(path, "beats")
    assert message in str(raised.value) and "\n" not in str(raised.value)
    path.write_bytes(b"PK nonsense")
    with pytest.raises(UserError, match="not a converted network .* convert the checkpoint anew"):
        architecture.told(path, "beats")
