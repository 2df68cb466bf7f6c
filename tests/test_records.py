"""Archives of a year, found in Zenodo's records on a server of this machine."""

import hashlib
import json
from pathlib import Path

import pytest
from test_download import serve, server, tree  # noqa: F401 - a fixture

from asd import files
from asd.corpora import checksums, download, records, rows
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
