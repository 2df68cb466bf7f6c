"""The networks of CP-JKU's system of 2021 in plain PyTorch, written from their description.

See networks_torch.py, which serves them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

N_FFT, HOP, N_MELS, HIGHEST = 1024, 512, 128, 8000.0  # of the log-mel images
QUIETEST = 1e-10
STAGES, BLOCKS, N_SECTIONS = 3, 4, 6
LEARNING_RATE, DECAY = 1e-4, 1e-5
OUTLIERS = 0.5  # weight of their loss, of a classifier
MARGIN = 0.5  # nats an element, of a density


def mel_filters(sample_rate: int) -> torch.Tensor:
    """Triangles of height 1, equally spaced in 2595 log10(1 + f / 700): (n_mels, n_bins)."""
    mels = np.linspace(0, 2595 * math.log10(1 + HIGHEST / 700), N_MELS + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    bins = np.linspace(0, sample_rate / 2, N_FFT // 2 + 1)
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return torch.from_numpy(np.maximum(0, np.minimum(rise, fall)).astype(np.float32))


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, before: int, channels: int, one: int, two: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, one, padding=one // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, two, padding=two // 2, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.skip = None
        if before != channels:
            self.skip = nn.Conv2d(before, channels, 1, bias=False)
            self.skip_bn = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + (x if self.skip is None else self.skip_bn(self.skip(x))))


class CPResNet(nn.Module):
    """Waves, (n, samples), to the mean of the last map, (n, channels), and logits, (n, 6)."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        (rho, _), channels = settings["network"]["rho"], settings["network"]["channels"]
        self.register_buffer("window", torch.hann_window(N_FFT))
        self.register_buffer("filters", mel_filters(settings["sample_rate"]))
        self.norm = nn.BatchNorm2d(1)
        self.conv = nn.Conv2d(1, channels, 5, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        sizes = [3, 1] + [3 if i < rho else 1 for i in range(2 * STAGES * BLOCKS - 2)]
        before = channels
        for i in range(STAGES * BLOCKS):
            after = channels << (i // BLOCKS)
            block = Block(before, after, *sizes[2 * i : 2 * i + 2])
            self.add_module(f"s{i // BLOCKS + 1}b{i % BLOCKS + 1}", block)
            before = after
        self.cls = nn.Conv2d(before, N_SECTIONS, 1, bias=False)
        self.cls_bn = nn.BatchNorm2d(N_SECTIONS)

    def forward(self, waves: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spectra = torch.stft(waves, N_FFT, HOP, window=self.window, center=False,
                             return_complex=True)  # fmt: skip
        power = spectra.real.square() + spectra.imag.square()
        x = 10 * torch.log10(torch.clamp(self.filters @ power, min=QUIETEST))
        x = functional.relu(self.bn(self.conv(self.norm(x[:, None]))))
        for name, block in self.named_children():
            if isinstance(block, Block):
                x = block(x)
                x = functional.max_pool2d(x, 2) if name == "s1b1" else x
        return x.mean((2, 3)), self.cls_bn(self.cls(x)).mean((2, 3))

    def weight(self, name: str) -> torch.Tensor:
        """The weight of ours by its name: in.conv, s1b1.conv1, s2b1.skip.conv, cls.conv."""
        place = {"in.conv": "conv", "cls.conv": "cls"}.get(name, name.replace("skip.conv", "skip"))
        return self.get_submodule(place).weight


class Classifier:
    """A classifier in training; half of its batch are proxy outliers."""

    def __init__(self, settings: dict[str, Any], folder: Path, layout: str) -> None:
        torch.manual_seed(0)
        self.folder, self.network = folder, CPResNet(settings)
        with torch.no_grad(), np.load(folder / "weights.npz") as arrays:
            for name in arrays.files:
                own = np.ascontiguousarray(arrays[name].transpose(3, 2, 0, 1))
                self.network.weight(name).copy_(torch.from_numpy(own))
            if len(arrays.files) != sum(
                isinstance(one, nn.Conv2d) for one in self.network.modules()
            ):
                raise ValueError("the networks have not the same weights")
        if layout == "last":
            self.network.to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.Adam(self.network.parameters(), LEARNING_RATE,
                                          weight_decay=DECAY)  # fmt: skip
        batch = np.load(folder / "batch.npz")
        self.waves = torch.from_numpy(batch["waves"])
        self.sections = torch.from_numpy(batch["sections"]).long()
        self.own = settings["batch"]

    def _loss(self, logits: torch.Tensor) -> torch.Tensor:
        own = functional.cross_entropy(logits[: self.own], self.sections[: self.own])
        others = -functional.log_softmax(logits[self.own :], 1).mean()
        return own + OUTLIERS * others

    def embeddings(self, _: int) -> None:
        """Write the mean map of all clips, in training and in inference, and the loss."""
        with torch.no_grad():
            inference, _ = self.network.eval()(self.waves)
            before = {name: one.clone() for name, one in self.network.state_dict().items()}
            training, logits = self.network.train()(self.waves)
            loss = self._loss(logits)
            self.network.load_state_dict(before)
        np.savez(self.folder / "theirs.npz", inference=inference.numpy(),
                 training=training.numpy(), loss=loss.numpy())  # fmt: skip

    def step(self, count: int) -> float:
        """Steps of training; the last one's loss."""
        self.network.train()
        for _ in range(count):
            loss = self._loss(self.network(self.waves)[1])
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        return loss.item()


class Made(nn.Module):
    """Windows, (n, size), and their sections to log-likelihoods, (n,).

    Parameters
    ----------
    masked : closed weights are 0 by a product with a mask in every step; else they are set to 0
        behind every step
    """

    def __init__(self, arrays: dict[str, np.ndarray], masked: bool) -> None:
        super().__init__()
        names = [name.split("/")[0] for name in arrays if name.endswith("kernel")]
        kernels = [arrays[f"{name}/kernel"].T for name in names]
        self.size, self.masked = kernels[0].shape[1], masked
        hidden = [np.arange(len(one)) % (self.size - 1) for one in kernels[:-1]]
        inputs = np.arange(self.size)
        degrees = [inputs, *hidden, np.tile(inputs - 1, 2)]
        self.kernels, self.biases = nn.ParameterList(), nn.ParameterList()
        for i, (name, kernel) in enumerate(zip(names, kernels, strict=True)):
            self.kernels.append(nn.Parameter(torch.from_numpy(np.ascontiguousarray(kernel))))
            self.biases.append(nn.Parameter(torch.from_numpy(arrays[f"{name}/bias"])))
            mask = degrees[i + 1][:, None] >= degrees[i][None, :]
            self.register_buffer(f"mask{i}", torch.from_numpy(mask.astype(np.float32)))
        self.cond = nn.Parameter(torch.from_numpy(arrays["in/cond"]))

    def forward(self, x: torch.Tensor, sections: torch.Tensor) -> torch.Tensor:
        y = x
        for i, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            kernel = kernel * self.get_buffer(f"mask{i}") if self.masked else kernel
            y = functional.linear(functional.relu(y) if i else y, kernel, bias)
            if not i:
                y = y + functional.one_hot(sections, len(self.cond)).float() @ self.cond
        mean, scale = y.chunk(2, 1)
        u = (x - mean) * torch.exp(-scale)
        return (-0.5 * u.square() - 0.5 * math.log(2 * math.pi) - scale).sum(1)

    def close(self) -> None:
        """Set closed weights to 0."""
        if not self.masked:
            with torch.no_grad():
                for i, kernel in enumerate(self.kernels):
                    kernel.mul_(self.get_buffer(f"mask{i}"))


class Density:
    """A density in training; half of its batch are outliers."""

    def __init__(self, settings: dict[str, Any], folder: Path, layout: str) -> None:
        self.folder, self.normal = folder, settings["batch"]
        arrays = dict(np.load(folder / "weights.npz"))
        self.network = Made(arrays, layout == "masked")
        self.optimiser = torch.optim.Adam(self.network.parameters(), LEARNING_RATE,
                                          weight_decay=DECAY)  # fmt: skip
        batch = np.load(folder / "batch.npz")
        self.windows = torch.from_numpy(batch["windows"])
        self.sections = torch.from_numpy(batch["conditions"]).long()

    def _found(self) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.network(self.windows, self.sections) / self.network.size
        normal, outliers = found[: self.normal], found[self.normal :]
        return found, -normal.mean() + functional.relu(MARGIN - (normal - outliers)).mean()

    def embeddings(self, _: int) -> None:
        """Write the log-likelihoods of all windows, an element, and the loss."""
        with torch.no_grad():
            found, loss = self._found()
        np.savez(self.folder / "theirs.npz", training=found.numpy(), loss=loss.numpy())

    def step(self, count: int) -> float:
        """Steps of training; the last one's loss."""
        for _ in range(count):
            _, loss = self._found()
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            self.network.close()
        return loss.item()
