"""YAML files, written by hand or by an enemy: read as plain values, or refused in one line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from asd import files
from asd.messages import MOST_SHOWN, plain, shown
from common import UserError

# Of a YAML file; baseline.yaml has 3,000 bytes, some 80 values, and 3 levels of them.
MOST_BYTES = 100_000
MOST_VALUES = 10_000  # keys among them; an alias counts as all that it stands for
MOST_LEVELS = 30
MOST_DIGITS = 60  # of a number
MOST_REASON = 150  # letters

_TAG = "tag:yaml.org,2002:"


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Values are texts, finite numbers of 64 bits, booleans, None, lists and mappings; keys are
    texts. What YAML would read as a date is a text.

    Raises
    ------
    UserError : no such file, or no regular one; not YAML, too large, or nested too deep; a key
        stands twice; a value of another kind; or something else than a mapping.
    """
    text = _text(path)
    try:
        values = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        reason = " ".join(filter(None, (error.context, error.problem)))
        raise UserError(f"{path}: not a YAML file: {plain(reason, MOST_REASON)}{where}") from error
    except yaml.reader.ReaderError as error:
        where = f"U+{error.character:04X} (character {error.position + 1} of it)"
        raise UserError(f"{path}: not a YAML file: no text holds {where}") from error
    except (ValueError, OverflowError) as error:  # chr() and int() of what the scanner found
        raise UserError(
            f"{path}: not a YAML file: a \\U escape that is no letter, or a %YAML without a version"
        ) from error
    if not isinstance(values, dict | None):
        raise UserError(f"{path}: not a mapping of keys to values, as baseline.yaml is")
    return values or {}


def _text(path: Path) -> str:
    """The content of a file, no more of it than is allowed.

    A pipe is refused: the shell scripts read the file twice, and would find it empty then.
    """
    if not files.is_file(path):
        if files.exists(path) and not path.is_dir():
            raise UserError(f"{path}: not a regular file; copy what it gives into one")
        raise UserError(f"{path}: no such configuration file")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UserError(f"{path}: not a YAML file of ours: larger than {MOST_BYTES:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not a YAML file: byte {error.start + 1} is not UTF-8; save it as UTF-8"
        ) from error


def _wrong(problem: str, node: yaml.Node | yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, problem, node.start_mark)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without what its traps and bombs are made of."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._level = 0
        # Of the values that are whole: how many they are, and on how many levels.
        self._sizes: dict[yaml.Node, tuple[int, int]] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        event = self.peek_event()
        self._level += 1
        if self._level > MOST_LEVELS:
            raise _wrong(f"nested deeper than {MOST_LEVELS} levels", event)
        node = super().compose_node(parent, index)
        self._level -= 1
        if node not in self._sizes:
            if isinstance(event, yaml.AliasEvent):
                raise _wrong(f"*{shown(event.anchor)} is part of what it stands for", event)
            self._sizes[node] = self._size(node)
        return node

    def _size(self, node: yaml.Node) -> tuple[int, int]:
        parts = [] if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        counts, levels = zip((1, 1), *(self._sizes[part] for part in parts), strict=True)
        if sum(counts) > MOST_VALUES or max(levels) >= MOST_LEVELS:
            raise _wrong(f"more than {MOST_VALUES:,} values or {MOST_LEVELS} levels", node)
        return sum(counts), max(levels) + 1

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise _wrong("expected a mapping", node)
        values: dict[str, Any] = {}
        for key_node, value in node.value:
            key = self._key(key_node)
            if key in values:
                raise _wrong(f"key {plain(key, MOST_SHOWN)} stands twice", key_node)
            values[key] = self.construct_object(value, deep=deep)
        return values

    def _key(self, node: yaml.Node) -> str:
        if node.tag == f"{_TAG}merge":
            raise _wrong("<< is not known here; write the keys out", node)
        if node.tag != f"{_TAG}str":
            key = node.value if isinstance(node, yaml.ScalarNode) else "of several values"
            raise _wrong(f"key {plain(key, MOST_SHOWN)} is not a text; quote it", node)
        return self.construct_object(node)

    def construct_undefined(self, node: yaml.Node) -> None:
        tag = node.tag.removeprefix(_TAG)
        raise _wrong(f"the kind {shown(tag)} is not known here; write a plain value", node)

    def construct_yaml_str(self, node: yaml.Node) -> str:
        try:  # two \u escapes, as JSON writes one letter
            text = self.construct_scalar(node).encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError as error:
            raise _wrong(f"{shown(node.value)} is not Unicode", node) from error
        if found := re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text):
            raise _wrong(f"the control character {found[0]!r} in a text", node)
        return text

    def construct_yaml_bool(self, node: yaml.Node) -> bool:
        return self._converted(super().construct_yaml_bool, node)

    def construct_yaml_int(self, node: yaml.Node) -> int:
        number = self._converted(super().construct_yaml_int, node)
        if not -(2**63) <= number < 2**63:
            raise _wrong(f"{shown(node.value)} has more than 64 bits", node)
        return number

    def construct_yaml_float(self, node: yaml.Node) -> float:
        number = self._converted(super().construct_yaml_float, node)
        if not math.isfinite(number):
            raise _wrong(f"{shown(node.value)} is not a finite number", node)
        return number

    def _converted(self, convert: Callable[[yaml.Node], Any], node: yaml.Node) -> Any:
        if len(self.construct_scalar(node)) > MOST_DIGITS:
            raise _wrong(f"{shown(node.value)} has more than {MOST_DIGITS} digits", node)
        try:
            return convert(node)
        except (KeyError, ValueError, OverflowError) as error:
            raise _wrong(
                f"{shown(node.value)} is no {node.tag.removeprefix(_TAG)}", node
            ) from error


def _keep_plain_kinds(loader: type[yaml.SafeLoader]) -> None:
    """Leave JSON's kinds only, so that a date is a text; and let 1e-4 be a number."""
    kinds = ("null", "bool", "int", "float", "str", "seq", "map")
    loader.yaml_constructors = {None: loader.construct_undefined} | {
        f"{_TAG}{kind}": getattr(loader, f"construct_yaml_{kind}") for kind in kinds
    }
    known = {f"{_TAG}{kind}" for kind in (*kinds, "merge")}
    loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in known]
        for first, resolvers in loader.yaml_implicit_resolvers.items()
    }
    number = re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
    loader.add_implicit_resolver(f"{_TAG}float", number, list("-+0123456789"))


_keep_plain_kinds(_Loader)
