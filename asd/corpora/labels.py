"""What is published of the labels of evaluation clips: lists of a year, an evaluator's folders.

- the list of a year, `eval_data_list_<year>.csv`: a line of one field starts a machine type, then
  `name,name with label`;
- a table of correspondence: the same under the header `source_file_name,target_file_name`, where
  the published name stands last;
- an official evaluator's folder: in `ground_truth_data` and `ground_truth_domain` (0 source,
  1 target) a file a machine type and section, lines of `name,0` and `name,1`; in
  `ground_truth_attributes` lines of `name,name with label`, or the columns of `attributes_00.csv`
  with the name with label as the last.

    python -m asd.corpora.labels eval_data_list_2022.csv dcase2022_evaluator

names the clips of which two of them say another label or domain; there are any: exit status 1.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asd.cli import run
from asd.corpora import names
from asd.messages import plain, shown
from common import UserError

CORRESPONDENCE = ("source_file_name", "target_file_name")
DATA, DOMAIN, ATTRIBUTES = (f"ground_truth_{what}" for what in ("data", "domain", "attributes"))
_OF_A_SECTION = re.compile(
    r"ground_truth_(?P<machine>.+)_section_[0-9]+(_(source|target))?_test\.csv"
)
MOST_BYTES = 16 << 20  # of a list; none of the published ones has a megabyte


@dataclass(frozen=True)
class Truth:
    """What is known of an evaluation clip."""

    label: int  # 0 normal, 1 anomalous
    domain: str | None = None
    attributes: str = ""


Truths = dict[tuple[str, str], Truth]  # by machine type and file name, as published


def read(path: Path) -> Truths:
    """The labels of a list, or of an official evaluator's folder.

    Raises
    ------
    UserError : there is none, it is none of the forms above, or a clip stands in it twice.
    """
    if path.is_dir():
        return _of_evaluator(path)
    truths: Truths = {}
    machine, last = None, 0
    for number, row in _rows(path):
        if number == 1 and tuple(row[:2]) == CORRESPONDENCE:
            last = 1  # the published name
        elif len(row) == 1 and not row[0].lower().endswith(".wav"):
            machine = row[0]
        elif len(row) == 2:
            published, full = row[last], row[1 - last]
            parts = published.split("/")
            of = machine if len(parts) == 1 else parts[0]
            if of is None:
                raise _wrong(path, number, "no line with a machine type before it")
            _add(truths, path, number, (of, parts[-1]), _named(path, number, full))
        else:
            raise _wrong(path, number, f"{len(row)} fields, one or two are expected")
    if not truths:
        raise UserError(f"{path}: no label in it; {_HELP}")
    return truths


_HELP = "name the list of the year, eval_data_list_<year>.csv, or an official evaluator's folder"


def differences(one: Truths, other: Truths) -> list[tuple[str, str]]:
    """The clips that both know, and of which they say another label or another domain."""
    return sorted(
        key
        for key in one.keys() & other.keys()
        if (one[key].label != other[key].label)
        or (one[key].domain != other[key].domain and one[key].domain and other[key].domain)
    )


def of_clips(truths: Truths, source: Path, keys: list[tuple[str, str]], corpus: str) -> list[Truth]:
    """What is said of some clips, by machine type and file name.

    Raises
    ------
    UserError : it says nothing of one of them.
    """
    lacking = [key for key in keys if key not in truths]
    if not lacking:
        return [truths[key] for key in keys]
    machine, name = lacking[0]
    if len(lacking) < len(keys):
        sections = {names.parse(name).section for _, name in lacking}
        sections -= {names.parse(name).section for m, name in truths if m == machine}
        of = f"section {min(sections)} of {machine}" if sections else f"{machine}'s {name}"
        why = f"no label of {of} (of {len(lacking)} of {len(keys)} clips)"
    elif all(known != machine for known, _ in truths):
        why = f"no label of {machine}, only of {', '.join(sorted({m for m, _ in truths}))}"
    else:
        why = f"no label of any clip of {machine}, not of {name}"
    raise UserError(
        f"{source}: {why}; is it of another year? corpus is {corpus}; name its own list with "
        "evaluation_labels"
    )


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and fields, without what is empty."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path}: too large for a list of labels; {_HELP}")
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            for row in lines:
                fields = [field.strip() for field in row]
                while fields and not fields[-1]:
                    fields.pop()
                if fields:
                    yield lines.line_num, fields
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such list of labels; {_HELP}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a list of labels ({error}); {_HELP}") from error


def _wrong(path: Path, number: int, why: str) -> UserError:
    return UserError(f"{path}: line {number}: {why}; {_HELP}")


def _named(path: Path, number: int, full: str) -> Truth:
    """What a name with label says."""
    try:
        name = names.parse(full.split("/")[-1])
    except ValueError as error:
        raise _wrong(path, number, f"the name {shown(full)} {error}") from error
    if name.label is None:
        raise _wrong(path, number, f"the name {shown(full)} says neither normal nor anomaly")
    return Truth(name.label, name.domain, name.attributes)


def _check_name(path: Path, number: int, name: str) -> None:
    try:
        names.parse(name)
    except ValueError as error:
        raise _wrong(path, number, f"the name {shown(name)} {error}") from error


def _add(truths: Truths, path: Path, number: int, key: tuple[str, str], truth: Truth) -> None:
    _check_name(path, number, key[1])
    if key in truths:
        raise _wrong(path, number, f"{key[0]}'s {shown(key[1])} stands there twice")
    truths[key] = truth


def _of_evaluator(folder: Path) -> Truths:
    """The labels of an official evaluator's folders, whichever of them are there."""
    if not (folder / DATA).is_dir():
        raise UserError(f"{folder}: no {DATA} in it; {_HELP}")
    labels, domains = (_numbers(folder / what) for what in (DATA, DOMAIN))
    attributes = _attributes(folder / ATTRIBUTES)
    if not labels:
        raise UserError(f"{folder / DATA}: no ground_truth_<type>_section_<XX>_test.csv in it")
    truths = {}
    for key, label in labels.items():
        named = attributes.get(key)
        domain = {None: named and named.domain, 0: "source", 1: "target"}[domains.get(key)]
        truths[key] = Truth(label, domain, named.attributes if named else "")
    return truths


def _of_sections(folder: Path) -> Iterator[tuple[str, Path, int, list[str]]]:
    """Machine type, file, line number and fields of the files of a folder."""
    for path in sorted(folder.glob("ground_truth_*.csv")):
        if match := _OF_A_SECTION.fullmatch(path.name):
            for number, row in _rows(path):
                yield match["machine"], path, number, row


def _numbers(folder: Path) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for machine, path, number, row in _of_sections(folder):
        if len(row) != 2 or row[1] not in ("0", "1"):
            raise _wrong(path, number, f"{shown(','.join(row))} is not a name and 0 or 1")
        _check_name(path, number, row[0])
        if (machine, row[0]) in found:
            raise _wrong(path, number, f"{shown(row[0])} stands there twice")
        found[machine, row[0]] = int(row[1])
    return found


def _attributes(folder: Path) -> Truths:
    found: Truths = {}
    for machine, path, number, row in _of_sections(folder):
        if row[0] != "file_name":  # the header of attributes_00.csv
            key = machine, row[0].split("/")[-1]
            _add(found, path, number, key, _named(path, number, row[-1]))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Compare two; the exit status."""
    given = sys.argv[1:] if argv is None else argv
    if len(given) != 2:
        raise UserError("two lists of labels are to be named: python -m asd.corpora.labels ONE TWO")
    one, two = (read(Path(name)) for name in given)
    other = differences(one, two)
    for machine, name in other:
        says = [f"{('normal', 'anomaly')[t.label]} {t.domain or ''}".rstrip()
                for t in (one[machine, name], two[machine, name])]  # fmt: skip
        print(plain(f"{machine} {name}: {says[0]}, {says[1]}"))
    for machine, count in Counter(machine for machine, _ in other).items():
        print(plain(f"{machine}: {count} clips"))
    print(
        f"{len(other)} of {len(one.keys() & two.keys())} clips that both list are told differently"
    )
    return int(bool(other))


if __name__ == "__main__":
    sys.exit(run(main))
