"""The configuration: typed sections, overrides, wrong keys by name."""

import pytest

from asd import config
from asd.detectors import kinds
from common import HERE, UserError


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


def test_recipes_name_known_detectors():
    for path in (HERE / "recipes").glob("*.yaml"):
        assert kinds.of(config.load_config(path)).kind in kinds.KINDS
