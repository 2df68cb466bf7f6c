"""The model in the page: an int8 TFLite file as WebAssembly, byte for byte.

    python -m apps.server.wasm model/model_ToyCar_quant_fullint_micro_intio.tflite --out FOLDER

Writes model.wasm (the C of asd.embedded.codegen, compiled by clang and linked by wasm-ld) and
model.json (features, mel bands, scales, threshold) into FOLDER. What the records beside the file
do not tell, the YAML file given with -c does. The score has to be the reconstruction error.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

import common
from asd import cli, config, files, paths
from asd.embedded import codegen, processes
from asd.evaluation.alarms import Rule
from asd.tflite import reader
from asd.tflite.convert import MCU
from common import Feature, UserError

HERE = Path(__file__).resolve().parent / "c"
MODEL, SETTINGS = "model.wasm", "model.json"
CLANG = ("--target=wasm32", "-std=c99", "-O3", "-ffreestanding", "-DASD_FLOAT_UNIT=1", "-c")
EXPORTS = ("values", "input", "output", "inputs", "outputs", "quantise", "run")
SERVING = "serving"  # key of a TFLite file's record: what 02_convert.py tells a service
STACK_BYTES = 16384  # the kernels need less than 400
MOST_BYTES = 64 * 2**20  # of a TFLite file for a page
DEFAULT_RULE = Rule(2, 3)  # of consecutive stretches
MOST_STRETCHES = 99  # of a rule, as the page has it
WHOLE_CLIP_SECONDS = 10.0  # of a stretch, where clips are used as a whole


class Told(msgspec.Struct):
    """What 02_convert.py tells in a record of a file that is served; the rest is not needed."""

    feature: Feature
    threshold: dict[str, Any]  # value, kind, reason
    share: float  # of the normal training clips below the threshold
    false_alarms: dict[str, float]  # nominal, low, high
    training: dict[str, Any]  # clips, level_db, seconds, band_errors


class Model(NamedTuple):
    """What the page has to know of a model beside its bytes."""

    machine_type: str
    content: bytes
    feature: Feature
    told: Told | None = None


def missing() -> str | None:
    """What has to be installed first; None: nothing."""
    if lacking := [name for name in ("clang", "wasm-ld") if shutil.which(name) is None]:
        return f"no {' and no '.join(lacking)} found; sudo apt install clang lld"
    return None


def compile_c(content: bytes) -> bytes:
    """The WebAssembly module of an int8 TFLite file.

    It has memory of its own and the functions `page_*` of c/page.c, and imports nothing.

    Raises
    ------
    UserError : no chain of int8 layers; no clang or wasm-ld, or one of them fails.
    """
    if reason := missing():
        raise UserError(reason)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        codegen.write(content, work)
        objects = []
        for source in (work / "model.c", HERE / "page.c"):
            objects.append(str(work / f"{source.stem}.o"))
            _call(["clang", *CLANG, f"-I{work}", f"-I{HERE}", "-o", objects[-1], str(source)])
        exports = [f"--export=page_{one}" for one in EXPORTS]
        _call(["wasm-ld", "--no-entry", "--strip-all", f"-zstack-size={STACK_BYTES}", *exports,
               "-o", str(work / MODEL), *objects])  # fmt: skip
        return (work / MODEL).read_bytes()


def _call(command: list[str]) -> None:
    done = processes.call(command)
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if "error" in line]
        raise UserError(f"{command[0]} failed: {(errors or [done.stdout.strip()])[0]}")


def read(path: Path, cfg: config.Config) -> Model:
    """A TFLite file, and what the records beside it or the configuration tell of it.

    Raises
    ------
    UserError : no such file, or its score is not made in the page; a record is damaged.
    """
    try:
        content = files.read_bounded(path, MOST_BYTES)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run 02_convert.py") from error
    machine_type = re.sub(rf"^model_|{re.escape(MCU.suffix)}$", "", path.stem)
    beside = paths.record_of(path)
    if not beside.is_file():
        return Model(machine_type, content, cfg.feature)
    name, sha256, own = files.read_keys(beside, "source.model", "source.sha256", "sha256")
    if hashlib.sha256(content).hexdigest() != own:
        raise UserError(f"{path}: not the file that {beside.name} describes; run 02_convert.py")
    record = paths.record_of(path.parent / Path(str(name)).name)
    feature = _trained(record, sha256) if record.is_file() else cfg.feature
    told = files.read_mapping(beside).get(SERVING)
    if told is None:
        return Model(machine_type, content, feature)
    try:
        told = msgspec.convert(told, Told)
    except msgspec.ValidationError as error:
        raise UserError(f"{beside}: damaged ({error}); run 02_convert.py again") from error
    return Model(machine_type, content, told.feature, told)


def _trained(record: Path, sha256: str) -> Feature:
    """The features of a trained model whose score the page can make, from its record."""
    values, there = files.read_keys(record, "configuration.feature", "sha256")
    if there != sha256:
        raise UserError(f"{record}: of another model than the TFLite file's; run 02_convert.py")
    scored_by = files.read_mapping(record).get("scored_by") or {}
    kind, score = scored_by.get("kind", "autoencoder"), scored_by.get("score", "mse")
    if kind != "autoencoder" or score != "mse":
        raise UserError(f"{record}: the page makes the mean squared error of an auto-encoder, not "
                        f"{kind} {score}; the page then sends clips to the service")  # fmt: skip
    try:
        return msgspec.convert(values, Feature)
    except msgspec.ValidationError as error:
        raise UserError(f"{record}: damaged ({error}); train it anew") from error


def settings(model: Model, wasm: bytes, rule: Rule = DEFAULT_RULE) -> dict[str, Any]:
    """What model.json holds.

    Returns
    -------
    plain values: machine_type; sha256 of the TFLite file and of the module; feature; mel (for each
    band its first bin and the weights of the bins from there on, and the frequencies where bands
    begin, culminate and end); input and output (size, scale, zero_point); threshold, how it was
    set, and its false_alarm_rate (nominal, low, high); level_db and band_errors, dB and dB^2, of
    the training clips; rule, k of n stretches; stretch_frames, of which a score in live listening
    is. What the record does not tell is None

    Raises
    ------
    UserError : the model is for other windows, or the page has no such Fourier transform.
    """
    feature, network = model.feature, reader.read(model.content)
    if network.softmax is not None:
        raise UserError("it ends in SOFTMAX, so it is a classifier; the page makes the "
                        "reconstruction error of an auto-encoder")  # fmt: skip
    if not feature.vector_size == network.inputs == network.outputs:
        raise UserError(f"{network.inputs} inputs and {network.outputs} outputs, but windows of "
                        f"{feature.frames} x {feature.n_mels} values; name the YAML file that it "
                        "was trained with: -c FILE")  # fmt: skip
    if feature.n_fft & (feature.n_fft - 1):
        raise UserError(f"n_fft {feature.n_fft}: the page needs a power of 2; the page then sends "
                        "clips to the service")  # fmt: skip
    first, last = network.source.scale, network.target.scale
    return {
        "machine_type": model.machine_type,
        "sha256": network.sha256,
        "wasm_sha256": hashlib.sha256(wasm).hexdigest(),
        "feature": {name: getattr(feature, name) for name in Feature.__struct_fields__},
        "mel": {"bands": _sparse(common.mel_filters(feature)), "edges_hz": _edges(feature)},
        "input": {"size": network.inputs, "scale": first.scale, "zero_point": first.zero_point},
        "output": {"size": network.outputs, "scale": last.scale, "zero_point": last.zero_point},
        **_told(model.told),
        "rule": {"k": rule.k, "n": rule.n},
        "stretch_frames": _stretch(feature, model.told),
    }


def _sparse(filters: np.ndarray) -> list[dict[str, Any]]:
    """The weights of each band without the zeros around them; float32, with all their digits."""
    bands = []
    for row in filters:
        used = np.flatnonzero(row)
        first, end = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
        bands.append({"first": first, "weights": [float(value) for value in row[first:end]]})
    return bands


def _edges(feature: Feature) -> list[float]:
    """Where bands begin, culminate and end, n_mels + 2 frequencies, Hz."""
    low, high = feature.mel_range_hz or (0, feature.sample_rate / 2)
    edges = common.mel_frequencies(feature.n_mels + 2, low, high, feature.mel_scale)
    return [round(float(one), 3) for one in edges]


def _stretch(feature: Feature, told: Told | None) -> int:
    """Frames of a score in live listening: as many as a score in training is of."""
    if feature.central_frames:
        return feature.central_frames[1] - feature.central_frames[0]
    shortest = ((told.training.get("seconds") if told else None) or [WHOLE_CLIP_SECONDS])[0]
    return max(round(shortest * feature.sample_rate / feature.hop_length), feature.frames)


def _told(told: Told | None) -> dict[str, Any]:
    """The threshold and the training clips."""
    if told is None:
        keys = ("threshold", "false_alarm_rate", "level_db", "band_errors")
        return dict.fromkeys(keys) | {"threshold_how": "none: the record tells of no threshold"}
    kinds = {"gamma": "a gamma distribution fitted to their scores", "empirical": "their scores"}
    try:
        limit, training, rate = told.threshold, told.training, told.false_alarms
        by, reason = kinds.get(limit["kind"], limit["kind"]), limit.get("reason")
        return {
            "threshold": float(limit["value"]),
            "threshold_how": f"{told.share:.0%} of {training['clips']} normal training clips score "
            f"below it, by {by}" + (f" ({reason})" if reason else ""),
            "false_alarm_rate": {key: rate[key] for key in ("nominal", "low", "high")},
            "level_db": training["level_db"],
            "band_errors": training["band_errors"],
        }
    except KeyError as error:
        raise UserError(f"its record lacks {error}; run 02_convert.py again") from error


def write(path: Path, out: Path, cfg: config.Config, rule: Rule = DEFAULT_RULE) -> list[Path]:
    """Write model.wasm and model.json into a folder; see the module.

    Raises
    ------
    UserError : see `read`, `settings`, `compile_c`.
    """
    model = read(path, cfg)
    try:
        wasm = compile_c(model.content)
        values = settings(model, wasm, rule)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    with files.whole_file(out / MODEL) as temporary:
        temporary.write_bytes(wasm)
    files.write_json(out / SETTINGS, values)  # last: its hash says that both belong together
    return [out / MODEL, out / SETTINGS]


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("model", type=Path, metavar="MODEL.tflite")
    option("--out", type=Path, required=True, metavar="FOLDER", help="of model.wasm and model.json")
    option("-c", "--config", type=Path, default=config.BASELINE, metavar="FILE",
           help="YAML file: the features of a model without a record")  # fmt: skip
    option("--alarm", type=int, nargs=2, default=DEFAULT_RULE, metavar=("K", "N"),
           help="an alarm at K of N stretches above the threshold; "
           f"{DEFAULT_RULE.k} {DEFAULT_RULE.n}")  # fmt: skip
    args = parser.parse_args(argv)
    rule = Rule(*args.alarm)
    if not 1 <= rule.k <= rule.n <= MOST_STRETCHES:
        raise UserError(f"--alarm {rule.k} {rule.n}: K is at least 1 and at most N, and N at most "
                        f"{MOST_STRETCHES}")  # fmt: skip
    print(*write(args.model, args.out, config.load_config(args.config), rule), sep="\n")


if __name__ == "__main__":
    sys.exit(cli.run(main))
