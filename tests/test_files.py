"""Files that appear only when whole, and their names."""

import numpy as np
import pytest

from asd import files
from common import UserError


def test_a_file_appears_only_when_whole(tmp_path):
    path = tmp_path / "new" / "file.csv"
    with pytest.raises(RuntimeError), files.whole_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []
    path.write_text("before")
    with pytest.raises(TypeError):
        files.write_csv(path, [("a", 1), None])
    assert path.read_text() == "before"
    files.write_csv(path, [("a", np.float64(0.1)), ("b", 1 / 3)])
    assert path.read_bytes() == b"a,0.1\nb,0.3333333333333333\n"
    assert [p.name for p in path.parent.iterdir()] == ["file.csv"]


def test_damaged_json_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json: damaged"):
        files.read_json(tmp_path / "a.json")
