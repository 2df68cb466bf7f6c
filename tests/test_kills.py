"""A killed script leaves nothing that the next run does not mend; `tests.kills` tries many more."""

import numpy as np
import pytest

from tests import kills


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return kills.Stages(tmp_path_factory.mktemp("stages"))


# The renames of 00_train.py: the store and its index, the scores of the training clips, the history
# as CSV and picture, the record, the model. Of 02_convert.py the second is that of the first TFLite
# file, after its record's.
@pytest.mark.parametrize(
    ("name", "number", "when"),
    [
        ("00_train.py", 1, "after"),
        ("00_train.py", 3, "after"),
        ("00_train.py", 6, "before"),
        ("00_train.py", 6, "after"),
        ("00_train.py", 7, "after"),
        ("02_convert.py", 4, "before"),
    ],
)
def test_a_kill_at_a_rename_changes_no_result(stages, name, number, when):
    assert kills.at_rename(stages, name, number, when), "it has fewer renames"


def test_a_kill_at_a_random_moment_changes_no_result(stages):
    for number in range(2):
        kills.at_random(stages, np.random.default_rng([5, number]))
