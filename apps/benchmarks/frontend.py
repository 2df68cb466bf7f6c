"""The generated front end against the chain that CMSIS-DSP gives, on emulated boards.

    python -m apps.benchmarks.frontend [-c FILE.yaml] [--boards NAME ...]

CMSIS-DSP's C is that of the package cmsisdsp, which pip fetches for the time it takes.
Prints, for each board, instructions a frame, flash, memory, and how far the levels are from those
of common.log_mel; exit status 1 where ours take more than MOST of theirs.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

import common
from asd import cli, config
from asd.embedded import boards, frontend, frontend_tables, processes
from common import Feature, UserError

MOST = 0.9  # of CMSIS-DSP's instructions
PACKAGE = "cmsisdsp==1.10.3"
BOARDS = ("mps2-an386", "mps3-an547")
HERE = Path(__file__).resolve().parent / "cmsis"
SOURCES = (
    "TransformFunctions/arm_rfft_fast_f32.c", "TransformFunctions/arm_rfft_fast_init_f32.c",
    "TransformFunctions/arm_cfft_f32.c", "TransformFunctions/arm_cfft_radix8_f32.c",
    "TransformFunctions/arm_cfft_init_f32.c", "TransformFunctions/arm_bitreversal2.c",
    "BasicMathFunctions/arm_mult_f32.c", "BasicMathFunctions/arm_dot_prod_f32.c",
    "BasicMathFunctions/arm_offset_f32.c", "BasicMathFunctions/arm_scale_f32.c",
    "ComplexMathFunctions/arm_cmplx_mag_squared_f32.c", "FastMathFunctions/arm_vlog_f32.c",
    "SupportFunctions/arm_q15_to_float.c", "CommonTables/arm_common_tables.c",
    "CommonTables/arm_const_structs.c", "CommonTables/arm_mve_tables.c",
)  # fmt: skip
# Its own build's default, and what its README names for Helium; -O2 gave the least instructions.
DEFINES = "-DARM_MATH_LOOPUNROLL"
HELIUM = "-DARM_MATH_HELIUM -DARM_MATH_MVEF -DARM_MATH_MVEI"
FETCH_SECONDS = 120


def fetch(folder: Path) -> Path:
    """The folder of CMSIS-DSP's sources, fetched into a folder.

    Raises
    ------
    UserError : pip cannot fetch the package.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:",
               "--no-build-isolation", "--dest", str(folder), PACKAGE]  # fmt: skip
    try:
        done = processes.call(command, timeout_seconds=FETCH_SECONDS)
        (archive,) = folder.glob("cmsisdsp-*.tar.gz")
    except ValueError:
        lines = done.stdout.strip().splitlines() or ["pip said nothing"]
        raise UserError(f"{PACKAGE} cannot be fetched: {lines[-1]}") from None
    except TimeoutError as error:
        raise UserError(f"{PACKAGE} cannot be fetched in {FETCH_SECONDS} s") from error
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return archive.with_name(archive.name.removesuffix(".tar.gz"))


def _write_peer(feature: Feature, sources: Path, folder: Path) -> None:
    """The C of the peer's chain, with CMSIS-DSP's."""
    mel = frontend_tables.bands(feature, 1)
    folder.mkdir(parents=True)
    for path in [*HERE.iterdir(), *(sources / "Source" / name for name in SOURCES)]:
        shutil.copyfile(path, folder / path.name)
    (folder / "sizes.h").write_text(
        f"#define SIZE {feature.n_fft}\n#define MODEL_FFT {feature.n_fft}\n"
        f"#define MODEL_HOP {feature.hop_length}\n#define MODEL_MELS {feature.n_mels}\n"
    )
    hann = common.hann(feature.n_fft).astype(np.float32)
    (folder / "tables.h").write_text(
        frontend_tables.floats("hann", hann)
        + mel.arrays()
        + frontend_tables.floats("weights", mel.weights)
    )


def peer(
    board: boards.Board, feature: Feature, sources: Path, work: Path, samples: np.ndarray
) -> frontend.Ran:
    """Run CMSIS-DSP's chain as `frontend.on_board` runs ours.

    Raises
    ------
    UserError : see `boards.run`.
    """
    target = work / f"{board.name}_cmsis"
    _write_peer(feature, sources, target / "model")
    (target / "mcu").symlink_to(boards.MCU, target_is_directory=True)
    includes = [f"-I{path}" for path in ("model", sources / "Include", sources / "PrivateInclude")]
    flags = [*board.cpu_flags, *includes, "-w", "-ffp-contract=fast", DEFINES]
    flags += [HELIUM] if board.core == "Cortex-M55" else []
    command = ["make", "-f", "mcu/Makefile", f"BOARD={board.name}", "MODEL=model", "BUILD=build",
               f"CPUFLAGS={' '.join(flags)}", "LDLIBS=-lm",
               "MAIN=mcu/frontend.c mcu/testing.c mcu/semihosting.c"]  # fmt: skip
    done = processes.call(command, target)
    if done.returncode:
        raise UserError(f"{board.name}: CMSIS-DSP is not built: {done.stdout.strip()[-300:]}")
    return frontend.emulate(board, target, Path("build", "firmware.elf"), samples)


def sounds(feature: Feature) -> np.ndarray:
    """Some frames of noise, a tone and silence, int16."""
    n = 4 * feature.n_fft
    noise = np.random.default_rng(0).normal(0, 3000, n)
    tone = 8000 * np.sin(2 * np.pi * 0.0771 * np.arange(n))
    return np.concatenate([noise, tone, np.zeros(n)]).astype(np.int16)


def compare(
    board: boards.Board, feature: Feature, sources: Path, work: Path
) -> tuple[frontend.Ran, frontend.Ran]:
    """Ours and CMSIS-DSP's on a board, over the same samples."""
    samples = sounds(feature)
    folder = work / "model_c"
    frontend.write(feature, folder)
    ours = frontend.on_board(board, folder, work, samples)
    return ours, peer(board, feature, sources, work, samples)


def far(ran: frontend.Ran, feature: Feature) -> float:
    """The largest distance of a level above -100 dB from Python's, dB."""
    expected = common.log_mel(sounds(feature).astype(np.float32) / 32768, feature)
    return float(np.abs(ran.levels - expected)[expected > -100].max())


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-c", "--config", type=Path, default=config.BASELINE, metavar="FILE")
    parser.add_argument("--boards", nargs="+", default=BOARDS, metavar="NAME")
    args = parser.parse_args(argv)
    feature = config.load_config(args.config).feature
    if feature.power != 2:
        raise UserError(f"{args.config}: feature.power is {feature.power:g}; the peer has 2")
    # It has no use for a channel, and for no other number.
    feature = msgspec.structs.replace(feature, channel=None)
    worst = 0.0
    print(f"{'core':<12}{'':<10}{'instructions':>13}{'flash':>9}{'work':>8}{'stack':>7}"
          f"{'off by':>9}")  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        sources = fetch(work)
        for board in map(boards.named, args.boards):
            ours, theirs = compare(board, feature, sources, work)
            for label, ran in (("ours", ours), ("CMSIS-DSP", theirs)):
                print(f"{board.core:<12}{label:<10}{ran.instructions:>13,}"
                      f"{ran.code_bytes + ran.constant_bytes:>9,}{ran.work_bytes:>8,}"
                      f"{ran.stack_bytes:>7,}{far(ran, feature):>6.3f} dB")  # fmt: skip
            ratio = ours.instructions / theirs.instructions
            print(f"{board.core:<12}{'ratio':<10}{ratio:>13.3f}  {MOST} is asked")
            worst = max(worst, ratio)
    return 1 if worst > MOST else 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
