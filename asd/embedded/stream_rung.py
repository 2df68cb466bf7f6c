"""The stream in 03_tflite_test.py: a clip's start through the C, beside Python's own arithmetic."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

import common
from asd import files, paths, wav
from asd.embedded import boards, host, stream, stream_runs
from asd.embedded.costs import Cost
from asd.evaluation import streaming
from asd.evaluation.streaming import Stream
from asd.tflite import litert

HOPS = 40  # of a clip, at most: a second and a quarter of ad01's
FULL_SCALE = 32768  # of int16


class Rung:
    """What a stream is tried on, and what is expected of it.

    Parameters
    ----------
    content : the int8 TFLite file
    rule : what its record says of a stream
    clip : a recording

    Raises
    ------
    common.UnusableClip : see `common.read_clip`.
    """

    def __init__(self, content: bytes, rule: Stream, clip: Path) -> None:
        feature, predict = rule.feature, litert.predictor(content)
        n_samples = (max(HOPS, feature.frames) - 1) * feature.hop_length + feature.n_fft
        samples = common.read_clip(wav.source(clip), feature)[0][:n_samples] * FULL_SCALE
        self.samples = np.clip(np.rint(samples), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
        frames = common.log_mel(self.samples * np.float32(1 / FULL_SCALE), feature)
        windows = np.ascontiguousarray(common.vectors(frames, feature.frames)[-rule.windows :])
        self.score = common.reconstruction_error(windows, predict(windows))  # dB^2
        self.source = stream.generate(content, rule)
        self._here: dict[bool, np.ndarray] = {}  # by arithmetic

    def added(self, cost: Cost, board: boards.Board | None, folder: Path, work: Path) -> Cost:
        """A cost with that of the stream, on a board or on this machine.

        Raises
        ------
        UserError : see `boards.run`, `host.build`.
        """
        floats = board is None or board.has_float_unit
        if host.compiler() and floats not in self._here:
            ran = stream_runs.on_host(folder, work, self.samples, floats)
            self._here[floats] = ran.results
        if board is None:
            ran = stream_runs.Ran(self._here[floats])
        else:
            ran = stream_runs.on_board(board, folder, work, self.samples)
        score = float(stream_runs.scores(ran.results)[-1]) if len(ran.results) else np.nan
        return dataclasses.replace(
            cost,
            stream_error=abs(score - self.score) / self.score,
            stream_differs=_differing(ran.results, self._here.get(floats)),
            stream_instructions=ran.instructions,
            stream_ram=ran.ram,
        )


def _differing(results: np.ndarray, here: np.ndarray | None) -> int | None:
    """How many hops are not those of this machine, if it has any."""
    if here is None:
        return None
    if len(results) != len(here):
        return max(len(results), len(here))
    return int((results != here).sum())


def of(model: Path, content: bytes, clip: Path) -> Rung | None:
    """The stream of a model, if its record tells of one that C has; see `Rung`.

    Raises
    ------
    UserError : the record is damaged.
    """
    record = paths.record_of(model)
    if not record.is_file() or files.read_mapping(record).get(streaming.KEY) is None:
        return None
    rule = streaming.read(model)
    return None if stream.refusal(rule.feature) else Rung(content, rule, clip)
