"""Make an evaluation set of the benchmark: spectrograms as .bin files, and their list.

    python -m apps.submission.evaluation_set datasets/ad01 --clips dev_data/ToyCar/test
    python -m apps.submission.evaluation_set datasets/ad01 --clips dev_data/ToyCar/test \\
        --official y_labels_alt.csv
    python -m apps.submission.evaluation_set datasets/mine --clips my_wavs --list labels.csv
    python -m apps.submission.evaluation_set datasets/pump --clips dev_data/pump/test --all

Reads the wavs of a list: one of the two official ones, written from their rule; or any file in
their format; or your own, rows of wav name and label (0 normal, 1 anomalous); or with --all
every normal_* and anomaly_* clip of the folder. Writes one .bin a clip, its kept log-mel frames
as float32, little endian, frame-major, dB; and the list, rows of file, classes (2), label,
window bytes, stride bytes, without a header.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from asd import cli, config, csv_cells, files, rows
from asd.config import Config
from asd.corpora import dcase2020, survey
from common import Feature, UnusableClip, UserError

SUFFIX = "_hist_librosa.bin"  # of the official file names
FLOAT_BYTES = 4

# The rule of the official lists: of each ToyCar id first the normal clips, then of each id the
# anomalous ones, every tenth from number 3 on. The short list puts four others in their places.
IDS = ("01", "02", "03", "04")
COUNTS = {"y_labels.csv": (35, 27), "y_labels_alt.csv": (9, 9)}  # normal, anomalous of an id
REPLACED = {
    "y_labels_alt.csv": {
        "normal_id_04_00000083": "normal_id_04_00000343",
        "anomaly_id_01_00000083": "anomaly_id_01_00000093",
        "anomaly_id_02_00000073": "anomaly_id_02_00000223",
        "anomaly_id_02_00000083": "anomaly_id_02_00000093",
    }
}


@dataclass(frozen=True)
class Entry:
    """A row of a list: a spectrogram, what it is, and how windows are cut from it."""

    file: str
    classes: int
    label: int  # 0 normal, 1 anomalous
    window_bytes: int
    stride_bytes: int

    @property
    def wav(self) -> str:
        """The clip's name."""
        return f"{self.file.removesuffix(SUFFIX).removesuffix('.bin')}.wav"

    @property
    def row(self) -> tuple[str, int, int, int, int]:
        """As it stands in the list."""
        return self.file, self.classes, self.label, self.window_bytes, self.stride_bytes

    def windows(self, content: bytes) -> list[bytes]:
        """The windows of the spectrogram, in order, each of `window_bytes`."""
        starts = range(0, len(content) - self.window_bytes + 1, self.stride_bytes)
        return [content[start : start + self.window_bytes] for start in starts]


def entry(wav: str, label: int, feature: Feature) -> Entry:
    """The row of a clip: a window is a vector, the stride one frame."""
    stride = feature.n_mels * FLOAT_BYTES
    return Entry(f"{Path(wav).stem}{SUFFIX}", 2, label, feature.frames * stride, stride)


def official(name: str, feature: Feature) -> list[Entry]:
    """The rows of `y_labels.csv` or `y_labels_alt.csv`, from their rule."""
    entries = []
    for label, (word, count) in enumerate(zip(("normal", "anomaly"), COUNTS[name], strict=True)):
        for machine_id in IDS:
            for i in range(count):
                stem = f"{word}_id_{machine_id}_{10 * i + 3:08}"
                stem = REPLACED.get(name, {}).get(stem, stem)
                entries.append(entry(f"{stem}.wav", label, feature))
    return entries


def read_list(path: Path, feature: Feature | None = None) -> list[Entry]:
    """Read a list in the official format; with `feature` also rows of wav name and label.

    Raises
    ------
    UserError : it is missing, empty, names a file twice, or holds a wrong row; the row is named.
    """
    try:
        rows = files.read_csv(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such list") from error
    entries: list[Entry] = []
    for number, row in enumerate(rows, 1):
        if not row:
            continue
        try:
            if len(row) == 2 and feature:
                one = entry(row[0], int(row[1]), feature)
            else:
                one = Entry(row[0], *(int(value) for value in row[1:]))
            if one.label not in (0, 1) or min(one.window_bytes, one.stride_bytes) < FLOAT_BYTES:
                raise ValueError
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{path}: row {number} is not file,classes,label,window bytes,stride bytes"
            ) from error
        if Path(one.file).name != one.file:
            raise UserError(f"{path}: row {number}: {one.file} is not a plain file name")
        if csv_cells.cell(one.file) != one.file:  # the official runner would not find it
            raise UserError(f"{path}: row {number}: {one.file} begins as a formula; rename it")
        entries.append(one)
    names = [one.file for one in entries]
    if not names:
        raise UserError(f"{path}: no row in it")
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"{path}: {min(twice)} stands twice")
    return entries


def read_bin(folder: Path, one: Entry) -> bytes:
    """The content of a spectrogram, checked to hold a window and whole strides.

    Raises
    ------
    UserError : it is missing or of a wrong size.
    """
    path = folder / one.file
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        how = "make it with python -m apps.submission.evaluation_set"
        raise UserError(f"{path}: missing; {how}") from error
    if len(content) < one.window_bytes or (len(content) - one.window_bytes) % one.stride_bytes:
        raise UserError(
            f"{path}: {len(content)} bytes are not a window of {one.window_bytes} and strides of "
            f"{one.stride_bytes}; make it again"
        )
    return content


def write_set(folder: Path, clips: Path, entries: Sequence[Entry], feature: Feature) -> None:
    """Write the .bin file of every entry, from the wavs in `clips`.

    Raises
    ------
    UserError : a clip is missing or cannot be used; nothing is written then.
    """
    stride = feature.n_mels * FLOAT_BYTES
    for one in entries:
        path = clips / one.wav
        if not path.is_file():
            raise UserError(f"{path}: missing, and the list names it; see get_dataset.sh")
        try:
            survey.examine(path, feature)
        except UnusableClip as error:
            raise UserError(f"{path}: {error}") from error
        if (one.window_bytes, one.stride_bytes) != (feature.frames * stride, stride):
            raise UserError(
                f"{one.file}: windows of {one.window_bytes} bytes with a stride of "
                f"{one.stride_bytes}; the configuration gives {feature.frames * stride} and "
                f"{stride}"
            )
    for one in tqdm(entries, "spectrograms", unit="clip", disable=None):
        try:
            frames = rows.log_mel(feature).of(clips / one.wav).rows
        except UnusableClip as error:
            raise UserError(f"{clips / one.wav}: {error}; replace it") from error
        with files.whole_file(folder / one.file) as temporary:
            temporary.write_bytes(frames.astype("<f4").tobytes())  # (n_frames, n_mels), dB


def check_set(folder: Path, entries: Sequence[Entry]) -> int:
    """See that every file is there, of a right size, all with as many windows; that number.

    Raises
    ------
    UserError : see `read_bin`; or the clips are of different lengths.
    """
    counts = {one.file: len(one.windows(read_bin(folder, one))) for one in entries}
    if len(set(counts.values())) > 1:
        shortest, longest = min(counts, key=counts.get), max(counts, key=counts.get)
        raise UserError(
            f"{folder}: {counts[shortest]} windows in {shortest}, {counts[longest]} in {longest}; "
            "the benchmark wants clips of one length: set feature.central_frames"
        )
    return next(iter(counts.values()))


def _choose(args: argparse.Namespace, cfg: Config) -> tuple[str, list[Entry]]:
    """The list's name and rows."""
    if args.list:
        return args.list.name, read_list(args.list, cfg.feature)
    if args.all:
        found, bad = dcase2020.find_clips(args.clips, "dev", "", "test")
        if bad:
            raise UserError(f"{bad[0].path}: {bad[0].reason}; or name the clips in a --list")
        return "y_labels.csv", [entry(c.path.name, c.label, cfg.feature) for c in found]
    return args.official, official(args.official, cfg.feature)


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.submission.evaluation_set",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="where the .bin files and the list go")
    parser.add_argument("--clips", type=Path, help="folder of the wavs; without it only the list")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--official", choices=list(COUNTS), default="y_labels.csv")
    which.add_argument("--list", type=Path, help="a list, or rows of wav name and label")
    which.add_argument("--all", action="store_true", help="every labelled clip of the folder")
    parser.add_argument("-c", "--config", type=Path, default=config.BASELINE, metavar="FILE")
    args = parser.parse_args(argv)
    if args.all and not args.clips:
        parser.error("--all needs --clips")
    cfg = config.load_config(args.config)
    name, entries = _choose(args, cfg)
    windows = ""
    if args.clips:
        write_set(args.folder, args.clips, entries, cfg.feature)
        windows = f", {check_set(args.folder, entries)} windows each"
    files.write_csv(args.folder / name, [one.row for one in entries])
    normal = sum(one.label == 0 for one in entries)
    print(
        f"{args.folder / name}: {len(entries)} files, {normal} normal and "
        f"{len(entries) - normal} anomalous{windows}"
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))
