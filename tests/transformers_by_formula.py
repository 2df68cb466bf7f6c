"""BEATs and EAT in float64, written from the formulas, on the parameters of a checkpoint.

Loops over heads, tokens and frames where the layers under test have products of whole arrays.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erf


def fbank(wave, povey, gain, centred):
    """Kaldi's log mel bands, (n_frames, 128), frame by frame."""
    wave = wave.astype(np.float64)
    wave = gain * (wave - wave.mean() if centred else wave)
    n = np.arange(400)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * n / 399)) ** (0.85 if povey else 1)
    mel = lambda hz: 1127 * math.log(1 + hz / 700)  # noqa: E731
    low, step = mel(20), (mel(8000) - mel(20)) / 129
    banks = np.zeros((128, 257))
    for m in range(128):
        left, centre, right = (low + (m + k) * step for k in range(3))
        for k in range(256):
            at = mel(k * 31.25)
            if left < at <= centre:
                banks[m, k] = (at - left) / (centre - left)
            elif centre < at < right:
                banks[m, k] = (right - at) / (right - centre)
    rows = []
    for start in range(0, len(wave) - 399, 160):
        frame = wave[start : start + 400] - wave[start : start + 400].mean()
        frame = np.append(frame[0] * 0.03, frame[1:] - 0.97 * frame[:-1]) * window
        energies = np.abs(np.fft.rfft(frame, 512)) ** 2
        rows.append(np.log(np.maximum(banks @ energies, 2.0**-23)))
    return np.array(rows)


def frames_of_beats(wave):
    found = (fbank(wave, True, 32768, False) - 15.41663) / (2 * 6.55582)
    return found[: len(found) // 16 * 16]


def frames_of_eat(wave, least):
    found = fbank(wave, False, 1, True)
    count = max(least, math.ceil(len(found) / 16) * 16)
    found = np.concatenate([found, np.zeros((count - len(found), 128))])
    return (found + 4.268) / (2 * 4.569)


def gelu(x):
    return x * 0.5 * (1 + erf(x / math.sqrt(2)))


class Weights:
    """Parameters by name in float64, with the products that they make."""

    def __init__(self, found, prefix=""):
        self.of = {name.removeprefix(prefix): one.astype(np.float64)
                   for name, one in found.items() if isinstance(one, np.ndarray)}  # fmt: skip

    def dense(self, name, x):
        weight = self.of[f"{name}.weight"]
        return x @ weight.reshape(len(weight), -1).T + self.of.get(f"{name}.bias", 0)

    def norm(self, name, x, epsilon):
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        scaled = (x - mean) / np.sqrt(variance + epsilon)
        return scaled * self.of[f"{name}.weight"] + self.of[f"{name}.bias"]


def patches(frames):
    """(n_patches, 256): in time, then bands."""
    return np.array([frames[t : t + 16, f : f + 16].ravel()
                     for t in range(0, len(frames), 16) for f in range(0, 128, 16)])  # fmt: skip


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q, k, v, heads, biases=None):
    """Tokens, (n, width); biases by head, (n, n)."""
    size, parts = q.shape[1] // heads, []
    for h in range(heads):
        own = slice(h * size, (h + 1) * size)
        scores = q[:, own] @ k[:, own].T / math.sqrt(size)
        parts.append(softmax(scores + (biases[h] if biases else 0)) @ v[:, own])
    return np.concatenate(parts, 1)


def bucket(distance, count, most):
    """Of T5: exact below a quarter of the count, by the logarithm from there on."""
    half, exact, size = count // 2, count // 4, abs(distance)
    if size >= exact:
        size = min(exact + int(math.log(size / exact) / math.log(most / exact) * (half - exact)),
                   half - 1)  # fmt: skip
    return size + (half if distance > 0 else 0)


def convolved(w, x, groups):
    """x + GELU of a convolution whose kernel is g v / |v|, of each of its elements by itself."""
    g, v = w.of["encoder.pos_conv.0.weight_g"], w.of["encoder.pos_conv.0.weight_v"]
    kernel = np.stack([g[0, 0, j] * v[..., j] / np.linalg.norm(v[..., j])
                       for j in range(v.shape[2])], 2)  # fmt: skip
    n, width = x.shape
    of_group, found = width // groups, np.tile(w.of["encoder.pos_conv.0.bias"], (n, 1))
    for t in range(n):
        for j in range(kernel.shape[2]):
            at = t + j - kernel.shape[2] // 2
            if 0 <= at < n:
                for o in range(width):
                    first = o // of_group * of_group
                    found[t, o] += kernel[o, :, j] @ x[at, first : first + of_group]
    return x + gelu(found)


def beats(checkpoint, frames):
    """Tokens by the name of what gives them: frames, positions, each block."""
    cfg, w = checkpoint["cfg"], Weights(checkpoint["model"])
    heads, first = cfg["encoder_attention_heads"], cfg["layer_norm_first"]
    x = w.norm("layer_norm", w.dense("patch_embedding", patches(frames)), 1e-5)
    if "post_extract_proj.weight" in w.of:
        x = w.dense("post_extract_proj", x)
    maps = {}
    x = maps["position"] = convolved(w, x, cfg["conv_pos_groups"])
    if not first:
        x = w.norm("encoder.layer_norm", x, 1e-5)
    alpha = (2 * cfg["encoder_layers"]) ** 0.25 if cfg["deep_norm"] else 1
    for i in range(cfg["encoder_layers"]):
        layer = f"encoder.layers.{i}"

        def attended(x, layer=layer):
            q, k, v = (w.dense(f"{layer}.self_attn.{part}_proj", x) for part in "qkv")
            biases = of_distances(w, cfg, layer, q) if cfg["relative_position_embedding"] else None
            return w.dense(f"{layer}.self_attn.out_proj", attention(q, k, v, heads, biases))

        def two(x, layer=layer):
            return w.dense(f"{layer}.fc2", gelu(w.dense(f"{layer}.fc1", x)))

        norms = f"{layer}.self_attn_layer_norm", f"{layer}.final_layer_norm"
        if first:
            x = x + attended(w.norm(norms[0], x, 1e-5))
            x = x + two(w.norm(norms[1], x, 1e-5))
        else:
            x = w.norm(norms[0], alpha * x + attended(x), 1e-5)
            x = w.norm(norms[1], alpha * x + two(x), 1e-5)
        maps[f"block{i}"] = x
    maps["tokens"] = w.norm("encoder.layer_norm", x, 1e-5) if first else x
    return maps


def of_distances(w, cfg, layer, q):
    """The biases of heads, (n, n) each, gated by the queries."""
    table = w.of["encoder.layers.0.self_attn.relative_attention_bias.weight"]
    n, heads = len(q), cfg["encoder_attention_heads"]
    size, found = q.shape[1] // heads, []
    for h in range(heads):
        bias = np.array([[table[bucket(j - i, cfg["num_buckets"], cfg["max_distance"]), h]
                          for j in range(n)] for i in range(n)])  # fmt: skip
        if cfg["gru_rel_pos"]:
            gates = w.dense(f"{layer}.self_attn.grep_linear", q[:, h * size : (h + 1) * size])
            a, b = (1 / (1 + np.exp(-gates[:, 4 * k : 4 * k + 4].sum(1))) for k in (0, 1))
            scale = w.of[f"{layer}.self_attn.grep_a"][0, h, 0, 0]
            bias = (a * (b * scale - 1) + 2)[:, None] * bias
        found.append(bias)
    return found


def positions(times, width):
    """Row by row: the band, then the time; of each sines, then cosines."""
    rows = []
    for t in range(times):
        for f in range(8):
            rates = [10000 ** (-i / (width / 4)) for i in range(width // 4)]
            rows.append([turn(place * rate) for place in (f, t) for turn in (math.sin, math.cos)
                         for rate in rates])  # fmt: skip
    return np.array(rows)


def eat(checkpoint, frames, prefix=""):
    """The same of EAT."""
    cfg, w = checkpoint["cfg"]["model"], Weights(checkpoint["model"], prefix)
    if prefix:
        cfg = cfg["pretrained_model_args"]["model"]
    heads, first, epsilon = cfg["num_heads"], cfg["layer_norm_first"], cfg["norm_eps"]
    encoder, maps = "modality_encoders.IMAGE", {}
    x = w.dense(f"{encoder}.local_encoder.proj", patches(frames))
    x = x + positions(len(frames) // 16, x.shape[1])
    x = maps["tokens"] = np.concatenate([w.of[f"{encoder}.extra_tokens"][0], x])
    if not first:
        x = w.norm(f"{encoder}.context_encoder.norm", x, epsilon)
    before = cfg["modalities"]["image"]["prenet_depth"]
    names = [f"{encoder}.context_encoder.blocks.{i}" for i in range(before)]
    for i, name in enumerate([*names, *(f"blocks.{i}" for i in range(cfg["depth"]))]):

        def attended(x, name=name):
            q, k, v = np.split(w.dense(f"{name}.attn.qkv", x), 3, axis=1)
            return w.dense(f"{name}.attn.proj", attention(q, k, v, heads))

        def two(x, name=name):
            return w.dense(f"{name}.mlp.fc2", gelu(w.dense(f"{name}.mlp.fc1", x)))

        if first:
            x = x + attended(w.norm(f"{name}.norm1", x, epsilon))
            x = 2 * two(w.norm(f"{name}.norm2", x, epsilon))
        else:
            x = w.norm(f"{name}.norm1", x + attended(x), epsilon)
            x = w.norm(f"{name}.norm2", x + two(x), epsilon)
        maps[f"block{i}"] = x
    maps["end"] = w.norm("norm", x, epsilon) if first else x
    return maps
