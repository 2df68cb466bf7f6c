"""Proxy outliers: which clips they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from asd.clips import Clip
from asd.features import outliers
from common import UserError


def clip(machine_type, section, domain="source", split="train", label=0):
    return Clip(Path(f"{machine_type}_{section}.wav"), machine_type, section, split, label, domain)


CLIPS = [
    clip("fan", "00"), clip("fan", "01", "target"), clip("fan", "02"), clip("pump", "00"),
    clip("pump", "03", "target"), clip("pump", "00", split="test"), clip("pump", "00", label=1),
    clip("fan", "01", split="test"),
]  # fmt: skip
ALL = ("00", "01", "02")


@pytest.mark.parametrize(("which", "sections", "expected"), [
    ("none", ALL, []),
    ("other_machines", ALL, [3, 4]),
    ("other_machines", ("00",), [3, 4]),
    ("other_sections", ("00",), [1, 2]),
    ("other_sections", ("00", "02"), [1]),
    ("other_sections", ALL, [0, 1, 2]),
    ("other_sections_and_machines", ("00",), [1, 2, 3, 4]),
    ("other_sections_and_machines", ALL, [0, 1, 2, 3, 4]),
])  # fmt: skip
def test_which_clips_are_outliers(which, sections, expected):
    assert outliers.chosen(CLIPS, "fan", sections, which).tolist() == expected


def test_a_single_section_has_no_outliers_of_its_own_machine():
    """Its own clips are what is normal, and never stand for anomalies."""
    alone = [clip("fan", "00"), clip("pump", "00")]
    assert outliers.chosen(alone, "fan", ("00",), "other_sections_and_machines").tolist() == [1]
    with pytest.raises(UserError, match="fan: outliers of other sections, and there are none"):
        outliers.chosen(alone, "fan", ("00",), "other_sections")


def test_without_other_machines_it_is_said():
    with pytest.raises(UserError, match="outliers of other machines, and there are none"):
        outliers.chosen(CLIPS[:3], "fan", ALL, "other_machines")


def test_a_misspelt_kind_is_no_outlier_at_all():
    with pytest.raises(ValueError, match="no outliers others; known: none, other_machines"):
        outliers.chosen(CLIPS, "fan", ALL, "others")
