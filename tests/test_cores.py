"""What is particular to a core: its kernel's roundings and cost."""

import numpy as np
import pytest
from conftest import board_or_skip
from networks import int_dense
from networks import tflite as network_file
from test_codegen import host, inputs_of

from asd.embedded import boards

EXTREMES = [2.0**-45, 2.0**-32, 2.0**-31, 2.0**-30, 1e-3, 2.0**-9, 0.25, 0.5, 1.0, 3.7, 100.0]


@pytest.mark.parametrize("per_channel", [True, False])
def test_two_roundings_in_vectors_equal_those_of_integers(tmp_path, per_channel):
    """Factors that shift to the left, not at all, or by all of 31 bits; ties; ends of 32 bits."""
    row = board_or_skip("mps3-an547")
    rng = np.random.default_rng(0)
    for i, factor in enumerate([1.0] if per_channel else EXTREMES):
        n = 2 * len(EXTREMES) + 1  # rows that are no multiple of 4
        scales = np.float32((EXTREMES * 3)[:n] if per_channel else [factor])
        biases = rng.integers(-(2**30), 2**30, n, np.int32) >> rng.integers(0, 30, n, np.int32)
        weights = rng.integers(-127, 128, (n, 3), np.int8)
        layer = int_dense(weights, biases, scales, False, (1.0, 0), (1.0, 5))
        content, folder = network_file([layer]), tmp_path / f"{i}"
        x = inputs_of(content, 100)
        expected = host(content, folder, "double")(x)
        assert np.array_equal(boards.run(row, folder, x, folder).outputs, expected), factor


def test_ad01_in_two_roundings_on_an_m55(real, tmp_path):
    content = (real / "reference/ad01_int8.tflite").read_bytes()
    x = np.random.default_rng(0).integers(-128, 128, (3, 640), np.int8)
    expected = host(content, tmp_path, "double")(x)
    ran = boards.run(board_or_skip("mps3-an547"), tmp_path, x, tmp_path)
    assert np.array_equal(ran.outputs, expected)
    assert ran.instructions <= 55_500
