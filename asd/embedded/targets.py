"""The generated C on this machine and on emulated boards, byte by byte against the TFLite file."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import common
from asd import files
from asd.clips import Scores
from asd.embedded import boards, codegen, host
from asd.tflite import litert
from common import UserError

HOST = "host"

# Instructions of TFLite Micro with CMSIS-NN for one inference of ad01 (264,192 MACs), in the same
# emulation, of the projects' versions of 2026-11.
PUBLISHED = {
    "Cortex-M3": 955_905,
    "Cortex-M4F": 582_305,
    "Cortex-M7": 582_629,
    "Cortex-M33": 582_485,
    "Cortex-M55": 149_960,
}


@dataclass(frozen=True)
class Cost:
    """What a model costs where it ran, and whether it gave the bytes of LiteRT."""

    machine_type: str
    board: str
    core: str
    kernel: str
    windows: int
    differing_bytes: int
    score_median: float  # relative error over the clips; see Scores.relative_errors
    score_max: float
    tolerance: float | None  # the tolerance of score_median
    instructions: int | None = None  # per inference, the most over the windows
    code_bytes: int | None = None
    constant_bytes: int | None = None
    scratch_bytes: int | None = None
    stack_bytes: int | None = None

    @property
    def verdict(self) -> str:
        """Passes where every byte is LiteRT's and the scores are within the tolerance."""
        close = self.tolerance is None or self.score_median <= self.tolerance
        return "FAIL" if self.differing_bytes or not close else "pass"


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


def measure(
    model: Path,
    folder: Path,
    keras: Scores,
    clips: Sequence[np.ndarray],
    n: int,
    tolerance: float | None,
    ready: Sequence[boards.Board],
) -> tuple[list[Cost], list[str]]:
    """Run the C of an int8-in/out model on the host and on boards, and compare it.

    Parameters
    ----------
    model : the TFLite file
    folder : its C source, which is compared with what its TFLite file gives: that is compiled
    keras : the Keras model's scores of the clips
    clips : for each clip its frames, (n_frames, n_mels) float32, dB
    n : frames per window
    tolerance : the largest median relative error of a score

    Returns
    -------
    what it costs in each place, and a line for each where it cannot be built or run

    Raises
    ------
    UserError : a file of the C source is missing or differs.
    """
    content = model.read_bytes()
    tflite = litert.runner(content)
    by_clip = [common.vectors(frames, n) for frames in clips]
    windows = np.concatenate(by_clip)  # (n_windows, n * n_mels) float32, dB
    inputs = litert.to_int8(windows, tflite.source["scale"], tflite.source["zero_point"])
    expected = tflite(inputs)

    def cost(outputs: np.ndarray, figures: dict[str, Any]) -> Cost:
        values = litert.to_float(outputs, tflite.target["scale"], tflite.target["zero_point"])
        errors = keras.relative_errors(_scores(by_clip, values))  # (n_clips,)
        return Cost(
            machine_type=keras.machine_type,
            windows=len(inputs),
            differing_bytes=int((outputs != expected).sum()),
            score_median=float(np.median(errors)),
            score_max=float(errors.max()),
            tolerance=tolerance,
            **figures,
        )

    costs, failures = [], []
    boards_ready = [functools.partial(_on_board, board) for board in ready]
    on_host = [functools.partial(_on_host, expected.shape[1])] if host.compiler() else []
    with tempfile.TemporaryDirectory() as work:
        source = _checked_source(folder, model, content, Path(work, "source"))
        for place in [*on_host, *boards_ready]:
            try:
                costs.append(cost(*place(source, Path(work), inputs)))
            except UserError as error:
                failures.append(str(error))
    return costs, failures


def _checked_source(folder: Path, model: Path, content: bytes, target: Path) -> Path:
    """Write the C source of a TFLite file anew, and see that what lies in its folder is the same.

    What is compiled is the copy: nothing else that lies there, or that comes after the comparison.
    """
    try:
        source = codegen.generate(content)
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


def _scores(by_clip: Sequence[np.ndarray], outputs: np.ndarray) -> np.ndarray:
    """The score of each clip from its windows and from the outputs of all, (n_clips,) float64."""
    ends = np.cumsum([len(windows) for windows in by_clip])
    parts = zip(by_clip, np.split(outputs, ends[:-1]), strict=True)
    return np.array([common.reconstruction_error(*part) for part in parts])


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


HEADER = (
    "machine_type", "board", "core", "kernel", "windows", "differing_bytes",
    "instructions", "code_bytes", "constant_bytes", "scratch_bytes", "stack_bytes",
    "score_median", "score_max", "bar", "verdict",
)  # fmt: skip


def write(path: Path, costs: Sequence[Cost]) -> None:
    """`mcu.csv`: a row per machine type and place; instructions are those of one inference."""
    rows = []
    for c in costs:
        figures = (c.instructions, c.code_bytes, c.constant_bytes, c.scratch_bytes, c.stack_bytes)
        plain = ["" if figure is None else figure for figure in figures]
        rows.append((c.machine_type, c.board, c.core, c.kernel, c.windows,
                     c.differing_bytes, *plain, c.score_median, c.score_max,
                     "" if c.tolerance is None else c.tolerance, c.verdict))  # fmt: skip
    files.write_csv(path, [HEADER, *rows])


def show(costs: Sequence[Cost], missing: Sequence[str], failures: Sequence[str], path: Path) -> int:
    """Print what the model costs on boards, 100 columns wide; exit status 1 if one failed."""
    if costs:
        print("\nIs the C code the TFLite file? Every output byte is compared with LiteRT's:\n")
        print(f"{'':<33}{'':>8}{'bytes':>7}{'score':>8}{'instructions':>14}{'TFLM +':>9}"
              f"{'flash':>9}{'RAM':>6}")  # fmt: skip
        print(f"{'core':<13}{'machine':<12}{'kernel':<8}{'windows':>8}{'off':>7}{'error':>8}"
              f"{'an inference':>14}{'CMSIS-NN':>9}{'bytes':>9}{'bytes':>6}")  # fmt: skip
    for c in costs:
        line = f"{c.core:<13}{c.machine_type[:11]:<12}{c.kernel:<8}{c.windows:>8}"
        line += f"{c.differing_bytes:>7}{c.score_median:>8.3%}"
        figures = f"{'':>38}"
        if c.instructions is not None:
            peer = f"{PUBLISHED[c.core]:,}" if c.core in PUBLISHED else "-"
            flash, ram = c.code_bytes + c.constant_bytes, c.scratch_bytes + c.stack_bytes
            figures = f"{c.instructions:>14,}{peer:>9}{flash:>9,}{ram:>6}"
        print(f"{line}{figures}  {c.verdict}")
    if any(c.instructions is not None for c in costs):
        print("\ninstructions: counted in emulation, not cycles on a board; beside them those of")
        print("TFLite Micro with CMSIS-NN for one inference of ad01 (264,192 MACs)")
    for line in missing:
        print(f"not run: {line}")
    if costs:
        print(f"more figures: {path}")
    failed = [c for c in costs if c.verdict != "pass"]
    if failed:
        print(f"C CODE FAILS in {len(failed)} of {len(costs)} places; the first: {failed[0].core}")
    for line in failures:
        print(f"FAILED: {line}")
    return 1 if failed or failures else 0
