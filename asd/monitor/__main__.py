"""Listen with a trained model: recordings of any length, a folder of them, or the microphone.

    python -m asd.monitor MODEL.tflite --wav FILE ... [--joined]
    python -m asd.monitor MODEL.tflite --watch FOLDER [--once]
    python -m asd.monitor MODEL.tflite --microphone [--device NAME] [--seconds N]

MODEL is the int8 file in and out (..._quant_fullint_micro_intio.tflite) that 02_convert.py wrote,
with its record beside it, which holds features, thresholds and the rule. Each file is a stream of
its own, or all of them are one, --joined. JSON lines on stdout: "decision" (of the mean error over
the last windows; threshold is what it was held against, flags are those since the decision before,
band_hz is the band that is worst beside training, drift is told in the README), "alarm" that begins
or ends, "file", "error", "summary".

Exit status: 0 no alarm, 3 an alarm was raised, 1 something could not be heard (and there was no
alarm), 2 wrong usage. Ctrl-C ends with the summary and the status so far.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from asd import cli
from asd.evaluation import streaming
from asd.evaluation.streaming import Stream
from asd.messages import shown
from asd.monitor import sounds
from asd.monitor.journal import Journal
from asd.monitor.listener import Listener
from asd.monitor.watch import Watch
from common import Feature, UnusableClip, UserError

ALARM = 3  # exit status; 2 is argparse's own


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    args = _arguments(argv)
    trained = streaming.read(args.model)
    stream = _chosen(trained, args)
    if args.wav:
        check(args.wav, stream, args.joined)
    elif args.watch and not args.watch.is_dir():
        raise UserError(f"{args.watch}: no such folder")
    from asd.tflite import litert  # which takes its time, and a wrong file is named at once

    predict = litert.predictor(args.model)
    journal = Journal(stream, trained, args.brief)
    journal.start(str(args.model), stream)
    interrupted = False
    try:
        _listen(args, stream, journal, lambda: Listener(stream, predict))
    except KeyboardInterrupt:
        interrupted = True
    journal.summary(interrupted)
    return ALARM if journal.alarms else 1 if journal.failed else 0


def _listen(
    args: argparse.Namespace, stream: Stream, journal: Journal, listener: Callable[[], Listener]
) -> None:
    """Hear everything that the command line names."""
    if args.microphone:
        pieces = sounds.of_microphone(stream.feature, args.device, args.seconds)
        with contextlib.closing(pieces), _told(journal):
            journal.name = "microphone"
            journal.hear(listener(), pieces)
        return
    paths = args.wav or Watch(args.watch, args.settle).files(args.once)
    for some in [args.wav] if args.wav and args.joined else ([path] for path in paths):
        journal.name = str(some[0])
        with _told(journal):
            if args.watch:
                sounds.check(some[0], whole(stream.feature), least(stream))
            with contextlib.closing(_joined(some, stream.feature, journal)) as pieces:
                journal.hear(listener(), pieces)


@contextlib.contextmanager
def _told(journal: Journal) -> Iterator[None]:
    """The journal tells of sound that cannot be heard, and the next may come."""
    try:
        yield
    except UnusableClip as error:
        journal.fail(str(error))
    except BrokenPipeError:
        raise
    except OSError as error:
        journal.fail(error.strerror or str(error))


def _joined(paths: Sequence[Path], feature: Feature, journal: Journal) -> Iterator[np.ndarray]:
    """The samples of some recordings, one after the other; the journal knows which it is."""
    for path in paths:
        journal.name = str(path)
        yield from sounds.of_file(path, feature)


def check(paths: Sequence[Path], stream: Stream, joined: bool = False) -> None:
    """See that all recordings can be heard, before the first one is.

    Raises
    ------
    UserError : one cannot.
    """
    needed, held = least(stream), 0
    for i, path in enumerate(paths, 1):
        try:
            held += sounds.check(path, whole(stream.feature), 1 if joined else needed)
            if joined and i == len(paths):
                sounds.check_length(held, needed, stream.feature)
        except UnusableClip as error:
            raise UserError(f"{path}: {error}") from error


def whole(feature: Feature) -> Feature:
    """The same features of whole recordings."""
    return msgspec.structs.replace(feature, central_frames=None)


def least(stream: Stream) -> int:
    """How many samples the first decision needs."""
    return sounds.least_samples(stream.feature, stream.windows)


def _chosen(stream: Stream, args: argparse.Namespace) -> Stream:
    """The stream with what the command line says instead."""
    k, n = args.rule or (stream.k, stream.n)
    threshold = stream.threshold if args.threshold is None else args.threshold
    release = args.release
    if release is None:
        release = stream.release * threshold / stream.threshold if stream.threshold else threshold
        release = min(release, threshold)
    if release > threshold:
        raise UserError(f"--release {release:g} is above the threshold, {threshold:g}")
    feature = stream.feature
    if args.channel is not None:
        feature = msgspec.structs.replace(feature, channel=args.channel)
    changed = {"feature": feature, "k": k, "n": n, "threshold": threshold, "release": release}
    return msgspec.structs.replace(stream, **changed)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m asd.monitor", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    option = parser.add_argument
    option("model", type=Path, metavar="MODEL.tflite")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--wav", type=Path, nargs="+", metavar="FILE")
    what.add_argument("--watch", type=Path, metavar="FOLDER",
                      help="wavs there and to come, each once, when it is whole")  # fmt: skip
    what.add_argument("--microphone", action="store_true", help=f"see {sounds.NEEDED}")
    option("--joined", action="store_true", help="with --wav: all files are one stream")
    option("--once", action="store_true", help="with --watch: end when all that are there are done")
    option("--settle", type=_above_0, default=2.0, metavar="S",
           help="with --watch: whole after so many seconds without a change (2)")  # fmt: skip
    option("--device", type=_device, metavar="NAME", help="a microphone's name or number")
    option("--seconds", type=_above_0, metavar="N", help="with --microphone: end after so many")
    option("--channel", type=_channel, metavar="N", help="of several, from 0; else feature.channel")
    option("--threshold", type=_not_negative, metavar="DB2", help="instead of the record's, dB^2")
    option("--release", type=_not_negative, metavar="DB2",
           help="where an alarm ends; the record's, in proportion to --threshold")  # fmt: skip
    option(
        "--rule", type=int, nargs=2, metavar=("K", "N"), help="an alarm: K of the last N decisions"
    )
    option("--brief", action="store_true", help="no lines of decisions")
    args = parser.parse_args(argv)
    if args.rule and not 1 <= args.rule[0] <= args.rule[1] <= streaming.MOST_DECISIONS:
        parser.error(f"--rule K N needs 1 <= K <= N <= {streaming.MOST_DECISIONS}")
    return args


def _above_0(text: str) -> float:
    return _number(text, lambda value: 0 < value < math.inf, "a number above 0")


def _not_negative(text: str) -> float:
    return _number(text, lambda value: 0 <= value < math.inf, "a number from 0 on")


def _channel(text: str) -> int:
    return int(_number(text, lambda value: value >= 0 and value % 1 == 0, "a channel, from 0 on"))


def _number(text: str, holds: Callable[[float], bool], what: str) -> float:
    """The number that an argument is, or what it is not, told by argparse."""
    with contextlib.suppress(ValueError):
        if holds(value := float(text)):
            return value
    raise argparse.ArgumentTypeError(f"{shown(text)} is not {what}")


def _device(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


if __name__ == "__main__":
    sys.exit(cli.run(main))
