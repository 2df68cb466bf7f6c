"""Losses of discriminative training: heads that hold the centres of classes.

`KINDS` lists them by the name that `kind` has in the YAML; TensorFlow is imported when one is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from asd.losses import settings
from asd.sections import Choice, Section
from common import UserError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Kind:
    """A loss: its section in the YAML, and the name of its class."""

    Settings: type[Section]
    layer: str  # in asd.losses.heads


SINGLE = {
    "adacos": Kind(settings.AdaCos, "AdaCos"),
    "scadacos": Kind(settings.ScAdaCos, "ScAdaCos"),
    "arcface": Kind(settings.ArcFace, "ArcFace"),
    "adaproj": Kind(settings.AdaProj, "AdaProj"),
}
KINDS = {
    **SINGLE,
    "featex": Kind(settings.FeatEx, "FeatEx"),
    "subspace": Kind(settings.Subspace, "Subspace"),
}


def check(choice: Choice) -> None:
    """See that a section of the YAML is right, those inside it too; needs no TensorFlow.

    Raises
    ------
    UserError : see `Choice.section`.
    """
    _, values = choice.section(KINDS)
    for name in ("main", "exchanged", "parts"):
        if hasattr(values, name):
            getattr(values, name).section(SINGLE)


def of(
    choice: Choice,
    classes: int,
    width: int,
    reduction: str = "mean",
    dtype: str = "float32",
) -> keras.layers.Layer:
    """The layer that a section of the YAML names; see `asd.losses.heads.Head`.

    Parameters
    ----------
    classes, width : how many; elements of an embedding
    reduction : of the losses of a batch: mean, sum or none
    dtype : of numbers, whatever Keras is set to: angles near 0 are lost to half precision

    Raises
    ------
    UserError : see `Choice.section`; or the kind does not suit so many classes or such embeddings.
    """
    from asd.losses import parts

    _, values = choice.section(KINDS)
    if classes < 2 and choice.kind != "featex":  # which makes classes of its own
        raise UserError(
            f"{choice.file}: key {choice.key}: one class leaves nothing to tell apart; train on "
            "more machine types, sections or attributes, or take featex"
        )
    made = partial(_single, reduction=reduction, dtype=dtype)
    if choice.kind in SINGLE:
        return made(choice, classes)
    main = made(values.main, classes)
    if width % values.part or width == values.part:
        raise UserError(f"{choice.file}: key {choice.key}.part: embeddings of {width} elements are "
                        f"not several parts of {values.part}")  # fmt: skip
    n_parts = width // values.part
    how = {"weight": values.weight, "faithful": values.faithful, "dtype": dtype}
    if choice.kind == "subspace":
        return parts.Subspace(main, [made(values.parts, classes) for _ in range(n_parts)], **how)
    exchanged = made(values.exchanged, classes * (n_parts + 1))
    return parts.FeatEx(main, exchanged, n_parts, values.probability, **how)


def _single(choice: Choice, classes: int, reduction: str, dtype: str) -> keras.layers.Layer:
    """The head that is not made of others."""
    from asd.losses import heads

    kind, values = choice.section(SINGLE)
    try:
        return getattr(heads, kind.layer)(classes, values, reduction, dtype=dtype)
    except ValueError as error:
        raise UserError(
            f"{choice.file}: key {choice.key}: {choice.kind} of {classes} classes: {error}"
        ) from error
