"""The configuration: typed sections, overrides, wrong keys by name."""

import os
import re
from pathlib import Path

import pytest

from asd import config, yaml_files
from asd.detectors import kinds
from asd.evaluation import results
from asd.paths import Paths
from common import HERE, UserError
from tests import fuzz, fuzz_yaml


def config_of(tmp_path, text):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    return config.load_config(path)


def test_baseline_holds_the_reference_values():
    cfg = config.load_config()
    assert cfg.max_fpr == 0.1
    assert (cfg.feature.n_mels, cfg.feature.frames, cfg.feature.n_fft) == (128, 5, 1024)
    assert (cfg.feature.hop_length, cfg.feature.power) == (512, 2.0)
    assert cfg.feature.central_frames == (50, 250)
    assert (cfg.fit.compile.optimizer, cfg.fit.compile.loss) == ("adam", "mean_squared_error")
    assert (cfg.fit.epochs, cfg.fit.batch_size, cfg.fit.validation_split) == (100, 512, 0.1)
    assert cfg.fit.shuffle is True


def test_a_file_overrides_only_what_it_names(tmp_path):
    cfg = config_of(tmp_path, "fit: {epochs: 3}\nmodel_directory: there\n")
    assert cfg.fit.epochs == 3
    assert cfg.fit.batch_size == config.load_config().fit.batch_size
    assert cfg.model_directory == "there"


def test_configuration_cannot_be_changed():
    with pytest.raises(AttributeError):
        config.load_config().seed = 1


def test_recipes_are_valid():
    names = [path.name for path in (HERE / "recipes").glob("*.yaml")]
    assert {"dcase2020.yaml", "demo.yaml"} <= set(names)
    for name in names:
        config.load_config(HERE / "recipes" / name)
    assert config.load_config(HERE / "recipes/dcase2020.yaml").feature.central_frames is None


def test_a_seed_has_an_experiment_of_its_own(tmp_path):
    (tmp_path / "my.yaml").write_text("experiment: ae\nseed: 1\n")
    cfg = config.load_config(tmp_path / "my.yaml", 7)
    assert (cfg.seed, cfg.experiment) == (7, "ae_seed7")
    assert results.name_of(Path("result", cfg.experiment)) == ("ae", "7")
    assert config.load_config(seed=0).experiment == "seed0"
    with pytest.raises(UserError, match="key seed: expected int >= 0, and this is -1"):
        config.load_config(tmp_path / "my.yaml", -1)


def test_a_base_comes_before_what_names_it(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "one.yaml").write_text("seed: 1\nfit: {epochs: 7, batch_size: 9}\n")
    (tmp_path / "deep/two.yaml").write_text("base: ../one.yaml\nfit: {epochs: 8}\n")
    cfg = config.load_config(tmp_path / "deep/two.yaml")
    assert (cfg.seed, cfg.fit.epochs, cfg.fit.batch_size) == (1, 8, 9)
    assert cfg.fit.shuffle is config.load_config().fit.shuffle


@pytest.mark.parametrize(("base", "expected"), [
    ("none.yaml", r"two.yaml: key base: .*none.yaml: no such configuration file"),
    ("two.yaml", r"two.yaml: key base: one of a base of a base; 2 are the most"),
    ("[1]", r"two.yaml: key base: \[1\] is no name of a YAML file"),
    ("wrong.yaml", r"wrong.yaml: key fit.epochs: expected int >= 1, and this is 0"),
    ("unknown.yaml", r"unknown.yaml: unknown key epochs; did you mean fit.epochs\?"),
])  # fmt: skip
def test_a_wrong_base_is_named(tmp_path, base, expected):
    (tmp_path / "wrong.yaml").write_text("fit: {epochs: 0}\n")
    (tmp_path / "unknown.yaml").write_text("epochs: 3\n")
    (tmp_path / "two.yaml").write_text(f"base: {base}\nfit: {{epochs: 8}}\n")
    with pytest.raises(UserError, match=expected):
        config.load_config(tmp_path / "two.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("feature: {n_mel: 128}", r"unknown key feature.n_mel; did you mean feature.n_mels\?"),
        ("n_mels: 64", r"unknown key n_mels; did you mean feature.n_mels\?"),
        ("epoch: 3", r"unknown key epoch; did you mean fit.epochs\?"),
        ("fit: {compile: {optimiser: sgd}}", r"fit.compile.optimiser.*fit.compile.optimizer\?"),
        ("feature: {n_mels: many}", "key feature.n_mels: expected int, got str, and.*'many'"),
        ("fit: {epochs: 0}", "key fit.epochs: expected int >= 1, and this is 0"),
        ("fit: {epochs: 2.5}", "key fit.epochs: expected int, got float, and this is 2.5"),
        ("fit: 3", "key fit: expected object, got int, and this is 3"),
        ("feature: {central_frames: [10, 12]}", "central_frames .*at least 5 frames"),
        ("feature: {central_frames: [a, b]}", r"central_frames.*expected int, got str"),
        ("convert: {dense_weights: both}", "convert.dense_weights.*'both'"),
        ("seed: [", "not a YAML file"),
        ("- 1", "not a mapping"),
        ("seed:", "key seed: expected int, got null"),
        ("seed: 4294967296", "key seed: expected int"),
        ("feature.n_mels: 64", r"unknown key feature.n_mels; did you mean feature.n_mels\?"),
        ("fit: {verbos: 1}", r"unknown key fit.verbos; did you mean fit.verbose\?"),
        ("fit: {verbose: 3}", "key fit.verbose: expected one of 0, 1, 2, and this is 3"),
        ("seed: 1\nseed: 2", "key seed stands twice"),
        ("false", "not a mapping"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, text, expected):
    with pytest.raises(UserError, match=expected) as caught:
        config_of(tmp_path, text)
    assert "my.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(tmp_path, monkeypatch):
    text = config.BASELINE.read_text().replace("max_fpr:", "#")
    (tmp_path / "baseline.yaml").write_text(text)
    monkeypatch.setattr(config, "BASELINE", tmp_path / "baseline.yaml")
    with pytest.raises(UserError, match="key max_fpr is missing"):
        config.load_config(tmp_path / "baseline.yaml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: no such configuration file"):
        config.load_config(tmp_path / "none.yaml")


def test_scientific_notation_is_a_number(tmp_path):
    assert config_of(tmp_path, "max_fpr: 1e-1").max_fpr == 0.1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("detector: {botleneck: 8}",
         r"unknown key detector.botleneck; did you mean detector.bottleneck\?"),
        ("detector: {bottleneck: 0}", "key detector.bottleneck: expected int >= 1, and this is 0"),
        ("detector: {encoder: [128, x]}", r"key detector.encoder\[1\]: expected int, got str"),
        ("detector: {kind: frozen}", "key detector.backend is missing"),
        ("detector: {kind: autoencode}",
         "key detector.kind: no 'autoencode'; known: autoencoder, frozen"),
        ("detector: autoencoder", "key detector: expected a mapping with a kind"),
        ("detector: {kind: 3}", "key detector: expected a mapping with a kind"),
        ("detector: {kind: frozen, backend: {kind: knn, neighbors: 1}}",
         r"unknown key detector.backend.neighbors; did you mean detector.backend.neighbours\?"),
        ("detector: {kind: frozen, backend: {kind: knn, distance: far, neighbours: 1}}",
         "key detector.backend.distance: expected one of"),
        ("detector: {kind: frozen, backend: {kind: knnn}}", "detector.backend.kind: no 'knnn'"),
        ("detector: {kind: frozen, backend: knn}", "detector.backend: expected a mapping with a"),
        ("experiment: eval", "experiment 'eval' cannot name a folder"),
        ("experiment: ../there", "experiment '../there' cannot name a folder"),
        ("decision: {share: 1}", "key decision.share: expected float < 1"),
        ("decision: {threshold: beta}", "key decision.threshold: expected one of gamma, empirical"),
        ("training_ids: some", "key training_ids: expected one of all, tested"),
    ],
)  # fmt: skip
def test_a_wrong_key_of_a_kind_is_named(tmp_path, text, expected):
    with pytest.raises(UserError, match=expected) as caught:
        kinds.of(config_of(tmp_path, text))
    assert "my.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_kind_takes_the_place_of_the_whole_section(tmp_path):
    knn = "{kind: knn, distance: euclidean, neighbours: 2}"
    cfg = config_of(tmp_path, f"detector: {{kind: frozen, backend: {knn}}}")
    assert cfg.detector.values.keys() == {"backend"}
    detector = kinds.of(cfg)
    assert detector.kind == "frozen"
    assert detector.score_title == "euclidean distance to training clips"


def test_a_recipe_changes_some_keys_of_a_kind(tmp_path):
    made_of = kinds.of(config_of(tmp_path, "detector: {bottleneck: 3}")).made_of
    assert made_of["detector"] == {
        "kind": "autoencoder", "encoder": (128,) * 4, "bottleneck": 3, "decoder": (128,) * 4,
    }  # fmt: skip


NETWORKS = {"embedding": "network.onnx", "beats": "beats.npz", "beats_lora": "beats.npz"}


def test_recipes_name_known_detectors():
    for path in (HERE / "recipes").glob("*.yaml"):
        if path.stem in NETWORKS:  # that the user brings
            missing = re.escape(f"embeddings/{NETWORKS[path.stem]}")
            with pytest.raises(UserError, match=rf"no file .*: {missing}$"):
                kinds.of(config.load_config(path), Paths(config.load_config(path), "dev"))
            continue
        assert kinds.of(config.load_config(path)).kind in kinds.KINDS


BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: 2020-01-01", "key seed: expected int, got str, and this is '2020-01-01'"),
        ("seed: !!set {a}", r"kind 'set' is not known here.*\(line 1, column 7\)"),
        ("seed: !!binary aGVsbG8=", "kind 'binary' is not known here"),
        ("seed: !!python/name:os.system", "kind 'python/name:os.system' is not known"),
        ("seed: !!int many", "'many' is no int"),
        ("seed: !!bool perhaps", "'perhaps' is no bool"),
        ("seed: 0b_", "'0b_' is no int"),
        ("seed: " + "7" * 5000, "'7+\\.\\.\\.7+' has more than 60 digits"),
        ("seed: 0x" + "f" * 5000, "has more than 60 digits"),
        ("seed: 18446744073709551616", "'18446744073709551616' has more than 64 bits"),
        ("max_fpr: .nan", "'.nan' is not a finite number"),
        ("max_fpr: 1e999", "'1e999' is not a finite number"),
        ("parity: {float: {auc_drop: .inf}}", "'.inf' is not a finite number"),
        ("seed: " + "[" * 10000, "nested deeper than 30 levels"),
        ("- " * 10000, "nested deeper than 30 levels"),
        ("".join(f"{' ' * i}a:\n" for i in range(300)), "nested deeper than 30 levels"),
        (BOMB, "more than 10,000 values or 30 levels"),
        ("detector: &a [*a]", r"\*'a' is part of what it stands for"),
        ("fit: {<<: {epochs: 3}}", "<< is not known here; write the keys out"),
        ("? [a, b]\n: 1", "key of several values is not a text"),
        ("1: 2", "key 1 is not a text; quote it"),
        ("? !!set {a}\n: 1", "key of several values is not a text"),
        ('model_directory: "a\\0b"', r"control character '\\x00' in a text"),
        ('model_directory: "\\ud800"', r"'\\ud800' is not Unicode"),
        ('model_directory: "\\U00110000"', "escape that is no letter"),
        ("%YAML " + "9" * 5000 + ".1\n---", "YAML without a version"),
        ("seed: a\0b", "no text holds U\\+0000"),
        ("seed: 1\n---\nseed: 2", "found another document"),
        ("\tseed: 1", r"found character '\\t'"),
        ("x" * 5000 + ": 1", "mapping values are not allowed"),
        (f"? {'x' * 5000}\n: 1", "unknown key x+[.]{3}x+; did you mean"),
        ("detector: {kind: " + "k" * 5000 + "}", "no 'k+[.]{3}k+'; known: "),
        ("seed: " + "x" * 5000, "this is 'x+[.]{3}x+'"),
        ("experiment: 'x - at `$.seed`'", r"experiment 'x - at `\$\.seed`' cannot name a folder"),
        ("training_ids: 'x` - at `$.seed`'", "key training_ids: expected one of all, tested"),
        ("# " + "x" * yaml_files.MOST_BYTES, "larger than 100,000 bytes"),
        ("base: " + "x" * 300, "key base: .*no such configuration file"),
    ],
    ids=lambda text: ascii(text[:40]),
)  # fmt: skip
def test_hostile_yaml_is_one_line(tmp_path, text, expected):
    with pytest.raises(UserError, match=expected) as caught:
        kinds.of(config_of(tmp_path, text))
    fuzz_yaml.check_message(str(caught.value), tmp_path / "my.yaml")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_named(tmp_path, encoding):
    (tmp_path / "my.yaml").write_bytes("experiment: é".encode(encoding))
    with pytest.raises(UserError, match=r"byte \d+ is not UTF-8; save it as UTF-8"):
        config.load_config(tmp_path / "my.yaml")


def test_harmless_yaml_is_read(tmp_path):
    (tmp_path / "my.yaml").write_bytes(b"\xef\xbb\xbfexperiment: day\n")  # a byte order mark
    assert config.load_config(tmp_path / "my.yaml").experiment == "day"
    assert config_of(tmp_path, "model_directory: 2020-01-01").model_directory == "2020-01-01"
    assert (
        config_of(tmp_path, '{"model_directory": "\\ud83d\\ude00"}').model_directory == "\U0001f600"
    )
    shared = "detector: {encoder: &units [64, 64], decoder: *units}"
    assert kinds.of(config_of(tmp_path, shared)).made_of["detector"]["decoder"] == (64, 64)


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", "/dev/zero"):
        with pytest.raises(UserError, match="not a regular file"):
            config.load_config(path)
    with pytest.raises(UserError, match="no such configuration file"):
        config.load_config(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["official.csv", "decisions.csv", "decision_result_fan_id_00.csv", "normal_score_fan.csv",
     "submission", "metrics.csv", "Parity.CSV", "mcu.csv", "skipped.csv",
     "anomaly_score_fan_id_00.csv", "eval",
     "tflite_result.csv", "roc_fan.png", "model_fan.json", ".", "..", "../x.csv", "a/b", "a\\b",
     '"a\\tb"', '""'],
)  # fmt: skip
def test_result_file_is_a_file_of_its_own(tmp_path, name):
    with pytest.raises(UserError, match="result_file"):
        config_of(tmp_path, f"result_file: {name}")


def test_names_that_destroy_nothing_are_allowed(tmp_path):
    for name in ("my results.csv", "résultat.txt", "metrics_of_fan.csv", ".hidden"):
        assert config_of(tmp_path, f"result_file: {name}").result_file == name
    same = config_of(tmp_path, "model_directory: there\nresult_directory: there")
    assert same.model_directory == same.result_directory == "there"


@pytest.mark.parametrize("key", ["dev", "eval", "feature", "model", "result"])
def test_a_folder_without_control_characters(tmp_path, key):
    with pytest.raises(UserError, match=rf"{key}_directory 'a\\nb' holds a control character"):
        config_of(tmp_path, f'{key}_directory: "a\\nb"')


def test_the_folder_of_evaluation_data_is_no_experiment(tmp_path):
    with pytest.raises(UserError, match="experiment 'Eval' cannot name a folder"):
        config_of(tmp_path, "experiment: Eval")


def test_mutated_yaml_is_read_or_refused():
    outcomes = fuzz.tried(fuzz_yaml.attempt, 300)
    assert min(outcomes["read"], outcomes["refused"]) > 50
