"""A killed script leaves nothing that the next run does not mend; `tests.kills` tries many more."""

import numpy as np
import pytest

from tests import kills


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return kills.Stages(tmp_path_factory.mktemp("stages"))


# The renames of 00_train.py: the store and its index, the scores of the training clips, the history
# as CSV and picture, the record, the model. Of 02_convert.py the second is that of the first TFLite
# file, after its record's. What a killed run has finished the next has not to rename.
@pytest.mark.parametrize(
    ("name", "moments"),
    [
        ("00_train.py", [(1, "after"), (3, "after"), (4, "before"), (4, "after"), (5, "after")]),
        ("02_convert.py", [(4, "before")]),
    ],
)
def test_kills_at_renames_change_no_result(stages, name, moments):
    """Each next run is killed, too, and the last is not."""
    assert kills.at_renames(stages, name, moments), "one has fewer renames"


def test_a_kill_at_a_random_moment_changes_no_result(stages):
    kills.at_random(stages, np.random.default_rng(5))
