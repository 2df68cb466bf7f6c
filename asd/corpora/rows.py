"""The corpora that are known: a row a year of DCASE Task 2, and MIMII. A new year is a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asd.messages import shown
from common import UserError

Sections = Mapping[str, Sequence[str]]  # by machine type the sections (machine ids)


@dataclass(frozen=True)
class Corpus:
    """What is published, and how it lies on disk.

    Attributes
    ----------
    name : what `corpus` in the YAML says
    records : of Zenodo: development data; of a year also additional training, evaluation data
    dev, evaluation : machine types and their sections
    seconds : the shortest and the longest clip
    archives : names of a record's archives, with {} in the place of the machine type; a re-release
        of one carries `_r2` before `.zip`
    channels : what each channel is; mono clips have one
    arguments : of the option of `get_dataset.sh` that brings it
    sources : the data sets that the recordings are parts of, as far as they are published
    """

    name: str
    records: tuple[int, ...]
    dev: Sections
    evaluation: Sections
    seconds: tuple[float, float]
    archives: tuple[str, ...] = ("dev_{}", "eval_data_{}_train", "eval_data_{}_test")
    channels: tuple[str, ...] = ("",)
    arguments: str = ""
    sources: tuple[str, ...] = ()

    @property
    def has_domains(self) -> bool:
        """Whether clips are of a source and a target domain."""
        return False

    def sections(self, mode: str) -> Sections:
        """Machine types and sections of the "dev" or the "eval" data."""
        return self.dev if mode == "dev" else self.evaluation

    def option(self, mode: str) -> str:
        """What `get_dataset.sh` is to be told to bring the "dev" or the "eval" data."""
        return f"--{self.name} {self.arguments}".rstrip()


@dataclass(frozen=True)
class Year(Corpus):
    """A year of DCASE Task 2.

    Attributes
    ----------
    test_folders : beside `train`; all are one test set
    wrong_lists : machine types whose labels in the list of the year are known to be wrong
    without_attributes : machine types whose names say noAttribute
    terse : machine types whose names do not say `test`, and run an attribute and its value together
    """

    test_folders: tuple[str, ...] = ("test",)
    wrong_lists: tuple[str, ...] = ()
    without_attributes: tuple[str, ...] = ()
    terse: tuple[str, ...] = ()

    @property
    def year(self) -> int:
        """Of the challenge."""
        return int(self.name.removeprefix("dcase"))

    @property
    def has_domains(self) -> bool:
        """Whether clips are of a source and a target domain."""
        return self.year > 2020

    @property
    def has_attributes_files(self) -> bool:
        """Whether an `attributes_<section>.csv` may stand beside `train` and `test`."""
        return self.year > 2021

    @property
    def has_supplemental(self) -> bool:
        """Whether a folder of more clips, `supplemental`, may stand beside `train` and `test`."""
        return self.year > 2024

    @property
    def labels(self) -> str:
        """Where the labels of the evaluation data are."""
        return f"eval_data_list_{self.year}.csv of the official baseline, or the official evaluator"

    def option(self, mode: str) -> str:
        """What `get_dataset.sh` is to be told to bring the "dev" or the "eval" data."""
        return f"--{self.name}" + " --eval" * (mode == "eval" and self.year > 2020)

    def folders(self, split: str) -> tuple[str, ...]:
        """The folders of a machine type that hold a split."""
        return ("train",) if split == "train" else self.test_folders


def _all(machine_types: str, *sections: str) -> Sections:
    return dict.fromkeys(machine_types.split(), sections)


_2021 = "fan gearbox pump slider ToyCar ToyTrain valve"
_2022 = "bearing fan gearbox slider ToyCar ToyTrain valve"

_ROWS = (
    Year(
        "dcase2020",
        (3678171, 3727685, 3841772),
        _all("fan pump slider valve", "00", "02", "04", "06")
        | {"ToyCar": ("01", "02", "03", "04"), "ToyConveyor": ("01", "02", "03")},
        _all("fan pump slider valve", "01", "03", "05")
        | {"ToyCar": ("05", "06", "07"), "ToyConveyor": ("04", "05", "06")},
        (10, 11),
        archives=("dev_data_{}", "eval_data_train_{}", "eval_data_test_{}"),
        sources=("ToyADMOS", "MIMII (zenodo 3384388)"),
    ),
    Year(
        "dcase2021",
        (4562016, 4660992, 4884786),
        _all(_2021, "00", "01", "02"),
        _all(_2021, "03", "04", "05"),
        (10, 10),
        test_folders=("source_test", "target_test"),
        sources=("MIMII DUE (zenodo 4740355)", "ToyADMOS2 (zenodo 4580270)"),
    ),
    Year(
        "dcase2022",
        (6355122, 6462969, 6586456),
        _all(_2022, "00", "01", "02"),
        _all(_2022, "03", "04", "05"),
        (10, 10),
        wrong_lists=("ToyCar", "ToyTrain"),
    ),
    Year(
        "dcase2023",
        (7882613, 7830345, 7860847),
        _all(_2022, "00"),
        _all("bandsaw grinder shaker ToyDrone ToyNscale ToyTank Vacuum", "00"),
        (6, 18),
    ),
    Year(
        "dcase2024",
        (10902294, 11259435, 11363076),
        _all(_2022, "00"),
        _all(
            "3DPrinter AirCompressor BrushlessMotor HairDryer HoveringDrone RoboticArm Scanner "
            "ToothBrush ToyCircuit",
            "00",
        ),
        (6, 12),
        without_attributes=(
            *("gearbox", "slider", "ToyTrain"),
            *("AirCompressor", "BrushlessMotor", "HoveringDrone", "ToothBrush"),
        ),
        terse=("RoboticArm",),
    ),
    Year(
        "dcase2025",
        (15097779, 15392814, 15519362),
        _all(_2022, "00"),
        _all(
            "AutoTrash BandSealer CoffeeGrinder HomeCamera Polisher ScrewFeeder ToyPet ToyRCCar",
            "00",
        ),
        (6, 12),
        without_attributes=(
            *("bearing", "slider", "ToyTrain"),
            *("AutoTrash", "Polisher", "ScrewFeeder", "ToyPet"),
        ),
    ),
    Year(
        "dcase2026",
        (19336329, 20151556, 20437238),
        _all("ToyCar ToyCarEmu bearingEmu fan gearboxEmu sliderEmu valveEmu", "00"),
        _all("ToyDrone ToothBrush SewingMachine BlowerDustCollector Sander", "00"),
        (6, 16),
        channels=("near", "far"),
    ),
)
YEARS = {row.name: row for row in _ROWS}
# By the signal-to-noise ratio, dB, a data set of its own (Purohit et al. 2019, arXiv:1909.09347).
MIMII = {
    snr: Corpus(
        "mimii",
        (3384388,),
        _all("fan pump slider valve", "00", "02", "04", "06"),
        {},
        (10, 10),
        archives=(f"{snr}_dB_{{}}",),
        channels=tuple(f"microphone {i}" for i in range(8)),
        arguments="SNR",
    )
    for snr in (-6, 0, 6)
}
FOLDER = "folder"  # one's own recordings, see `own.py`; no row
CORPORA: dict[str, Corpus] = {**YEARS, MIMII[0].name: MIMII[0]}
FIRST = _ROWS[0].name


def named(name: str) -> Corpus:
    """The row of a corpus; of MIMII one of its three, which are read alike.

    Raises
    ------
    UserError : there is none of that name.
    """
    if name not in CORPORA:
        raise UserError(f"corpus: no {shown(name)}; known: {', '.join(CORPORA)}, {FOLDER}")
    return CORPORA[name]


def year(name: str) -> Year:
    """The row of a year.

    Raises
    ------
    UserError : see `named`.
    """
    return YEARS[named(name).name]
