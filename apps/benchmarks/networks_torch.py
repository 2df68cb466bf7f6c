"""The networks in plain PyTorch, written from their descriptions, to be measured beside ours.

    python -m apps.benchmarks.networks_torch FOLDER

runs in an environment of its own, see networks.py, and imports nothing of the project but
`serving`. Reads what our process wrote into FOLDER: `case.json`, the settings, and `weights.npz`,
by the names of our layers. Images are (clips, channels, bins, frames), so the reverse of ours, and
so are the axes of kernels.
"""

from __future__ import annotations

import json
import math
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from apps.benchmarks.networks_torch_2021 import Classifier, Density
from apps.benchmarks.networks_torch_alone import convolutions
from apps.benchmarks.serving import serve

FFT_KERNELS = ((256, 64), (64, 32), (16, 4))  # length and step
FFT_DENSE = 5
STAGES = 4
REDUCTION = 16


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // REDUCTION, 1)
        self.se_down = nn.Linear(channels, hidden, bias=False)
        self.se_up = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        axes = tuple(range(2, x.dim()))
        gate = torch.sigmoid(self.se_up(functional.relu(self.se_down(x.mean(axes)))))
        return x * gate.reshape(*gate.shape, *[1] * len(axes))


class Block(nn.Module):
    """A residual block; its shortcut starts behind the first normalisation."""

    def __init__(self, before: int, channels: int, step: int) -> None:
        super().__init__()
        self.bn_in = nn.BatchNorm2d(before, affine=False)
        self.conv1 = nn.Conv2d(before, channels, 3, step, 1, bias=False)
        self.bn_mid = nn.BatchNorm2d(channels, affine=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.gate = Gate(channels)
        self.skip = nn.Conv2d(before, channels, 1, bias=False) if step == 2 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn_in(x)
        r = self.conv1(functional.relu(x))
        r = self.gate(self.conv2(functional.relu(self.bn_mid(r))))
        if self.skip is not None:
            x = self.skip(functional.max_pool2d(x, 3, 2, 1))
        return x + r


class Stft(nn.Module):
    """The branch of a spectrogram."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        values, rate = settings["network"], settings["sample_rate"]
        (n_fft,), width = values["n_ffts"], values["width"]
        self.n_fft = n_fft
        low, high = (limit * n_fft / rate for limit in values["range_hz"])
        self.bins = slice(math.ceil(low), math.floor(high) + 1)
        n_bins = self.bins.stop - self.bins.start
        self.register_buffer("window", torch.hann_window(n_fft))
        self.bn_freq = nn.BatchNorm1d(n_bins, affine=False)
        channels = width >> (STAGES - 1)
        self.stem = nn.Conv2d(1, channels, 7, 2, bias=False)
        self.stem_bn = nn.BatchNorm2d(channels, affine=False)
        n_bins, before = ((n_bins - 7) // 2 + 1 - 3) // 2 + 1, channels
        for i in range(1, STAGES + 1):
            after = channels << (i - 1)
            self.add_module(f"s{i}a", Block(before, after, 1 if i == 1 else 2))
            self.add_module(f"s{i}b", Block(after, after, 1))
            n_bins, before = n_bins if i == 1 else (n_bins + 1) // 2, after
        self.bn_out = nn.BatchNorm1d(width * n_bins, affine=False)
        self.dense = nn.Linear(width * n_bins, width, bias=False)

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        spectra = torch.stft(waves, self.n_fft, self.n_fft // 2, window=self.window, center=True,
                             pad_mode="constant", return_complex=True)  # fmt: skip
        norm = self.window.square().sum().sqrt()
        x = self.bn_freq(spectra[:, self.bins].abs() / norm)[:, None]
        x = functional.relu(self.stem_bn(self.stem(x)))
        x = functional.max_pool2d(x, 3, 2)
        for i in range(1, STAGES + 1):
            x = getattr(self, f"s{i}b")(getattr(self, f"s{i}a")(x))
        return self.dense(self.bn_out(x.amax(3).flatten(1)))


class Fft(nn.Module):
    """The branch of the whole wave's spectrum."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        width, before = settings["network"]["width"], 1
        n = settings["n_samples"] // 2 + 1
        for i, (length, step) in enumerate(FFT_KERNELS, 1):
            self.add_module(f"c{i}", nn.Conv1d(before, width, length, step, bias=False))
            self.add_module(f"c{i}_gate", Gate(width))
            n, before = (n - length) // step + 1, width
        n *= width
        for i in range(FFT_DENSE + 1):
            self.add_module(f"d{i}", nn.Linear(n, width, bias=False))
            self.add_module(f"d{i}_bn", nn.BatchNorm1d(width, affine=False))
            n = width

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        x = torch.fft.rfft(waves).abs()[:, None]
        for i in range(1, len(FFT_KERNELS) + 1):
            x = getattr(self, f"c{i}_gate")(functional.relu(getattr(self, f"c{i}")(x)))
        x = x.flatten(1)
        for i in range(FFT_DENSE):
            x = functional.relu(getattr(self, f"d{i}_bn")(getattr(self, f"d{i}")(x)))
        return getattr(self, f"d{FFT_DENSE}")(x)


class MultiResNet(nn.Module):
    """Waves, (clips, samples), to embeddings, (clips, width x branches)."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        self.fft = Fft(settings) if settings["network"]["fft"] else None
        self.stft0 = Stft(settings)

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        branches = [branch(waves) for branch in (self.fft, self.stft0) if branch is not None]
        return torch.cat(branches, 1)

    def weight(self, name: str) -> torch.Tensor:
        """The weight of ours by its name: fft.c1.se_up or stft0.s2a.conv1."""
        *places, last = name.split(".")
        if last.startswith("se_"):
            places[-1:] = [places[-1], "gate"] if places[0] != "fft" else [f"{places[-1]}_gate"]
        return self.get_submodule(".".join([*places, last])).weight


class ScAdaCos(nn.Module):
    """Softmax of scaled cosines to several centres a class, summed over those of a class."""

    def __init__(self, settings: dict[str, Any], width: int) -> None:
        super().__init__()
        self.of_each, columns = settings["of_each"], settings["classes"] * settings["of_each"]
        self.scale = math.sqrt(2) * math.log(columns - 1)
        limit = math.sqrt(6 / (width + columns))
        self.centres = nn.Parameter(torch.empty(width, columns).uniform_(-limit, limit))

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        near = functional.normalize(embeddings) @ functional.normalize(self.centres, dim=0)
        columns = functional.softmax(self.scale * near, 1)
        likely = columns.reshape(len(near), -1, self.of_each).sum(2)
        return -(labels * likely.log()).sum(1).mean()


def mixed(
    waves: torch.Tensor, labels: torch.Tensor, probability: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each clip, so often, mixed with another of the batch; and its labels."""
    n = len(waves)
    share, order = torch.rand(n, 1), torch.randperm(n)
    share = torch.where(torch.rand(n, 1) < probability, share, torch.ones(()))
    return tuple(share * one + (1 - share) * one[order] for one in (waves, labels))


class Way:
    """A network in training and in use; what is measured.

    Parameters
    ----------
    layout : of images in memory: channels first, as PyTorch has it by default, or last
    """

    def __init__(self, settings: dict[str, Any], folder: Path, layout: str) -> None:
        torch.manual_seed(0)
        self.settings, self.folder = settings, folder
        self.network = MultiResNet(settings)
        with torch.no_grad():
            arrays = dict(np.load(folder / "weights.npz"))
            centres = arrays.pop("centres")
            for name, array in arrays.items():
                self.network.weight(name).copy_(torch.from_numpy(np.ascontiguousarray(array.T)))
            if len(arrays) != len(list(self.network.parameters())):
                raise ValueError("the networks have not the same weights")
            self.head = ScAdaCos(settings, len(centres))
            self.head.centres.copy_(torch.from_numpy(centres))
        if layout == "last":
            self.network.to(memory_format=torch.channels_last)
        parameters = [*self.network.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.AdamW(parameters, 1e-3, weight_decay=0.01)
        batch = np.load(folder / "batch.npz")
        self.waves = torch.from_numpy(batch["waves"])
        classes = torch.from_numpy(batch["classes"])
        self.labels = functional.one_hot(classes, settings["classes"]).float()

    def embeddings(self, n: int) -> None:
        """Write the embeddings of some clips, in training and in inference, and the loss."""
        with torch.no_grad():
            self.network.eval()
            inference = self.network(self.waves[:n])
            self.network.train()
            training = self.network(self.waves[:n])
            loss = self.head(training, self.labels[:n])
        np.savez(self.folder / "theirs.npz", inference=inference.numpy(),
                 training=training.numpy(), loss=loss.numpy())  # fmt: skip

    def step(self, count: int) -> float:
        """Steps of training; the last one's loss."""
        self.network.train()
        for _ in range(count):
            waves, labels = mixed(self.waves, self.labels, self.settings["mixup"])
            loss = self.head(self.network(waves), labels)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        return loss.item()

    def score(self, listed: str, known: str, out: str) -> None:
        """Scores of the clips of a list, by the nearest of known embeddings."""
        self.network.eval()
        paths = Path(listed).read_text(encoding="utf-8").splitlines()
        size = self.settings["batch"]
        with torch.inference_mode():
            parts = []
            for i in range(0, len(paths), size):
                waves = np.stack([samples(path) for path in paths[i : i + size]])
                parts.append(self.network(torch.from_numpy(waves)))
            here = functional.normalize(torch.cat(parts))
            there = functional.normalize(torch.from_numpy(np.load(known)))
            nearest = (here @ there.T).amax(1)
        np.save(out, (1 - nearest).numpy())


WAYS: dict[str, Callable[[dict[str, Any], Path, str], Any]] = {
    "multiresnet": Way,
    "cpresnet": Classifier,
    "made": Density,
}


def samples(path: str) -> np.ndarray:
    """Of a wav of 16 bits, full scale 1."""
    with wave.open(path) as file:
        content = file.readframes(file.getnframes())
    return np.frombuffer(content, "<i2").astype(np.float32) / 32768


def main(folder: Path) -> None:
    """Serve."""
    settings = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    torch.set_num_threads(settings["threads"])
    ways: dict[str, Any] = {}

    def way(layout: str) -> Any:
        if layout not in ways:
            ways[layout] = WAYS[settings["network"]["kind"]](settings, folder, layout)
        return ways[layout]

    serve({
        "embeddings": lambda layout, n: way(layout).embeddings(n),
        "step": lambda layout, count: way(layout).step(count),
        "score": lambda layout, *names: way(layout).score(*names),
        "convolutions": lambda layout: convolutions(settings["convolutions"], layout),
    })  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
