"""Maps of embeddings: distances that two dimensions can keep, the pictures, what goes wrong."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import call, write_config

from asd import cli
from asd.clips import Clip
from asd.evaluation import canvas, maps
from common import UserError


def test_what_is_flat_keeps_its_distances():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(30, 2)) * (5, 1)
    turned = plane @ np.linalg.qr(rng.normal(size=(8, 8)))[0][:2] + 3
    flat = maps.flattened(turned.astype(np.float32), "pca", 0)

    def between(points):
        return np.linalg.norm(points[:, None] - points[None], axis=2)

    np.testing.assert_allclose(between(flat), between(plane), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(flat.mean(axis=0), 0, atol=1e-9)
    assert maps.flattened(np.ones((2, 1), np.float32), "pca", 0).shape == (2, 2)


@pytest.mark.parametrize("by", ["tsne", "umap"])
def test_groups_stay_together(by):
    if by == "umap" and importlib.util.find_spec("umap") is None:
        pytest.skip("umap-learn is an extra, and not installed")
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 30)
    far = rng.normal(size=(60, 16)) + 30 * groups[:, None]
    flat = maps.flattened(far.astype(np.float32), by, 0)
    near = np.argsort(np.linalg.norm(flat[:, None] - flat[None], axis=2), axis=1)[:, 1]
    assert (groups[near] == groups).mean() > 0.95


def test_without_umap_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match=r"needs umap-learn.*pip install -r asd"):
        maps.flattened(np.ones((3, 2), np.float32), "umap", 0)


def test_the_picture_of_each_machine_type(data, capsys):
    backend = {"kind": "knn", "distance": "cosine", "neighbours": 1}
    cfg = write_config(data, detector={"kind": "frozen", "backend": backend})
    assert call("00_train.py", "-d", "-c", cfg) == 0
    for by in ("pca", "tsne"):
        assert cli.run(lambda by=by: maps.main(["-d", "-c", str(cfg), "--by", by])) == 0
        path = data / f"result/map_{by}_ToyTest.png"
        assert str(path) in capsys.readouterr().out
        assert path.stat().st_size > 5000


def test_every_kind_of_clip_has_a_mark_and_is_in_the_legend(tmp_path, monkeypatch):
    shown = itertools.product(
        ("00", "01"), ("source", "target"),
        (("train", 0), ("test", 0), ("test", 1), ("test", None)),
    )  # fmt: skip
    clips = [
        Clip(Path(f"{i}.wav"), "fan", section, split, label, domain)
        for i, (section, domain, (split, label)) in enumerate(shown)
    ]
    kept, title = [], canvas.set_title

    def set_title(figure, *others):
        kept.append(figure)
        title(figure, *others)

    monkeypatch.setattr(canvas, "set_title", set_title)
    places = np.random.default_rng(0).normal(size=(16, 2))
    maps.draw(tmp_path / "map.png", "fan", clips, places, "pca")
    (axes,) = kept[0].axes
    drawn = sum(len(one.get_offsets()) for one in axes.collections)
    assert drawn == len(clips)
    texts = {text.get_text() for text in axes.get_legend().get_texts()}
    assert texts == {*maps.MEANINGS.values(), "section 00", "section 01"}


def test_a_detector_without_embeddings_is_named(data, capsys):
    cfg = write_config(data, detector={"score": "mahalanobis"})
    assert cli.run(lambda: maps.main(["-d", "-c", str(cfg)])) == 1
    assert "detector.kind autoencoder has no embedding of a clip" in capsys.readouterr().err
