"""Wavs with random damage: each is read to the end that it promises, or refused in one line.

.venv/bin/python -m tests.fuzz_wavs --size 4000
"""

from __future__ import annotations

import functools
import io
from pathlib import Path

import msgspec
import numpy as np
import soundfile

from asd import config
from asd.corpora import survey
from asd.detectors import kinds
from common import UnusableClip
from tests import fuzz

SUBTYPES = ("PCM_16", "PCM_16", "PCM_16", "PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "IMA_ADPCM",
            "MS_ADPCM", "GSM610", "ULAW", "NMS_ADPCM_32")  # fmt: skip
HEADER_BYTES = 80


@functools.cache
def whole(subtype: str, kind: str) -> bytes:
    """Half a second of noise."""
    samples = 0.1 * np.random.default_rng(0).standard_normal(8000)
    result = io.BytesIO()
    soundfile.write(result, samples, 16000, subtype=subtype, format=kind)
    return result.getvalue()


def attempt(rng: np.random.Generator, folder: Path) -> str:
    """Read a damaged wav as the scripts do; most damage is in its header."""
    subtype, kind = str(rng.choice(SUBTYPES)), str(rng.choice(["WAV", "WAVEX", "RF64"]))
    content = whole(subtype, kind if soundfile.check_format(kind, subtype) else "WAV")
    if rng.random() < 0.7:
        content = fuzz.mutated(content[:HEADER_BYTES], rng) + content[HEADER_BYTES:]
    else:
        content = fuzz.mutated(content, rng)
    path = folder / "normal_id_01_00000000.wav"
    path.write_bytes(content)
    cfg = config.load_config()
    feature = msgspec.structs.replace(cfg.feature, central_frames=None)
    rows = kinds.of(msgspec.structs.replace(cfg, feature=feature)).rows
    try:
        with fuzz.bounded():
            n_samples = survey.examine(path, feature)
            frames = rows.of(path).rows
    except UnusableClip as error:
        line = str(error)
        assert line and len(line.splitlines()) == 1 and len(line) < 300, line
        return "refused"
    assert len(frames) == feature.all_frames(n_samples)
    assert np.isfinite(frames).all()
    return "read"


if __name__ == "__main__":
    fuzz.main(__doc__, attempt)
