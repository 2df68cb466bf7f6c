"""What a hop of the stream costs on emulated boards, whatever it hears, and how far it is off.

    python -m apps.benchmarks.stream MODEL.tflite [--wav FILE ...] [--boards NAME ...]

Prints the most and the least instructions of a hop over noise, a tone, silence, clipping, samples
of -1 to 1 and extremes that alternate, flash and RAM on each board; and of the kept frames of clips
how far the score is from that of the scripts, and how many input bytes are others. A model without
a record of a stream gets the features of baseline.yaml and a rule of no meaning, which costs the
same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

import common
from asd import cli, config, paths, wav
from asd.embedded import boards, codegen, stream, stream_runs, targets
from asd.evaluation import streaming
from asd.evaluation.streaming import Stream
from asd.tflite import litert
from common import UserError

FULL_SCALE = 32768
HOPS = 73  # 2.4 s of ad01's, as the README has it


def rule_of(model: Path) -> Stream:
    """What the record of a model says of a stream; without a record, a rule of no meaning."""
    if paths.record_of(model).is_file():
        return streaming.read(model)
    feature = config.load_config(config.BASELINE).feature
    return Stream(feature=feature, windows=31, step=8, k=2, n=3, threshold=12.0, release=10.0,
                  level_db=(-40.0, -20.0), band_errors=(10.0,) * feature.n_mels, share=0.99,
                  false_alarms={})  # fmt: skip


def signals(n: int) -> np.ndarray:
    """Six kinds of sound one after another, (n,) int16."""
    rng, part = np.random.default_rng(0), -(-n // 6)
    tone = 20000 * np.sin(np.arange(part) * 0.3)
    parts = [rng.normal(0, 800, part), tone, np.full(part, 7), 5 * tone,
             rng.integers(-1, 2, part), np.where(np.arange(part) % 2, 32767, -32768)]  # fmt: skip
    return np.clip(np.concatenate(parts)[:n], -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def costs(ready: Sequence[boards.Board], source: Path, work: Path, rule: Stream) -> None:
    """Print a row for each board."""
    feature = rule.feature
    samples = signals((HOPS - 1) * feature.hop_length + feature.n_fft)
    print("| core | arithmetic | instructions, most | least | flash, bytes "
          "| RAM: stream + work + stack, bytes |\n|---|---|---|---|---|---|")  # fmt: skip
    for board in ready:
        ran = stream_runs.on_board(board, source, work, samples)
        kind = "float" if board.has_float_unit else "integers"
        here = stream_runs.on_host(source, work, samples, board.has_float_unit).results
        same = "" if np.array_equal(ran.results, here) else " BITS DIFFER FROM THIS MACHINE'S"
        parts = f"{ran.stream_bytes:,} + {ran.work_bytes:,} + {ran.stack_bytes:,}"
        print(f"| {board.core} | {kind} | {ran.instructions:,} | {ran.instructions_min:,} "
              f"| {ran.flash_bytes:,} | {parts} = {ran.ram:,} |{same}", flush=True)  # fmt: skip


def accuracy(content: bytes, rule: Stream, clips: Sequence[Path], work: Path) -> None:
    """Print how far scores of whole clips are from the scripts', in both arithmetics."""
    feature, network = rule.feature, litert.runner(content)
    predict, scales = litert.predictor(content), (network.source["scale"],
                                                  network.source["zero_point"])  # fmt: skip
    for floats in (True, False):
        worst, differing, total = 0.0, 0, 0
        libraries: dict[int, stream_runs.Library] = {}  # by windows of a clip
        for clip in clips:
            padded, _ = common.read_clip(wav.source(clip), feature)
            frames = common.log_mel(padded, feature)
            windows = np.ascontiguousarray(common.vectors(frames, feature.frames))
            if len(windows) not in libraries:
                folder = work / f"clips_{floats}_{len(windows)}"
                codegen.write(content, folder)
                stream.write(content, msgspec.structs.replace(rule, windows=len(windows)), folder)
                flags = [f"-DASD_FRONTEND_FLOAT={int(floats)}"]
                libraries[len(windows)] = stream_runs.Library(folder, folder, flags)
            inputs = np.zeros(frames.shape, np.int8)
            samples = np.clip(np.rint(padded * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
            results = libraries[len(windows)].run(samples.astype(np.int16), inputs=inputs)
            score = stream_runs.scores(results)[-1]
            expected = common.reconstruction_error(windows, predict(windows))
            worst = max(worst, abs(score - expected) / expected)
            differing += int((inputs != litert.to_int8(frames, *scales)).sum())
            total += inputs.size
        kind = "float" if floats else "integers"
        print(f"{kind}: {len(clips)} clips, scores off by {worst:.2g} at most; "
              f"{differing} of {total:,} input bytes differ", flush=True)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, metavar="MODEL.tflite")
    parser.add_argument("--wav", type=Path, nargs="+", default=[], metavar="FILE")
    parser.add_argument("--boards", nargs="+", default=[], metavar="NAME")
    args = parser.parse_args(argv)
    if not args.model.is_file():
        raise UserError(f"{args.model}: no such file")
    content, rule = args.model.read_bytes(), rule_of(args.model)
    ready, missing = targets.available(args.boards)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        codegen.write(content, work / "source")
        stream.write(content, rule, work / "source")
        costs(ready, work / "source", work, rule)
        for line in missing:
            print(f"not run: {line}")
        if args.wav:
            accuracy(content, rule, args.wav, work)


if __name__ == "__main__":
    sys.exit(cli.run(main))
