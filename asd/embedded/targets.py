"""The generated C on this machine and on emulated boards, byte by byte against the TFLite file."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import common
from asd.clips import Scores
from asd.embedded import boards, codegen, distance, host, stream_rung
from asd.embedded.costs import Cost
from asd.tflite import litert
from common import Error, UserError

HOST = "host"
Most = tuple[float | None, float | None]  # tolerances, see `measure`; None: not limited


def available(asked: Sequence[str]) -> tuple[list[boards.Board], list[str]]:
    """The boards to run on, and a line for each place where the C cannot run.

    Parameters
    ----------
    asked : names of boards, or "all" alone, or "none" alone; nothing: those whose tools are there

    Raises
    ------
    UserError : a board asked for by name does not exist, or its tools are missing.
    """
    here = [] if host.compiler() else ["C on this machine: no C compiler; sudo apt install gcc"]
    if list(asked) == ["none"]:
        return [], here
    by_name = list(asked) not in ([], ["all"])
    if by_name and {"all", "none"} & set(asked):
        raise UserError("--boards takes names, or all alone, or none alone")
    if not boards.all_boards() and not by_name:
        line = f"boards: {boards.MCU} is missing; restore the folder to use boards"
        if asked:
            raise UserError(line)
        return [], [*here, line]
    named = [boards.named(name) for name in dict.fromkeys(asked)] if by_name else None
    chosen = boards.all_boards() if named is None else named
    lines = {board.name: boards.missing(board) for board in chosen}
    for line in lines.values():
        if line and asked:
            raise UserError(line)
    ready = [board for board in chosen if not lines[board.name]]
    return ready, here + [line for line in lines.values() if line]


def sample(n_clips: int, count: int, everything: bool) -> np.ndarray:
    """Positions of clips spread evenly over all, (min(count, n_clips),) int64."""
    count = n_clips if everything else min(count, n_clips)
    return (np.arange(count) * n_clips + n_clips // 2) // count


class _Reference:
    """What the C of a model is compared with: LiteRT's bytes and the Keras model's scores.

    Parameters
    ----------
    content : the TFLite file
    clips : for each clip its frames, (n_frames, n_mels) float32, dB
    n : frames per window
    error : of a clip, from its windows and what the model gives for them
    """

    def __init__(self, content: bytes, clips: Sequence[np.ndarray], n: int, error: Error) -> None:
        tflite = litert.runner(content)
        network = tflite.network()
        self._target, self._error, self.n = network.target.scale, error, n
        self._by_clip = [common.vectors(frames, n) for frames in clips]
        self.windows = np.concatenate(self._by_clip)  # (n_windows, n * n_mels) float32, dB
        source = network.source.scale
        self.inputs = litert.to_int8(self.windows, source.scale, source.zero_point)
        self.expected = litert.in_bytes(tflite)(self.inputs)
        self.distance = distance.in_c(error)

    def scores(self, outputs: np.ndarray) -> np.ndarray:
        """The clips' scores by the outputs of all windows, (n_clips,) float64."""
        values = litert.to_float(outputs, self._target.scale, self._target.zero_point)
        ends = np.cumsum([len(windows) for windows in self._by_clip])
        parts = zip(self._by_clip, np.split(values, ends[:-1]), strict=True)
        return np.array([self._error(*part) for part in parts])

    def cost(self, keras: Scores, ran: tuple[np.ndarray, dict[str, Any]], most: Most) -> Cost:
        """What a model costs that gave these outputs and has these figures."""
        outputs, figures = ran
        errors = keras.relative_errors(self.scores(outputs))  # (n_clips,)
        return Cost(
            machine_type=keras.machine_type,
            windows=len(self.inputs),
            differing_bytes=int((outputs != self.expected).sum()),
            score_median=float(np.median(errors)),
            score_max=float(errors.max()),
            tolerance=most[0],
            **figures,
        )

    def with_distance(self, cost: Cost, ran: distance.Ran, most: Most) -> Cost:
        """The same with what the distance costs, and how far its scores are from Python's."""
        counts = [len(windows) for windows in self._by_clip]
        expected = self.scores(self.expected)
        errors = np.abs(distance.scores(ran.sums, counts, self.n) - expected) / expected
        return dataclasses.replace(
            cost,
            distance_error=float(errors.max()),
            distance_tolerance=most[1],
            distance_instructions=ran.instructions,
        )


def measure(
    model: Path,
    folder: Path,
    keras: Scores,
    clips: Sequence[np.ndarray],
    n: int,
    error: Error,
    most: Most,
    ready: Sequence[boards.Board],
) -> tuple[list[Cost], list[str]]:
    """Run the C of an int8-in/out model on the host and on boards, and compare it.

    A score that is a distance is made in C, too, where there is a float unit; and where the record
    tells of a stream, the first clip's start goes through that.

    Parameters
    ----------
    model : the TFLite file
    folder : its C source, which is compared with what its TFLite file gives: that is compiled
    keras : the Keras model's scores of the clips
    clips, n, error : for each clip its frames, (n_frames, n_mels) float32, dB; frames per window;
        and the error of a clip, from its windows and what the model gives for them
    most : relative errors of scores: the median of int8's, the largest of those made in C

    Returns
    -------
    what it costs in each place, and a line for each where it cannot be built or run

    Raises
    ------
    UserError : a file of the C source is missing or differs.
    """
    content = model.read_bytes()
    try:
        reference = _Reference(content, clips, n, error)
    except UserError as wrong:
        raise UserError(f"{model}: {wrong}") from wrong
    rung = stream_rung.of(model, content, keras.clips[0].path)
    places: list[tuple[boards.Board | None, Callable, Callable | None]] = []
    if host.compiler():
        on_host = functools.partial(_on_host, reference.expected.shape[1])
        places.append((None, on_host, distance.on_host))
    for board in ready:
        of_distance = functools.partial(distance.on_board, board) if board.has_float_unit else None
        places.append((board, functools.partial(_on_board, board), of_distance))
    costs, failures = [], []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        source = _checked_source(folder, model, content, reference, rung, work / "source")
        for board, run, of_distance in places:
            try:
                cost = reference.cost(keras, run(source, work, reference.inputs), most)
                if reference.distance and of_distance:
                    ran = of_distance(source, work, reference.windows)
                    cost = reference.with_distance(cost, ran, most)
                costs.append(rung.added(cost, board, source, work) if rung else cost)
            except UserError as failure:
                failures.append(str(failure))
    return costs, failures


def _checked_source(
    folder: Path,
    model: Path,
    content: bytes,
    reference: _Reference,
    rung: stream_rung.Rung | None,
    target: Path,
) -> Path:
    """Write the C source of a TFLite file anew, and see that what lies in its folder is the same.

    What is compiled is the copy: nothing else that lies there, or that comes after the comparison.
    """
    try:
        source = codegen.generate(content)
        if reference.distance:
            source |= distance.generate(reference.distance, reference.n)
        source |= rung.source if rung else {}
    except UserError as error:
        raise UserError(f"{model}: {error}") from error
    target.mkdir()
    for name, text in source.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != text.encode():
            wrong = f"{name} {'differs' if path.exists() else 'is missing'}; run 02_convert.py"
            raise UserError(f"{folder}: not the C source of {model.name}: {wrong}")
        (target / name).write_bytes(text.encode())
    return target


def _on_host(
    n_outputs: int, folder: Path, work: Path, inputs: np.ndarray
) -> tuple[np.ndarray, dict[str, Any]]:
    model = host.runner(host.build(folder, work), n_outputs)
    return model(inputs), {"board": HOST, "core": "this machine", "kernel": "plain"}


def _on_board(
    board: boards.Board, folder: Path, work: Path, inputs: np.ndarray
) -> tuple[np.ndarray, dict[str, Any]]:
    ran = boards.run(board, folder, inputs, work)
    figures = {
        "board": board.name,
        "core": board.core,
        "kernel": ran.kernel,
        "instructions": ran.instructions,
        "code_bytes": ran.code_bytes,
        "constant_bytes": ran.constant_bytes,
        "scratch_bytes": ran.scratch_bytes,
        "stack_bytes": ran.stack_bytes,
    }
    return ran.outputs, figures
