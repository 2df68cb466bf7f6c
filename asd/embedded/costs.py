"""What a model's C costs in each place where it ran: the table, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asd import files

# Instructions of TFLite Micro with CMSIS-NN for one inference of ad01 (264,192 MACs), in the same
# emulation, of the projects' versions of 2026-11.
PUBLISHED = {
    "Cortex-M3": 955_905,
    "Cortex-M4F": 582_305,
    "Cortex-M7": 582_629,
    "Cortex-M33": 582_485,
    "Cortex-M55": 149_960,
}
# Cycles of that inference on real boards: entries of MLPerf Tiny v1.1 with CMSIS-NN, by ONNC and by
# microTVM, on a NUCLEO-L4R5ZI: 120 MHz divided by their throughput, 124.906 and 116.212
# inferences a second. The wait states of its flash are in it. No other core has two entries.
BOARD_CYCLES = {"Cortex-M4F": (960_722, 1_032_596)}


def expected_cycles(core: str, instructions: int) -> tuple[int, int] | None:
    """What so many instructions may take on a board with such a core, in cycles; None: unknown.

    The cycles an instruction of two public entries with CMSIS-NN (1.65 and 1.77 on Cortex-M4),
    which is all that is known: another mix of instructions or another flash has other ones.

    Parameters
    ----------
    core : as in the board's row
    instructions : counted in emulation
    """
    if core not in BOARD_CYCLES:
        return None
    low, high = (round(instructions * cycles / PUBLISHED[core]) for cycles in BOARD_CYCLES[core])
    return low, high


def cycles_in_words(core: str, instructions: int) -> str:
    """Three digits of `expected_cycles`, "417,000 to 448,000 cycles"; "" where it knows none."""
    bounds = expected_cycles(core, instructions)
    return (
        " to ".join(f"{float(f'{one:.3g}'):,.0f}" for one in bounds) + " cycles" if bounds else ""
    )


def borrowed_in_words(cores: Iterable[str]) -> str:
    """What names such as "M0+ on M3" mean, where there are any; else ""."""
    names = [core for core in dict.fromkeys(cores) if " on " in core]
    return f"{', '.join(names)}: the code of the first, run by the second" if names else ""


STREAM_TOLERANCE = 1e-3  # of a stream's score: log-mel values rounded otherwise move input bytes


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
    distance_error: float | None = None  # the most of a clip's score, of the distance in C
    distance_tolerance: float | None = None
    distance_instructions: int | None = None  # per window, with its inference
    stream_error: float | None = None  # relative, of a stream's score of a clip's start in C
    stream_differs: int | None = None  # its hops that are not this machine's
    stream_instructions: int | None = None  # per hop, the most
    stream_ram: int | None = None  # bytes of it all
    instructions: int | None = None  # per inference, the most over the windows
    code_bytes: int | None = None
    constant_bytes: int | None = None
    scratch_bytes: int | None = None
    stack_bytes: int | None = None

    @property
    def verdict(self) -> str:
        """Passes where every byte is LiteRT's and the scores are within their tolerances."""
        pairs = (self.score_median, self.tolerance), (self.distance_error, self.distance_tolerance)
        pairs += ((self.stream_error, STREAM_TOLERANCE),)
        far = any(None not in pair and not pair[0] <= pair[1] for pair in pairs)
        return "FAIL" if self.differing_bytes or self.stream_differs or far else "pass"


def _told_of_cycles(costs: Sequence[Cost]) -> Iterator[str]:
    """What cycles to expect where that is known, a line a core."""
    counted = [c for c in costs if c.instructions is not None]
    for core in dict.fromkeys(c.core for c in counted):
        most = max(c.instructions for c in counted if c.core == core)
        if words := cycles_in_words(core, most):
            yield f"on a board with {core}, flash waits included, expect {words},"
            yield "  by what two public entries with CMSIS-NN need on one board: not measured"


def _told_of_distances(costs: Sequence[Cost]) -> Iterator[str]:
    """What scores that C makes itself are like, if there are any."""
    if with_distance := [c for c in costs if c.distance_error is not None]:
        worst = max(c.distance_error for c in with_distance)
        yield f"\nthe Mahalanobis distance in C: scores off by {worst:.2g} of Python's at most"
    for c in with_distance:
        if c.distance_instructions:
            yield (f"  {c.core}, {c.machine_type}: {c.distance_instructions:,} instructions a "
                   "window, with its inference")  # fmt: skip


def _told_of_streams(costs: Sequence[Cost]) -> Iterator[str]:
    """What streams are like, if there are any."""
    if streams := [c for c in costs if c.stream_error is not None]:
        worst = max(c.stream_error for c in streams)
        yield f"\nthe stream in C, from samples to scores: off by {worst:.2g} of Python's at most"
    for c in streams:
        if c.stream_instructions:
            yield (f"  {c.core}, {c.machine_type}: {c.stream_instructions:,} instructions a hop, "
                   f"{c.stream_ram:,} bytes of RAM in all"
                   + (f"; {c.stream_differs} HOPS DIFFER" if c.stream_differs else ""))  # fmt: skip


HEADER = (
    "machine_type", "board", "core", "kernel", "windows", "differing_bytes",
    "instructions", "code_bytes", "constant_bytes", "scratch_bytes", "stack_bytes",
    "score_median", "score_max", "bar", "distance_error", "distance_instructions",
    "stream_error", "stream_differs", "stream_instructions", "stream_ram", "verdict",
)  # fmt: skip


def write(path: Path, costs: Sequence[Cost]) -> None:
    """`mcu.csv`: a row per machine type and place; instructions are those of one inference."""
    rows = []
    for c in costs:
        figures = (c.instructions, c.code_bytes, c.constant_bytes, c.scratch_bytes, c.stack_bytes)
        plain = ["" if figure is None else figure for figure in figures]
        of_stream = (c.stream_error, c.stream_differs, c.stream_instructions, c.stream_ram)
        streams = ["" if figure is None else figure for figure in of_stream]
        rows.append((c.machine_type, c.board, c.core, c.kernel, c.windows,
                     c.differing_bytes, *plain, c.score_median, c.score_max,
                     "" if c.tolerance is None else c.tolerance,
                     "" if c.distance_error is None else c.distance_error,
                     c.distance_instructions or "", *streams, c.verdict))  # fmt: skip
    files.write_csv(path, [HEADER, *rows])


def show(costs: Sequence[Cost], missing: Sequence[str], failures: Sequence[str], path: Path) -> int:
    """Print what the model costs on boards, 100 columns wide; exit status 1 if one failed."""
    if costs:
        print("\nIs the C code the TFLite file? Every output byte is compared with LiteRT's:\n")
        print(f"{'':<33}{'':>8}{'bytes':>7}{'score':>8}{'instructions':>14}{'TFLM +':>9}"
              f"{'flash':>9}{'RAM':>6}")  # fmt: skip
        print(f"{'core':<13}{'machine':<12}{'kernel':<9}{'windows':>7}{'off':>7}{'error':>8}"
              f"{'an inference':>14}{'CMSIS-NN':>9}{'bytes':>9}{'bytes':>6}")  # fmt: skip
    for c in costs:
        line = f"{c.core:<13}{c.machine_type[:11]:<12}{c.kernel:<9}{c.windows:>7}"
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
    if borrowed := borrowed_in_words(c.core for c in costs):
        print(borrowed)
    for line in (*_told_of_cycles(costs), *_told_of_distances(costs), *_told_of_streams(costs)):
        print(line)
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
