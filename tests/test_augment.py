"""Augmentations: the originals' arrays from their draws, and what is drawn from a key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import common
from asd import augment
from asd.augment import settings
from asd.features import waves
from asd.sections import Choice
from common import UserError

tf = pytest.importorskip("tensorflow")

from asd.augment import exchange, keys, masking, mixing  # noqa: E402

CLOSE = {"rtol": 0, "atol": 1e-9}
N, N_SAMPLES, N_CLASSES, RATE = 400, 64, 5, 16000


@pytest.fixture(scope="module")
def arrays(golden):
    with np.load(golden / "asdkit/03_augment_featex_subspace.npz") as archive:
        return dict(archive)


@pytest.mark.parametrize("perm, prefix", [("perm", "out"), ("march_perm", "march_out")])
@pytest.mark.parametrize("what", ["wave", "onehot"])
def test_golden_mixup(arrays, perm, prefix, what):
    of = {name: arrays[f"mixup/{name}"] for name in ("wave", "onehot", "lam", "dec", perm)}
    found = mixing.mixed(of[what], of["lam"], of[perm], of["dec"])
    np.testing.assert_allclose(found, arrays[f"mixup/{prefix}_{what}"], **CLOSE)


def test_golden_mixup_of_the_class_index(arrays):
    """The older version mixes it too; the newer leaves it."""
    index = arrays["mixup/head_out_idx"]
    how = arrays["mixup/lam"], arrays["mixup/march_perm"], arrays["mixup/dec"]
    np.testing.assert_allclose(mixing.mixed(index, *how), arrays["mixup/march_out_idx"], **CLOSE)


def test_golden_cutmix(arrays):
    lam, order = arrays["mixup/lam"], arrays["mixup/march_perm"]
    wave, starts, applied = (
        arrays["mixup/wave"],
        arrays["cutmix/start"],
        arrays["cutmix/start"] >= 0,
    )
    _, lengths = mixing.cut_of(lam, np.zeros_like(lam), wave.shape[1])
    np.testing.assert_array_equal(lengths, arrays["cutmix/len"])
    found = mixing.cut_in(wave, starts, lengths, order, applied)
    np.testing.assert_allclose(found, arrays["cutmix/out_wave"], **CLOSE)
    labels = mixing.mixed(arrays["mixup/onehot"], lam, order, applied)
    np.testing.assert_allclose(labels, arrays["cutmix/out_onehot"], **CLOSE)


def masks_of(draws, widths, probabilities, sizes):
    """From the six rows of draws: first, end and whether applied, of time and of frequency."""
    for i in (0, 1):
        apply, width, place = draws[3 * i : 3 * i + 3]
        yield (*masking.stretch(width, place, widths[i], sizes[i]), apply < probabilities[i])


def test_golden_spec_augment_of_waves(arrays):
    of = {name.removeprefix("specaug/"): value for name, value in arrays.items()
          if name.startswith("specaug/")}  # fmt: skip
    how = int(of["n_fft"]), int(of["hop"])
    wave = of["wave"].astype(np.float64)
    spectra = masking.transformed(wave, *how)
    magnitudes = np.abs(spectra)
    largest = of["spec_mag"].max()
    np.testing.assert_allclose(magnitudes, of["spec_mag"], rtol=0, atol=1e-6 * largest)
    for axis, name, draws in ((2, "time", of["raw_draws"][:3]), (1, "freq", of["raw_draws"][3:])):
        firsts, ends, applied = of[f"{name}_start"], of[f"{name}_end"], of[f"apply_{name}"] > 0
        # Neither how wide masks are at most nor how often they are applied is told.
        found = [masking.stretch(*draws[1:], widest, spectra.shape[axis]) for widest in range(129)]
        assert any(np.array_equal(one, (firsts, ends)) for one in found)
        assert draws[0][applied].max(initial=0) < draws[0][~applied].min(initial=1)
        spectra = masking.masked(spectra, firsts, ends, applied, axis)
    found = masking.restored(spectra, *how, wave.shape[1])
    np.testing.assert_allclose(found, of["out_wave"], rtol=0, atol=1e-7)


def test_golden_spec_augment_of_spectra(arrays):
    found, of = arrays["specaug3d/in"], arrays
    sizes = found.shape[2], found.shape[1]
    masks = masks_of(
        of["specaug3d/raw_draws"], of["specaug3d/widths"], of["specaug3d/probs"], sizes
    )
    for axis, mask in zip((2, 1), masks, strict=True):
        found = masking.masked(found, *mask, axis)
    np.testing.assert_array_equal(found, of["specaug3d/out"])


def test_golden_exchange(arrays):
    of = {name: arrays[f"featex/{name}"] for name in ("embed", "label", "perms", "dec")}
    embeddings, labels = exchange.exchanged(of["embed"], of["label"], of["perms"], of["dec"])
    np.testing.assert_array_equal(embeddings, arrays["featex/out_embed"])
    np.testing.assert_allclose(labels, arrays["featex/out_label"], **CLOSE)


def test_golden_waves_of_one_length(arrays):
    cases = [name for name in arrays if name.startswith("crop/") and name.endswith("in_len")]
    assert cases
    for name in cases:
        wave = np.arange(int(arrays[name]), dtype=np.float32)
        case = name.removesuffix("/in_len")
        for fill in ("tile", "zero"):
            found = waves.fixed_length(wave, int(arrays[f"{case}/out_len"]), fill)
            np.testing.assert_array_equal(found, arrays[f"{case}/{fill}"])
            assert found.dtype == wave.dtype


def test_a_wave_is_cut_anywhere_in_training():
    """Every start, the first and the last too; a repeated clip goes on past its end."""
    rng = np.random.default_rng(0)
    starts = {int(waves.fixed_length(np.arange(7), 4, rng=rng)[0]) for _ in range(200)}
    assert starts == {0, 1, 2, 3}
    cuts = {tuple(waves.fixed_length(np.arange(3), 5, rng=rng).tolist()) for _ in range(200)}
    assert cuts == {(0, 1, 2, 0, 1), (1, 2, 0, 1, 2)}
    padded = {tuple(waves.fixed_length(np.array([5]), 3, "zero", rng).tolist()) for _ in range(99)}
    assert padded == {(5, 0, 0), (0, 5, 0), (0, 0, 5)}
    with pytest.raises(ValueError, match="without samples"):
        waves.fixed_length(np.array([]), 4)


def batch():
    """Waves that name their clip, and labels likewise."""
    wave = np.repeat(np.arange(1, N + 1, dtype=np.float32)[:, None], N_SAMPLES, 1)
    return tf.constant(wave), {"main": tf.one_hot(tf.range(N) % N_CLASSES, N_CLASSES)}


def section(kind, **values):
    return Choice(Path("my.yaml"), "detector.augment[0]", kind, values)


MIXUP = section("mixup", probability=0.5, partners="any")
CUTMIX = section("cutmix", probability=0.5, partners="reversed")
SPEC_VALUES = {"probability": 0.5, "frames": 3, "bins": 3, "n_fft": 16, "hop_length": 4}
SPEC_AUGMENT = section("spec_augment", **SPEC_VALUES)
EMPHASIS_VALUES = {"probability": 0.75, "bands": 3, "db": [6.0, 9.0]}
EMPHASIS = section("emphasis", **EMPHASIS_VALUES)
ALL = {"mixup": MIXUP, "cutmix": CUTMIX, "spec_augment": SPEC_AUGMENT, "emphasis": EMPHASIS}


@pytest.mark.parametrize("kind", ALL)
def test_draws_are_a_function_of_seed_epoch_and_step(kind):
    """The same again for the same three, in a compiled step too; another if one is another."""
    way = augment.of((ALL[kind],), RATE)
    wave, labels = batch()
    compiled = tf.function(lambda epoch, step: way(keys.of_step(1, epoch, step), wave, labels)[0])
    first = way(keys.of_step(1, 2, 3), wave, labels)[0].numpy()
    again = compiled(tf.constant(2), tf.constant(3))
    np.testing.assert_allclose(again, first, rtol=1e-5)  # compiled, sums are rounded otherwise
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4), (1, 3, 2), (1 + 2**31, 2, 3)):
        found = way(keys.of_step(*other), wave, labels)[0]
        assert not np.allclose(found, first, rtol=1e-3), other


def test_two_ways_do_not_share_their_draws():
    """Or the clips that the second changes would be those that the first does: half of all."""
    wave, labels = batch()
    found, _ = augment.of((MIXUP, MIXUP), RATE)(keys.of_step(0, 0, 0), wave, labels)
    assert 0.68 < (found != wave).numpy().any(1).mean() < 0.82


def test_mixup_draws_shares_partners_and_whom():
    wave, labels = batch()
    found, mixed = augment.of((MIXUP,), RATE)(keys.of_step(5, 0, 0), wave, labels)
    changed = found[:, 0].numpy() != wave[:, 0].numpy()
    assert 0.4 < changed.mean() < 0.6
    np.testing.assert_allclose(mixed["main"].numpy().sum(1), 1, rtol=1e-6)
    assert len(set(np.round(found[:, 0].numpy()[changed], 3))) > 0.4 * N


def test_a_clip_mixed_with_one_of_its_class_is_of_that_class():
    """Exactly 1, by which a dynamic scale tells clips of one class."""
    labels, share = np.ones((N, 1)), np.random.default_rng(0).uniform(size=N)
    mixed = mixing.mixed(labels, share, np.arange(N)[::-1], np.ones(N))
    np.testing.assert_array_equal(mixed, labels)


def test_cutmix_takes_one_stretch_of_the_reversed_batch():
    wave, labels = batch()
    found, mixed = augment.of((CUTMIX,), RATE)(keys.of_step(5, 0, 0), wave, labels)
    found, whose = found.numpy(), np.arange(1, N + 1)
    other = found == whose[::-1, None]
    assert (other | (found == whose[:, None])).all()
    assert (np.abs(np.diff(other, axis=1)).sum(1) <= 2).all()
    own = mixed["main"].numpy()[np.arange(N), np.arange(N) % N_CLASSES]
    different = np.arange(N) % N_CLASSES != np.arange(N)[::-1] % N_CLASSES
    shares = 1 - other.mean(1)
    assert np.abs(own - shares)[different].max() <= 1 / N_SAMPLES
    assert 0.4 < (own < 1).mean() / different.mean() < 0.6


def test_a_cut_stays_in_the_wave():
    share, place = np.meshgrid(np.linspace(0, 0.999999, 50), np.linspace(0, 0.999999, 50))
    starts, lengths = mixing.cut_of(share.ravel(), place.ravel(), 16)
    assert (starts.numpy() >= 0).all() and (starts + lengths).numpy().max() <= 16


def test_waves_are_restored():
    """Without a mask the transform and back is the wave, to its last sample."""
    rng = np.random.default_rng(0)
    for n_samples, n_fft, hop in ((1000, 64, 16), (1001, 64, 32), (130, 256, 64), (1007, 64, 24)):
        wave = rng.standard_normal((2, n_samples))
        spectra = masking.transformed(wave, n_fft, hop)
        assert spectra.shape == (2, 1 + n_fft // 2, 1 + n_samples // hop)
        found = masking.restored(spectra, n_fft, hop, n_samples)
        np.testing.assert_allclose(found, wave, rtol=0, atol=1e-9)


def test_spec_augment_leaves_clips_without_a_mask():
    wave = tf.random.stateless_uniform((N, 256), (1, 2))
    found, _ = augment.of((SPEC_AUGMENT,), RATE)(keys.of_step(5, 0, 0), wave, {})
    same = (found.numpy() == wave.numpy()).all(1)
    assert 0.15 < same.mean() < 0.35  # a quarter has neither, and a few a mask of width 0


def test_spec_augment_masks_spectra():
    spectra = tf.ones((N, 10, 20))
    way = masking.SpecAugment(settings.SpecAugment(**SPEC_VALUES | {"bins": 2}))
    found = way.of_spectra(keys.of_step(5, 0, 0), spectra).numpy()
    bins, frames = (found == 0).all(2).sum(1), (found == 0).all(1).sum(1)
    assert set(bins) == {0, 1} and set(frames) == {0, 1, 2}
    assert np.array_equal(
        found == 0, (found == 0).all(2)[:, :, None] | (found == 0).all(1)[:, None]
    )


def test_a_mask_wider_than_the_spectrum_stays_in_it():
    draws = np.array([0.0, 0.3, 0.999]), np.array([0.0, 0.5, 0.999])
    firsts, ends = masking.stretch(*draws, 80, 20)
    assert (firsts.numpy() >= 0).all() and (ends.numpy() <= 20).all()


def test_exchange_draws_an_order_for_each_part():
    orders, applied = exchange.drawn(keys.of_step(1, 1, 1), N, 3, 0.5)
    np.testing.assert_array_equal(np.sort(orders, 1), np.tile(np.arange(N), (3, 1)))
    np.testing.assert_array_equal(orders[0], np.arange(N))
    assert not np.array_equal(orders[1], orders[2])
    assert 0.4 < applied.numpy().mean() < 0.6


def test_a_band_is_louder_or_quieter_as_the_label_says():
    """Levels of tones in the middles of three bands, and the class of each clip."""
    n_samples, edges = 1600, common.mel_frequencies(7, 0, RATE / 2, "htk")
    bins = np.round(edges[1::2] * n_samples / RATE)  # whole periods: nothing leaks
    tones = np.sin(2 * np.pi * bins[:, None] * np.arange(n_samples) / n_samples).sum(0)
    wave = tf.constant(np.repeat(tones[None], N, 0).astype(np.float32))
    labels = {"main": tf.one_hot(tf.range(N) % N_CLASSES, N_CLASSES)}
    way = augment.of((EMPHASIS,), RATE)
    found, wide = way(keys.of_step(5, 0, 0), wave, labels)
    assert way.factor == augment.factor((EMPHASIS,)) == 7
    classes, kinds = np.divmod(wide["main"].numpy().argmax(1), 7)
    np.testing.assert_array_equal(wide["main"].numpy().sum(1), 1)
    np.testing.assert_array_equal(classes, np.arange(N) % N_CLASSES)
    levels = np.abs(np.fft.rfft(found.numpy()))[:, bins.astype(int)]
    gains = 20 * np.log10(levels / np.abs(np.fft.rfft(tones))[bins.astype(int)])
    assert 0.68 < (kinds > 0).mean() < 0.82 and set(kinds) == set(range(7))
    for kind, gain in zip(kinds, gains, strict=True):
        if kind == 0:
            np.testing.assert_allclose(gain, 0, atol=0.01)
            continue
        own = gain[(kind - 1) % 3] * (1 if kind < 4 else -1)
        assert 6 - 0.1 < own < 9 + 0.1
        assert np.abs(gain).max() < own + 0.01


def test_mixed_clips_share_the_classes_of_their_bands():
    wave, labels = tf.random.stateless_normal((N, 256), (1, 2)), batch()[1]
    found = augment.of((EMPHASIS, MIXUP), RATE)(keys.of_step(5, 0, 0), wave, labels)[1]["main"]
    assert found.shape == (N, 7 * N_CLASSES)
    np.testing.assert_allclose(found.numpy().sum(1), 1, rtol=1e-6)
    assert 0.3 < ((found.numpy() > 0).sum(1) == 2).mean() < 0.6


@pytest.mark.parametrize("values", [{"db": [9.0, 6.0]}, {"bands": 0}, {"probability": 2.0}])
def test_a_wrong_emphasis_is_named(values):
    with pytest.raises(UserError, match=r"my\.yaml"):
        augment.factor((section("emphasis", **EMPHASIS_VALUES | values),))


@pytest.mark.parametrize("values, named", [
    (SPEC_VALUES | {"hop_length": 9}, "at least two hops"),
    (SPEC_VALUES | {"n_fft": 15}, "even"),
    (SPEC_VALUES | {"probability": 1.5}, "augment[0].probability"),
])  # fmt: skip
def test_a_wrong_section_is_named(values, named):
    with pytest.raises(UserError) as told:
        augment.of((section("spec_augment", **values),), RATE)
    assert named in str(told.value) and "my.yaml" in str(told.value)


def test_sections_need_no_tensorflow():
    code = ("import sys; from asd import augment, losses; "
            "assert not {'tensorflow', 'keras'} & set(sys.modules), 'imported'")  # fmt: skip
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
