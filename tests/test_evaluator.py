"""The official evaluator: figures of a section, result files byte for byte, jackknife."""

from __future__ import annotations

import numpy as np
import pytest

from asd.evaluation import evaluator, evaluator_files, years
from asd.evaluation.evaluator import Section

EXACT = 1e-9


@pytest.fixture(scope="session")
def results(golden):
    return dict(np.load(golden / "cpjku_official_ae" / "b10_results.npz"))


def text(array):
    return bytes(array).decode()


def domains_of(numbers):
    return np.where(numbers == 1, "target", "source")


def systems(results):
    """The results of the two synthetic systems."""
    machines = text(results["eval/machines"]).split()
    return [
        evaluator.evaluate(name, [
            Section(machine, "00", results["eval/label"][i], domains_of(results["eval/domain"][i]),
                    results["eval/score"][i, k], results["eval/decision"][i, k])
            for i, machine in enumerate(machines)])
        for k, name in enumerate(("plain", "labelled"))
    ][::-1]  # fmt: skip


def test_the_evaluators_files_golden(results, tmp_path):
    evaluator_files.write(tmp_path, systems(results), years.of(2024).report_order, published=True)
    written = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.csv")}
    expected = {key.removeprefix("eval/out/") for key in results if key.startswith("eval/out/")}
    assert written == expected
    for name in sorted(expected):
        assert (tmp_path / name).read_text() == text(results[f"eval/out/{name}"]), name
