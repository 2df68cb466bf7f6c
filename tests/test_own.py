"""One's own recordings: from a list, or by the names of folders."""

import pytest
from conftest import call, write_clip, write_config
from test_corpora import FROZEN, paths_of, touch

from asd import files
from asd.corpora import find, own
from common import UserError


def write_list(folder, *lines):
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(["file,machine_type,split,section,domain,label,attributes", *lines]) + "\n"
    (folder / own.LIST).write_text(text)
    return paths_of(folder, "folder")


def test_a_list_tells_all(tmp_path):
    touch(tmp_path / "day 1", "a.wav", "b.wav", "c.wav")
    paths = write_list(tmp_path, "day 1/b.wav,saw,test,2,target,anomaly,blade_3",
                       "day 1/c.wav,saw,test,,,0,", "day 1/a.wav,saw,train,2,source,,")  # fmt: skip
    assert find.find_machine_types(paths) == ["saw"]
    places, train, bad = find.find_clips(paths, "saw", "train")
    assert (places, bad) == ([tmp_path / "day 1"], [])
    assert [(c.path.name, c.section, c.domain, c.label) for c in train] == [
        ("a.wav", "2", "source", 0)
    ]
    _, test, _ = find.find_clips(paths, "saw", "test")
    assert [(c.path.name, c.section, c.domain, c.label, c.attributes) for c in test] == [
        ("c.wav", "00", None, 0, ""),
        ("b.wav", "2", "target", 1, "blade_3"),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no column file"),
        ("file,split\n", "no column machine_type"),
        ("file,machine_type,split,lable\n", "no column is called 'lable'"),
        ("file,machine_type,split,file\n", "one column stands there twice"),
        ("file,machine_type,split\na.wav,saw\n", "line 2: 2 fields, the header has 3"),
        ("file,machine_type,split\na.wav,saw,training\n", "line 2: 'training' is no split"),
        ("file,machine_type,split\na.wav,,train\n", "line 2: no machine_type"),
        ("file,machine_type,split\na.wav,../saw,train\n", r"line 2: '\.\./saw' is no machine_type"),
        ("file,machine_type,split,section\na.wav,saw,train,a/b\n", "line 2: 'a/b' is no section"),
        ("file,machine_type,split,domain\na.wav,saw,train,home\n", "line 2: 'home' is no domain"),
        ("file,machine_type,split,label\na.wav,saw,test,bad\n", "line 2: 'bad' is no label"),
        (
            "file,machine_type,split,label\na.wav,saw,test,normal\n./a.wav,saw,test,anomaly\n",
            "line 3: 'a.wav' stands there twice; remove one",
        ),
        ("file,machine_type,split\na.wav,saw,train\na.wav,saw,test\n", "line 3: 'a.wav' stands"),
        ("\udc80", "not a list of clips"),
    ],
)
def test_a_list_that_is_none(tmp_path, text, why):
    (tmp_path / own.LIST).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=why) as caught:
        find.find_machine_types(paths_of(tmp_path, "folder"))
    assert str(tmp_path / own.LIST) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_that_cannot_be_used_are_bad_clips(tmp_path):
    touch(tmp_path, "a.wav", "b.wav")
    paths = write_list(tmp_path, "gone.wav,saw,train,,,,", "a.wav,saw,train,,,anomaly,",
                       "b.wav,saw,test,,,,")  # fmt: skip
    clips, bad = find.find_clips(paths, "saw", "train")[1:]
    assert not clips
    assert [(one.path.name, one.reason.partition(",")[0]) for one in bad] == [
        ("gone.wav", "clips.csv names it"), ("a.wav", "told anomalous"),
    ]  # fmt: skip
    (bad,) = find.find_clips(paths, "saw", "test")[2]
    assert "neither normal nor anomaly" in bad.reason
    (clip,) = find.find_clips(paths_of(tmp_path, "folder", "eval"), "saw", "test")[1]
    assert clip.label is None, "evaluation clips need none"


def test_folders_tell_all(tmp_path):
    touch(tmp_path / "fan/train", "a.wav", ".hidden.wav", "notes.txt")
    touch(tmp_path / "fan/section_01/target/test/normal", "c.wav")
    touch(tmp_path / "fan/test/abnormal/monday", "b.WAV")
    touch(tmp_path / "pictures", "a.png")
    touch(tmp_path / ".trash/train", "a.wav")
    paths = paths_of(tmp_path, "folder")
    assert find.find_machine_types(paths) == ["fan"]
    assert [find.has_clips(paths, "fan", split) for split in ("train", "test")] == [True, True]
    (clip,) = find.find_clips(paths, "fan", "train")[1]
    assert (clip.path.name, clip.section, clip.label) == ("a.wav", "00", 0)
    assert [(c.path.name, c.section, c.domain, c.label)
            for c in find.find_clips(paths, "fan", "test")[1]] == [
        ("b.WAV", "00", None, 1), ("c.wav", "01", "target", 0),
    ]  # fmt: skip


def test_folders_that_tell_too_little_or_two_things(tmp_path):
    paths = paths_of(tmp_path, "folder")
    touch(tmp_path / "fan/monday", "a.wav")
    (bad,) = find.find_clips(paths, "fan", "train")[2]
    assert "no folder train or test above it" in bad.reason
    with pytest.raises(UserError, match="no train clip of pump"):
        find.find_clips(paths, "pump", "train")
    touch(tmp_path / "fan/train/test", "a.wav")
    with pytest.raises(UserError, match="its folders say train and test; move it"):
        find.find_clips(paths, "fan", "train")


def test_two_clips_of_one_name_are_refused(tmp_path):
    for label in ("normal", "anomaly"):
        touch(tmp_path / "fan/test" / label, "0001.wav")
    with pytest.raises(UserError, match=r"anomaly/0001.wav and .*normal/0001.wav: two clips of"):
        find.find_clips(paths_of(tmp_path, "folder"), "fan", "test")


def test_skipped_training_clips_stay_listed_where_test_clips_share_their_folder(tmp_path):
    for i in range(4):
        write_clip(tmp_path / f"dev_data/{i}.wav", i)
    write_list(tmp_path / "dev_data", "0.wav,saw,train,,,,", "1.wav,saw,train,,,,",
               "2.wav,saw,test,,,normal,", "3.wav,saw,test,,,anomaly,")  # fmt: skip
    (tmp_path / "dev_data/1.wav").write_bytes(b"")
    cfg = write_config(tmp_path, corpus="folder", detector=FROZEN)
    for script in ("00_train.py", "01_test.py"):
        assert call(script, "-d", "--skip-bad-clips", "-c", cfg) == 0
        skipped = files.read_csv(tmp_path / "result/skipped.csv")
        assert [row[0] for row in skipped[1:]] == [str(tmp_path / "dev_data/1.wav")]


def test_machine_types_are_checked(tmp_path):
    with pytest.raises(UserError, match="no such folder of recordings"):
        find.find_machine_types(paths_of(tmp_path / "nowhere", "folder"))
    with pytest.raises(UserError, match=r"no machine type in it: no clips\.csv"):
        find.find_machine_types(paths_of(tmp_path, "folder"))
    for name in ("fan", "fan_quant"):
        touch(tmp_path / name / "train", "a.wav")
    paths = paths_of(tmp_path, "folder")
    with pytest.raises(UserError, match="no machine type pump; found: fan, fan_quant"):
        find.find_machine_types(paths, ["pump"])
    with pytest.raises(UserError, match="files of fan_quant would have the names"):
        find.find_machine_types(paths)


def test_lists_of_labels_are_not_for_own_recordings(tmp_path):
    touch(tmp_path / "fan/test", "a.wav")
    paths = paths_of(tmp_path, "folder", "eval", evaluation_labels="list.csv")
    with pytest.raises(UserError, match=r"evaluation_labels: list\.csv is for the years of DCASE"):
        find.find_clips(paths, "fan", "test")


def test_the_scripts_take_own_recordings(tmp_path):
    dev = tmp_path / "dev_data"
    lines = []
    for i in range(4):
        write_clip(dev / f"saw{i}.wav", i)
        lines.append(f"saw{i}.wav,saw,train,,,,")
    for i, label in enumerate(("normal", "normal", "anomaly", "anomaly")):
        write_clip(dev / f"try{i}.wav", 10 + i, 0.2 * (i > 1))
        lines.append(f"try{i}.wav,saw,test,A,,{label},")
    write_list(dev, *lines)
    cfg = write_config(tmp_path, corpus="folder")
    for script in ("00_train.py", "01_test.py"):
        assert call(script, "-d", "-c", cfg) == 0
    scores = files.read_csv(tmp_path / "result/anomaly_score_saw_id_A.csv")
    assert [name for name, _ in scores] == [f"try{i}.wav" for i in range(4)]
