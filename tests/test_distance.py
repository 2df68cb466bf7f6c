"""The Mahalanobis distance in C against Python's, on this machine and on boards."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from conftest import installed
from networks import int_dense, tflite

from asd.detectors.residuals import Kept, Mahalanobis
from asd.embedded import boards, codegen, distance, host
from asd.tflite import litert
from common import UserError

FRAMES, WIDTH = 4, 48
MELS = WIDTH // FRAMES
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
COUNTS = [7, 1, 12]  # windows of clips


def covariance(seed):
    mixed = np.random.default_rng(seed).normal(0, 4, (MELS, 3 * MELS))
    return mixed @ mixed.T / (3 * MELS)


BOTH = Mahalanobis(Kept(covariance(0), covariance(1)))
ALONE = Mahalanobis(Kept(covariance(0), None))


class Generated:
    """A small int8 model as C with its distance, windows, and what Python gives for them."""

    def __init__(self, folder, mahalanobis):
        rng = np.random.default_rng(2)
        narrow, wide = (rng.integers(-127, 128, size, np.int8) for size in ((6, WIDTH), (WIDTH, 6)))
        layers = [
            int_dense(narrow, np.zeros(6, np.int32), [0.01], True, (0.4, 5), (0.3, -128)),
            int_dense(wide, np.zeros(WIDTH, np.int32), [0.01], False, (0.3, -128), (0.4, 9)),
        ]
        content = tflite(layers)
        self.folder = folder / "model_c"
        codegen.write(content, self.folder)
        distance.write(mahalanobis, FRAMES, self.folder)
        self.values = rng.normal(0, 20, (sum(COUNTS), WIDTH)).astype(np.float32)
        (folder / "model.tflite").write_bytes(content)
        outputs = litert.predictor(folder / "model.tflite")(self.values)
        ends = np.cumsum(COUNTS)[:-1]
        self.clips = list(zip(np.split(self.values, ends), np.split(outputs, ends), strict=True))
        self.expected = np.array([mahalanobis(*clip) for clip in self.clips])


def scores_of(sums):
    return distance.scores(sums, COUNTS, FRAMES)


@pytest.fixture
def compiler():
    if host.compiler() is None:
        pytest.skip("no C compiler")


@pytest.mark.parametrize("mahalanobis", [BOTH, ALONE], ids=["both domains", "source alone"])
def test_the_host_gives_pythons_scores(compiler, tmp_path, mahalanobis):
    generated = Generated(tmp_path, mahalanobis)
    sums = distance.on_host(generated.folder, tmp_path, generated.values).sums
    assert scores_of(sums) == pytest.approx(generated.expected, rel=1e-5)
    both = [mahalanobis.distances(*clip) for clip in generated.clips]
    ends = np.cumsum(COUNTS)[:-1]
    of_clips = [part.sum(axis=0) / (len(part) * FRAMES) for part in np.split(sums, ends)]
    np.testing.assert_allclose(of_clips, both, rtol=1e-5)
    if mahalanobis is ALONE:
        np.testing.assert_array_equal(sums[:, 0], sums[:, 1])


@pytest.mark.parametrize("board", boards.all_boards(), ids=lambda board: board.name)
def test_boards_with_a_float_unit_give_pythons_scores(tmp_path, board):
    if not board.has_float_unit:
        pytest.skip(f"{board.name} has no float unit")
    installed(board)
    generated = Generated(tmp_path, BOTH)
    ran = distance.on_board(board, generated.folder, tmp_path, generated.values)
    assert scores_of(ran.sums) == pytest.approx(generated.expected, rel=1e-5)
    # A multiplication for every pair of bands, frame and domain.
    least = 2 * FRAMES * MELS * (MELS + 1) // 2
    assert least < ran.instructions < 20 * least


MAIN = """
#include "model_distance.h"
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
    float *values = malloc(MODEL_INPUTS * sizeof *values);
    float *residual = malloc(MODEL_INPUTS * sizeof *residual);
    int8_t *buffer = malloc(MODEL_INPUTS + MODEL_OUTPUTS);
    void *scratch = malloc(MODEL_SCRATCH_BYTES);
    model_distance sums = {0};
    printf("%.9g\\n", (double)model_distance_score(&sums));
    while (fread(values, sizeof *values, MODEL_INPUTS, stdin) == MODEL_INPUTS) {
        model_distance_add(&sums, values, residual, buffer, scratch);
    }
    printf("%.9g\\n", (double)model_distance_score(&sums));
    free(values);
    free(residual);
    free(buffer);
    free(scratch);
    return 0;
}
"""


def test_a_program_scores_a_clip_and_sanitizers_find_nothing(compiler, tmp_path):
    """Buffers of the sizes that the header names; the score of no window is 0."""
    generated = Generated(tmp_path, BOTH)
    (tmp_path / "main.c").write_text(MAIN)
    sanitize = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = [generated.folder / "model.c", generated.folder / "model_distance.c"]
    command = ["cc", *STRICT, *sanitize, f"-I{generated.folder}", "main.c", *sources, "-lm"]
    subprocess.run([*command, "-o", "main"], cwd=tmp_path, check=True)
    first = generated.values[: COUNTS[0]].tobytes()
    done = subprocess.run([tmp_path / "main"], input=first, capture_output=True, check=True)
    nothing, score = map(float, done.stdout.split())
    assert nothing == 0
    assert score == pytest.approx(generated.expected[0], rel=1e-5)


def test_an_old_distance_is_removed(tmp_path):
    """A model whose score is no distance any more has none in C."""
    assert len(distance.write(BOTH, FRAMES, tmp_path)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(distance.names())
    assert distance.write(None, FRAMES, tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_the_published_distance_has_no_c():
    assert distance.in_c(BOTH) is BOTH
    assert distance.in_c(Mahalanobis(Kept(covariance(0), None), published=True)) is None
    assert distance.in_c(lambda inputs, outputs: 0.0) is None


def test_a_nearly_singular_covariance_is_one_line():
    indefinite = np.eye(MELS)
    indefinite[0, 0] = -1e-12
    broken = Mahalanobis(Kept(covariance(0), None))
    broken.source = indefinite
    with pytest.raises(UserError, match="no inverse for C"):
        distance.generate(broken, FRAMES)
