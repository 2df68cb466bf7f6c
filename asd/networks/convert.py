"""Convert a PyTorch checkpoint of BEATs or EAT into the .npz file that networks here are read from.

    python -m asd.networks.convert BEATs_iter3_plus_AS2M.pt beats.npz

PyTorch is not needed, and nothing in the checkpoint is run: `asd.networks.torch_file` reads it. How
the network is made is told by the checkpoint's own configuration.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asd import cli
from asd.networks import architecture, parameters, torch_file
from asd.networks.architecture import PATCH, Architecture, Beats, Eat
from asd.networks.torch_file import Checkpoint
from asd.networks.torch_pickle import Tensor
from common import UserError

MOST_NUMBER = 1 << 16  # of a size in a configuration
PUBLISHED = "take a checkpoint that the authors published"
PLAIN = (int, float, bool, str, type(None))

# What only pre-training or a classifier needs, by the beginnings of their names.
UNUSED = {
    Beats: ("predictor.",),
    Eat: ("_ema", "modality_encoders.IMAGE.decoder.", "shared_decoder.", "recon_proj.",
          "cls_proj.", "center", "head.", "fc_norm."),
}  # fmt: skip
# Keys of BEATs' configuration, with what its program has where one is missing.
BEATS_KEYS = {
    "layers": ("encoder_layers", 12), "width": ("encoder_embed_dim", 768),
    "hidden": ("encoder_ffn_embed_dim", 3072), "heads": ("encoder_attention_heads", 12),
    "patch_width": ("embed_dim", 512), "patch_bias": ("conv_bias", False),
    "kernel": ("conv_pos", 128), "groups": ("conv_pos_groups", 16),
    "norm_first": ("layer_norm_first", False), "deep_norm": ("deep_norm", False),
    "buckets": ("num_buckets", 320), "max_distance": ("max_distance", 1280),
    "gated": ("gru_rel_pos", False), "activation": ("activation_fn", "gelu"),
}  # fmt: skip
EAT_KEYS = {
    "layers": ("depth", 12), "width": ("embed_dim", 768), "heads": ("num_heads", 12),
    "norm_first": ("layer_norm_first", False), "epsilon": ("norm_eps", 1e-6),
}  # fmt: skip
# Of EAT's section on its input: what alone is known here, and what its program has by default.
EAT_INPUT = {"in_chans": (1, 3), "patch_size": (PATCH, 16), "use_alibi_encoder": (False, False),
             "fixed_positions": (True, True)}  # fmt: skip


class Source(NamedTuple):
    """What a checkpoint tells.

    Attributes
    ----------
    made : its network
    tensors : by the names that PyTorch has for them, without those that are not used
    """

    made: Architecture
    tensors: dict[str, Tensor]


def convert(source: Path, target: Path) -> Architecture:
    """Write the network of a checkpoint.

    Raises
    ------
    UserError : the checkpoint is damaged, of another kind of network, or its parameters are not
        those of its configuration.
    """

    def use(checkpoint: Checkpoint) -> tuple[Architecture, dict[str, np.ndarray]]:
        made, tensors = _told(source, checkpoint.values)
        return made, parameters.arrays(source, checkpoint, made, tensors)

    made, arrays = torch_file.opened(source, use)
    architecture.write(target, made, arrays)
    return made


def _told(source: Path, values: Any) -> Source:
    """The network and its tensors, by a checkpoint's `cfg` and `model`."""
    cfg, model = (values.get(key) if isinstance(values, dict) else None for key in ("cfg", "model"))
    if not (isinstance(cfg, dict) and isinstance(model, dict)):
        raise UserError(f"{source}: holds no cfg and model, as checkpoints of BEATs and EAT do; "
                        "take one that their authors published")  # fmt: skip
    of_model = cfg.get("model")
    if isinstance(of_model, dict):
        inner = of_model.get("pretrained_model_args")  # of a network that was fine-tuned
        if isinstance(inner, dict) and isinstance(inner.get("model"), dict):
            model = {str(name).removeprefix("model."): one for name, one in model.items()}
            of_model = inner["model"]
        made = _eat(source, of_model)
    elif "encoder_layers" in cfg:
        made = _beats(source, cfg)
    else:
        raise UserError(f"{source}: its cfg is neither of BEATs nor of EAT; take a checkpoint that "
                        "their authors published")  # fmt: skip
    unused = UNUSED[type(made)]
    return Source(made, {name: one for name, one in model.items()
                         if not str(name).startswith(unused)})  # fmt: skip


def _values(source: Path, cfg: dict, keys: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    found = {}
    for own, (theirs, usual) in keys.items():
        found[own] = cfg.get(theirs, usual)
        if not isinstance(found[own], PLAIN):
            raise UserError(f"{source}: cfg key {theirs} is a {type(found[own]).__name__}; take a "
                            "checkpoint that the authors published")  # fmt: skip
    return found


def _beats(source: Path, cfg: dict) -> Beats:
    size, biased = _values(source, cfg, {
        "size": ("input_patch_size", PATCH), "biased": ("relative_position_embedding", False),
    }).values()  # fmt: skip
    if size != PATCH:
        raise UserError(f"{source}: cfg key input_patch_size is {size!r:.40}; patches of {PATCH} "
                        "are known")  # fmt: skip
    values = _values(source, cfg, BEATS_KEYS)
    if not biased:
        values["buckets"] = 0
    return architecture.of_values("beats", source, values, "cfg.", PUBLISHED)


def _eat(source: Path, cfg: dict) -> Eat:
    modalities = cfg.get("modalities")
    image = modalities.get("image") if isinstance(modalities, dict) else None
    if not isinstance(image, dict):
        raise UserError(f"{source}: cfg key model.modalities.image is missing; take a checkpoint "
                        "of EAT that its authors published")  # fmt: skip
    values = _values(source, cfg, EAT_KEYS)
    wanted = {**EAT_INPUT, "embed_dim": (values["width"], 768)}
    found = _values(source, image, {key: (key, usual) for key, (_, usual) in wanted.items()})
    for key, (known, _) in wanted.items():
        if found[key] != known:
            raise UserError(f"{source}: cfg key model.modalities.image.{key} is "
                            f"{found[key]!r:.40}; {known!r:.40} is known")  # fmt: skip
    (ratio,) = _values(source, cfg, {"ratio": ("mlp_ratio", 4)}).values()
    more = _values(
        source, image, {"tokens": ("num_extra_tokens", 0), "before": ("prenet_depth", 4)}
    )
    before = more.pop("before")
    numbers = values["width"], ratio, values["layers"], before
    if not all(isinstance(one, (int, float)) and 0 <= one < MOST_NUMBER for one in numbers):
        raise UserError(f"{source}: cfg keys depth, embed_dim, mlp_ratio or prenet_depth are no "
                        "numbers; take a checkpoint that the authors published")  # fmt: skip
    values |= {"hidden": int(values["width"] * ratio), "layers": values["layers"] + before}
    return architecture.of_values("eat", source, values | more, "cfg.", PUBLISHED)


def main(argv: list[str] | None = None) -> None:
    how = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=how)
    parser.add_argument("checkpoint", type=Path, help="PyTorch's file, .pt")
    parser.add_argument("target", type=Path, help="the file to write, .npz")
    args = parser.parse_args(argv)
    if args.target.suffix != ".npz":
        raise UserError(f"{args.target}: the file to write is called .npz")
    made = convert(args.checkpoint, args.target)
    print(f"{args.target}: {type(made).__name__}, {made.layers} blocks of width {made.width}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
