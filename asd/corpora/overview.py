"""Say what recordings are there: clips by machine type, split, section and domain, and what lacks.

    python -m asd.corpora.overview -d

Reads the names of all clips, and headers and samples of up to 20 of each row. Writes nothing.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asd import cli, wav
from asd.clips import BadClip, Clip
from asd.config import load_config
from asd.corpora import find, names, rows
from asd.messages import plain
from asd.paths import Paths
from common import UnusableClip

HEARD_CLIPS = 20  # of a row: enough for its length and level
NAMED = 3  # clips, or attributes, in a line
FLOOR_DB = -120.0  # dB below full scale, of digital silence


@dataclass(frozen=True)
class Heard:
    """What samples of a clip tell."""

    seconds: float
    levels: tuple[float, ...]  # of each channel, dB below full scale: root of the mean square


@dataclass(frozen=True)
class Row:
    """The clips of a machine type, split, section and domain."""

    clips: tuple[Clip, ...]
    heard: tuple[Heard, ...]

    @property
    def title(self) -> tuple[str, str, str, str]:
        """Machine type, split, section, domain."""
        return _group(self.clips[0])

    def count(self, label: int | None) -> int:
        """Clips of a label."""
        return sum(clip.label == label for clip in self.clips)

    @property
    def attributes(self) -> set[str]:
        """The different attributes of its clips."""
        return {clip.attributes for clip in self.clips} - {"", names.NO_ATTRIBUTE}


def hear(path: Path) -> Heard | None:
    """Length and levels of a clip; None where it cannot be read."""
    import soundfile

    try:
        wav.check(path)
        samples, rate = soundfile.read(wav.source(path), dtype="float32", always_2d=True)
    except (UnusableClip, soundfile.LibsndfileError, OSError):
        return None
    if not len(samples):
        return None
    power = np.mean(np.square(samples, dtype=np.float64), axis=0)  # (n_channels,), full scale 1
    levels = 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))
    return Heard(len(samples) / rate, tuple(levels.tolist()))


def _group(clip: Clip) -> tuple[str, str, str, str]:
    return clip.machine_type, clip.split, clip.section, clip.domain or ""


def table(clips: Sequence[Clip]) -> Iterator[Row]:
    """The rows of some clips of a machine type, in order."""
    for _, some in itertools.groupby(sorted(clips, key=_group), _group):
        group = tuple(some)
        step = -(-len(group) // HEARD_CLIPS)
        heard = (hear(clip.path) for clip in group[::step])
        yield Row(group, tuple(one for one in heard if one))


def line(row: Row) -> str:
    """A row as it is printed."""
    machine, split, section, domain = row.title
    text = f"{machine:<20} {split:<5} {section:>7}  {domain or '-':<6} "
    text += "".join(f" {row.count(label):>6}" for label in (0, 1, None))
    seconds = [one.seconds for one in row.heard]
    text += f"  {_span(seconds, '.1f'):>11}"
    channels = itertools.zip_longest(*(one.levels for one in row.heard))
    levels = " ".join(_span([x for x in one if x is not None], ".0f") for one in channels)
    return f"{text}  {levels or '-':>12}  {len(row.attributes):>10}"


def _span(values: Sequence[float], form: str) -> str:
    if not values:
        return "-"
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


HEADER = (
    f"{'machine type':<20} split section  domain  normal anomal unknwn  {'seconds':>11}  "
    f"{'level, dB':>12}  attributes"
)


def remarks(row: Row) -> Iterator[str]:
    """What is odd about the clips of a row."""
    if not row.heard:
        yield f"none of the clips can be read, as {row.clips[0].path}"
    if len(counts := {len(one.levels) for one in row.heard}) > 1:
        yield f"clips of {' and '.join(map(str, sorted(counts)))} channels"
    odd = []
    for attributes in sorted(row.attributes):
        try:
            names.attribute_pairs(attributes)
        except ValueError:
            odd.append(attributes)
    if odd:
        yield f"attributes that are no names with values, as {', '.join(odd[:NAMED])}"


def lacking(corpus: rows.Corpus, mode: str, found: Sequence[Row]) -> Iterator[str]:
    """What the corpus has and the disk has not; and what it was made of."""
    there = {row.title for row in found}
    known = corpus.sections(mode)
    if absent := [name for name in known if all(name != of for of, *_ in there)]:
        yield f"not there: {', '.join(absent)}; ./get_dataset.sh {corpus.option(mode)} TYPE"
    for machine, split in itertools.product(known, ("train", "test")):
        sections = {section for of, s, section, _ in there if (of, s) == (machine, split)}
        if machine not in absent and (
            some := [section for section in known[machine] if section not in sections]
        ):
            yield f"{machine} {split}: no clip of section {', '.join(some)}"
    unknown = sum(row.count(None) for row in found)
    if unknown and isinstance(corpus, rows.Year):
        yield f"{unknown} clips without labels: {corpus.labels} has them; name it with " \
              "evaluation_labels"  # fmt: skip
    for row in found:
        if of := [h for h in row.heard if len(h.levels) != len(corpus.channels)]:
            yield f"{' '.join(row.title).rstrip()}: {len(of[0].levels)} channels, the corpus has " \
                  f"{len(corpus.channels)}"  # fmt: skip
        low, high = corpus.seconds
        # Half a second: clips end some samples early or late.
        if any(not low - 0.5 <= one.seconds <= high + 0.5 for one in row.heard):
            yield f"{' '.join(row.title).rstrip()}: clips of another length than {low} to {high} s"
    if corpus.sources:
        yield f"the recordings of {corpus.name} are parts of {' and '.join(corpus.sources)}"


def _tell_bad(bad: Sequence[BadClip]) -> None:
    for one in bad[:NAMED]:
        print(plain(f"cannot be used: {one.path}: {one.reason}"))
    if len(bad) > NAMED:
        print(f"cannot be used: {len(bad) - NAMED} more")


def main(argv: Sequence[str] | None = None) -> None:
    """Print it for the data of a configuration."""
    args = cli.parse_args(__doc__ or "", argv)
    cfg = load_config(args.config)
    paths = Paths(cfg, args.mode)
    found: list[Row] = []
    print(HEADER)
    for machine_type in find.find_machine_types(paths, args.machine_type):
        for split in ("train", "test"):
            if not find.has_clips(paths, machine_type, split):
                print(f"{machine_type:<20} {split:<5} none")
                continue
            _, clips, bad = find.find_clips(paths, machine_type, split)
            for row in table(clips):
                found.append(row)
                print(plain(line(row)))
                for remark in remarks(row):
                    print(plain(f"  {remark}"))
            _tell_bad(bad)
    if cfg.corpus != rows.FOLDER and not args.machine_type:
        for text in lacking(rows.named(cfg.corpus), args.mode, found):
            print(plain(text))


if __name__ == "__main__":
    sys.exit(cli.run(main))
