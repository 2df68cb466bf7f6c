"""The device program: the same table of replies on the host and on the emulated board; a fuzzer."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import installed, wait_until_gone

from apps.submission import emulate, link
from asd.embedded import boards, codegen
from asd.tflite import writer
from asd.tflite.int8 import IntDense, Scale
from common import HERE, UserError

DEVICE = HERE / "apps/submission/device"
STUB = Path(__file__).resolve().parent / "device"  # a model of four values, ports of the host
STRICT = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
SANITIZE = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
FUZZ_INPUTS, BOARD_INPUTS = 1_000_000, 2000
ARM_FLAGS = ["-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]
STM32 = {
    "CROSS": "arm-none-eabi-", "ARCH": "arm", "CPUFLAGS": " ".join(ARM_FLAGS),
    "FLASH": "0x08000000", "FLASH_BYTES": "2M", "RAM": "0x20000000", "RAM_BYTES": "192K",
}  # fmt: skip

Ask = Callable[[bytes], list[str]]
every_board = pytest.mark.parametrize(
    "board", [row for row in boards.all_boards() if row.uart], ids=lambda board: board.name
)


# ---------------------------------------------------------------------------------------------
# The stub's window, and the replies to a conversation about it.

WINDOW = np.array([1.0, 2.2, -3.0, 100.0], "<f4")
HEX = WINDOW.tobytes().hex()
REVERSED = WINDOW[::-1].tobytes().hex().upper()


def stub_score(window: np.ndarray, inferences: int) -> str:
    """The reply of the stub after so many inferences since the start; see model.c."""
    q = np.clip(np.trunc(2 * window + np.copysign(0.5, window)), -131, 124) + 3
    q[0] = inferences % 100
    error = (q - 3) * 0.5 - window.astype(float)
    return f"m-results-[{np.mean(error**2):.3f}]"


def infer(n: int, warmups: int, score: str) -> list[str]:
    """The lines of an inference, without the figures of its timestamps."""
    return [
        f"m-warmup-start-{warmups}", "m-warmup-done", f"m-infer-start-{n}",
        "m-lap-us-#", "m-lap-us-#", "m-infer-done", score,
    ]  # fmt: skip


ZERO = np.zeros(4, np.float32)
LOAD_FIRST = ["e-[Command 'db load' must come first]"]
TOO_LONG = ["e-[Command longer than 80 characters]"]
PRINTED = [f"m-buffer-{'-'.join(re.findall('..', HEX[i : i + 16]))}" for i in (0, 16)]
CONVERSATION: list[tuple[bytes, list[str]]] = [
    (b"name", ["m-name-dut-[emulated]"]),
    (b"profile", ["m-profile-[ULPMark for tinyML Firmware V0.0.1]", "m-model-[ad01]"]),
    (b"timestamp", ["m-lap-us-#"]),
    (b"results", [stub_score(ZERO, 1)]),  # of the inference at the start
    # no buffer yet
    (b"db", ["e-[Command 'db' requires a subcommand]"]),
    (b"db ", ["e-[Command 'db' requires a subcommand]"]),
    (b"db load", ["e-[Command 'db load' requires the # of bytes]"]),
    (b"db load 0", ["e-[Command 'db load' must be >0 bytes]"]),
    (b"db load -7", ["e-[Command 'db load' must be >0 bytes]"]),
    (b"db load x", ["e-[Command 'db load' must be >0 bytes]"]),
    (b"db load 16x", ["e-[Command 'db load' must be >0 bytes]"]),
    (b"db 00", LOAD_FIRST),
    (b"db print", []),
    (b"db load 27649", ["Supplied buffer size 27649 exceeds maximum of 27648"]),
    (b"db 00", LOAD_FIRST),
    (b"db load 99999999999999999999", ["Supplied buffer size 999999999 exceeds maximum of 27648"]),
    (b"db load 27648", ["m-[Expecting 27648 bytes]"]),
    # a window
    (b"db load 16", ["m-[Expecting 16 bytes]"]),
    (b"db 0", ["e-[Insufficent number of hex digits]"]),
    (b"db 0g", ["e-[Invalid hex digit '0g']"]),
    (b"db g0", ["e-[Invalid hex digit 'g0']"]),
    (b"db \xff0", ["e-[Invalid hex digit '?0']"]),
    (b"db " + HEX[:10].encode(), []),
    (b"db " + HEX[10:].encode(), ["m-load-done"]),
    (b"db print", PRINTED),
    (b"db ffff", []),  # further digits are ignored
    (b"db fff", ["e-[Insufficent number of hex digits]"]),
    (b"db print", PRINTED),
    (b"infer 1 0", infer(1, 0, stub_score(WINDOW, 2))),
    (b"results", [stub_score(WINDOW, 2)]),
    (b"infer 3 2", infer(3, 2, stub_score(WINDOW, 7))),
    (b"infer 2", infer(2, 10, stub_score(WINDOW, 19))),
    (b"infer", infer(1, 10, stub_score(WINDOW, 30))),
    (b"infer 0", ["e-[Inference iterations must be >0]"]),
    (b"infer -1 5", ["e-[Inference iterations must be >0]"]),
    (b"infer many", ["e-[Inference iterations must be >0]"]),
    (b"infer 1 -1", ["e-[Inference warmup must be >=0]"]),
    (b"infer 1x", ["e-[Inference iterations must be >0]"]),
    (b"infer 1 few", ["e-[Inference warmup must be >=0]"]),
    (b"infer 1 1x", ["e-[Inference warmup must be >=0]"]),
    (b"infer -", ["e-[Inference iterations must be >0]"]),
    (b"infer 1000001", ["e-[Inference iterations must be <=1000000]"]),
    (b"infer 99999999999 1", ["e-[Inference iterations must be <=1000000]"]),
    (b"infer -99999999999 1", ["e-[Inference iterations must be >0]"]),
    (b"infer 1 1000001", ["e-[Inference warmup must be <=1000000]"]),
    (b"infer 1 99999999999", ["e-[Inference warmup must be <=1000000]"]),
    # upper case, more digits than bytes in one command
    (b"db load 16", ["m-[Expecting 16 bytes]"]),
    (b"db " + REVERSED.encode() + b"00zz", ["m-load-done"]),
    (b"results", [stub_score(WINDOW, 30)]),  # still of the window that was inferred
    (b"infer 1 0", infer(1, 0, stub_score(WINDOW[::-1], 31))),
    # a byte short: nothing of the window before is left
    (b"db load 3", ["m-[Expecting 3 bytes]"]),
    (b"db 0102", []),
    (b"db print", ["m-buffer-01-02-00"]),
    (b"db 03", ["m-load-done"]),
    # an earlier digit of a command with a wrong one counts
    (b"db load 9", ["m-[Expecting 9 bytes]"]),
    (b"db 11:;22", ["e-[Invalid hex digit ':;']"]),
    (b"db 2233445566778899", ["m-load-done"]),
    (b"db print", ["m-buffer-11-22-33-44-55-66-77-88", "m-buffer-99"]),
    # anything else
    (b"", ["e-[Unknown command: ]"]),
    (b"  ", ["e-[Unknown command: ]"]),
    (b"nam", ["e-[Unknown command: nam]"]),
    (b"names", ["e-[Unknown command: names]"]),
    (b"Name", ["e-[Unknown command: Name]"]),
    (b"x y", ["e-[Unknown command: x]"]),
    (b"\r\nname\n", ["m-name-dut-[emulated]"]),
    (b"  name  ", ["m-name-dut-[emulated]"]),
    (b"caf\xe9\x07\x7f", ["e-[Unknown command: caf???]"]),
    (b"a\0b", ["e-[Unknown command: a]"]),
    (b"y" * 80, [f"e-[Unknown command: {'y' * 80}]"]),
    (b"y" * 81, TOO_LONG),
    (b"y" * 5000, TOO_LONG),
    (b"db load 40" + b" " * 70, ["m-[Expecting 40 bytes]"]),
    (b"db " + b"5" * 77, ["e-[Insufficent number of hex digits]"]),
    (b"db " + b"5" * 78, TOO_LONG),
    (b"db " + b"5" * 76, []),
    (b"db 5555", ["m-load-done"]),
    (b"db load 16%db " + HEX.encode() + b"%name%results", [
        "m-[Expecting 16 bytes]", "m-ready", "m-load-done", "m-ready", "m-name-dut-[emulated]",
        "m-ready", stub_score(WINDOW[::-1], 31)]),
]  # fmt: skip
BOOT = ["m-timestamp-mode-performance", "m-lap-us-#", "m-init-done", "m-ready"]


def lines_of(reply: bytes) -> list[str]:
    """Lines of a reply."""
    text = reply.decode("ascii")
    assert re.fullmatch(r"([^\r\n]*\r\n)*", text)
    return text.split("\r\n")[:-1]


def masked(lines: list[str]) -> list[str]:
    """The lines, with the figures of timestamps as #."""
    return [re.sub(r"^m-lap-us-\d+$", "m-lap-us-#", line) for line in lines]


def expected_lines() -> list[str]:
    """Of the whole conversation."""
    return [line for _, lines in CONVERSATION for line in [*lines, "m-ready"]]


# ---------------------------------------------------------------------------------------------
# On the host.


def compiler() -> str:
    """The host's, or a skip."""
    if (path := shutil.which("gcc") or shutil.which("cc")) is None:
        pytest.skip("no gcc; sudo apt install gcc libc6-dev")
    return path


def compiled(target: Path, *files: Path, model: Path = STUB, flags: list[str]) -> Path:
    """A program or library of C files."""
    includes = [f"-I{folder}" for folder in (model, DEVICE, STUB)]
    subprocess.run([compiler(), *flags, *includes, *files, "-o", target], check=True)
    return target


def host_device(folder: Path, model: Path = STUB, *flags: str) -> Path:
    """The device program over standard input and output."""
    files = [DEVICE / "main.c", DEVICE / "protocol.c", STUB / "port_host.c", model / "model.c"]
    # Conversions are checked in the files here; a generated model's may warn.
    return compiled(folder / "device", *files, model=model, flags=[*STRICT[:-2], *flags])


def told(device: Path, said: bytes) -> list[str]:
    """Lines of the host's device, from its start to the end of what is said to it."""
    done = subprocess.run([device], input=said, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    return masked(lines_of(done.stdout))


def test_replies_on_the_host(tmp_path: Path):
    device = host_device(tmp_path, STUB, *SANITIZE)
    said = b"".join(command + b"%" for command, _ in CONVERSATION)
    replies = told(device, said)
    assert replies[:4] == BOOT
    assert replies[4:] == expected_lines()


def test_a_command_in_parts(tmp_path: Path):
    device = host_device(tmp_path)
    assert told(device, b"na")[4:] == []
    assert told(device, b"na" + b"\n" * 9 + b"me%na")[4:] == ["m-name-dut-[emulated]", "m-ready"]


def test_energy_mode(tmp_path: Path):
    device = host_device(tmp_path, STUB, "-DENERGY_MODE=1")
    pulsed = [line.replace("m-lap-us-#", "(pulse)") for line in infer(2, 1, stub_score(ZERO, 4))]
    boot = ["m-timestamp-mode-energy", "(pulse)", "m-init-done", "m-ready"]
    assert told(device, b"timestamp%infer 2 1%") == [*boot, "(pulse)", "m-ready", *pulsed,
                                                     "m-ready"]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "baud"),
    [
        ([], 921_600),
        (["-DENERGY_MODE=1"], 9600),
        (["-DPORT_BAUD=115200U"], 115_200),
        (["-DENERGY_MODE=1", "-DPORT_BAUD=19200U"], 19_200),
    ],
)
def test_the_rate_can_be_given_from_outside(flags: list[str], baud: int, tmp_path: Path):
    source = '#include "port.h"\n#include <stdio.h>\nint main(void){printf("%u", PORT_BAUD);}\n'
    (tmp_path / "main.c").write_text(source)
    program = compiled(tmp_path / "main", tmp_path / "main.c", flags=[*STRICT, *flags])
    assert subprocess.run([program], capture_output=True, check=True).stdout == f"{baud}".encode()


def test_the_host_knows_the_most_inferences():
    text = (DEVICE / "protocol.c").read_text()
    assert int(re.search(r"\bMOST_INFERENCES = (\d+)", text)[1]) == link.MOST_INFERENCES


def test_help_names_every_command(tmp_path: Path):
    lines = told(host_device(tmp_path), b"help%")[4:]
    for word in (
        "name",
        "profile",
        "timestamp",
        "db load",
        "db HH",
        "db print",
        "infer",
        "results",
    ):
        assert any(line.startswith(word) for line in lines)
    assert lines[-1] == "m-ready"
    assert not any("m-ready" in line for line in lines[:-1])


@pytest.mark.parametrize("seed", [1, 2])
def test_fuzzing(seed: int, tmp_path: Path):
    files = [STUB / "fuzz.c", STUB / "model.c", DEVICE / "protocol.c"]
    flags = [*STRICT, *SANITIZE, "-DBUFFER_BYTES=64"]
    fuzz = compiled(tmp_path / "fuzz", *files, flags=flags)
    command = [fuzz, str(FUZZ_INPUTS), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    counts = dict(re.findall(r"(\w+) (\d+)", done.stdout))
    assert int(counts["ready"]) > 0.9 * FUZZ_INPUTS
    assert min(int(count) for count in counts.values()) > FUZZ_INPUTS / 500


@pytest.mark.parametrize("tool", ["gcc", "clang"])
@pytest.mark.parametrize("mode", [0, 1])
def test_strict_c99(tool: str, mode: int, tmp_path: Path):
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool}; sudo apt install {tool}")
    command = [tool, *STRICT, f"-DENERGY_MODE={mode}", f"-I{STUB}", "-c"]
    for file in ("main.c", "protocol.c"):
        subprocess.run([*command, DEVICE / file, "-o", tmp_path / "object.o"], check=True)


def score_text(library: ctypes.CDLL, values: np.ndarray) -> list[str]:
    """What the device prints for scores, float32."""
    function = library.protocol_score_text
    function.argtypes, function.restype = [ctypes.c_float, ctypes.c_char_p], ctypes.c_char_p
    text = ctypes.create_string_buffer(45)
    return [function(float(value), text).decode() for value in values]


def test_the_text_of_a_score(tmp_path: Path):
    files = [DEVICE / "protocol.c", STUB / "model.c", STUB / "port_host.c"]
    flags = ["-std=c99", "-shared", "-fPIC"]
    library = ctypes.CDLL(str(compiled(tmp_path / "protocol.so", *files, flags=flags)))
    rng = np.random.default_rng(3)
    largest = np.finfo(np.float32).max
    sizes = [0, 1e-45, 4.999e-4, 5.001e-4, 0.9995, 0.99949, 999.9995, 1e6, 1e9, 2.0**63, largest]
    values = np.concatenate([
        np.array(sizes, np.float32),
        rng.integers(0, 2**32, 30000, np.uint32).view(np.float32),  # any at all
        np.float32(10.0 ** rng.uniform(-4, 6, 30000)),
        np.arange(30000, dtype=np.float32) / 16,  # ties among them: .0625, .1875, ...
    ])  # fmt: skip
    texts = score_text(library, values)
    expected = ["nan" if np.isnan(value) else f"{value:.3f}" for value in values.tolist()]
    assert texts == expected


# ---------------------------------------------------------------------------------------------
# On the emulated board.


@contextlib.contextmanager
def asking(address: str) -> Iterator[Ask]:
    """A function that sends commands and returns the lines of their replies."""
    if address.startswith("socket://"):
        host, port = address.removeprefix("socket://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            yield lambda command: _answers(connection.fileno(), command)
    else:
        serial = pytest.importorskip("serial", reason="pip install pyserial==3.5")
        with serial.serial_for_url(address, 921600) as port:
            yield lambda command: _answers(port.fileno(), command)


def _answers(file: int, command: bytes, timeout: float = 20) -> list[str]:
    sent, reply, n = command + b"%", b"", command.count(b"%") + 1
    os.set_blocking(file, False)
    deadline = time.monotonic() + timeout
    while len(re.findall(rb"^m-ready\r\n", reply, re.MULTILINE)) < n:
        # Both ways at once: a reply that nobody reads would hold up what is still to be sent.
        left = deadline - time.monotonic()
        assert left > 0, f"{command[:80]!r}: {reply!r}"
        readable, writable, _ = select.select([file], [file] if sent else [], [], left)
        if readable:
            got = os.read(file, 4096)
            assert got, "the device has gone"
            reply += got
        if writable:
            sent = sent[os.write(file, sent) :]
    return lines_of(reply)


def stub_model(folder: Path) -> Path:
    """A folder of the stub model alone."""
    folder.mkdir()
    for name in ("model.c", "model.h"):
        shutil.copy(STUB / name, folder)
    return folder


@every_board
def test_replies_on_the_boards(board: boards.Board, tmp_path: Path):
    model = stub_model(tmp_path / "a model")
    with emulate.emulated(installed(board), model, tmp_path / "a work", tcp=0) as address:
        assert address.startswith("socket://127.0.0.1:")
        with asking(address) as ask:
            for command, lines in CONVERSATION:
                assert masked(ask(command)) == [*lines, "m-ready"], command
        with asking(address) as ask:  # a client again
            assert ask(b"name") == ["m-name-dut-[emulated]", "m-ready"]


def test_fuzzing_on_the_board(m4: boards.Board, tmp_path: Path):
    """What the host's program, fuzzed under sanitizers, answers is what the board answers."""
    model = stub_model(tmp_path / "model")
    with (model / "model.h").open("a") as header:
        header.write("\n#define BUFFER_BYTES 64\n")
    files = [STUB / "fuzz.c", model / "model.c", DEVICE / "protocol.c"]
    fuzz = compiled(tmp_path / "fuzz", *files, model=model, flags=[*STRICT, *SANITIZE])
    subprocess.run([fuzz, str(BOARD_INPUTS), "3", tmp_path / "said"], check=True)
    said = (tmp_path / "said").read_bytes()
    commands = said.removesuffix(b"%").split(b"%")
    assert len(commands) > 0.9 * BOARD_INPUTS
    expected = told(host_device(tmp_path, model), said)[len(BOOT) :]
    replies = []
    with emulate.emulated(m4, model, tmp_path, tcp=0) as address, asking(address) as ask:
        for i in range(0, len(commands), 20):  # joined, as the fuzzer joined them
            replies += masked(ask(b"%".join(commands[i : i + 20])))
        assert ask(b"name") == ["m-name-dut-[emulated]", "m-ready"]
    assert replies == expected


@pytest.mark.parametrize(("energy", "mode"), [(False, "performance"), (True, "energy")])
def test_boot(energy: bool, mode: str, m4: boards.Board, tmp_path: Path):
    defines = ["-DENERGY_MODE=1"] if energy else []
    model, work = stub_model(tmp_path / "stub"), tmp_path
    firmware = work / boards.build(m4, model, work, emulate.PROGRAM, defines)
    command = [*m4.qemu, "-kernel", firmware, "-display", "none", "-monitor", "none"]
    command += ["-icount", "shift=3", "-semihosting", "-serial", "stdio"]
    lines = BOOT if not energy else [BOOT[0].replace("performance", mode), *BOOT[2:]]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        boot = b"".join(process.stdout.readline() for _ in lines)
        process.terminate()
    assert masked(lines_of(boot)) == lines


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C folder of a small model of ad01's widths."""
    folder = tmp_path_factory.mktemp("generated")
    rng = np.random.default_rng(8)
    narrow, wide = (rng.integers(-127, 128, shape, np.int8) for shape in ((8, 640), (640, 8)))
    layers = [
        IntDense(narrow, None, np.float32([0.002]), True, Scale(0.391, 89), Scale(0.3, -128)),
        IntDense(wide, None, np.float32([0.01]), False, Scale(0.3, -128), Scale(0.36, 96)),
    ]
    codegen.write(writer.of_integers(layers, int8_io=True), folder)
    return folder


def windows() -> np.ndarray:
    """(5, 640) float32, dB; beyond the input's range too."""
    rng = np.random.default_rng(9)
    scales = np.array([[0.1], [1], [10], [30], [100]])
    return (rng.normal(-20, scales, (5, 640))).astype("<f4")


def scores(generated: Path, folder: Path) -> list[str]:
    """What model_score of the host gives for the windows."""
    flags = ["-std=c99", "-O2", "-shared", "-fPIC"]
    target = compiled(folder / "m.so", generated / "model.c", model=generated, flags=flags)
    score = ctypes.CDLL(str(target)).model_score
    score.restype = ctypes.c_float
    buffer, scratch = np.zeros(1280, np.int8), np.zeros(4096, np.uint64)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (buffer, scratch)]
    given = [window.ctypes.data_as(ctypes.c_void_p) for window in windows()]
    return [f"m-results-[{score(window, *pointers):.3f}]" for window in given]


def upload(window: np.ndarray) -> list[bytes]:
    """The official runner's commands for a window."""
    data = window.tobytes()
    pieces = [data[i : i + 31].hex().encode() for i in range(0, len(data), 31)]
    return [b"db load 2560", *(b"db " + piece for piece in pieces)]


def test_the_score_is_the_models(generated: Path, m4: boards.Board, tmp_path: Path):
    expected = scores(generated, tmp_path)
    assert len(set(expected)) == 5
    with emulate.emulated(m4, generated, tmp_path, tcp=0) as address, asking(address) as ask:
        for window, result in zip(windows(), expected, strict=True):
            replies = [ask(command) for command in upload(window)]
            assert len(replies) == 84
            assert replies[-1] == ["m-load-done", "m-ready"]
            assert masked(ask(b"infer 1 0")) == [*infer(1, 0, result), "m-ready"]


def test_the_score_is_the_models_on_the_host(generated: Path, tmp_path: Path):
    device = host_device(tmp_path, generated)
    said = b"".join(c + b"%" for window in windows() for c in [*upload(window), b"infer 1 0"])
    lines = [line for line in told(device, said) if line.startswith("m-results")]
    assert lines == scores(generated, tmp_path)


def test_a_pseudo_terminal_keeps_up_and_time_is_the_devices(
    generated: Path, m4: boards.Board, tmp_path: Path
):
    with emulate.emulated(m4, generated, tmp_path) as address:
        assert address.startswith("/dev/")
        with asking(address) as ask:
            ask(b"name")  # QEMU looks for a client once a second
            for window in windows():
                replies = [ask(command) for command in [*upload(window), b"infer 1 0"]]
                assert replies[-2] == ["m-load-done", "m-ready"]
            elapsed = [lap(ask(b"infer 100 0")) for _ in range(4)]
        with asking(address) as ask:  # a client again
            assert ask(b"profile")[-1] == "m-ready"
    # Each answer came within the time that `asking` waits: a UART that starves takes minutes.
    assert max(elapsed) - min(elapsed) <= 1
    assert elapsed[0] > 1000


def lap(lines: list[str]) -> int:
    """Microseconds between the two timestamps of an inference's reply."""
    start, end = (int(line[9:]) for line in lines if line.startswith("m-lap-us-"))
    return end - start


# ---------------------------------------------------------------------------------------------
# Beginning and end of the emulator.

reads_proc = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="reads Linux' /proc to find the emulator"
)


def emulators(pid: int) -> set[int]:
    """The process' children that are QEMU."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    names = {int(child): Path(f"/proc/{child}/comm") for child in children}
    return {child for child, name in names.items() if name.read_text().startswith("qemu")}


@reads_proc
@pytest.mark.parametrize("tcp", [None, 0])
@pytest.mark.parametrize("fails", [False, True])
def test_no_orphan(tcp: int | None, fails: bool, m4: boards.Board, tmp_path: Path):
    before = emulators(os.getpid())
    end = pytest.raises(ZeroDivisionError) if fails else contextlib.nullcontext()
    model = stub_model(tmp_path / "model")
    with end, emulate.emulated(m4, model, tmp_path, tcp=tcp):
        (emulator,) = emulators(os.getpid()) - before
        assert not fails or 1 / 0
    assert not Path(f"/proc/{emulator}").exists()


@reads_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("tcp", [[], ["--tcp", "0"]])
def test_the_command(number: int, tcp: list[str], m4: boards.Board, tmp_path: Path):
    model = stub_model(tmp_path / "model")
    command = [sys.executable, "-m", "apps.submission.emulate", model, *tcp]
    places = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=HERE, env=places, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as python:
        note, device = python.stdout.readline(), python.stdout.readline()
        assert "never a benchmark result" in note
        address = re.fullmatch(r"device: (\S+)\n", device)[1]
        assert address.startswith("socket:" if tcp else "/dev/")
        (emulator,) = emulators(python.pid)
        with asking(address) as ask:
            assert ask(b"name") == ["m-name-dut-[emulated]", "m-ready"]
        python.send_signal(number)
        assert python.wait(20) == 0
        assert (python.stdout.read(), python.stderr.read()) == ("", "")
    assert not Path(f"/proc/{emulator}").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@reads_proc
@pytest.mark.parametrize("tcp", [[], ["--tcp", "0"]])
def test_a_killed_command_leaves_no_emulator(tcp: list[str], m4: boards.Board, tmp_path: Path):
    command = [sys.executable, "-m", "apps.submission.emulate", stub_model(tmp_path / "m"), *tcp]
    places = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=HERE, env=places, stdout=subprocess.PIPE) as python:
        assert b"device: " in python.stdout.readline() + python.stdout.readline()
        (emulator,) = emulators(python.pid)
        python.kill()
    wait_until_gone(emulator)


def test_nohup_is_respected(m4: boards.Board, tmp_path: Path):
    """Its terminal may be closed then; SIGTERM still ends it."""
    emulate_it = [sys.executable, "-m", "apps.submission.emulate", stub_model(tmp_path / "model")]
    command = ["/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh", *emulate_it]
    with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True) as python:
        python.stdout.readline()
        address = python.stdout.readline().removeprefix("device: ").strip()
        python.send_signal(signal.SIGHUP)
        with asking(address) as ask:
            assert ask(b"name") == ["m-name-dut-[emulated]", "m-ready"]
        assert python.poll() is None
        python.send_signal(signal.SIGTERM)
        assert python.wait(20) == 0


@reads_proc
@pytest.mark.parametrize("fails", [False, True])
def test_an_emulator_that_ends_is_an_error(fails: bool, m4: boards.Board, tmp_path: Path):
    before = emulators(os.getpid())
    message = "^mps2-an386: the emulator has ended: "
    with (
        pytest.raises(UserError, match=message),
        emulate.emulated(m4, stub_model(tmp_path / "model"), tmp_path),
    ):
        (emulator,) = emulators(os.getpid()) - before
        os.kill(emulator, signal.SIGKILL)
        os.waitid(os.P_PID, emulator, os.WEXITED | os.WNOWAIT)
        assert not fails or 1 / 0


def test_a_fault_of_the_model_is_told(m4: boards.Board, tmp_path: Path):
    model = stub_model(tmp_path / "model")
    source = (model / "model.c").read_text()
    broken = source.replace("    static", '    __asm__ volatile("udf #0");\n    static')
    (model / "model.c").write_text(broken)
    with (
        pytest.raises(UserError, match="the emulator has ended: fault 0x0000000"),
        emulate.emulated(m4, model, tmp_path),
    ):
        pass


def test_a_port_in_use(m4: boards.Board, tmp_path: Path):
    model = stub_model(tmp_path / "model")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(UserError, match=f"^--tcp {port}: .*in use.*; take another port"),
            emulate.emulated(m4, model, tmp_path, tcp=port),
        ):
            pass


def test_a_folder_without_a_model(m4: boards.Board, tmp_path: Path):
    with (
        pytest.raises(
            UserError, match=r"no model.h in it; write it with python -m asd.embedded.codegen"
        ),
        emulate.emulated(m4, tmp_path, tmp_path),
    ):
        pass


@pytest.mark.skipif(not boards.all_boards(), reason="mcu/ is not there")
def test_a_board_without_a_port(tmp_path: Path):
    model = stub_model(tmp_path / "model")
    (board,) = (row for row in boards.all_boards() if row.uart is None)
    with (
        pytest.raises(
            UserError,
            match="has no UART for the protocol; take one of mps2-an385-m0plus, mps2-an385,",
        ),
        emulate.emulated(board, model, tmp_path),
    ):
        pass


# ---------------------------------------------------------------------------------------------
# A real board.


@pytest.mark.parametrize("mode", [0, 1])
def test_the_stm32_example_compiles(mode: int, m4: boards.Board, tmp_path: Path):
    model = stub_model(tmp_path / "model")
    files = [DEVICE / name for name in ("main.c", "protocol.c", "port_stm32.c")]
    strict = ["arm-none-eabi-gcc", *ARM_FLAGS, *STRICT, f"-DENERGY_MODE={mode}", f"-I{model}"]
    for file in files:
        subprocess.run([*strict, "-c", file, "-o", tmp_path / "object.o"], check=True)
    command = ["make", "-C", boards.MCU, f"MODEL={model}", f"BUILD={tmp_path / 'build'}"]
    command += [f"{key}={value}" for key, value in STM32.items()]
    command += [f"MAIN={' '.join(map(str, files))} semihosting.c", f"DEFINES=-DENERGY_MODE={mode}"]
    subprocess.run(command, check=True)
    size = ["arm-none-eabi-size", "-A", tmp_path / "build" / "firmware.elf"]
    listing = subprocess.run(size, capture_output=True, text=True, check=True).stdout
    start, size = (
        re.search(rf"^\{name} +(\d+) +(\d+)", listing, re.M) for name in (".start", ".bss")
    )
    assert int(start[2]) == 0x08000000  # where the core begins
    assert int(size[1]) < 64 * 1024


def test_the_emulated_port_is_strict_c99(m4: boards.Board, tmp_path: Path):
    strict = ["arm-none-eabi-gcc", *ARM_FLAGS, *STRICT, f"-I{boards.MCU}", "-DUART=0x40004000"]
    defines = ["-DUART_IRQ=0", "-DCOUNTER=0x40028018", "-DCOUNTER_NS=40"]
    file = DEVICE / "port_mps2.c"
    subprocess.run([*strict, *defines, "-c", file, "-o", tmp_path / "object.o"], check=True)
