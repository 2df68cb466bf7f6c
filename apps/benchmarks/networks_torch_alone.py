"""Convolutions alone in PyTorch; see networks_torch.py, which serves them."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.nn import functional


def convolutions(shapes: list[dict[str, Any]], layout: str) -> list[list[float]]:
    """Wall and CPU seconds of each convolution alone, forward and backward."""
    seconds = []
    for one in shapes:
        n, height, width, channels = one["input"]
        x = torch.randn(n, channels, width, height, requires_grad=one["of_input"])
        kernel = torch.randn(one["channels"], channels, *one["kernel"][::-1], requires_grad=True)
        if layout == "last":
            x, kernel = (a.detach().contiguous(memory_format=torch.channels_last)
                         .requires_grad_(a.requires_grad) for a in (x, kernel))  # fmt: skip
        padding = tuple(one["padding"][::-1])
        y = functional.conv2d(x, kernel, None, tuple(one["step"][::-1]), padding)
        wanted = [a for a in (x, kernel) if a.requires_grad]
        gradient = torch.randn_like(y)
        wall, cpu = time.perf_counter(), time.process_time()
        y = functional.conv2d(x, kernel, None, tuple(one["step"][::-1]), padding)
        torch.autograd.grad(y, wanted, gradient)
        seconds.append([time.perf_counter() - wall, time.process_time() - cpu])
    return seconds
