"""Sections: the mappings of a YAML file as frozen, typed objects; a wrong key is named.

A section that depends on a `kind` (which detector, which back end) is a `Choice`: its other keys
are those of the kind's own section, which stands in the module of the kind.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import msgspec

from asd.messages import MOST_SHOWN, plain, shown
from common import UserError

NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Limit = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Name = Annotated[str, msgspec.Meta(min_length=1)]


MOST_MESSAGE = 200  # letters of what a section's own check says


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mapping of the YAML file; every key without a default is required."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """A section whose keys depend on its `kind`.

    Attributes
    ----------
    file : the YAML file, for messages
    key : where the section stands, dotted: "detector"
    kind : "autoencoder"
    values : its other keys
    """

    file: Path
    key: str
    kind: str
    values: dict[str, Any]

    def section(self, kinds: dict[str, Any]) -> tuple[Any, Any]:
        """What the kind stands for, and its values as the section that it names `Settings`.

        Parameters
        ----------
        kinds : by name, classes with an attribute `Settings`, a `Section`

        Raises
        ------
        UserError : no such kind, or a key is unknown, missing or ill-typed.
        """
        if self.kind not in kinds:
            known = ", ".join(kinds)
            raise UserError(f"{self.file}: key {self.key}.kind: no {shown(self.kind)}; "
                            f"known: {known}")  # fmt: skip
        chosen = kinds[self.kind]
        return chosen, as_section(chosen.Settings, self.file, self.values, f"{self.key}.")


SectionType = TypeVar("SectionType", bound=msgspec.Struct)


def as_section(
    kind: type[SectionType], path: Path, values: dict[str, Any], prefix: str = ""
) -> SectionType:
    """The values of a YAML file as a typed, frozen object.

    Parameters
    ----------
    prefix : where they stand in the file, dotted and with a dot behind; "" for the whole file

    Raises
    ------
    UserError : a key is unknown, missing or ill-typed; the message names the file, the key, and
        for an unknown key the nearest valid one.
    """
    check_keys(path, values, kind, prefix)
    try:
        chosen = _with_choices(kind, path, values, prefix)
        return msgspec.convert(chosen, kind, dec_hook=lambda _, choice: choice)
    except msgspec.ValidationError as error:
        raise UserError(f"{path}: {_plain(error, values, kind, prefix)}") from error


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Mappings one over the other, key by key; one of another kind takes the whole place."""
    merged = dict(base)
    for key, value in over.items():
        before = base.get(key)
        both = isinstance(value, dict) and isinstance(before, dict)
        same = both and value.get("kind", before.get("kind")) == before.get("kind")
        merged[key] = merge(before, value) if same else value
    return merged


def _with_choices(kind: type, path: Path, values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The values, with a `Choice` in the place of each mapping that has a kind, also in lists."""
    result = dict(values)
    for field in msgspec.structs.fields(kind):
        value, key = values.get(field.name), f"{prefix}{field.name}"
        if _is_section(field.type) and isinstance(value, dict):
            result[field.name] = _with_choices(field.type, path, value, f"{key}.")
        elif field.type is Choice and field.name in values:
            result[field.name] = _choice(path, key, value)
        elif field.type == tuple[Choice, ...] and isinstance(value, list):
            result[field.name] = [_choice(path, f"{key}[{i}]", one) for i, one in enumerate(value)]
    return result


def _choice(path: Path, key: str, value: Any) -> Choice:
    """A mapping with a kind as a `Choice`."""
    if not (isinstance(value, dict) and isinstance(value.get("kind"), str)):
        raise UserError(f"{path}: key {key}: expected a mapping with a kind, and this is "
                        f"{shown(value)}")  # fmt: skip
    others = {name: other for name, other in value.items() if name != "kind"}
    return Choice(path, key, value["kind"], others)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _keys(section: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key below a section, with its type."""
    for field in msgspec.structs.fields(section):
        yield prefix + field.name, field.type
        if _is_section(field.type):
            yield from _keys(field.type, f"{prefix}{field.name}.")


def check_keys(path: Path, values: dict[str, Any], kind: type, prefix: str = "") -> None:
    """Raise a UserError for a key that the section does not have."""
    if unknown := _unknown_key(values, kind, prefix):
        key, here = unknown
        near = _nearest_key(key, here, [name for name, _ in _keys(kind, prefix)])
        named = plain(key, MOST_SHOWN)
        raise UserError(f"{path}: unknown key {named}; did you mean {near}?")


def _unknown_key(
    values: dict[str, Any], section: type, prefix: str = ""
) -> tuple[str, list[str]] | None:
    """The first unknown key, dotted, and the keys that its section has."""
    known = {field.name: field.type for field in msgspec.structs.fields(section)}
    for key, value in values.items():
        if key not in known:
            return f"{prefix}{key}", [prefix + name for name in known]
        if isinstance(value, dict) and _is_section(known[key]):
            problem = _unknown_key(value, known[key], f"{prefix}{key}.")
            if problem:
                return problem
    return None


def _nearest_key(key: str, here: list[str], everywhere: list[str]) -> str:
    """The same name elsewhere, else the nearest of the same section, else the nearest of all."""
    key = key[:MOST_SHOWN]  # comparing takes long where both are
    same = [name for name in everywhere if name.split(".")[-1] == key.split(".")[-1]]
    of_section = difflib.get_close_matches(key, here, 1, cutoff=0.5)
    of_all = difflib.get_close_matches(key, everywhere, 1, cutoff=0.0)
    return [*same, *of_section, *of_all][0]


def _plain(error: msgspec.ValidationError, values: dict[str, Any], kind: type, prefix: str) -> str:
    """The validation library's message with the key first and the offending value last."""
    at = " - at `$"
    if own := str(error.__cause__ or ""):  # of a section's own check: anything may stand in it
        where = str(error)[len(own) :].removeprefix(f"{at}.").rstrip("`")
        named = f"{prefix}{where}".rstrip(".")
        return (f"key {named}: " if named else "") + plain(own, MOST_MESSAGE)
    message, _, where = str(error).rpartition(at) if at in str(error) else (str(error), "", "")
    where = where.rstrip("`")
    missing = re.fullmatch(r"Object missing required field `(.+)`", message)
    key = ".".join(filter(None, [where.strip("."), missing[1] if missing else ""]))
    if missing:
        return f"key {prefix}{key} is missing"
    value: Any = values
    for part in re.findall(r"\w+", where):
        value = value[int(part)] if isinstance(value, (list, tuple)) else value[part]
    message = message.replace("`", "").replace("Expected", "expected")
    if message.startswith("Invalid enum value"):
        choices = get_args(dict(_keys(kind)).get(key))
        message = f"expected one of {', '.join(map(str, choices))}"
    given = "" if isinstance(value, dict) else f", and this is {shown(value)}"
    return f"key {prefix}{key}: {message}{given}" if key else message
