"""The front end in C against CMSIS-DSP's chain, where that can be fetched."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import board_or_skip

from apps.benchmarks import frontend
from asd import config
from common import UserError


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """CMSIS-DSP's C."""
    try:
        return frontend.fetch(tmp_path_factory.mktemp("cmsis"))
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", frontend.BOARDS)
def test_a_frame_takes_fewer_instructions_than_with_cmsis_dsp(sources, tmp_path, name):
    board, feature = board_or_skip(name), config.load_config().feature
    kinds = frontend.sounds(feature, 0.5)
    samples = np.concatenate([kinds[kind][:4096] for kind in ("noise", "tone, -20 dB", "silence")])
    ours, theirs = frontend.compare(board, feature, sources, tmp_path, samples)
    assert ours.instructions <= frontend.MOST * theirs.instructions
    assert ours.code_bytes + ours.constant_bytes < theirs.code_bytes + theirs.constant_bytes
    assert ours.work_bytes < theirs.work_bytes
    # Both give levels, and not something else.
    distances = [frontend.far(ran.levels, samples, feature) for ran in (ours, theirs)]
    assert distances[0] < distances[1] < 0.2


def test_without_the_package_it_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(frontend, "PACKAGE", "no such package")
    with pytest.raises(UserError, match="no such package cannot be fetched: "):
        frontend.fetch(tmp_path)
