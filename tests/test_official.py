"""Official scores of a year: every column, means, tables over machines, spread over seeds."""

from __future__ import annotations

import numpy as np
import pytest

from asd.clips import Clip, Scores
from asd.evaluation import metrics, official, years
from common import UserError

EXACT = 1e-9  # float64 against float64


@pytest.fixture(scope="session")
def evaluated(golden):
    return dict(np.load(golden / "asdkit" / "06_evaluate.npz"))


def columns_of(arrays, case, name):
    of_case = {key: arrays[f"{case}/{key}"] for key in ("section", "is_target", "is_normal")}
    domains = np.where(of_case["is_target"] == 1, "target", "source")
    year = years.of(int(str(arrays[f"{case}/dcase"]).removeprefix("dcase")))
    return official.evaluate(year, str(arrays[f"{case}/machine"]), of_case["section"], domains,
                             1 - of_case["is_normal"], arrays[f"{case}/{name}"])  # fmt: skip


def march_name(name):
    """The later name of a column of March 2025: official21-dev is dev_official21."""
    if name.startswith("official"):
        score, _, mode = name.partition("-")
        return f"{mode or '0'}_{score}"
    return name


def test_every_column_of_the_evaluate_step_golden(evaluated):
    compared = 0
    for case in map(str, evaluated["case_names"]):
        for i, row in enumerate(("AS-A", "AS-B")):
            ours = columns_of(evaluated, case, row)
            for prefix, name_of in (("", str), ("march_", march_name)):
                if f"{case}/{prefix}columns" not in evaluated:
                    continue
                names = [name_of(str(name)) for name in evaluated[f"{case}/{prefix}columns"]]
                values = [ours[name].value for name in names]
                expected = evaluated[f"{case}/{prefix}values"][i]
                np.testing.assert_allclose(values, expected, atol=EXACT, rtol=0, err_msg=case)
                compared += len(names)
                # What the original leaves out has no value here, and a reason.
                for name in set(ours) - set(names) if not prefix else ():
                    assert not ours[name].defined and ours[name].reason, (case, name)
    assert compared > 500


def test_a_section_without_a_domain_is_undefined_with_its_reason_golden(evaluated):
    """The original stops there; the other sections' figures do not depend on it."""
    refused = [case for case in map(str, evaluated["case_names"]) if f"{case}/error" in evaluated]
    assert refused
    for case in refused:
        ours = columns_of(evaluated, case, "AS-A")
        sections, target = (evaluated[f"{case}/{key}"] for key in ("section", "is_target"))
        without = {s for s in set(sections.tolist()) if not target[sections == s].any()}
        assert without
        for section in set(sections.tolist()):
            for name in ("s_auc", "t_auc", "tmix_auc"):
                figure = ours[f"{section}_{name}"]
                is_absent = section in without and name != "s_auc"
                assert figure.defined != is_absent
                assert bool(figure.reason) == is_absent
        (section,) = without
        part = "dev" if section < 3 else "eval"
        reason = ours[f"{part}_official21"].reason
        assert f"section {section} t_auc: no" in reason and "target domain" in reason
        assert ours["eval_official21" if part == "dev" else "dev_official21"].defined


@pytest.mark.parametrize("year", range(2020, 2025))
@pytest.mark.parametrize("mode", ["dev", "eval"])
def test_tables_over_machines_golden(evaluated, year, mode):
    row, prefix = years.of(year), f"table/dcase{year}"
    columns = [str(name) for name in evaluated[f"{prefix}/in_columns"]]
    results = {}
    for machine in {*row.dev_machines, *row.eval_machines}:
        backends = evaluated[f"{prefix}/in/{machine}/backend"]
        values = evaluated[f"{prefix}/in/{machine}/values"]
        for backend, figures in zip(backends, values, strict=True):
            of_backend = results.setdefault(str(backend), {})
            of_backend[machine] = {
                name: official.Figure(value)
                for name, value in zip(columns, figures.tolist(), strict=True)
            }
    for figure in (row.official, "s_auc", "t_auc", "mix_auc"):
        table = f"{prefix}/{mode}_{figure}"
        ours = official.over_machines(row, mode, f"{row.part(mode)}_{figure}", results)
        assert [one.name for one in ours] == sorted(results)
        whole = [one for one in ours if one.total.defined]
        assert all(one.total.reason for one in ours if one not in whole)
        if f"{table}/absent" in evaluated:
            assert not whole
            continue
        assert ["backend", *whole[0].figures, "total"] == evaluated[f"{table}/columns"].tolist()
        assert [one.name for one in whole] == evaluated[f"{table}/backend"].tolist()
        values = [[figure.value for figure in (*one.figures.values(), one.total)] for one in whole]
        np.testing.assert_allclose(values, evaluated[f"{table}/values"], atol=EXACT, rtol=0)


@pytest.mark.parametrize("year", range(2021, 2025))
@pytest.mark.parametrize("mode", ["dev", "eval"])
def test_tables_in_per_cent_golden(evaluated, year, mode):
    row, prefix = years.of(year), f"table/dcase{year}"
    machines = evaluated[f"{prefix}/march_{mode}/machines"].tolist()
    assert ["backend", *machines, "hmean"] == evaluated[f"{prefix}/march_{mode}/columns"].tolist()
    columns = evaluated[f"{prefix}/in_columns"].tolist()
    sections = row.dev_sections if mode == "dev" else row.eval_sections
    terms = [columns.index(f"{section}_{name}") for section in sections for name in row.terms]
    results = {}
    for machine in machines:
        backends = evaluated[f"{prefix}/in/{machine}/backend"].tolist()
        values = evaluated[f"{prefix}/in/{machine}/values"][:, terms]
        for backend, of_terms in zip(backends, values, strict=True):
            results.setdefault(backend, []).append(official.mean_of(of_terms, row.harmonic))
    shown = [
        [float(official.percent(v)) for v in (*of_machines, official.mean_of(of_machines, True))]
        for _, of_machines in sorted(results.items())
    ]
    np.testing.assert_array_equal(shown, evaluated[f"{prefix}/march_{mode}/values_percent"])


def test_the_scores_of_a_classifier_golden(golden):
    """AUC and pAUC by section and domain, their harmonic means; ties, and an AUC of 0."""
    arrays = dict(np.load(golden / "cpjku_official_ae" / "a5_scoring.npz"))
    clip, first = np.unique(arrays["cls/clip"], return_index=True)
    of_clip = {k: arrays[f"cls/{k}"][first] for k in ("source", "anomaly", "section", "train")}
    known = (of_clip["train"] == 0) & (of_clip["anomaly"] >= 0)
    domains = np.where(of_clip["source"] == 1, "source", "target")[known]
    for kind in ("row", "table"):
        scores = arrays[f"cls/clip_score_{kind}"][clip][known]
        ours = official.evaluate(years.of(2021), "fan", of_clip["section"][known], domains,
                                 of_clip["anomaly"][known], scores)  # fmt: skip
        values = [[[ours[f"{section}_{domain}_{name}"].value for name in ("auc", "pauc")]
                   for domain in "st"] for section in range(3)]  # fmt: skip
        np.testing.assert_allclose(values, arrays[f"cls/auc_{kind}"][:3], atol=EXACT)
        means = [ours["dev_official21"].value]
        means += [official.mean_of(np.ravel(np.array(values)[:, i]), True) for i in range(2)]
        np.testing.assert_allclose(means, arrays[f"cls/hmean_{kind}"], atol=EXACT)
    both = [metrics.auc(arrays["pauc/y"], arrays["pauc/score"], limit) for limit in (None, 0.1)]
    np.testing.assert_allclose(both, arrays["pauc/values"], atol=EXACT)
    worst = np.array([0, 0, 1, 1]), np.array([4.0, 3, 2, 1])
    both = [metrics.auc(*worst, limit) for limit in (None, 0.1)]
    np.testing.assert_allclose(
        [*both, official.mean_of(both, True)], arrays["zero/auc"], atol=EXACT
    )


def clips(n=8, section="00"):
    """Sections, domains and labels of n normal and n anomalous clips of each domain."""
    sections = np.full(4 * n, section)
    return sections, np.repeat(["source", "target"], 2 * n), np.tile(np.repeat([0, 1], n), 2)


def test_auc_source_counts_all_anomalies():
    """Normal target clips score above everything: AUC source does not see them."""
    sections, domains, labels = clips()
    scores = np.where(labels == 1, 1.0, np.where(domains == "source", 0.0, 2.0))
    ours = official.evaluate(years.of(2023), "fan", sections, domains, labels, scores)
    assert ours["0_smix_auc"].value == 1 and ours["0_tmix_auc"].value == 0
    assert ours["0_mix_auc"].value == 0.5
    assert ours["0_official23"].value == 0  # of a harmonic mean with a 0


def test_an_official_score_needs_all_its_sections():
    sections, domains, labels = clips(section="01")
    scores = np.arange(len(labels), dtype=float)
    ours = official.evaluate(years.of(2021), "fan", sections, domains, labels, scores)
    assert "eval_official21" not in ours and ours["1_s_auc"].defined
    assert not ours["dev_official21"].defined
    assert "section 0 s_auc: no test clip" in ours["dev_official21"].reason
    assert ours["dev_official21"].cell == ""


def test_a_year_without_domains_needs_none():
    labels = np.tile([0, 1], 8)
    sections = np.repeat([0, 2, 4, 6], 4)
    scored = Scores(
        tuple(Clip(f"{i}.wav", "fan", f"{s:02}", "test", int(label))
              for i, (s, label) in enumerate(zip(sections, labels, strict=True))),
        labels * 1.0,
    )  # fmt: skip
    ours = official.of_scores(years.of(2020), scored)
    assert ours["dev_official20"].value == 1
    with pytest.raises(ValueError, match="domains are source or target"):
        official.of_scores(years.of(2022), Scores(scored.clips[:4], scored.values[:4]))


def test_impossible_input_is_refused():
    sections, domains, labels = clips()
    scores = np.arange(len(labels), dtype=float)
    year = years.of(2023)
    for wrong, match in (
        ((sections, domains, labels, scores[1:]), "for each clip"),
        ((sections, domains, labels, np.where(scores == 3, np.nan, scores)), "finite"),
        ((sections, domains, labels - 1, scores), "labels are 0"),
        ((sections, np.where(scores == 3, "near", domains), labels, scores), "domains are"),
        ((np.where(scores == 3, "01", sections), domains, labels, scores), "section 1 is none"),
        ((np.where(scores == 3, "x", sections), domains, labels, scores), "sections are numbers"),
    ):
        with pytest.raises(ValueError, match=match):
            official.evaluate(year, "fan", *wrong)
    with pytest.raises(UserError, match="year 2019"):
        years.of(2019)


def test_spread_over_seeds():
    runs = {"0": official.Figure(0.5), "1": official.Figure(0.7), "2": official.Figure(0.6)}
    spread = official.over_seeds(runs)
    assert spread.mean.value == pytest.approx(0.6) and spread.deviation == pytest.approx(0.1)
    assert official.over_seeds({"0": official.Figure(0.5)}).deviation is None
    undefined = official.over_seeds(runs | {"3": official.undefined("no test clip")})
    assert undefined.mean.reason == "3: no test clip" and undefined.deviation is None
