"""Quantise a float TFLite file to int8, in and out: the scripts' conversion, without the scripts.

    python -m asd.tflite.quantise FLOAT.tflite OUT.tflite --calibrate FOLDER [-c FILE]

FOLDER holds the sounds that calibrate: wavs, or log-mel spectrograms as MLPerf Tiny's runner sends
them (.bin: frames of feature.n_mels float32, little endian, dB). The features and the way of
converting are those of baseline.yaml, or of the YAML file given.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import common
from asd import cli, config, files, rows
from asd.config import BASELINE, Config
from asd.corpora import survey
from asd.tflite import flatbuffer, fold, reader
from asd.tflite.convert import MCU, calibration_clips, conversions, spread_windows, way_of
from common import Feature, UnusableClip, UserError


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    args = _arguments(argv)
    cfg = config.load_config(args.config)
    try:
        chain = reader.read_floats(files.read_bounded(args.model, flatbuffer.MOST_BYTES))
    except UserError as error:
        line = str(error)
        raise UserError(
            line if line.startswith(str(args.model)) else f"{args.model}: {line}"
        ) from error
    size = cfg.feature.vector_size
    if len(chain[0].weights) != size:
        raise UserError(f"{args.model}: takes {len(chain[0].weights)} elements, the windows of the "
                        f"configuration have {size} (feature.frames x feature.n_mels)")  # fmt: skip
    windows = calibration_windows(args.calibrate, cfg)
    prepared, way = fold.prepare(chain, cfg.convert), way_of(cfg.convert)
    ((_, content),) = conversions(prepared, windows, way, [MCU])
    with files.whole_file(args.out, durable=True) as temporary:
        temporary.write_bytes(content)
    facts = reader.describe(content)
    ends = facts["inputs"] + facts["outputs"]
    scales = [f"scale {end['scale']:.9g}, zero point {end['zero_point']}" for end in ends]
    print(f"{args.out}: {MCU.title}, {cfg.convert.dense_weights} weights, {len(content):,} bytes, "
          f"calibrated on {len(windows)} windows")  # fmt: skip
    print(f"input {scales[0]}; output {scales[1]}")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, metavar="FLOAT.tflite")
    parser.add_argument("out", type=Path, metavar="OUT.tflite")
    parser.add_argument("--calibrate", type=Path, required=True, metavar="FOLDER",
                        help="wavs or .bin spectrograms of normal sound")  # fmt: skip
    parser.add_argument("-c", "--config", type=Path, default=BASELINE, metavar="FILE",
                        help="YAML file over the values of baseline.yaml")  # fmt: skip
    return parser.parse_args(argv)


def calibration_windows(folder: Path, cfg: Config) -> np.ndarray:
    """Windows spread over all sounds of a folder, (n, vector_size) float32, dB.

    Raises
    ------
    UserError : no sound in it, sounds of two kinds, or one that cannot be used.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in READERS)
    if not paths:
        raise UserError(f"{folder}: neither a .wav nor a .bin file in it")
    if len({path.suffix.lower() for path in paths}) > 1:
        raise UserError(f"{folder}: holds .wav and .bin files; calibrate on one kind")
    chosen_paths = calibration_clips(cfg.convert, [path.name for path in paths])
    paths = [paths[i] for i in chosen_paths]
    n = cfg.feature.frames
    counts = [_told(path, _length, cfg.feature) - n + 1 for path in paths]
    chosen = spread_windows(sum(counts), cfg.convert.calibration_windows, cfg.seed)
    parts = _gathered(paths, counts, chosen, cfg.feature)
    return np.concatenate(list(parts))


def _gathered(
    paths: Sequence[Path], counts: Sequence[int], chosen: np.ndarray, feature: Feature
) -> Iterator[np.ndarray]:
    """The chosen windows of each sound, counted through all of them."""
    ends = np.cumsum(counts)
    for path, end, count in zip(paths, ends, counts, strict=True):
        here = chosen[(chosen >= end - count) & (chosen < end)] - (end - count)
        if len(here):
            frames = _told(path, READERS[path.suffix.lower()], feature)
            yield common.vectors(frames, feature.frames)[here]


def _told(path: Path, function: Callable[[Path, Feature], Any], feature: Feature) -> Any:
    """What a function says of a sound; what is wrong with it is told with its name."""
    try:
        return function(path, feature)
    except UnusableClip as error:
        raise UserError(f"{path}: {error}") from error


def _length(path: Path, feature: Feature) -> int:
    """Frames that are kept of a sound."""
    if path.suffix.lower() == ".bin":
        n_frames, rest = divmod(path.stat().st_size, feature.n_mels * 4)
        if rest or n_frames < feature.frames:
            raise UnusableClip(f"{path.stat().st_size} bytes are no {feature.frames} or more "
                               f"frames of {feature.n_mels} float32")  # fmt: skip
        return n_frames
    first, end = feature.kept_frames(survey.examine(path, feature))
    return end - first


def _of_wav(path: Path, feature: Feature) -> np.ndarray:
    return rows.log_mel(feature).of(path).rows


def _of_bin(path: Path, feature: Feature) -> np.ndarray:
    frames = np.fromfile(path, "<f4").reshape(-1, feature.n_mels)
    if not np.isfinite(frames).all():
        raise UnusableClip("holds values that are not numbers")
    return frames


READERS = {".wav": _of_wav, ".bin": _of_bin}


if __name__ == "__main__":
    sys.exit(cli.run(main))
