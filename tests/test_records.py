"""Archives of a year, found in Zenodo's records on a server of this machine."""

import hashlib
import json
from pathlib import Path

import msgspec
import pytest
from test_download import serve, server, tree  # noqa: F401 - a fixture

from asd import config, files
from asd.corpora import checksums, download, fetch, find, records, rows
from asd.paths import Paths
from common import UserError

DEV, MORE, EVAL = rows.named("dcase2024").records


def describe(server, record, *archives, **changes):  # noqa: F811
    """Serve the description of a record, as Zenodo's API has it; the archives are served already"""
    described = [
        {
            "id": "f0", "key": one.name, "size": len(server.files[one.name]),
            "checksum": f"md5:{one.md5}", "links": {"self": "https://elsewhere.invalid/content"},
        } | changes
        for one in archives
    ]  # fmt: skip
    body = json.dumps({"id": record, "title": "a year", "files": described})
    server.files[f"api/records/{record}"] = body.encode()


def clips(machine, split):
    return {f"{machine}/{split}/section_00_source_{split}_normal_0000.wav": machine}


def test_a_years_development_data(server, capsys):  # noqa: F811
    some = [serve(server, f"dev_{m}.zip", clips(m, "train")) for m in ("fan", "bearing")]
    describe(server, DEV, *some)
    arguments = ["--dcase2024", "fan", "bearing", "--mirror", server.url]
    assert download.main(arguments) is None
    place = "dcase2024/dev_data"
    assert tree(place) == [
        f".records/{DEV}.json",
        *(f"{machine}/{name}" for machine in ("bearing", "fan")
          for name in (".complete", "train/section_00_source_train_normal_0000.wav")),
    ]  # fmt: skip
    out = capsys.readouterr().out
    kept = f"{place}/.records/{DEV}.json"
    assert f"{kept}: names, sizes and md5s of 2 files, as {server.url}/api/records/{DEV}" in out
    record = files.read_json(Path(kept))
    assert [one["checksum"] for one in record["files"]] == [f"md5:{one.md5}" for one in some]
    assert [one["size"] for one in record["files"]] == [len(server.files[one.name]) for one in some]
    asked = len(server.ranges)
    assert asked == 3, "the record once, each archive once"
    assert download.main(arguments) is None
    assert len(server.ranges) == asked, "whole: nothing is asked for again"
    assert capsys.readouterr().out.count("whole, skipped") == 2


def test_a_years_evaluation_data_is_of_two_records(server, capsys):  # noqa: F811
    machine = "RoboticArm"
    stem = f"eval_data_{machine}"
    old = serve(server, f"{stem}_train.zip", clips(machine, "faulty"))
    new = serve(server, f"{stem}_train_r2.zip", clips(machine, "train"))
    test = serve(server, f"{stem}_test.zip", {f"{machine}/test/section_00_0000.wav": ""})
    describe(server, MORE, new, old)
    describe(server, EVAL, test)
    download.main(["--dcase2024", "--eval", machine, "--mirror", server.url])
    assert [name for name in tree(f"dcase2024/eval_data/{machine}") if "wav" in name] == [
        "test/section_00_0000.wav",
        "train/section_00_source_train_normal_0000.wav",
    ]
    assert "eval_data_list_2024.csv" in capsys.readouterr().out


def test_a_cut_download_of_a_year_is_gone_on_with(server):  # noqa: F811
    archive = serve(server, "dev_fan.zip", clips("fan", "train"))
    describe(server, DEV, archive)
    folder = Path("dcase2024/dev_data")
    server.faults = ["", "cut"]
    (found,) = records.archives(rows.named("dcase2024"), "dev", "fan", folder, server.url, 0.001)
    assert (found.name, found.md5) == (archive.name, archive.md5)
    download.fetch_folder(folder / "fan", [found], pause_seconds=0.001)
    assert server.ranges[2].startswith("bytes="), "the rest only"


def test_a_machine_type_whose_name_another_begins_with(server):  # noqa: F811
    row = rows.named("dcase2026")
    both = [serve(server, f"dev_{m}.zip", {}) for m in ("ToyCarEmu", "ToyCar_r2")]
    describe(server, row.records[0], *both)
    found = [records.archives(row, "dev", machine, Path("d"), server.url, 0)[0]
             for machine in ("ToyCar", "ToyCarEmu")]  # fmt: skip
    assert [one.name for one in found] == ["dev_ToyCar_r2.zip", "dev_ToyCarEmu.zip"]


def test_known_md5s_need_no_record(server):  # noqa: F811
    row = rows.named("dcase2023")
    for mode in ("dev", "eval"):
        for machine in row.sections(mode):
            assert records.archives(row, mode, machine, Path(mode), server.url)
    assert not server.ranges
    known = checksums.MD5S["dcase2023"]
    assert len(known) == len(set(known.values())) == 7 + 2 * 7
    (fan,) = records.archives(row, "dev", "fan", Path("dev"))
    assert fan.url == "https://zenodo.org/records/7882613/files/dev_fan.zip"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"a page about it", "not the description of a record"),
        (b'{"files": 3}', "not the description of a record"),
        (b'{"files": [{"key": "../dev_fan.zip", "checksum": "md5:%s", "size": 1}]}' % (b"0" * 32),
         r"no dev_fan.zip with an md5 in it; it has \.\./dev_fan.zip"),
        (b'{"files": [{"key": "dev_fan.zip", "checksum": "sha256:12", "size": 1}]}',
         "no dev_fan.zip with an md5 in it; it has dev_fan.zip"),
        (b'{"files": [{"key": "dev_fan.zip", "size": 1}]}',
         "no dev_fan.zip with an md5 in it; it has dev_fan.zip"),
        (b'{"files": [{"key": "dev_fan.zip", "checksum": "md5:%s", "size": 1},'
         b'{"key": "dev_fan_r2.zip", "size": 1}]}' % (b"0" * 32),
         "no dev_fan.zip with an md5 in it; it has dev_fan.zip, dev_fan_r2.zip"),
        (b"[" * 100000, "not the description of a record"),
        (b'{"files": []}', "no dev_fan.zip with an md5 in it; it has nothing"),
        (b" " * (records.MOST_BYTES + 1), "GB are announced"),
        (None, "HTTP 404"),
    ],
)  # fmt: skip
def test_a_record_that_is_none(server, body, why):  # noqa: F811
    if body is not None:
        server.files[f"api/records/{DEV}"] = body
    with pytest.raises(UserError, match=why) as caught:
        download.main(["--dcase2024", "fan", "--mirror", server.url])
    assert "\n" not in str(caught.value)
    assert tree() == [], "nothing is kept"


def test_a_kept_record_that_is_damaged_is_named(server):  # noqa: F811
    kept = Path(f"dcase2024/dev_data/.records/{DEV}.json")
    kept.parent.mkdir(parents=True)
    kept.write_text("{")
    with pytest.raises(UserError, match=f"{kept}: damaged; remove it"):
        download.main(["--dcase2024", "fan", "--mirror", server.url])


def test_an_archive_of_another_md5_is_refused(server):  # noqa: F811
    archive = serve(server, "dev_fan.zip", clips("fan", "train"))
    wrong = hashlib.md5(b"another").hexdigest()
    describe(server, DEV, archive, checksum=f"md5:{wrong}")
    with pytest.raises(UserError, match=f"md5 {archive.md5} found, {wrong} expected"):
        download.main(["--dcase2024", "fan", "--mirror", server.url])
    assert not Path("dcase2024/dev_data/fan").exists()


# ---------------------------------------------------------------------------------------------
# Two years, as get_dataset.sh brings them, from a server that plays Zenodo.

YEARS = {"dcase2022": ("fan", "fan", "03"), "dcase2024": ("fan", "RoboticArm", "00")}
HEADER = "file_name,d1p,d1v\n"


def zenodo(server, corpus):  # noqa: F811
    """Serve a year as Zenodo does: descriptions and archives, of training data re-released."""
    dev, machine, section = YEARS[corpus]
    row = rows.named(corpus)
    train = f"section_{section}_source_train_normal_0000.wav"
    test = f"section_{section}_0000.wav"
    table = f"{machine}/attributes_{section}.csv"
    of_training = {
        f"{machine}/train/{train}": "training", table: f"{HEADER}{machine}/train/{train},vel,1\n"
    }  # fmt: skip
    of_test = {
        f"{machine}/test/{test}": "test", table: f"{HEADER}{machine}/test/{test},vel,2\n"
    }  # fmt: skip
    of_dev = {f"{dev}/train/section_00_source_train_normal_0000.wav": "development",
              f"{dev}/attributes_00.csv": HEADER}  # fmt: skip
    for record, archives in zip(row.records, (
        {f"dev_{dev}.zip": of_dev},
        {f"eval_data_{machine}_train.zip": {f"{machine}/train/wrong.wav": "faulty"},
         f"eval_data_{machine}_train_r2.zip": of_training},
        {f"eval_data_{machine}_test.zip": of_test},
    ), strict=True):  # fmt: skip
        some = [serve(server, f"records/{record}/files/{n}", m) for n, m in archives.items()]
        described = [
            {"key": one.name.split("/")[-1], "size": len(server.files[one.name]),
             "checksum": f"md5:{one.md5}"} for one in some
        ]  # fmt: skip
        server.files[f"api/records/{record}"] = json.dumps({"files": described}).encode()


@pytest.fixture(params=YEARS)
def year(request, server, monkeypatch):  # noqa: F811
    """The name of a year that the server has."""
    monkeypatch.setattr(records, "ZENODO", server.url)
    monkeypatch.setattr(fetch.time, "sleep", lambda _: None)
    zenodo(server, request.param)
    return request.param


def bring(year, *options):
    return download.main([f"--{year}", *options, YEARS[year]["--eval" in options]])


def whole_evaluation_data(year):
    """See that everything of both archives is there, and what is read of it."""
    _, machine, section = YEARS[year]
    place = Path(year, "eval_data")
    train, test = f"section_{section}_source_train_normal_0000.wav", f"section_{section}_0000.wav"
    assert tree(place / machine) == [
        ".complete", f"attributes_{section}.csv",
        f"attributes_{section}_eval_data_{machine}_test.csv", f"test/{test}", f"train/{train}",
    ]  # fmt: skip
    assert (place / machine / "train" / train).read_text() == "training"
    changes = {"corpus": year, "eval_directory": str(place)}
    paths = Paths(msgspec.structs.replace(config.load_config(), **changes), "eval")
    for split, attributes in (("train", "vel_1"), ("test", "vel_2")):
        (clip,) = find.find_clips(paths, machine, split)[1]
        assert clip.attributes == attributes


def test_both_kinds_of_data_of_two_years(server, year, capsys):  # noqa: F811
    bring(year)
    assert tree(Path(year, "dev_data", "fan")) == [
        ".complete", "attributes_00.csv", "train/section_00_source_train_normal_0000.wav",
    ]  # fmt: skip
    bring(year, "--eval")
    whole_evaluation_data(year)
    _, machine, section = YEARS[year]
    kept = f"attributes_{section}_eval_data_{machine}_test.csv"
    said = f"{machine}/attributes_{section}.csv: another one in eval_data_{machine}_test.zip, kept"
    assert f"{said} as {kept}" in capsys.readouterr().out
    asked = len(server.ranges)
    assert asked == 2 + 4
    bring(year)
    bring(year, "--eval")
    assert len(server.ranges) == asked
    assert capsys.readouterr().out.count("whole, skipped") == 2
    assert not list(Path().rglob(".download"))


@pytest.mark.parametrize("at", range(4))
def test_any_cut_answer_of_two_years_is_gone_on_with(server, year, at):  # noqa: F811
    server.faults = [""] * at + ["cut"]
    bring(year, "--eval")
    assert server.ranges[at + 1].startswith("bytes=")
    assert server.sent[at + 1] <= server.sent[at] + 1, "the rest only"
    assert len(server.ranges) == 4 + 1
    whole_evaluation_data(year)


@pytest.mark.parametrize("at", [2, 3])
def test_a_run_that_was_broken_off_is_gone_on_with_by_the_next(server, year, at):  # noqa: F811
    server.faults = [""] * at + ["cut", "403"]
    with pytest.raises(UserError, match="HTTP 403"):
        bring(year, "--eval")
    assert not Path(year, "eval_data", YEARS[year][1]).exists()
    asked = len(server.ranges)
    bring(year, "--eval")
    assert any(one and one.startswith("bytes=") for one in server.ranges[asked:])
    assert len(server.ranges) < 2 * 4 + 1, "what is there is not asked for again"
    whole_evaluation_data(year)


def test_redirects_of_two_years_are_followed(server, year):  # noqa: F811
    """As Zenodo sends from /record/ to /records/."""
    server.faults = ["redirect", ""] * 4
    bring(year, "--eval")
    assert len(server.ranges) == 2 * 4
    whole_evaluation_data(year)


def cut_short(server, name):  # noqa: F811
    server.files[name] = server.files[name][:-30]


def another(server, name):  # noqa: F811
    server.files[name] = serve(server, "another", clips("bandsaw", "train")) and server.files[
        "another"]  # fmt: skip


@pytest.mark.parametrize("what", [cut_short, another])
def test_an_archive_of_two_years_that_is_not_the_published_one(server, year, what):  # noqa: F811
    machine, records_ = YEARS[year][1], rows.named(year).records
    name = f"records/{records_[2]}/files/eval_data_{machine}_test.zip"
    right = server.files[name]
    what(server, name)
    place = Path(year, "eval_data")
    with pytest.raises(UserError, match=rf"{machine}_test.zip: md5 .* found, .* second time") as no:
        bring(year, "--eval")
    assert "\n" not in str(no.value)
    assert not (place / machine).exists()
    server.files[name] = right
    bring(year, "--eval")
    whole_evaluation_data(year)


def test_an_archive_of_two_years_that_was_published_cut_short(server, year):  # noqa: F811
    record = rows.named(year).records[0]
    name = f"records/{record}/files/dev_fan.zip"
    cut_short(server, name)
    wrong = hashlib.md5(server.files[name]).hexdigest()
    described = {"key": "dev_fan.zip", "size": 1, "checksum": f"md5:{wrong}"}
    server.files[f"api/records/{record}"] = json.dumps({"files": [described]}).encode()
    with pytest.raises(UserError, match=r"dev_fan.zip: not a sound zip file .* run again"):
        bring(year)
    assert not Path(year, "dev_data/fan").exists()


def test_an_equal_table_in_both_archives_is_there_once(server, year, capsys):  # noqa: F811
    machine = YEARS[year][1]
    for record, part in zip(rows.named(year).records[1:], ("train", "test"), strict=True):
        name = f"eval_data_{machine}_{part}.zip"
        members = {f"{machine}/attributes_00.csv": HEADER, f"{machine}/{part}/a.wav": part}
        archive = serve(server, f"records/{record}/files/{name}", members)
        described = {"key": name, "size": 1, "checksum": f"md5:{archive.md5}"}
        server.files[f"api/records/{record}"] = json.dumps({"files": [described]}).encode()
    bring(year, "--eval")
    folder = Path(year, "eval_data", machine)
    assert tree(folder) == [".complete", "attributes_00.csv", "test/a.wav", "train/a.wav"]
    assert "another one" not in capsys.readouterr().out
    # The test data are released anew, with another table; the training data stay.
    members = {
        f"{machine}/attributes_00.csv": HEADER + "a.wav,vel,1\n",
        f"{machine}/test/b.wav": "",
    }
    archive = serve(server, f"records/{record}/files/eval_data_{machine}_test_r2.zip", members)
    described |= {"key": archive.name.split("/")[-1], "checksum": f"md5:{archive.md5}"}
    server.files[f"api/records/{record}"] = json.dumps({"files": [described]}).encode()
    Path(year, "eval_data", ".records", f"{record}.json").unlink()
    asked = len(server.ranges)
    bring(year, "--eval")
    assert len(server.ranges) == asked + 2, "the record and what is new"
    new = f"attributes_00_eval_data_{machine}_test_r2.csv"
    assert tree(folder) == [".complete", "attributes_00.csv", new, "test/b.wav", "train/a.wav"]
    assert (folder / "attributes_00.csv").read_text() == HEADER


def test_types_of_the_other_data_are_refused(capsys):
    with pytest.raises(UserError, match="bandsaw: no such machine type; known: bearing, fan"):
        download.main(["--dcase2023", "bandsaw"])
    with pytest.raises(UserError, match="fan: no such machine type; known: bandsaw, grinder"):
        download.main(["--dcase2023", "--eval", "fan"])
    with pytest.raises(SystemExit):
        download.main(["--dcase2020", "--eval"])
    assert "--eval goes with" in capsys.readouterr().err


def test_a_record_that_grows_is_asked_for_again(server):  # noqa: F811
    row, folder = rows.named("dcase2024"), Path("dcase2024/dev_data")
    both = [serve(server, f"dev_{m}.zip", clips(m, "train")) for m in ("fan", "bearing")]
    describe(server, DEV, both[0])
    records.archives(row, "dev", "fan", folder, server.url, 0)
    describe(server, DEV, *both)
    (found,) = records.archives(row, "dev", "bearing", folder, server.url, 0)
    assert found == both[1]


def test_the_row_of_2020_is_the_table_of_downloads():
    row = rows.named("dcase2020")
    tables = (download.DEV, download.EVAL_TRAIN, download.EVAL_TEST)
    for record, pattern, table in zip(row.records, row.archives, tables, strict=True):
        assert set(table) == set(row.dev) == set(row.evaluation)
        for machine, archive in table.items():
            name = f"{pattern.format(machine)}.zip"
            assert archive.name == name
            assert archive.url == f"https://zenodo.org/records/{record}/files/{name}"
