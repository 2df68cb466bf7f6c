"""What recordings are: a row for each in metadata.csv, their summary, a page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from apps.explore import report
from apps.explore.recordings import Recording, find
from asd import files, wav, workers
from asd.corpora import overview
from asd.messages import plain
from asd.page import html
from common import UnusableClip, UserError

_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32,
         "DOUBLE": 64}  # fmt: skip


class Row(NamedTuple):
    """A recording as metadata.csv has it; "" for what is not known."""

    path: str
    label: str
    machine: str
    snr_db: str
    channels: int | str = ""
    rate_hz: int | str = ""
    bits: int | str = ""  # "" where samples are compressed otherwise
    format: str = ""  # as libsndfile calls it; WAVEX: WAVE_FORMAT_EXTENSIBLE
    seconds: float | str = ""
    level_db: float | str = ""  # root of the mean square below full scale, of all channels
    levels_db: str = ""  # the same of each channel
    fault: str = ""  # why it cannot be read


def row_of(recording: Recording) -> Row:
    """Read a recording's header, and its samples for the level."""
    import soundfile

    told = recording.name, recording.label, recording.machine, recording.snr
    try:
        wav.check(recording.path)
        info = soundfile.info(wav.source(recording.path))
    except UnusableClip as error:
        return Row(*told, fault=plain(str(error)))
    except soundfile.LibsndfileError as error:
        return Row(*told, fault=plain(error.error_string.rstrip(".")))
    heard = overview.hear(recording.path)
    known = info.channels, info.samplerate, _BITS.get(info.subtype, ""), info.format
    if heard is None:
        return Row(*told, *known, fault="cannot be decoded")
    levels = np.array(heard.levels)
    level = 10 * np.log10(np.mean(10 ** (levels / 10)))
    each = " ".join(f"{one:.1f}" for one in levels)
    return Row(*told, *known, heard.seconds, round(float(level), 2), each)


def summary(rows: Sequence[Row]) -> list[tuple]:
    """How many recordings of which kind: a row for each machine, label and ratio."""
    groups = defaultdict(list)
    for row in rows:
        groups[row.machine, row.label, row.snr_db].append(row)
    return [
        (*(part or "-" for part in key), len(some),
         *(_span(some, one) for one in SPANS), sum(bool(row.fault) for row in some))
        for key, some in sorted(groups.items())
    ]  # fmt: skip


HEADER = ("machine", "label", "SNR, dB", "clips", "channels", "rate, Hz", "bits", "format",
          "seconds", "level, dB", "unreadable")  # fmt: skip


SPANS = ("channels", "rate_hz", "bits", "format", "seconds", "level_db")
MOST_NAMED = 4  # different values, of which a summary names each


def _span(rows: Sequence[Row], field: str) -> str:
    """Values that rows have: each where they are few, numbers by their least and largest."""
    values = sorted({value for row in rows if (value := getattr(row, field)) != ""})
    if any(isinstance(value, float) for value in values):
        ends = [f"{value:.1f}" for value in (values[0], values[-1])]
        return " to ".join(dict.fromkeys(ends))
    if len(values) > MOST_NAMED and not isinstance(values[0], str):
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(str, values)) or "-"


def run(folder: Path, out: Path) -> None:
    """Write metadata.csv and metadata.html; print the summary.

    Raises
    ------
    UserError : there is no recording, or none that can be read.
    """
    recordings = find(folder)
    rows = list(workers.in_order(row_of, recordings, str(folder)))
    bad = [row for row in rows if row.fault]
    if len(bad) == len(rows):
        raise UserError(f"{folder}: none of its {len(rows)} recordings can be read; the first, "
                        f"{bad[0].path}: {bad[0].fault}")  # fmt: skip
    files.write_csv(out / "metadata.csv", [Row._fields, *rows])
    lines = summary(rows)
    report.show(HEADER, lines)
    for row in bad:
        print(plain(f"unreadable: {row.path}: {row.fault}"))
    body = [html.table(HEADER, lines, "Recordings by machine, label and ratio")]
    if bad:
        body.append(html.table(("recording", "why"), [(r.path, r.fault) for r in bad],
                               "Recordings that cannot be read"))  # fmt: skip
    report.write(out / "metadata.html", f"Recordings in {folder.resolve().name}",
                 [html.Section("What there is", body)])  # fmt: skip
    print(f"{out / 'metadata.csv'}: {len(rows)} recordings, {len(bad)} of them unreadable")
