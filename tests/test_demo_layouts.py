"""Demo sound in the layouts of all years: on disk, as sound, and by the scripts to the table."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from conftest import ROOT, call
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from test_demo import times

from asd import cli, config, files
from asd.corpora import attributes, demo, demo_plan, demo_sound, demo_states, find, labels, names
from asd.corpora.demo_sound import SAMPLE_RATE, Running
from asd.corpora.rows import CORPORA
from asd.evaluation import table, truth, years
from asd.paths import Paths
from common import UserError

YEARS = range(2020, 2027)
DOMAIN_YEARS = range(2021, 2027)
# A machine type without attributes, a terse one, one whose published list is wrong.
TYPES = {
    2020: ("pump", "ToyCar"), 2021: ("fan", "ToyCar"), 2022: ("gearbox", "ToyCar"),
    2023: ("fan", "valve", "bandsaw", "Vacuum"),
    2024: ("fan", "gearbox", "RoboticArm", "ToothBrush"),
    2025: ("fan", "bearing", "HomeCamera", "ToyPet"),
    2026: tuple(demo_plan.machine_types("dcase2026")),
}  # fmt: skip
N_TRAIN, N_TEST = 6, 3  # a section; and a domain and label
SIZES = ("--seconds", "1", "--train-clips", str(N_TRAIN), "--test-clips", str(N_TEST))


def make(out: Path, year: int, *options: str) -> Path:
    demo.main(["--out", str(out), "--layout", f"dcase{year}", *SIZES, *options])
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A small set of each year; not to be changed."""
    folder = tmp_path_factory.mktemp("layouts")
    return {year: make(folder / str(year), year, "-m", *TYPES[year]) for year in YEARS}


MODES = {"-d": "dev", "-e": "eval"}


def types_of(year: int, mode: str) -> list[str]:
    return [name for name in TYPES[year] if name in CORPORA[f"dcase{year}"].sections(mode)]


def labels_of(out: Path, year: int) -> Path:
    """The list of the year, or by turns the evaluator's folder; 2022's list is refused."""
    return out / "evaluator" if year in (2022, 2024, 2026) else out / f"eval_data_list_{year}.csv"


def paths_of(out: Path, year: int, mode: str, work: Path) -> Paths:
    return Paths(config.load_config(written_config(out, year, work)), mode)


def written_config(out: Path, year: int, work: Path) -> Path:
    channels = CORPORA[f"dcase{year}"].channels
    values = {
        "corpus": f"dcase{year}",
        "dev_directory": str(out / "dev_data"),
        "eval_directory": str(out / "eval_data"),
        "evaluation_labels": str(labels_of(out, year)),
        "feature": {"central_frames": None, "channel": 0 if len(channels) > 1 else None},
        "detector": {"kind": "frozen", "backend": {"kind": "knn", "distance": "cosine",
                                                   "neighbours": 1}, "sections": "apart"},
        "workers": 2,
    } | {f"{k}_directory": str(work / k) for k in ("feature", "model", "result")}  # fmt: skip
    path = work / f"{year}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


# The set on disk.


@pytest.mark.parametrize("mode", ["dev", "eval"])
@pytest.mark.parametrize("year", YEARS)
def test_clips_are_those_of_the_year(made, tmp_path, capsys, year, mode):
    """Sections, domains, labels and attributes, as the reader of real data finds them."""
    out, corpus = made[year], CORPORA[f"dcase{year}"]
    paths = paths_of(out, year, mode, tmp_path)
    assert sorted(path.name for path in (out / f"{mode}_data").iterdir()) == sorted(
        types_of(year, mode)
    )
    for machine_type in types_of(year, mode):
        sections = corpus.sections(mode)[machine_type]
        _, train, bad = find.find_clips(paths, machine_type, "train")
        folders, test, bad_test = find.find_clips(paths, machine_type, "test")
        assert bad == bad_test == []
        assert {folder.name for folder in folders} == set(corpus.test_folders)
        domains = ("source", "target") if corpus.has_domains else (None,)
        half = 2 if year == 2020 and mode == "eval" else 1
        per_domain = {None: -(-N_TRAIN // half), "source": N_TRAIN - 2, "target": 2}
        assert Counter((clip.section, clip.domain) for clip in train) == {
            (section, domain): per_domain[domain] for section in sections for domain in domains
        }
        assert Counter((clip.section, clip.domain, clip.label) for clip in test) == {
            (section, domain, label): -(-N_TEST // half)
            for section in sections for domain in domains for label in (0, 1)
        }  # fmt: skip
        for clip in (*train, *test) if corpus.has_domains else ():
            pairs = names.attribute_pairs(clip.attributes)
            assert len(pairs) == (0 if machine_type in corpus.without_attributes else 2), clip
        classes = names.class_labels(
            [(c.machine_type, c.split, names.parse(c.path.name)) for c in train], "attributes"
        )
        plain = not corpus.has_domains or machine_type in corpus.without_attributes
        least = len(sections) * (1 if not corpus.has_domains else 2 if plain else 4)
        assert classes.in_train >= least
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize("year", YEARS)
def test_what_else_a_year_has(made, year):
    out, corpus = made[year], CORPORA[f"dcase{year}"]
    of_types = {path.name for path in (out / "dev_data" / types_of(year, "dev")[0]).iterdir()}
    sections = corpus.sections("dev")[types_of(year, "dev")[0]]
    tables = {f"attributes_{s}.csv" for s in sections if corpus.has_attributes_files}
    supplemental = {"supplemental"} if corpus.has_supplemental else set()
    assert of_types == {"train", *corpus.test_folders} | tables | supplemental
    expected = {"README.txt", "causes.csv", "demo.json", "dev_data", "eval_data",
                f"eval_data_list_{year}.csv"}  # fmt: skip
    assert {p.name for p in out.iterdir()} == expected | ({"evaluator"} if year > 2021 else set())
    text = (out / "README.txt").read_text()
    assert "DEMO" in text and "synthetic" in text and f"names are those of DCASE {year}" in text
    for path in out.rglob("*.wav"):
        info = soundfile.info(str(path))
        form = (info.format, info.subtype, info.samplerate, info.channels, info.frames)
        assert form == ("WAV", "PCM_16", SAMPLE_RATE, len(corpus.channels), SAMPLE_RATE)


@pytest.mark.parametrize(
    ("year", "path"),
    [
        (2020, "dev_data/ToyCar/test/anomaly_id_04_00000002.wav"),
        (2020, "eval_data/ToyCar/test/id_07_00000003.wav"),
        (2021, "dev_data/ToyCar/train/section_02_source_train_normal_0003_*_*_*_*.wav"),
        (2021, "dev_data/ToyCar/source_test/section_02_source_test_anomaly_0002_*_*_*_*.wav"),
        (2021, "eval_data/fan/target_test/section_03_target_test_0005.wav"),
        (2022, "eval_data/gearbox/test/section_05_0011.wav"),
        (2023, "eval_data/Vacuum/test/section_00_0011.wav"),
        (2024, "dev_data/gearbox/test/section_00_target_test_normal_0002_noAttribute.wav"),
        (2024, "eval_data/RoboticArm/train/section_00_target_train_normal_0001_load?_noise?.wav"),
    ],
)
def test_names(made, year, path):
    assert len(list(made[year].glob(path))) == 1


def test_a_terse_machine_type_leaves_out_test(made):
    told = labels.read(made[2024] / "eval_data_list_2024.csv")
    full = [row[1] for row in files.read_csv(made[2024] / "eval_data_list_2024.csv")
            if len(row) == 2 and "load" in row[1]]  # fmt: skip
    assert full and not any("test" in name for name in full)
    assert all(t.domain for (machine, _), t in told.items() if machine == "RoboticArm")


@pytest.mark.parametrize("year", range(2022, 2027))
def test_all_that_is_published_says_the_same(made, year):
    """The list, the evaluator's folders by both readers, the causes, the attributes' tables."""
    out = made[year]
    listed, evaluator = (
        labels.read(out / f"eval_data_list_{year}.csv"),
        labels.read(out / "evaluator"),
    )
    assert listed == evaluator and len(listed) > 0
    causes = {path for path, *_ in files.read_csv(out / "causes.csv")}
    for (machine_type, name), one in listed.items():
        assert (f"eval_data/{machine_type}/test/{name}" in causes) == (one.label == 1)
    for one in truth.read(out / "evaluator"):
        said = {name: listed[one.machine_type, name] for name in one.names}
        assert [said[name].label for name in one.names] == one.labels.tolist()
        assert [said[name].domain for name in one.names] == one.domains.tolist()
        assert sorted(one.full_names.values()) == list(one.names)
        for full, name in one.full_names.items():
            assert names.parse(full).label == said[name].label
    for path in out.glob("*_data/*/attributes_*.csv"):
        rows = attributes.read(path)
        splits = ("train", "test") if "dev_data" in str(path) else ("train",)
        section = path.stem.removeprefix("attributes_")
        clips = {p.name for s in splits for p in (path.parent / s).glob(f"section_{section}_*")}
        assert rows.keys() == clips
        for name, pairs in rows.items():
            assert pairs == names.attribute_pairs(names.parse(name).attributes)


def test_labels_are_shuffled(made):
    """Neither label nor domain of an anonymous clip can be told from its number."""
    for year in (2021, 2023):
        options = demo.Options(0, ("fan", "bandsaw")[year > 2021 :][:1], None, 1, 100, True, 1.0,
                               layout=f"dcase{year}")  # fmt: skip
        clips = [clip for clip in demo.plan(options) if clip.full_name]
        group = 2 if year == 2021 else 4
        numbers = np.array([int(clip.name[-8:-4]) for clip in clips]) % group
        faulty = np.array([clip.cause is not None for clip in clips])
        target = np.array([clip.domain == "target" for clip in clips])
        assert faulty.mean() == target.mean() == 0.5
        for k in range(group):
            assert 0.35 < faulty[numbers == k].mean() < 0.65
            assert 0.35 < target[numbers == k].mean() < 0.65


def test_clips_do_not_depend_on_the_size_of_the_set(made, tmp_path):
    """But for how many training clips are of the target domain."""
    options = ("--train-clips", "9", "--test-clips", "5", "-m", *TYPES[2023])
    larger = make(tmp_path / "l", 2023, *options)
    for path in made[2023].rglob("*.wav"):
        assert (larger / path.relative_to(made[2023])).read_bytes() == path.read_bytes()
    known, more = ({tuple(row) for row in files.read_csv(folder / "causes.csv")}
                   for folder in (made[2023], larger))  # fmt: skip
    assert known < more


def test_by_default_all_machine_types_of_the_year():
    for year in DOMAIN_YEARS:
        options = demo._options(demo._arguments(["--layout", f"dcase{year}"]))
        row = years.of(year)
        assert set(options.machine_types) == {*row.dev_machines, *row.eval_machines}
        found = {(c.mode, c.machine_type, int(c.section)) for c in demo.plan(options)}
        assert found == {
            (mode, machine_type, section)
            for mode in ("dev", "eval") for machine_type in row.machines(mode)
            for section in row.parts(machine_type).get(mode, (0,))
        }  # fmt: skip


def test_the_least_set_and_the_share_of_the_target_domain():
    def counts(n: int) -> tuple[int, int]:
        options = demo.Options(0, ("fan",), None, n, 1, False, 1.0, layout="dcase2023")
        of = Counter(c.domain for c in demo.plan(options) if c.folder == "train")
        return of["source"], of["target"]

    assert [counts(n) for n in (1, 2, 3, 4, 50, 1000)] == [
        (1, 0), (1, 1), (2, 1), (2, 2), (48, 2), (990, 10),
    ]  # fmt: skip


# Making it again.


def test_a_set_of_2020_says_no_layout(tmp_path):
    options = ("--no-eval", "-m", "DemoFan", "--ids", "1")
    out = make(tmp_path / "s", 2020, *options)
    assert "layout" not in files.read_json(out / "demo.json")
    before = times(out)
    demo.main(["--out", str(out), *SIZES, *options])
    assert times(out) == before


def test_what_is_lost_is_made_again_and_the_rest_left_alone(tmp_path, capsys):
    options = ("-m", "fan", "bandsaw")
    out = make(tmp_path / "s", 2023, *options)
    content = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    capsys.readouterr()
    make(out, 2023, *options)
    assert "whole already" in capsys.readouterr().out
    lost = [out / "eval_data_list_2023.csv", out / "dev_data/fan/attributes_00.csv",
            next((out / "evaluator/ground_truth_data").iterdir()),
            next((out / "eval_data/bandsaw/test").iterdir())]  # fmt: skip
    for path in lost:
        path.unlink()
    before = times(out)
    make(out, 2023, *options)
    after = times(out)
    assert after.pop(lost[-1]) and after == before
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == content


def test_another_layout_makes_it_anew_and_leaves_nothing(tmp_path):
    out = make(tmp_path / "s", 2023, "-m", "fan", "bandsaw")
    (out / "dev_data/mine.txt").write_text("mine")
    make(out, 2021, "-m", "fan")
    again = make(tmp_path / "t", 2021, "-m", "fan")
    found, expected = ({str(p.relative_to(o)) for p in o.rglob("*")} for o in (out, again))
    assert found == expected | {"dev_data/mine.txt"}


@pytest.mark.parametrize("name", ["eval_data_list_2023.csv", "dev_data/fan/attributes_00.csv"])
def test_a_table_that_somebody_changed_stays(tmp_path, name):
    out = make(tmp_path / "s", 2023, "-m", "fan", "bandsaw")
    (out / name).write_text("mine")
    with pytest.raises(UserError, match=f"^{out / name}: not as it was made; move it away"):
        make(out, 2023, "-m", "fan", "--seed", "5")
    assert (out / name).read_text() == "mine" and (out / "causes.csv").exists()


@pytest.mark.parametrize("layout", ["dcase2019", "../dcase2023", "folder"])
def test_an_unknown_layout(tmp_path, layout, capsys):
    with pytest.raises(SystemExit):
        demo.main(["--out", str(tmp_path / "s"), "--layout", layout])
    assert "--layout" in capsys.readouterr().err
    out = make(tmp_path / "t", 2023, "-m", "fan", "--no-eval")
    stamp = files.read_json(out / "demo.json")
    files.write_json(out / "demo.json", stamp | {"layout": layout})
    with pytest.raises(UserError, match="name another --out"):
        make(out, 2023, "-m", "fan", "--no-eval")


@pytest.mark.parametrize(("year", "name"), [(2023, "DemoFan"), (2023, "pump"), (2020, "bearing")])
def test_a_machine_type_that_the_year_does_not_have(tmp_path, year, name, capsys):
    with pytest.raises(SystemExit) as stop:
        make(tmp_path / "s", year, "-m", name)
    assert stop.value.code == 2
    assert f"-m/--machine-type: '{name}' is none of dcase{year}" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


# The sound.


def test_states_and_causes_together():
    state, fault = Running(0.9, flow=2.0, tilt_db=-1.0), Running(0.5, vane=3.0, knock=0.2)
    assert state & fault == Running(0.45, vane=3.0, flow=2.0, knock=0.2, tilt_db=-1.0)
    assert Running() & fault == fault & Running() == fault


def spectra(machine_type: str, domain: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Levels of third octaves, (n, n_bands) dB, of normal clips of 2 s; and the state of each."""
    unit = demo_sound.unit(demo_states.sounds_as(machine_type), f"{machine_type}_00")
    states = demo_states.of_section(machine_type, "00", unit)[domain]
    edges = 50 * 2 ** (np.arange(22) / 3)
    levels = []
    for i in range(n):
        rng = demo_sound.generator(i, domain)
        samples = demo_sound.clip(unit, states[i % len(states)].running, rng, 2 * SAMPLE_RATE)
        hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
        power = np.histogram(hz, edges, weights=np.abs(np.fft.rfft(samples)) ** 2)[0]
        levels.append(10 * np.log10(power / power.sum()))
    return np.array(levels), np.arange(n) % len(states)


# One of each shift: speed and load, speed and microphone, load and noise.
@pytest.mark.parametrize("machine_type", ["fan", "valve", "bearing"])
def test_domains_and_attributes_can_be_heard(machine_type):
    source, states = spectra(machine_type, "source", 120)
    target, _ = spectra(machine_type, "target", 30)
    known, others = source[:90], source[90:]
    nearest = np.linalg.norm(known[None] - others[:, None], axis=2).min(axis=1)
    shifted = np.linalg.norm(known[None] - target[:, None], axis=2).min(axis=1)
    assert roc_auc_score(np.arange(60) >= 30, np.append(nearest, shifted)) > 0.75
    classifier = LogisticRegression(C=0.1, max_iter=5000).fit(known, states[:90])
    chance = 1 / len(set(states))
    assert classifier.score(others, states[90:]) > chance + 0.25


def test_every_shift_is_in_every_year():
    for year in DOMAIN_YEARS:
        corpus, shifts = CORPORA[f"dcase{year}"], set()
        for mode in ("dev", "eval"):
            for machine_type, sections in corpus.sections(mode).items():
                unit = demo_sound.unit(demo_states.sounds_as(machine_type), machine_type)
                for section in sections:
                    states = demo_states.of_section(machine_type, section, unit)
                    said = {d: [tuple(s.attributes.items()) for s in states[d]] for d in states}
                    assert len(set(said["source"] + said["target"])) == sum(map(len, said.values()))
                    shifts.add(tuple(states["source"][0].attributes))
        assert shifts == {shift.attributes for shift in demo_states.SHIFTS}


def test_a_demo_machine_has_its_own_sound_for_each_machine_type_and_section():
    units = [demo_sound.unit("DemoFan", f"{name}_{section}")
             for name in ("fan", "slider") for section in ("00", "03")]  # fmt: skip
    assert len({unit.shaft_hz for unit in units}) == 4


def test_the_far_channel_is_weaker_and_noisier(made):
    unit, n = demo_sound.unit("DemoFan", "fan_00"), 4 * SAMPLE_RATE
    near, far = demo_sound.stereo(unit, Running(), demo_sound.generator(0, "test"), n)
    mono = demo_sound.clip(unit, Running(), demo_sound.generator(0, "test"), n)
    np.testing.assert_allclose(near, mono, atol=1e-6)
    assert near.dtype == far.dtype == np.float32
    assert far.std() < 0.8 * near.std()
    tone = unit.vanes * unit.shaft_hz
    hz = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
    power = np.abs(np.fft.rfft([near, far])) ** 2
    own, around = (power[:, np.abs(hz / f - 1) < 0.03].sum(axis=1) for f in (tone, 1.08 * tone))
    ratio_db = 10 * np.log10(own / around)  # of the tone and the noise beside it
    assert ratio_db[0] > ratio_db[1] + 4
    for path in (made[2026] / "dev_data/fan/test").iterdir():
        samples = soundfile.read(path)[0]
        assert samples[:, 1].std() < samples[:, 0].std()


def test_supplemental_clips_are_the_machine_without_the_factory(made):
    """Between the lines of a clean clip it is quieter, far above the flow noise's corner."""

    def floor_db(folder: str) -> float:
        paths = (made[2025] / "dev_data/fan" / folder).glob("section_00_*")
        levels = []
        for path in paths:
            samples = soundfile.read(path)[0]
            levels.append(np.median(np.abs(np.fft.rfft(samples / samples.std()))[6000:]))
        return 20 * np.log10(np.median(levels))

    assert floor_db("supplemental") < floor_db("train") - 1


# Through the scripts, to the official score.


def scores_of(result: Path, machine_type: str) -> dict[tuple[str, str], float]:
    """By section and file name."""
    found = {}
    for path in result.glob(f"anomaly_score_{machine_type}_id_*.csv"):
        for name, score in csv.reader(path.open(newline="")):
            found[path.stem[-2:], name] = float(score)
    return found


def full_names(out: Path, year: int, machine_type: str) -> dict[str, str]:
    """What the list of the year says of a machine type's clips."""
    found, of = {}, None
    for row in csv.reader((out / f"eval_data_list_{year}.csv").open(newline="")):
        if len(row) == 1:
            of = row[0]
        elif of == machine_type:
            found[row[0]] = row[1]
    return found


def official_score(year: int, scores: dict[tuple[str, str], float], full: dict[str, str]) -> float:
    """From the definitions of the task: see `asd/evaluation/official.py` for their names."""
    terms = []
    for section in sorted({section for section, _ in scores}):
        here = [
            (full.get(name, name), value) for (s, name), value in scores.items() if s == section
        ]
        anomalous = np.array(["anomaly" in name for name, _ in here])
        target = np.array(["target" in name for name, _ in here])
        values = np.array([value for _, value in here])
        if year == 2020:
            terms += [roc_auc_score(anomalous, values),
                      roc_auc_score(anomalous, values, max_fpr=0.1)]  # fmt: skip
            continue
        for domain in (~target, target):
            if year == 2021:
                clips = anomalous[domain], values[domain]
                terms += [roc_auc_score(*clips), roc_auc_score(*clips, max_fpr=0.1)]
            else:
                some = domain | anomalous
                terms.append(roc_auc_score(anomalous[some], values[some]))
        if year > 2021:
            terms.append(roc_auc_score(anomalous, values, max_fpr=0.1))
    terms = np.array(terms)
    return terms.mean() if year == 2020 else len(terms) / (1 / terms).sum()


@pytest.mark.parametrize("year", YEARS)
def test_the_scripts_and_the_table(made, tmp_path, capsys, year):
    out = made[year]
    cfg = written_config(out, year, tmp_path)
    for mode, flag in (("dev", "-d"), ("eval", "-e")):
        assert call("00_train.py", flag, "-c", cfg) == 0
        capsys.readouterr()
        assert call("01_test.py", flag, "-c", cfg) == 0
        out_of_test = capsys.readouterr().out
        printed = re.search(rf"official score of DCASE {year} .*: ([\d.]+), ", out_of_test)
        result = tmp_path / "result" / ("eval" if mode == "eval" else "")
        shown = tmp_path / f"{mode}.csv"
        command = [flag, "--year", str(year), str(result), "--format", "csv", "--out", str(shown)]
        if mode == "eval":
            command += ["--truth", str(labels_of(out, year))]
        assert cli.run(lambda command=command: table.main(command)) == 0
        row = next(csv.DictReader(shown.open(newline="")))
        expected = {}
        for machine_type in types_of(year, mode):
            scores = scores_of(result, machine_type)
            n_sections = len(CORPORA[f"dcase{year}"].sections(mode)[machine_type])
            assert len({section for section, _ in scores}) == n_sections
            full = full_names(out, year, machine_type) if mode == "eval" else {}
            expected[machine_type] = official_score(year, scores, full)
            assert float(row[machine_type]) == pytest.approx(expected[machine_type], rel=1e-9)
        values = list(expected.values())
        total = np.mean(values) if year == 2020 else len(values) / sum(1 / one for one in values)
        assert float(printed[1]) == pytest.approx(total, abs=5e-5)
        if len(expected) < len(years.of(year).machines(mode)):
            assert row["total"] == ""
        else:
            assert float(row["total"]) == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("year", [one for one in YEARS if one > 2020])
def test_the_official_auto_encoder_on_every_layout(made, tmp_path, capsys, year):
    """The year's recipe, for one epoch: trained, scored, decided on, submitted or told why not."""
    values = yaml.safe_load(written_config(made[year], year, tmp_path).read_text())
    for key in ("corpus", "detector", "feature"):  # what the recipe says
        del values[key]
    values |= {"base": str(ROOT / f"recipes/dcase{year}.yaml"), "fit": {"epochs": 1, "verbose": 0}}
    values |= {"experiment": ""}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values))
    for flag in ("-d", "-e"):
        assert call("00_train.py", flag, "-c", recipe, "-m", types_of(year, MODES[flag])[0]) == 0
        assert call("01_test.py", flag, "-c", recipe, "-m", types_of(year, MODES[flag])[0]) == 0
    out = capsys.readouterr().out
    assert f"official score of DCASE {year} Task 2, dev, 1 of" in out
    assert f"official score of DCASE {year} Task 2, eval, 1 of" in out
    assert "precision" in out


def test_the_table_says_which_labels_it_needs(made, tmp_path, capsys):
    """Also of 2021's evaluation clips, which tell their domain."""
    path = tmp_path / "anomaly_score_fan_id_03.csv"
    files.write_csv(path, [("section_03_source_test_0000.wav", 1.0)])
    assert cli.run(lambda: table.main(["-e", "--year", "2021", str(tmp_path)])) == 1
    assert "tells no label; name the list of the year" in capsys.readouterr().err
