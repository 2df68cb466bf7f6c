"""Look at recordings: what they are, what is alike, what is wrong with the machines.

    python -m apps.explore metadata FOLDER             a row for each: rate, bits, length, level
    python -m apps.explore features FOLDER             MFCC, of changed copies as well
    python -m apps.explore clusters FOLDER             groups without labels, and what they are
    python -m apps.explore causes FOLDER --labels CSV  a classifier of causes, tested on machines
                                                       that it has never heard
    python -m apps.explore reference MODEL FOLDER      the normal sound of another machine for it

Folders are of any shape; labels, machine ids and ratios are read from names such as normal,
abnormal, anomaly, id_00, section_00, -6_dB. Files and a page are written into --out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from apps.explore import recordings
from asd import cli, files
from asd.evaluation.maps import METHODS

OUT = Path("explored")
MOST = 10_000  # of any count


def _number(kind: type, low: float, high: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return value

    convert.__name__ = kind.__name__  # named when the text is no number
    return convert


def _of_all(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("folder", type=Path, metavar="FOLDER", help="with recordings in it or below")
    option("--out", type=Path, default=OUT, metavar="FOLDER", help="%(default)s")


def _of_sound(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--rate", type=_number(int, 1000, 1_000_000), metavar="HZ",
           help="of all recordings; that of baseline.yaml without it")  # fmt: skip
    option("--channel", type=_number(int, 0, 1023), default=0, metavar="N",
           help="of recordings with several, from 0; %(default)s")  # fmt: skip
    option("--seed", type=_number(int, 0, 2**32 - 1), default=0, metavar="N", help="%(default)s")


def _features(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--coefficients", type=_number(int, 1, 128), default=40, metavar="N",
           help="%(default)s")  # fmt: skip
    option("--noise", type=_number(float, -60, 120), action="append", default=[], metavar="DB",
           help="a copy with white noise so far below; repeatable")  # fmt: skip
    option("--rolls", type=_number(int, 0, MOST), default=0, metavar="N",
           help="copies with another beginning")  # fmt: skip
    option("--stretch", type=_number(float, 0.25, 4), action="append", default=[], metavar="RATE",
           help="a copy so much faster, at the same pitch; repeatable")  # fmt: skip
    option("--by", choices=("machine", "recording"), default="machine",
           help="what the split does not part; %(default)s")  # fmt: skip
    option("--test-share", type=_number(float, 0.01, 0.99), default=0.25, metavar="S",
           help="%(default)s")  # fmt: skip


def _clusters(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--coefficients", type=_number(int, 1, 128), default=40, metavar="N",
           help="of MFCC; their mean and standard deviation count; %(default)s")  # fmt: skip
    option("-k", type=_number(int, 2, MOST), metavar="N",
           help="clusters; without it as many as have the best silhouette")  # fmt: skip
    option("--most", type=_number(int, 2, MOST), default=10, metavar="N",
           help="clusters that are tried; %(default)s")  # fmt: skip
    option("--by", choices=METHODS, default="pca", help="the picture; %(default)s")
    option("--only", choices=(recordings.NORMAL, recordings.ABNORMAL), default="",
           help="recordings of that label")  # fmt: skip
    option("--labels", type=Path, metavar="CSV", help="of causes: columns path and cause")


def _causes(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--labels", type=Path, metavar="CSV", help="of causes: columns path and cause")
    option("--save", type=Path, metavar="MODEL", help="writes MODEL.tflite, int8, and MODEL.json")
    option("--unknown-share", type=_number(float, 0.001, 0.5), default=0.05, metavar="S",
           help="of known causes' recordings that may be called unknown; %(default)s")  # fmt: skip


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m apps.explore", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = commands.add_parser
    _of_all(add("metadata", help="a row for each recording"))
    for name, more, told in (
        ("features", _features, "MFCC, of changed copies as well"),
        ("clusters", _clusters, "groups without labels"),
        ("causes", _causes, "a classifier of causes"),
    ):
        one = add(name, help=told)
        _of_all(one)
        _of_sound(one)
        more(one)
    one = add("reference", help="the normal sound of another machine for a classifier")
    one.add_argument("model", type=Path, metavar="MODEL", help="that causes --save wrote")
    one.add_argument("folder", type=Path, metavar="FOLDER", help="with recordings of it")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    args = _arguments(argv)
    if args.command == "reference":
        from apps.explore import reference

        reference.run(args.model, args.folder)
        return
    files.check_writable(args.out)
    if args.command == "metadata":
        from apps.explore import metadata

        metadata.run(args.folder, args.out)
        return
    feature = recordings.feature(args.rate, args.channel)
    if args.command == "features":
        from apps.explore import features

        features.run(args.folder, args.out, features.Wanted(
            feature, args.coefficients, args.noise, args.rolls, args.stretch, args.by,
            args.test_share, args.seed))  # fmt: skip
    elif args.command == "clusters":
        from apps.explore import clusters

        clusters.run(args.folder, args.out, clusters.Wanted(
            feature, args.coefficients, args.most, args.k, args.by, args.only, args.labels,
            args.seed))  # fmt: skip
    else:
        from apps.explore import causes

        causes.run(args.folder, args.out, causes.Wanted(
            feature, args.labels, args.save, args.unknown_share, args.seed))  # fmt: skip


if __name__ == "__main__":
    sys.exit(cli.run(main))
