"""MFCC of recordings and of changed copies of them, and a split that no copy crosses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from apps.explore import augment, recordings, report, splits
from apps.explore.recordings import Recording
from asd import files, workers
from asd.features.mfcc import mfcc
from asd.page import html
from common import Feature, UserError

HEADER = ("row", "path", "copy", "group", "split", "machine", "label", "snr_db", "frames")
ORIGINAL = "original"


class Wanted(NamedTuple):
    """What is made of each recording."""

    feature: Feature
    count: int  # coefficients
    noise_db: Sequence[float] = ()  # a copy for each
    rolls: int = 0  # copies
    rates: Sequence[float] = ()  # a copy for each
    by: str = "machine"  # or "recording": what a split does not part
    test_share: float = 0.25
    seed: int = 0


def copies(samples: np.ndarray, wanted: Wanted, name: str) -> list[tuple[str, np.ndarray]]:
    """A recording and its copies, each with what was done to it.

    What is drawn depends on the seed and the recording's name alone.
    """
    rng = np.random.default_rng([wanted.seed, *name.encode(errors="surrogateescape")])
    made = [(ORIGINAL, samples)]
    made += [(f"noise {db:g} dB", augment.noise(samples, db, rng)) for db in wanted.noise_db]
    made += [(f"roll {i}", augment.roll(samples, rng)) for i in range(wanted.rolls)]
    return made + [(f"stretch {rate:g}", augment.stretch(samples, rate)) for rate in wanted.rates]


def of(recording: Recording, wanted: Wanted) -> list[tuple[str, np.ndarray]]:
    """The MFCC of a recording and its copies, (n_frames, count) float32 each."""
    samples = recordings.samples_of(recording.path, wanted.feature)
    made = []
    for what, one in copies(samples, wanted, recording.name):
        if len(one) < wanted.feature.n_fft:
            raise UserError(f"{recording.path}: only {len(one)} samples after {what}; take a "
                            "slower rate")  # fmt: skip
        made.append((what, mfcc(recordings.frames_of(one, wanted.feature), wanted.count)))
    return made


def run(folder: Path, out: Path, wanted: Wanted) -> None:
    """Write features.npz, an array for each row of features.csv, and features.html.

    Raises
    ------
    UserError : a recording cannot be used, or there is one group only.
    """
    found = recordings.find(folder)
    groups = [one.machine if wanted.by == "machine" else one.group for one in found]
    if len(set(groups)) < 2:
        raise UserError(f"{folder}: all of one {wanted.by}, which no split parts; "
                        "say --by recording, or add recordings")  # fmt: skip
    test = splits.grouped(groups, wanted.test_share, wanted.seed)
    made = workers.in_order(lambda one: of(one, wanted), found, str(folder))
    rows, arrays = [], {}
    for recording, group, is_test, parts in zip(found, groups, test, made, strict=True):
        for what, values in parts:
            key = f"{len(rows):06d}"
            arrays[key] = values
            told = recording.machine, recording.label, recording.snr, len(values)
            side = "test" if is_test else "train"
            rows.append((key, recording.name, what, group, side, *told))
    with files.whole_file(out / "features.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    files.write_csv(out / "features.csv", [HEADER, *rows])
    _tell(out, rows, wanted)


def _tell(out: Path, rows: Sequence[tuple], wanted: Wanted) -> None:
    kinds = list(dict.fromkeys((row[2], row[4]) for row in rows))
    lines = [(*kind, len(some), " to ".join(map(str, sorted({min(some), max(some)}))))
             for kind in kinds
             if (some := [row[8] for row in rows if (row[2], row[4]) == kind])]  # fmt: skip
    header = ("copy", "split", "rows", "frames")
    report.show(header, lines)
    feature = wanted.feature
    told = (f"{wanted.count} coefficients (orthonormal DCT-II of {feature.n_mels} log-mel bands), "
            f"{feature.sample_rate} Hz, {feature.n_fft} samples every {feature.hop_length}, "
            f"channel {feature.channel}. Rows of one {wanted.by} are all on one side.")  # fmt: skip
    print(told)
    section = html.Section("Rows", [html.table(header, lines, "Rows by copy and split")])
    report.write(out / "features.html", "MFCC", [section], [html.paragraph(told)])
    print(f"{out / 'features.npz'}: {len(rows)} rows")
