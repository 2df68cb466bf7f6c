"""How DCASE Task 2 scores a system, a row a year: its machine types, sections, figures and mean."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from asd.corpora import rows
from common import UserError

MACHINES_2020 = ("fan", "pump", "slider", "ToyCar", "ToyConveyor", "valve")
MACHINES_2021 = ("fan", "gearbox", "pump", "slider", "ToyCar", "ToyTrain", "valve")
MACHINES_2022 = ("bearing", "fan", "gearbox", "slider", "ToyCar", "ToyTrain", "valve")


@dataclass(frozen=True)
class Year:
    """What the official score of a year is a mean of.

    Attributes
    ----------
    dev_machines, eval_machines : the machine types of the development and the evaluation data
    dev_sections, eval_sections : their sections (machine ids); the same where machine types differ
    sections_of : other sections of a machine type, of development and of evaluation
    terms : the figures, see `official.FIGURES`
    harmonic : whether the mean is; else it is arithmetic
    max_fpr : false positive rate up to which the pAUC counts
    report_order : of the evaluation machine types in the official evaluator's tables
    submitted : the name of a score or decision file
    decisions : whether decisions are submitted
    """

    year: int
    dev_machines: tuple[str, ...]
    eval_machines: tuple[str, ...]
    dev_sections: tuple[int, ...]
    eval_sections: tuple[int, ...]
    terms: tuple[str, ...]
    harmonic: bool
    sections_of: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    max_fpr: float = 0.1
    report_order: tuple[str, ...] = ()
    submitted: str = "{kind}_{machine}_section_{section:02}_test.csv"
    decisions: bool = True

    @property
    def has_domains(self) -> bool:
        """Whether its clips are of a source or a target domain."""
        return "t_auc" in self.terms or "tmix_auc" in self.terms

    def parts(self, machine_type: str) -> dict[str, tuple[int, ...]]:
        """The sections of each official score of a machine type, by the score's prefix.

        "dev" and "eval", or "0" where section 0 is the only one and the machine type tells which.
        """
        dev, eval_ = self.sections_of.get(machine_type, (self.dev_sections, self.eval_sections))
        return {"0": dev} if dev == eval_ else {"dev": dev, "eval": eval_}

    def part(self, mode: str) -> str:
        """The prefix of the official score of the development or evaluation data."""
        return "0" if self.dev_sections == self.eval_sections else mode

    def machines(self, mode: str) -> tuple[str, ...]:
        """The machine types of "dev" or "eval"."""
        return self.dev_machines if mode == "dev" else self.eval_machines

    @property
    def official(self) -> str:
        """The official score's name without its prefix: "official23"."""
        return f"official{self.year % 100}"


_2021 = ("s_auc", "t_auc", "s_pauc", "t_pauc")
_2022 = ("smix_auc", "tmix_auc", "mix_pauc")

YEARS = {
    row.year: row
    for row in (
        Year(2020, MACHINES_2020, MACHINES_2020, (0, 2, 4, 6), (1, 3, 5), ("s_auc", "s_pauc"),
             harmonic=False, sections_of={"ToyCar": ((1, 2, 3, 4), (5, 6, 7)),
                                          "ToyConveyor": ((1, 2, 3), (4, 5, 6))},
             submitted="{kind}_{machine}_id_{section:02}.csv", decisions=False),
        Year(2021, MACHINES_2021, MACHINES_2021, (0, 1, 2), (3, 4, 5), _2021, harmonic=True,
             submitted="{kind}_{machine}_section_{section:02}_{domain}_test.csv"),
        Year(2022, MACHINES_2022, MACHINES_2022, (0, 1, 2), (3, 4, 5), _2022, harmonic=True,
             submitted="{kind}_{machine}_section_{section:02}.csv"),
        Year(2023, MACHINES_2022,
             ("bandsaw", "grinder", "shaker", "ToyDrone", "ToyNscale", "ToyTank", "Vacuum"),
             (0,), (0,), _2022, harmonic=True,
             report_order=("bandsaw", "grinder", "shaker", "ToyDrone", "ToyNscale", "ToyTank",
                           "Vacuum")),
        Year(2024, MACHINES_2022,
             ("3DPrinter", "AirCompressor", "BrushlessMotor", "HairDryer", "HoveringDrone",
              "RoboticArm", "Scanner", "ToothBrush", "ToyCircuit"),
             (0,), (0,), _2022, harmonic=True,
             report_order=("3DPrinter", "AirCompressor", "Scanner", "ToyCircuit", "HoveringDrone",
                           "HairDryer", "ToothBrush", "RoboticArm", "BrushlessMotor")),
        Year(2025, MACHINES_2022,
             ("AutoTrash", "BandSealer", "CoffeeGrinder", "HomeCamera", "Polisher", "ScrewFeeder",
              "ToyPet", "ToyRCCar"),
             (0,), (0,), _2022, harmonic=True,
             report_order=("AutoTrash", "HomeCamera", "ToyPet", "ToyRCCar", "BandSealer",
                           "CoffeeGrinder", "Polisher", "ScrewFeeder")),
        Year(2026, ("bearingEmu", "fan", "gearboxEmu", "sliderEmu", "ToyCar", "ToyCarEmu",
                    "valveEmu"),
             ("BlowerDustCollector", "Sander", "SewingMachine", "ToothBrush", "ToyDrone"),
             (0,), (0,), _2022, harmonic=True,
             report_order=("ToyDrone", "ToothBrush", "SewingMachine", "BlowerDustCollector",
                           "Sander")),
    )
}  # fmt: skip


# Names of submitted files as the program of a system of that year has them, which the evaluator
# does not read: sections of one digit, and no "test".
PUBLISHED = {2021: "{kind}_{machine}_section_{section}_{domain}.csv"}


def of_corpus(corpus: str, faithful: bool = False) -> Year | None:
    """The row of the year that a corpus is; None for others and for one's own recordings.

    Parameters
    ----------
    faithful : with the names of submitted files of `PUBLISHED`, where there are any
    """
    year = of(rows.YEARS[corpus].year) if corpus in rows.YEARS else None
    if not (year and faithful and year.year in PUBLISHED):
        return year
    return replace(year, submitted=PUBLISHED[year.year])


def of(year: int) -> Year:
    """The row of a year.

    Raises
    ------
    UserError : there is none.
    """
    if year not in YEARS:
        raise UserError(f"year {year}: no such DCASE Task 2; known: {', '.join(map(str, YEARS))}")
    return YEARS[year]
