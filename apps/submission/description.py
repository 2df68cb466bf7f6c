"""What is submitted: the YAML file, the quantisation of the model, and the systems file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from apps.submission.rules import REHEARSAL
from asd import files, sections
from asd.messages import CONTROL, shown
from asd.sections import Name, Section
from asd.yaml_files import read_yaml
from common import UserError

INT8 = "ad01_int8.tflite"
# SHA-256 of the benchmark's trained_models: the closed division's weights, and the int8 file.
PUBLISHED = {
    "651a62de1b7facd68d1269373992a2d09ffd28e6a816935d4834fcc558bde512": "ad01.h5",
    "c66636f4d7f8af8b10518e7be750a22c9d8d46ec97326b40b0d94c097e0aad9b": "ad01_fp32.tflite",
    "87cf24194ef93d1d9b11a591d805526b98008e351655d29883c825c9c106ba24": INT8,
}


class System(Section):
    """What `systems/<system>.json` says."""

    board: Name
    processor: Name
    frequency: Name
    memory: Name
    accelerator: str
    accelerator_frequency: str
    accelerator_memory: str
    hardware_notes: str
    operating_system: str
    framework: Name
    libraries: str
    compilers: Name
    model_compiler: str
    software_notes: str
    training_notes: str


class Submission(Section):
    """The YAML file."""

    division: Literal["closed", "open"]
    organisation: Name
    system: Name
    implementation: Name
    status: Literal["available", "preview", "rdi"]
    rehearsal: bool
    describe: System
    model: Name  # the TFLite file
    code: Name  # folder
    accuracy: Name  # session folder
    performance: Name
    energy: Name | None

    def __post_init__(self) -> None:
        for key in ("organisation", "system", "implementation"):
            if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", getattr(self, key)):
                raise ValueError(f"{key} is a folder's name: letters, digits, . _ + - only")
        for key in ("model", "code", "accuracy", "performance", "energy"):
            path = getattr(self, key) or ""
            if CONTROL.search(path):
                raise ValueError(f"{key} {shown(path)} holds a control character")

    @property
    def folder(self) -> str:
        """The system's name in the tree."""
        return f"{self.system}-{REHEARSAL.lower()}" if self.rehearsal else self.system


def load(path: Path) -> Submission:
    """Read the YAML file.

    Raises
    ------
    UserError : it is missing, not YAML, or a key is unknown, missing or ill-typed.
    """
    return sections.as_section(Submission, path, read_yaml(path))


def quantisation(submission: Submission) -> dict[str, Any]:
    """How the weights were quantised, from the TFLite file and the record beside it.

    Raises
    ------
    UserError : the record is missing or of another file; or, in the closed division, the weights
        are not the published ones.
    """
    path = Path(submission.model)
    record_path = path.with_name(f"{path.name}.json")
    if not path.is_file():
        raise UserError(f"{path}: no such TFLite file")
    sha256 = files.file_hash(path)
    if PUBLISHED.get(sha256) == INT8:
        return {"model": path.name, "sha256": sha256, "source": {"model": INT8}}
    if not record_path.is_file():
        raise UserError(f"{record_path}: missing; 02_convert.py writes it beside the TFLite file")
    record = files.read_mapping(record_path)
    recorded, source, *_, calibration = files.read_keys(
        record_path, "sha256", "source.sha256", "source.model", "conversion.dense_weights",
        "conversion.equalise", "calibration",
    )  # fmt: skip
    if not isinstance(calibration, dict | None):
        raise UserError(f"{record_path}: damaged, no such calibration; run 02_convert.py again")
    if recorded != sha256:
        raise UserError(f"{record_path}: is of another TFLite file; run 02_convert.py again")
    if submission.division == "closed" and str(source) not in PUBLISHED:
        raise UserError(
            f"{path}: made from other weights than the published ones, ad01.h5 or "
            f"ad01_fp32.tflite (source SHA-256 {shown(source, 20)}); a model of your own belongs "
            "to the open division"
        )
    keys = ("variant", "title", "source", "sha256", "weights", "conversion", "calibration")
    return {"model": path.name} | {key: record[key] for key in keys if key in record}


def quantisation_words(facts: dict[str, Any]) -> str:
    """The systems file's `Quantization Method`."""
    if "conversion" not in facts:
        return f"the published {facts['source']['model']}, post-training int8, per-tensor weights"
    per = "per-channel" if facts["conversion"]["dense_weights"] == "per_channel" else "per-tensor"
    equal = ""
    if per == "per-tensor" and facts["conversion"]["equalise"]:
        equal = " after cross-layer equalisation"
    count = (facts.get("calibration") or {}).get("windows", 0)
    chosen = ""
    if facts["conversion"].get("rounding") == "calibrated":
        chosen = (
            "; layer by layer, each weight is rounded so that it makes up for the rounding of "
            "those before it, by the covariance of the layer's int8 inputs, and ranges of ReLU "
            "channels are brought nearer to each other; closed forms, no training"
        )
    corrected = ", biases corrected" if facts["conversion"].get("bias_correction") else ""
    return (
        f"post-training int8 of {facts['source']['model']}, {per} weights{equal}, batch norm "
        f"folded, calibrated on {count} windows of training clips{corrected}{chosen}"
    )


def system_json(submission: Submission, quantised: str) -> dict[str, str]:
    """`systems/<system>.json`."""
    about = submission.describe
    mark = f"{REHEARSAL}, emulated, not a result. " if submission.rehearsal else ""
    return {
        "Submitter": submission.organisation,
        "Division": submission.division,
        "Status": submission.status,
        "Board Name": f"{mark}{about.board}",
        "Processor(s) Name": about.processor,
        "Processor(s) Frequencies": about.frequency,
        "Processor memory type and capacity": about.memory,
        "Accelerator": about.accelerator,
        "Accelerator(s) Frequencies": about.accelerator_frequency,
        "Accelerator memory type and capacity": about.accelerator_memory,
        "Hardware Notes": f"{mark}{about.hardware_notes}".strip(),
        "Operating System": about.operating_system,
        "Inference Framework": about.framework,
        "Software Libraries": about.libraries,
        "ML Model Compiler(s)": about.model_compiler,
        "General Compiler(s)": about.compilers,
        "Software Notes": about.software_notes,
        "Quantization Method": quantised,
        "Training and Quantization Notes": about.training_notes,
    }
