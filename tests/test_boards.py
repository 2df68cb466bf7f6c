"""Emulated boards, with small models whose outputs and costs are known."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import SCRIPTS, installed, run_script, wait_until_gone

from asd.embedded import boards, processes
from common import HERE, UserError

N_INPUTS, N_OUTPUTS = 30, 13  # not multiples of 4: windows lie at any address
HEADER = f"""
#include <stdint.h>
#define MODEL_INPUTS {N_INPUTS}
#define MODEL_OUTPUTS {N_OUTPUTS}
#define MODEL_SCRATCH_BYTES 64
#define MODEL_KERNEL "stub"
void model_run(const int8_t input[MODEL_INPUTS], int8_t output[MODEL_OUTPUTS], void *scratch);
"""
RUN = """
#include "model.h"
void model_run(const int8_t input[MODEL_INPUTS], int8_t output[MODEL_OUTPUTS], void *scratch)
"""
# One layer; with an initialised variable, a float and the C library, which start code must serve.
LAYER = f"""
#include <string.h>
#include "model.h"
volatile float step = 0.25f;
volatile int zero;
extern const int8_t weights[{N_OUTPUTS}][{N_INPUTS}];
void model_run(const int8_t input[MODEL_INPUTS], int8_t output[MODEL_OUTPUTS], void *scratch)
{{
    int8_t *copy = scratch;
    memcpy(copy, input, MODEL_INPUTS);
    for (int row = 0; row < MODEL_OUTPUTS; row++) {{
        int sum = zero;
        for (int i = 0; i < MODEL_INPUTS; i++)
            sum += copy[i] * weights[row][i];
        const int y = (int)((float)sum * step);
        output[row] = (int8_t)(y > 127 ? 127 : y < -128 ? -128 : y);
    }}
}}
"""
# Times around an empty loop, then 100 words of stack written from end to end.
LOOP = """{{
    volatile uint32_t words[100];
    for (int i = 0; i < 100; i++)
        words[i] = (uint32_t)input[0];
    for (int i = 0; i < {times}; i++)
        __asm__ volatile("nop\\n\\tnop\\n\\tnop");
    for (int i = 0; i < MODEL_OUTPUTS; i++)
        output[i] = (int8_t)words[i];
    (void)scratch;
}}"""
UNUSED = "(void)input; (void)output; (void)scratch;"
EMPTY = f"{RUN}{{{UNUSED}}}"
ENDLESS = f'{RUN}{{{UNUSED} for (;;) __asm__ volatile("");}}'

every_board = pytest.mark.parametrize("board", boards.all_boards(), ids=lambda board: board.name)


def model(folder: Path, **files: str) -> Path:
    """A model's folder: model.h and the C files given by name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.h").write_text(HEADER)
    for name, text in files.items():
        (folder / f"{name}.c").write_text(text)
    return folder


def windows(n: int) -> np.ndarray:
    """(n, N_INPUTS) int8 over the whole range."""
    return np.random.default_rng(n).integers(-128, 128, (n, N_INPUTS), np.int8)


@every_board
def test_outputs_and_sizes(board: boards.Board, tmp_path: Path):
    installed(board)
    weights = np.random.default_rng(5).integers(-3, 4, (N_OUTPUTS, N_INPUTS))
    rows = ",\n".join("{" + ", ".join(map(str, row)) + "}" for row in weights)
    table = f"#include <stdint.h>\nextern const int8_t weights[{N_OUTPUTS}][{N_INPUTS}];\n"
    table += f"const int8_t weights[{N_OUTPUTS}][{N_INPUTS}] = {{{rows}}};\n"
    folder = model(tmp_path / "with space", model=LAYER, kernels=table)

    given = windows(200)  # more than the firmware reads at once
    parts = {"files": ("kernels.c", "model.c", "model.h")}
    result = boards.run(board, folder, given, tmp_path / "work place", **parts)

    expected = np.clip(np.trunc(given.astype(int) @ weights.T * 0.25), -128, 127)
    assert (np.abs(expected) >= 127).any()
    np.testing.assert_array_equal(result.outputs, expected.astype(np.int8))
    assert result.outputs.dtype == np.int8
    assert result.kernel == "stub"
    assert result.scratch_bytes == 64
    assert weights.size <= result.constant_bytes <= weights.size + 16
    assert 40 <= result.code_bytes <= 600
    again = boards.run(board, folder, given, tmp_path / "work place", **parts)
    assert (again.instructions_min, again.instructions) == (
        result.instructions_min,
        result.instructions,
    )


@every_board
def test_instructions_and_stack(board: boards.Board, tmp_path: Path):
    installed(board)
    counts = []
    for times in (1000, 2000, 4000, 400_000):
        folder = model(tmp_path / f"{times}", model=RUN + LOOP.format(times=times))
        result = boards.run(board, folder, windows(3), tmp_path / "work")
        assert result.instructions_min == result.instructions
        assert 400 <= result.stack_bytes <= 480
        counts.append(result.instructions)
    steps = np.diff(counts)
    # Three nops and what the compiler needs to repeat them: one to three instructions. How a
    # number is loaded may differ between the four models by an instruction.
    per_round = round(steps[0] / 1000)
    assert 4 <= per_round <= 6
    assert np.abs(steps - per_round * np.array([1000, 2000, 396_000])).max() <= 1


@every_board
def test_a_model_without_instructions(board: boards.Board, tmp_path: Path):
    installed(board)
    result = boards.run(board, model(tmp_path / "model", model=EMPTY), windows(2), tmp_path)
    assert (result.instructions, result.stack_bytes) == (1, 0)  # the return


@every_board
def test_a_fault_ends_the_run(board: boards.Board, tmp_path: Path):
    installed(board)
    undefined = "udf #0" if board.cross == "arm-none-eabi-" else "unimp"
    text = f'{{{UNUSED} __asm__ volatile("{undefined}");}}'
    with pytest.raises(UserError) as caught:
        boards.run(board, model(tmp_path / "model", model=RUN + text), windows(1), tmp_path)
    assert str(caught.value).startswith(f"{board.name}: fault 0x0000000")
    assert "\n" not in str(caught.value)


@every_board
def test_a_stack_without_end_is_an_error(board: boards.Board, tmp_path: Path):
    installed(board)
    text = """
#include "model.h"
static volatile int more = 1;
static int deep(volatile int *above)
{
    volatile int here[1000];
    here[0] = *above + 1;
    return more ? deep(here) + here[0] : 0;
}
void model_run(const int8_t input[MODEL_INPUTS], int8_t output[MODEL_OUTPUTS], void *scratch)
{
    volatile int first = input[0];
    output[0] = (int8_t)deep(&first);
    (void)scratch;
}"""
    folder = model(tmp_path / "model", model=text)
    with pytest.raises(UserError) as caught:
        boards.run(board, folder, windows(1), tmp_path, timeout_seconds=10)
    assert "not built" not in str(caught.value)
    assert "did not end" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_endless_model_is_stopped(m4: boards.Board, tmp_path: Path):
    folder = model(tmp_path / "model", model=ENDLESS)
    with pytest.raises(UserError, match=r"^mps2-an386: the firmware did not end in 1 s$"):
        boards.run(m4, folder, windows(1), tmp_path, timeout_seconds=1)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads Linux' /proc")
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda n: n.name
)
def test_no_end_leaves_a_process(number: signal.Signals, m4: boards.Board, tmp_path: Path):
    folder = model(tmp_path / "model", model=ENDLESS)
    code = (
        "import signal, sys, numpy as np\nfrom pathlib import Path\n"
        "from asd.embedded import boards\n"
        # A shell's background jobs inherit that it is ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"boards.run(boards.named({m4.name!r}), Path(sys.argv[1]), "
        f"np.zeros((1, {N_INPUTS}), np.int8), Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", code, str(folder), str(tmp_path)]
    with subprocess.Popen(command, cwd=HERE, stderr=subprocess.DEVNULL) as python:
        emulator = _wait_for_child(python.pid, "qemu")
        python.send_signal(number)
        assert python.wait(60) != 0
    wait_until_gone(emulator)


def _wait_for_child(pid: int, name: str) -> int:
    for _ in range(300):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            command = Path(f"/proc/{child}/comm")
            if command.is_file() and command.read_text().startswith(name):
                return int(child)
        time.sleep(0.1)
    raise AssertionError(f"no {name} was started")


TOO_LARGE = "static {kind} int8_t large[9000000]{value}; output[0] = large[input[0] & 127];"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "undefined reference to `model_run'"),
        ("output[0] = inputs[0];", r"not built: model.c:4:15: error: 'inputs' undeclared"),
        ("output[0] = input[0];", "error: unused parameter 'scratch'"),
        (TOO_LARGE.format(kind="const volatile", value=" = {1}") + UNUSED, "`FLASH' overflowed by"),
        (TOO_LARGE.format(kind="volatile", value="") + UNUSED, "`RAM' overflowed by"),
    ],
)
def test_a_build_error_is_one_line(
    m4: boards.Board, tmp_path: Path, body: str | None, message: str
):
    text = '#include "model.h"\n' if body is None else RUN + f"{{ {body} }}"
    with pytest.raises(UserError, match=message) as caught:
        boards.run(m4, model(tmp_path / "model", model=text), windows(1), tmp_path)
    assert str(caught.value).startswith("mps2-an386: not built: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(4, N_INPUTS // 2), (3, N_INPUTS + 1)])
def test_windows_of_another_size_are_refused(m4: boards.Board, tmp_path: Path, shape: tuple):
    with pytest.raises(UserError, match="windows of"):
        boards.run(m4, model(tmp_path / "model", model=EMPTY), np.zeros(shape, np.int8), tmp_path)


@every_board
@pytest.mark.parametrize("wrong", [np.zeros((0, 4), np.int8), np.zeros(4, np.int8), np.eye(3)])
def test_wrong_arrays(board: boards.Board, wrong: np.ndarray, tmp_path: Path):
    with pytest.raises(ValueError, match="int8"):
        boards.run(board, tmp_path, wrong, tmp_path)


@every_board
def test_missing_tools_are_named(board: boards.Board, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    line = boards.missing(board)
    for word in (board.name, "make", f"{board.cross}gcc", board.qemu[0], *board.packages):
        assert word in line
    assert "sudo apt install make" in line
    assert "\n" not in line


@every_board
def test_a_missing_c_library_is_named(board: boards.Board, monkeypatch, tmp_path: Path):
    for tool in ("make", f"{board.cross}gcc", board.qemu[0]):
        (tmp_path / tool).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + "/bin")
    line = boards.missing(board)
    assert f"{board.name}: the C library of {board.cross}gcc not found; sudo apt install" in line
    assert "install make" not in line


def test_without_mcu(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(boards, "MCU", tmp_path / "mcu")
    for board in boards.all_boards():
        assert f"{tmp_path / 'mcu'} is missing" in boards.missing(board)
    nothing = boards.read_boards(tmp_path / "mcu" / "boards")
    assert nothing == ()
    monkeypatch.setattr(boards, "all_boards", lambda: nothing)
    with pytest.raises(UserError, match="no such board; known: none, as .* is missing"):
        boards.named("mps2-an386")


@pytest.mark.skipif(not boards.all_boards(), reason="mcu/ is not there")
def test_an_unknown_board_is_named():
    with pytest.raises(
        UserError, match="^an386: no such board; known: mps2-an385-m0plus, mps2-an385, "
    ):
        boards.named("an386")


def test_a_wrong_icount_is_noticed(m4: boards.Board, tmp_path: Path):
    wrong = dataclasses.replace(m4, icount_shift=9)
    with pytest.raises(UserError, match="the counter does not count instructions"):
        boards.run(wrong, model(tmp_path / "model", model=EMPTY), windows(1), tmp_path)


def test_make_serves_a_firmware_of_ones_own(m4: boards.Board, tmp_path: Path):
    folder = model(tmp_path / "model", model=EMPTY)
    main = tmp_path / "main.c"
    main.write_text('#include "model.h"\nint main(void) { return MODEL_INPUTS - 30; }\n')
    build = tmp_path / "build"
    command = ["make", "-C", str(boards.MCU), f"BOARD={m4.name}", f"MODEL={folder}"]
    subprocess.run([*command, f"MAIN={main} semihosting.c", f"BUILD={build}"], check=True)
    emulator = [shutil.which(m4.qemu[0]), *m4.qemu[1:], "-display", "none", "-semihosting"]
    done = subprocess.run([*emulator, "-kernel", str(build / "firmware.elf")], timeout=30)
    assert done.returncode == 0


def test_only_the_models_own_files_are_built(m4: boards.Board, tmp_path: Path):
    folder = model(tmp_path / "model", model=EMPTY, evil="#error compiled\n")
    (folder / "stdint.h").write_text("#error included\n")
    (folder / "link.c").symlink_to(folder / "evil.c")
    result = boards.run(m4, folder, windows(1), tmp_path)
    assert result.instructions == 1
    # A file of an earlier build neither.
    boards.run(m4, model(tmp_path / "two", model=EMPTY, kernels=RUN), windows(1), tmp_path)
    with pytest.raises(UserError, match="kernels.c:"):
        parts = ("kernels.c", "model.c", "model.h")
        boards.run(m4, tmp_path / "two", windows(1), tmp_path, files=parts)
    boards.run(m4, tmp_path / "two", windows(1), tmp_path)


@pytest.mark.parametrize("name", ["model.h", "model.c"])
def test_a_model_without_a_file_is_named(name: str, m4: boards.Board, tmp_path: Path):
    folder = model(tmp_path / "model", model=EMPTY)
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"/model: no {name} in it; write it with python -m asd"):
        boards.run(m4, folder, windows(1), tmp_path)


WHOLE_ROW = dict.fromkeys(boards.KEYS, "1")


def row_file(folder: Path, **changes: str | None) -> Path:
    """A row of a board, with other values, or without those that are None."""
    values = {key: value for key, value in (WHOLE_ROW | changes).items() if value is not None}
    path = folder / "boards" / "mine.mk"
    path.parent.mkdir(exist_ok=True)
    path.write_text("# a board\n" + "".join(f"{key} = {v}\n" for key, v in values.items()))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({key: None}, f"the key {key} is missing; mcu/README.md tells") for key in boards.KEYS),
        ({"UART": "0x40004000"}, "the key UART_IRQ is missing"),
        *(({key: ""}, f"{key} has no value") for key in ("QEMU", "CROSS", "PACKAGES", "UART")),
        ({"QEMU": "qemu\0"}, r"QEMU is 'qemu\\x00'"),
        *(({"ICOUNT_SHIFT": v}, f"ICOUNT_SHIFT is {v}; a whole number from 0 to 10")
          for v in ("ten", "1.5", "-1", "11", "0x1", "99999999999999999999", "\u0661")),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named(changes: dict, message: str, tmp_path: Path):
    path = row_file(tmp_path, **changes)
    with pytest.raises(UserError, match=f"^{path}: {message}") as caught:
        boards.read_boards(path.parent)
    assert "\n" not in str(caught.value)


def test_a_row_that_is_no_text_is_named(tmp_path: Path):
    path = row_file(tmp_path)
    path.write_bytes(path.read_bytes() + b"# caf\xe9\n")
    with pytest.raises(UserError, match=f"^{path}: not text in UTF-8; mend or remove it$"):
        boards.read_boards(path.parent)


def test_a_whole_row_is_read(tmp_path: Path):
    changes = {"QEMU": "qemu -M x", "ICOUNT_SHIFT": "10", "UART": "0x4", "UART_IRQ": "0"}
    path = row_file(tmp_path, **changes, LDLIBS="")  # make's own may be empty
    (board,) = boards.read_boards(path.parent)
    assert (board.name, board.qemu, board.icount_shift, board.uart) == (
        "mine", ("qemu", "-M", "x"), 10, "0x4",
    )  # fmt: skip


@pytest.mark.skipif(not boards.all_boards(), reason="mcu/ is not there")
def test_help_needs_no_row(tmp_path: Path):
    """In a copy of the project, one of whose rows is broken."""
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copytree(HERE / "asd", copy / "asd", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(HERE / "mcu", copy / "mcu", ignore=shutil.ignore_patterns("build"))
    for path in [*HERE.glob("*.py"), *HERE.glob("*.yaml")]:
        shutil.copy(path, copy)
    (copy / "mcu/boards/aa.mk").write_text("CORE = Cortex-M4F\n")
    for name in SCRIPTS:
        done = run_script(copy / name, "-h")
        assert (done.returncode, done.stderr) == (0, ""), name
    code = "from asd.embedded import targets; targets.available([])"
    code = f"import sys; from asd import cli; sys.exit(cli.run(lambda: exec({code!r})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 1
    path = copy / "mcu/boards/aa.mk"
    line = f"error: {path}: the key PACKAGES is missing; mcu/README.md tells what it is\n"
    assert done.stderr == line


@pytest.mark.parametrize("text", ["", "inputs 30\n", "inputs 30\noutputs 13\n", "caf\xe9 a b\n"])
def test_a_report_that_is_not_whole(text: str, m4: boards.Board, tmp_path: Path, monkeypatch):
    def ran(command: list[str], folder: Path | None = None, *others: object) -> object:
        if command[0] != m4.qemu[0]:
            return call(command, folder, *others)
        (folder / "report.txt").write_text(text, encoding="latin-1")
        (folder / "output.bin").write_bytes(b"x" * N_OUTPUTS)
        return subprocess.CompletedProcess(command, 0, "", "")

    call = processes.call
    monkeypatch.setattr(processes, "call", ran)
    folder = model(tmp_path / "model", model=EMPTY)
    with pytest.raises(UserError, match="^mps2-an386: what the firmware reports is not whole$"):
        boards.run(m4, folder, windows(1), tmp_path)
