"""A few random damages of each kind of file; each module tries as many as its command is told."""

import pytest

from tests import fuzz, fuzz_tflite, fuzz_wavs


@pytest.mark.parametrize("of", [fuzz_wavs, fuzz_tflite], ids=["wavs", "tflite"])
def test_damaged_files_are_read_or_refused(of):
    outcomes = fuzz.tried(of.attempt, 150)
    assert outcomes["refused"] > 20
    assert outcomes["read"] > 5
