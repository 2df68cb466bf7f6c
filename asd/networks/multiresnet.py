"""The discriminative network MultiResNet: from waves, or a spectrogram, to an embedding.

Inside, images are (n_clips, n_frames, n_bins, n_channels): as the Fourier transform leaves them,
channels last, which is the faster order on CPUs. Layers are named after their place, a part after
its whole: "stft0.s1a.conv1".
"""

from __future__ import annotations

import keras
from keras import layers

from asd.networks import initialisers
from asd.networks.layers import BatchNormalization, PaddedMaxPooling2D
from asd.networks.settings import MultiResNet
from asd.networks.spectra import Spectrogram, Spectrum
from common import UserError

FFT_KERNELS = ((256, 64), (64, 32), (16, 4))  # length and step of its convolutions
FFT_DENSE = 5  # hidden layers behind them
REDUCTION = 16  # channels a hidden unit of a gate
STAGES = 4  # two residual blocks each; the last has `width` channels, each before half as many
LEAST_SIZE = 36  # bins and frames of a spectrogram


def build(settings: MultiResNet, n_samples: int, sample_rate: int) -> keras.Model:
    """The network, not trained; weights are drawn from U(-b, b), b = 1 / sqrt(fan in).

    It takes waves, (n_clips, n_samples) float32, or, with `input: spectrogram`, what `front_end`
    makes of them, (n_clips, n_bins, n_frames); it gives (n_clips, settings.size), first the branch
    of the spectrum, then those of spectrograms in the order of `n_ffts`.

    Parameters
    ----------
    n_samples : of a clip
    sample_rate : Hz

    Raises
    ------
    UserError : clips are too short for a branch, or a spectrogram has too few bins.
    """
    for i in range(len(settings.n_ffts)):
        _check_size(settings, i, n_samples, sample_rate)
    if settings.fft and n_samples < least_samples_of_fft():
        raise UserError(f"clips of {n_samples} samples are too short for network.fft: it takes "
                        f"{least_samples_of_fft()} or more; set it to false")  # fmt: skip
    parts = _Parts(settings)
    if settings.input == "spectrogram":
        _, n_frames, n_bins = _shape(settings, 0, n_samples, sample_rate)
        inputs = layers.Input((n_bins, n_frames), name="spectrogram")
        images = layers.Permute((2, 1), name="stft0.frames")(inputs)
        return keras.Model(inputs, _stft_branch(parts, images, "stft0"), name="multiresnet")
    inputs, branches = layers.Input((n_samples,), name="wave"), []
    if settings.fft:
        branches.append(_fft_branch(parts, Spectrum(name="fft.mag")(inputs)))
    for i in range(len(settings.n_ffts)):
        spectrogram = _spectrogram(settings, i, sample_rate)(inputs)
        branches.append(_stft_branch(parts, spectrogram, f"stft{i}"))
    joined = layers.Concatenate(name="embed")(branches) if len(branches) > 1 else branches[0]
    return keras.Model(inputs, joined, name="multiresnet")


def front_end(settings: MultiResNet, n_samples: int, sample_rate: int) -> keras.Model:
    """What makes the input of a network with `input: spectrogram` of waves.

    (n_clips, n_samples) float32 -> (n_clips, n_bins or n_mels, n_frames)
    """
    inputs = layers.Input((n_samples,), name="wave")
    values = _spectrogram(settings, 0, sample_rate)(inputs)
    return keras.Model(inputs, layers.Permute((2, 1), name="spectrogram")(values))


def least_samples_of_fft() -> int:
    """The shortest wave whose spectrum fills the convolutions of its branch."""
    n = 1
    for length, step in reversed(FFT_KERNELS):
        n = (n - 1) * step + length
    return 2 * (n - 1)


def _spectrogram(settings: MultiResNet, i: int, sample_rate: int) -> Spectrogram:
    return Spectrogram(
        settings.n_ffts[i], sample_rate, settings.range_hz, settings.n_mels, settings.padding,
        settings.log, settings.subtract_time_mean, name=f"stft{i}.spec",
    )  # fmt: skip


def _shape(settings: MultiResNet, i: int, n_samples: int, sample_rate: int) -> tuple[int, ...]:
    """(1, n_frames, n_bins or n_mels) of a clip."""
    return _spectrogram(settings, i, sample_rate).compute_output_shape((1, n_samples))


def _check_size(settings: MultiResNet, i: int, n_samples: int, sample_rate: int) -> None:
    """See that a spectrogram is large enough for its branch."""
    n_fft, (low, high) = settings.n_ffts[i], settings.range_hz
    if high > sample_rate / 2:
        raise UserError(f"network.range_hz ends at {high:g} Hz; at {sample_rate} samples a second "
                        f"there is nothing above {sample_rate / 2:g}")  # fmt: skip
    _, n_frames, n_bins = _shape(settings, i, n_samples, sample_rate)
    if n_frames < LEAST_SIZE:
        least = (LEAST_SIZE - 1) * (n_fft // 2)
        raise UserError(f"clips of {n_samples} samples are too short for network.n_ffts {n_fft}: "
                        f"it takes {least} or more ({LEAST_SIZE} frames)")  # fmt: skip
    if n_bins < LEAST_SIZE:
        what = "bins" if settings.n_mels is None else "mel bands"
        raise UserError(f"network.n_ffts {n_fft} has {n_bins} {what} from {low:g} to {high:g} Hz; "
                        f"it takes {LEAST_SIZE} or more")  # fmt: skip


class _Parts:
    """Layers as the settings want them."""

    def __init__(self, settings: MultiResNet) -> None:
        self.settings, self.width = settings, settings.width

    def _weights(self, fan_in: int) -> dict:
        """How a layer with so many inputs begins."""
        return {
            "use_bias": self.settings.bias,
            "kernel_initializer": initialisers.by_inputs(),
            "bias_initializer": initialisers.bias_by_inputs(fan_in),
        }

    def conv1d(self, x, name: str, length: int, step: int):
        weights = self._weights(length * x.shape[-1])
        return layers.Conv1D(self.width, length, step, name=name, **weights)(x)

    def conv(self, x, name: str, n_channels: int, size: int, step: int = 1, padding: int = 0):
        """A convolution of images padded by zeros."""
        same = padding and step == 1
        if padding and not same:  # Keras's "same" lies elsewhere where a size is even
            x = layers.ZeroPadding2D(padding, name=f"{name}.pad")(x)
        weights = self._weights(size * size * x.shape[-1])
        layer = layers.Conv2D(
            n_channels, size, step, "same" if same else "valid", name=name, **weights
        )
        return layer(x)

    def dense(self, x, name: str):
        return layers.Dense(self.width, name=name, **self._weights(x.shape[-1]))(x)

    def norm(self, x, name: str):
        return BatchNormalization(affine=self.settings.affine, name=name)(x)

    def gate(self, x, name: str):
        """Squeeze and excitation: Hu and others 2018, arXiv:1709.01507."""
        n_channels, average = x.shape[-1], layers.GlobalAveragePooling2D
        hidden = n_channels // REDUCTION
        if not hidden and self.settings.faithful:
            return layers.Rescaling(0.5, name=f"{name}.se")(x)  # sigmoid(0)
        if len(x.shape) == 3:
            average = layers.GlobalAveragePooling1D
        gate = average(keepdims=True, name=f"{name}.se_mean")(x)
        for part, units, activation in (
            ("se_down", max(hidden, 1), "relu"),
            ("se_up", n_channels, "sigmoid"),
        ):
            weights = self._weights(gate.shape[-1]) | {"use_bias": False}
            gate = layers.Dense(units, activation, name=f"{name}.{part}", **weights)(gate)
        return layers.Multiply(name=f"{name}.se")([x, gate])


def _relu(x, name: str):
    return layers.ReLU(name=f"{name}.relu")(x)


def _channel_major(x, name: str):
    """(n_clips, n_places, n_channels) -> (n_clips, n_channels * n_places)."""
    return layers.Flatten(name=f"{name}.flat")(layers.Permute((2, 1), name=f"{name}.turn")(x))


def _fft_branch(parts: _Parts, spectrum):
    """(n_clips, n_samples // 2 + 1) -> (n_clips, width)."""
    x = layers.Reshape((-1, 1), name="fft.column")(spectrum)
    for i, (length, step) in enumerate(FFT_KERNELS):
        name = f"fft.c{i + 1}"
        x = parts.gate(_relu(parts.conv1d(x, name, length, step), name), name)
    if parts.settings.gap:
        x = layers.GlobalAveragePooling1D(name="fft.mean")(x)
    else:
        x = _channel_major(x, "fft")
    for i in range(FFT_DENSE):
        name = f"fft.d{i}"
        x = _relu(parts.norm(parts.dense(x, name), f"{name}.bn"), name)
    return parts.dense(x, f"fft.d{FFT_DENSE}")


def _stft_branch(parts: _Parts, spectrogram, name: str):
    """(n_clips, n_frames, n_bins) -> (n_clips, width)."""
    x = parts.norm(spectrogram, f"{name}.bn_freq")
    x = layers.Reshape((*x.shape[1:], 1), name=f"{name}.image")(x)
    stem, n_channels = f"{name}.stem", parts.width >> (STAGES - 1)
    x = parts.norm(parts.conv(x, stem, n_channels, 7, step=2), f"{stem}.bn")
    # The largest, then ReLU, is ReLU, then the largest; so on a quarter of the values.
    x = _relu(layers.MaxPooling2D(3, 2, name=f"{stem}.max")(x), stem)
    for i in range(1, STAGES + 1):
        x = _block(parts, x, f"{name}.s{i}a", n_channels << (i - 1), step=1 if i == 1 else 2)
        x = _block(parts, x, f"{name}.s{i}b", n_channels << (i - 1), step=1)
    x = layers.MaxPooling2D((x.shape[1], 1), name=f"{name}.tmax")(x)
    if parts.settings.gap:
        return parts.dense(layers.GlobalAveragePooling2D(name=f"{name}.mean")(x), f"{name}.dense")
    x = _channel_major(layers.Reshape(x.shape[2:], name=f"{name}.column")(x), name)
    return parts.dense(parts.norm(x, f"{name}.bn_out"), f"{name}.dense")


def _block(parts: _Parts, x, name: str, n_channels: int, step: int):
    """A residual block; its shortcut starts behind the first normalisation."""
    shortcut = x = parts.norm(x, f"{name}.bn_in")
    x = parts.conv(_relu(x, f"{name}.in"), f"{name}.conv1", n_channels, 3, step, padding=1)
    x = _relu(parts.norm(x, f"{name}.bn_mid"), f"{name}.mid")
    x = parts.conv(x, f"{name}.conv2", n_channels, 3, padding=1)
    if parts.settings.se:
        x = parts.gate(x, name)
    if step == 2:
        shortcut = PaddedMaxPooling2D(name=f"{name}.max")(shortcut)
        shortcut = parts.conv(shortcut, f"{name}.skip", n_channels, 1)
    return layers.Add(name=name)([shortcut, x])
