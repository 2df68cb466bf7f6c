"""What the name of a clip says, in any year of DCASE Task 2: words are searched, never counted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

NO_ATTRIBUTE = "noAttribute"  # what names of 2024 on have in the place of attributes

# What stands in a name before its running number, and which field it is.
_WORDS: dict[str, tuple[str, str | int]] = {
    "normal": ("label", 0),
    "anomaly": ("label", 1),
    "source": ("domain", "source"),
    "target": ("domain", "target"),
    "train": ("split", "train"),
    "test": ("split", "test"),
}
_NUMBER = re.compile("[0-9]+")
# An attribute whose name and value run together: spd1000, weight15, BckgC.
_TOGETHER = re.compile(r"([A-Za-z]*[a-z])([0-9][0-9.]*|[A-Z])")


@dataclass(frozen=True)
class Name:
    """The parts of a clip's name; None where it does not say."""

    section: str  # or machine id, digits: "00"
    number: str  # running number, digits
    label: int | None = None  # 0 normal, 1 anomalous
    domain: str | None = None  # "source", "target"
    split: str | None = None  # "train", "test"
    attributes: str = ""  # as they stand there: "spd_28V_mic_1", "noAttribute"
    of_2020: bool = False  # it says `id`, not `section`


def parse(file_name: str) -> Name:
    """The parts of a file name.

    `section_00_source_test_normal_0012_spd_28V.wav`, and with any of the words left out or in
    another order; `anomaly_id_01_00000000.wav`, `id_01_00000000.wav`. Attributes are what follows
    the running number.

    Parameters
    ----------
    file_name : without a folder; with or without `.wav`

    Raises
    ------
    ValueError : with what is wrong, to go on after "the name".
    """
    stem = re.sub(r"\.wav$", "", file_name, flags=re.IGNORECASE)
    parts = stem.split("_")
    lower = [part.lower() for part in parts]
    marker = next((lower.index(word) for word in ("section", "id") if word in lower), None)
    if marker is None:
        raise ValueError("says neither section nor id")
    section = "".join(parts[marker + 1 : marker + 2])
    if not _NUMBER.fullmatch(section):
        raise ValueError(f"has no digits after {parts[marker]}_")
    rest = marker + 2
    while rest < len(parts) and lower[rest] in _WORDS:
        rest += 1
    if rest == len(parts) or not _NUMBER.fullmatch(parts[rest]):
        raise ValueError("has no running number after the section and what is said of it")
    fields = _fields([*lower[:marker], *lower[marker + 2 : rest]])
    of_2020 = lower[marker] == "id"
    if "label" not in fields and not of_2020:  # so anonymous are test clips only
        fields.setdefault("split", "test")
    attributes = "_".join(parts[rest + 1 :])
    return Name(section, parts[rest], **fields, attributes=attributes, of_2020=of_2020)


def _fields(words: Iterable[str]) -> dict[str, str | int]:
    fields: dict[str, str | int] = {}
    for word in words:
        if word not in _WORDS:
            raise ValueError(f"holds {word!r} before its section")
        field, value = _WORDS[word]
        if fields.setdefault(field, value) != value:
            raise ValueError(f"says {fields[field]!r} and {value!r}")
    return fields


def attribute_pairs(attributes: str) -> dict[str, str]:
    """Attributes by name, from the way in which file names write them.

    `car_A1_spd_28V` is pairs joined by `_`; in `spd1000_BckgC` name and value run together;
    `noAttribute` and the empty text are none.

    Raises
    ------
    ValueError : they are no pairs, or one name stands twice.
    """
    if attributes in ("", NO_ATTRIBUTE):
        return {}
    parts = attributes.split("_")
    together = [_TOGETHER.fullmatch(part) for part in parts]
    if all(together):
        pairs = [match.groups() for match in together if match]
    elif len(parts) % 2 == 0 and all(parts):
        pairs = list(zip(parts[::2], parts[1::2], strict=True))
    else:
        raise ValueError(f"{attributes!r} is no list of names with values")
    if len(dict(pairs)) < len(pairs):
        raise ValueError(f"{attributes!r} gives one name two values")
    return dict(pairs)


@dataclass(frozen=True)
class Classes:
    """The classes of clips, for a classifier of what a clip is."""

    names: tuple[str, ...]  # in the order of their code points
    index: tuple[int, ...]  # of each clip, into `names`
    in_train: int  # classes that training clips have
    in_test: int  # classes that test clips have


def class_labels(
    clips: Sequence[tuple[str, str, Name]], by: Literal["section", "attributes"]
) -> Classes:
    """The class of each clip: what a discriminative detector tells apart.

    `machine---section`, or `machine---section---attributes---is_target`; the section without
    leading zeros. The classes of test clips count, too, so that a column has one meaning.

    Parameters
    ----------
    clips : of each the machine type, the split ("train", "test") and the parsed name
    by : "section", or "attributes" for the longer one
    """

    def of(machine_type: str, name: Name) -> str:
        label = f"{machine_type}---{int(name.section)}"
        if by == "section":
            return label
        return f"{label}---{name.attributes}---{int(name.domain == 'target')}"

    labels = [of(machine_type, name) for machine_type, _, name in clips]
    names = tuple(sorted(set(labels)))
    rank = {name: i for i, name in enumerate(names)}
    counts = [
        len({label for label, (_, s, _) in zip(labels, clips, strict=True) if s == split})
        for split in ("train", "test")
    ]
    return Classes(names, tuple(rank[label] for label in labels), *counts)
