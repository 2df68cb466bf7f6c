"""The generated front end against the chain that CMSIS-DSP gives, on emulated boards.

    python -m apps.benchmarks.frontend [-c FILE.yaml]

CMSIS-DSP's C is that of the package cmsisdsp, which pip fetches for the time it takes.
Prints how far levels are from those of common.log_mel, and for each board instructions a frame,
flash and memory; exit status 1 where ours take more than MOST of theirs.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

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
SECONDS = 8  # of each kind of sound


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
    except subprocess.TimeoutExpired as error:
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


def sounds(feature: Feature, seconds: float) -> dict[str, np.ndarray]:
    """Some seconds of each kind of sound, int16, by what it is."""
    rng, rate = np.random.default_rng(0), feature.sample_rate
    n = int(seconds * rate)
    t = np.arange(n) / rate
    turns = 0.0771 * np.arange(n)
    kinds = {
        "noise": rng.normal(0, 3000, n),
        "noise of one bit": rng.integers(-1, 2, n),
        "clipping": 10**5 * np.sin(2 * np.pi * turns),
        "silence": np.zeros(n),
        "tone, -40 dB": 327.67 * np.sin(2 * np.pi * turns),
        "tone, -20 dB": 3276.7 * np.sin(2 * np.pi * turns),
        "tone, full scale": 32767 * np.sin(2 * np.pi * turns),
        "sweep, full scale": 32767 * np.sin(np.pi / 2 * rate * t * t / seconds),
    }
    return {kind: np.clip(np.rint(x), -32768, 32767).astype(np.int16) for kind, x in kinds.items()}


def _expected(samples: np.ndarray, feature: Feature) -> np.ndarray:
    return common.log_mel(samples.astype(np.float32) / 32768, feature)


def far(levels: np.ndarray, samples: np.ndarray, feature: Feature, floor: float = -100) -> float:
    """The largest distance of a level above a floor from Python's, dB; 0 where there is none."""
    expected = _expected(samples, feature)
    return float(np.abs(levels - expected)[expected >= floor].max(initial=0))


def _in_float32(samples: np.ndarray, feature: Feature) -> tuple[np.ndarray, np.ndarray]:
    """Levels as Python's from samples tapered in float32; and with a transform in float32, too."""
    import scipy.fft

    tapered = np.lib.stride_tricks.sliding_window_view(samples / np.float32(32768), feature.n_fft)
    tapered = tapered[:: feature.hop_length] * common.hann(feature.n_fft).astype(np.float32)
    bins = np.fft.rfft(tapered.astype(np.float64)), scipy.fft.rfft(tapered)
    filters = common.mel_filters(feature).T
    return tuple(10 * np.log10(np.abs(one) ** 2 @ filters + 2.0**-52) for one in bins)


def show_distances(feature: Feature, work: Path) -> None:
    """Print how far levels are from Python's, on this machine."""
    folder = work / "model_c"
    frontend.write(feature, folder)
    in_float = frontend.on_host(folder, work, feature)
    in_fixed = frontend.on_host(folder, work, feature, [frontend.FIXED])
    print("The largest distance from common.log_mel, dB:\n")
    print(f"{'':<20}{'fixed':>10}{'float':>10}{'in float32, window':>20}{'and':>12}")
    print(f"{'':<20}{'> -80 dB':>10}{'> -100 dB':>10}{'alone':>20}{'transform':>12}")
    for kind, samples in sounds(feature, SECONDS).items():
        fixed = far(in_fixed(samples) / 65536, samples, feature, -80)
        others = [in_float(samples), *_in_float32(samples, feature)]
        ours, window, transform = (far(one, samples, feature) for one in others)
        print(f"{kind:<20}{fixed:>10.4f}{ours:>10.4f}{window:>20.4f}{transform:>12.4f}")


def compare(
    board: boards.Board, feature: Feature, sources: Path, work: Path, samples: np.ndarray
) -> tuple[frontend.Ran, frontend.Ran]:
    """Ours and CMSIS-DSP's on a board, over the same samples."""
    folder = work / "model_c"
    frontend.write(feature, folder)
    ours = frontend.on_board(board, folder, work, samples)
    return ours, peer(board, feature, sources, work, samples)


def _show(core: str, label: str, ran: frontend.Ran) -> None:
    flash = ran.code_bytes + ran.constant_bytes
    print(f"{core:<12}{label:<10}{ran.instructions:>13,}{flash:>9,}{ran.work_bytes:>8,}"
          f"{ran.stack_bytes:>7,}")  # fmt: skip


def show_costs(feature: Feature, work: Path) -> float:
    """Print what a frame costs on boards; the most of CMSIS-DSP's instructions that ours take."""
    samples = np.concatenate([x[: 2 * feature.n_fft] for x in sounds(feature, 1).values()])
    print(f"\n{'a frame':<22}{'instructions':>13}{'flash':>9}{'work':>8}{'stack':>7}")
    worst, sources = 0.0, fetch(work)
    for board in boards.all_boards():
        if reason := boards.missing(board):
            print(f"not run: {reason}")
        elif board.name in BOARDS:
            ours, theirs = compare(board, feature, sources, work, samples)
            ratio = ours.instructions / theirs.instructions
            _show(board.core, "ours", ours)
            _show(board.core, "CMSIS-DSP", theirs)
            print(f"{board.core:<12}{'ratio':<10}{ratio:>13.3f}; {MOST} is asked")
            worst = max(worst, ratio)
        else:
            _show(board.core, "ours", frontend.on_board(board, work / "model_c", work, samples))
    return worst


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-c", "--config", type=Path, default=config.BASELINE, metavar="FILE")
    args = parser.parse_args(argv)
    feature = config.load_config(args.config).feature
    if feature.power != 2:
        raise UserError(f"{args.config}: feature.power is {feature.power:g}; CMSIS-DSP's has 2")
    with tempfile.TemporaryDirectory() as name:
        show_distances(feature, Path(name))
        return 1 if show_costs(feature, Path(name)) > MOST else 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
