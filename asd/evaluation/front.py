"""Print and draw what detectors cost on a microcontroller, and what they find: the front.

    python -m asd.evaluation.front -d -c recipes/student.yaml -c recipes/slim_small.yaml

Of experiments that are trained, converted and verified (00_train.py to 03_tflite_test.py): AUC, the
mean over machine types, and the year's official score of the int8 files; their bytes; their
multiply-accumulates, of one inference and of a clip. Writes front.csv and front.png. Log-mel frames
and distances, which all of them need, are not counted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asd import cli, config, files, provenance
from asd.clips import Clip, Scores
from asd.config import Config
from asd.corpora.find import find_machine_types
from asd.corpora.survey import survey
from asd.detectors import kinds, sections
from asd.detectors.detector import Detector
from asd.evaluation import front_picture, scores, tables, year_score, years
from asd.paths import Paths, record_of
from asd.tflite.convert import MCU
from asd.tflite.macs import multiply_accumulates
from common import UserError


class Point(NamedTuple):
    """An experiment: what it costs and what it finds."""

    name: str
    kind: str  # of the detector
    machine_types: int
    auc: float  # of the int8 file, the mean over machine types of that over ids
    official: float | None  # the year's score, of the machine types that are there
    model_bytes: int  # of the int8 file, or of those of all sections, the most over machine types
    beside_bytes: int  # centres or covariances of one machine type, the same
    inference_macs: int
    inferences: float  # of a clip, the mean
    is_best: bool = False  # none is both smaller and better

    @property
    def bytes(self) -> int:
        """What a device stores for one machine type."""
        return self.model_bytes + self.beside_bytes

    @property
    def clip_macs(self) -> float:
        """Multiply-accumulates of a clip."""
        return self.inference_macs * self.inferences


class _Converted(NamedTuple):
    """The int8 file of a machine type, or of one of its sections, and what stands beside it."""

    path: Path
    name: str  # of the model
    clips: Sequence[Clip]  # that it is for
    beside_bytes: int
    inferences: float  # of a test clip, the mean


def point(name: str, cfg: Config, mode: str, wanted: Sequence[str]) -> Point:
    """What an experiment costs and finds.

    Parameters
    ----------
    name : by which it is told
    mode : "dev" or "eval"
    wanted : machine types; all that are there where there are none

    Raises
    ------
    UserError : it is not converted and verified, its method has no TFLite file, or its test clips
        have no labels.
    """
    paths = Paths(cfg, mode)
    detector = kinds.of(cfg, paths)
    scored, converted = [], []
    for clip_set in survey(paths, find_machine_types(paths, wanted), "test", False):
        detector = kinds.of(cfg, paths, clip_set.machine_type)
        own = _converted(cfg, paths, detector, clip_set.machine_type, clip_set.clips)
        converted.append(own)
        parts = [scores.read_converted(paths, one.path, one.name, one.clips, MCU.suffix)
                 for one in own]  # fmt: skip
        clips = tuple(clip for part in parts for clip in part.clips)
        scored.append(Scores(clips, np.concatenate([part.values for part in parts])))
    aucs = [_auc(paths, one) for one in scored]
    year = years.of_corpus(cfg.corpus)
    total = year_score.evaluate(year, mode, scored).total if year else None
    contents = [[one.path.read_bytes() for one in own] for own in converted]
    every = [one for own in converted for one in own]
    return Point(
        name=name,
        kind=detector.kind,
        machine_types=len(scored),
        auc=float(np.mean(aucs)),
        official=total[0] if total else None,
        model_bytes=max(sum(map(len, own)) for own in contents),
        beside_bytes=max(one.beside_bytes for one in every),
        inference_macs=max(multiply_accumulates(one) for own in contents for one in own),
        inferences=float(np.mean([one.inferences for one in every])),
    )


def _auc(paths: Paths, scored: Scores) -> float:
    found = tables.evaluate(scored, paths.cfg.max_fpr).average.auc
    if found is None:
        raise UserError(f"{paths.data / scored.machine_type}: no AUC without test clips that are "
                        "labelled; name evaluation_labels, or take -d")  # fmt: skip
    return found.value


def _converted(
    cfg: Config, paths: Paths, detector: Detector, machine_type: str, clips: Sequence[Clip]
) -> list[_Converted]:
    lengths = np.array([clip.n_samples for clip in clips])
    model = paths.require_model(machine_type, detector.suffixes)
    if detector.network:
        own = detector.network_paths
        path, centres = own.tflite(detector.network_name, MCU.suffix), paths.centres(machine_type)
        provenance.check_conversion(path, detector.network_path)
        provenance.check_centres(centres, model)
        rows, n_samples = files.read_keys(record_of(path), "rows", "samples")
        (beside,) = files.read_keys(record_of(centres), "bytes")
        inferences = float(np.mean(-(-lengths // n_samples) * rows))
        return [_Converted(path, machine_type, clips, beside, inferences)]
    feature = cfg.feature
    frames = [np.diff(feature.kept_frames(int(n)))[0] for n in lengths]
    beside = 0
    if cfg.detector.values.get("score") == "mahalanobis":  # two triangles of float32
        beside = 4 * feature.n_mels * (feature.n_mels + 1)
    found = []
    for section in _sections(detector, model):
        name, own = sections.name_of(machine_type, section), sections.clips_of(clips, section)
        path = paths.tflite(name, MCU.suffix)
        provenance.check_conversion(path, model)
        if own:  # as 03_tflite_test.py, which compares no file without clips
            inferences = float(np.mean([frames[i] for i in own]) - feature.frames + 1)
            found.append(_Converted(path, name, [clips[i] for i in own], beside, inferences))
    return found


def _sections(detector: Detector, model: Path) -> Sequence[str]:
    """Those that have a chain of their own, or that of all of them."""
    if not hasattr(detector, "chains"):
        return (sections.ALL,)
    detector.load(model)
    return tuple(sections.chains(detector))


def marked(points: Sequence[Point]) -> list[Point]:
    """The same, with those marked that no other beats.

    Another beats one that is no larger, takes no more multiply-accumulates and has no lower AUC,
    and is not the same in all three.
    """

    def key(one: Point) -> np.ndarray:
        return np.array([one.bytes, one.clip_macs, -one.auc])

    def beaten(one: Point) -> bool:
        return any((key(other) <= key(one)).all() and (key(other) < key(one)).any()
                   for other in points)  # fmt: skip

    return [one._replace(is_best=not beaten(one)) for one in points]


HEADER = (
    "experiment", "kind", "machine_types", "auc", "official", "model_bytes", "beside_bytes",
    "inference_macs", "inferences_a_clip", "clip_macs", "on_the_front",
)  # fmt: skip


def write(path: Path, points: Sequence[Point]) -> None:
    """`front.csv`: a row an experiment."""
    rows = [(*one[:4], "" if one.official is None else one.official, *one[5:9], one.clip_macs,
             int(one.is_best)) for one in points]  # fmt: skip
    files.write_csv(path, [HEADER, *rows])


def show(points: Sequence[Point]) -> None:
    """Print the table, 100 columns wide at most."""
    print("\nInt8 files on a microcontroller, one machine type each: what they find and cost\n")
    print(f"{'':<27}{'machine':>8}{'':>7}{'official':>9}{'model':>10}{'beside':>8}"
          f"{'MACs an':>11}{'MACs':>9}")  # fmt: skip
    print(f"{'experiment':<27}{'types':>8}{'AUC':>7}{'score':>9}{'bytes':>10}{'bytes':>8}"
          f"{'inference':>11}{'a clip':>9}")  # fmt: skip
    for one in points:
        official = f"{'-':>9}" if one.official is None else f"{one.official:>9.4f}"
        print(f"{one.name[:26]:<27}{one.machine_types:>8}{one.auc:>7.3f}{official}"
              f"{one.model_bytes:>10,}{one.beside_bytes:>8,}{one.inference_macs:>11,}"
              f"{one.clip_macs / 1e6:>8.1f}M{'  front' if one.is_best else ''}")  # fmt: skip
    print("\nbeside: centres or covariances; MACs: multiply-accumulates of convolutions and dense")
    print("layers; front: no other is as small, as quick and as good")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m asd.evaluation.front", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    option = parser.add_argument
    mode = parser.add_mutually_exclusive_group(required=True)
    for name in ("dev", "eval"):
        mode.add_argument(f"-{name[0]}", f"--{name}", dest="mode", action="store_const", const=name,
                          help=f"the {name} data")  # fmt: skip
    option("-c", "--config", type=Path, action="append", required=True, metavar="FILE",
           help="YAML file of an experiment, repeatable")  # fmt: skip
    option("-m", "--machine-type", action="append", default=[], metavar="TYPE",
           help="a machine type, repeatable; all that are found without it")  # fmt: skip
    option("--out", type=Path, default=Path("result"), metavar="FOLDER", help="%(default)s")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    args = _arguments(argv)
    configs = [config.load_config(path) for path in args.config]
    names = [cfg.experiment or path.stem for cfg, path in zip(configs, args.config, strict=True)]
    if len(set(names)) < len(names):
        raise UserError("two of the YAML files are one experiment; name each once")
    files.check_writable(args.out)
    points = marked([point(name, cfg, args.mode, args.machine_type)
                     for name, cfg in zip(names, configs, strict=True)])  # fmt: skip
    table, picture = args.out / "front.csv", args.out / "front.png"
    write(table, points)
    front_picture.draw(picture, points)
    show(points)
    print(f"{table}, {picture}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
