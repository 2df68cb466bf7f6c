"""Wav files as recorders, editors and pipes write them."""

import io
import struct

import numpy as np
import pytest

import common
from asd import config, wav
from asd.corpora import survey
from common import UnusableClip

FEATURE = config.load_config().feature
SAMPLES = (3000 * np.random.default_rng(0).standard_normal(130001)).astype(np.int16)
MANY, ALL_ONES = 0x7FFFF000, 0xFFFFFFFF


def recording(
    riff=None, data=None, before=b"", after=b"", samples=SAMPLES, name=b"RIFF", order="<"
):
    """A mono wav of 16 bits, with what its header says chosen; None: what is right."""
    content = samples.astype(f"{order}i2").tobytes()
    form = struct.pack(f"{order}HHIIHH", 1, 1, 16000, 32000, 2, 16)
    size = struct.pack(f"{order}I", len(content) if data is None else data)
    body = b"WAVE" + before + chunk(b"fmt ", form, order) + b"data" + size + content + after
    return name + struct.pack(f"{order}I", len(body) if riff is None else riff) + body


def chunk(name, content, order="<", pad=b""):
    return name + struct.pack(f"{order}I", len(content)) + content + pad


WHOLE = len(recording())
LONG = chunk(b"ds64", struct.pack("<QQQI", WHOLE + 28, 2 * len(SAMPLES), len(SAMPLES), 0))
UNKNOWN = chunk(b"ds64", struct.pack("<QQQI", 0, 2**64 - 1, 0, 0))
ODD = (b"LIST", b"INFOx")
READ = {
    "as it should be": recording(),
    "RIFF size is the file's": recording(riff=WHOLE),
    "RIFF size 8 too large": recording(riff=WHOLE + 8),
    "RIFF size arbitrary": recording(riff=123_456_789),
    "RIFF size 0": recording(riff=0),
    "SoX into a pipe": recording(riff=MANY + 36, data=MANY),
    "SoX, RIFF size 0x7ffff024 and data size of it": recording(riff=0x7FFFF024, data=0x7FFFF024),
    "0x80000000": recording(riff=0x80000024, data=0x80000000),
    "a little below all ones": recording(riff=ALL_ONES - 8, data=ALL_ONES - 44),
    "all ones": recording(riff=ALL_ONES, data=ALL_ONES),
    "data size 0 with samples behind": recording(riff=36, data=0),
    "both sizes 0": recording(riff=0, data=0),
    "a chunk of odd length without pad": recording(before=chunk(*ODD)),
    "a chunk of odd length with pad": recording(before=chunk(*ODD, pad=b"\0")),
    "two of odd length, one with pad": recording(
        before=chunk(*ODD) + chunk(b"cue ", b"abc", pad=b"\0")
    ),
    "chunks behind": recording(after=chunk(b"LIST", b"abcd")),
    "RIFX": recording(name=b"RIFX", order=">"),
    "RIFX, data size 0": recording(name=b"RIFX", order=">", data=0),
    "RF64": recording(ALL_ONES, ALL_ONES, before=LONG, name=b"RF64"),
    "RF64 of a stream": recording(ALL_ONES, ALL_ONES, before=UNKNOWN, name=b"RF64"),
}


def written(tmp_path, content):
    path = tmp_path / "normal_id_01_00000000.wav"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("what", READ)
def test_whole_recordings_are_read(tmp_path, what):
    path = written(tmp_path, READ[what])
    assert survey.examine(path, FEATURE) == len(SAMPLES)
    samples, level = common.read_clip(wav.opened(path)[0], FEATURE)
    first = 50 * 512 - 512
    np.testing.assert_array_equal(samples * 32768, SAMPLES[first : first + len(samples)])
    assert level == (0, 0)


TRUNCATED = "truncated: its header promises 260002 bytes of samples, {} are there; replace it"


@pytest.mark.parametrize("name", ["RIFF", "RIFX", "RF64"])
@pytest.mark.parametrize("left", [260000, 200000, 2])
def test_truncated_recordings_are_named(tmp_path, name, left):
    content = {
        "RIFF": recording(riff=100),
        "RIFX": recording(name=b"RIFX", order=">"),
        "RF64": READ["RF64"],
    }[name]
    path = written(tmp_path, content[: len(content) - 2 * len(SAMPLES) + left])
    with pytest.raises(UnusableClip) as caught:
        survey.examine(path, FEATURE)
    assert str(caught.value) == TRUNCATED.format(left)


@pytest.mark.parametrize("after", [b"", chunk(b"LIST", b"abcd"), chunk(b"id3 ", b"abc", pad=b"\0")])
def test_a_recording_without_samples_is_named_as_such(tmp_path, after):
    path = written(tmp_path, recording(samples=SAMPLES[:0], after=after))
    with pytest.raises(UnusableClip, match="its data chunk is empty"):
        survey.examine(path, FEATURE)


# Those that libsndfile says it cannot seek in are GSM610 and the last two.
@pytest.mark.parametrize("subtype", ["PCM_U8", "MS_ADPCM", "GSM610", "G721_32", "NMS_ADPCM_32"])
def test_every_encoding_is_read_from_its_start(tmp_path, subtype):
    import soundfile

    path = tmp_path / "normal_id_01_00000000.wav"
    soundfile.write(path, SAMPLES / 32768, 16000, subtype=subtype)
    everything, _ = soundfile.read(path, dtype="float32")
    survey.examine(path, FEATURE)
    samples, _ = common.read_clip(wav.opened(path)[0], FEATURE)
    first = 50 * 512 - 512
    np.testing.assert_array_equal(samples, everything[first : first + len(samples)])


def test_long_files_are_read_block_by_block(tmp_path, monkeypatch):
    path = written(tmp_path, recording())
    short = common.read_clip(*wav.opened(path)[:1], FEATURE), wav.opened(path)[1]
    monkeypatch.setattr(common, "READ_TOGETHER", 5000)
    monkeypatch.setattr(wav, "IN_MEMORY_BYTES", 1000)
    source, identity = wav.opened(path)
    assert not isinstance(source, io.BytesIO)
    samples, level = common.read_clip(source, FEATURE)
    np.testing.assert_array_equal(samples, short[0][0])
    assert (level, identity) == (short[0][1], short[1])


def test_a_header_that_promises_more_than_any_encoding_holds(tmp_path):
    import soundfile

    path = tmp_path / "normal_id_01_00000000.wav"
    soundfile.write(path, SAMPLES / 32768, 16000, subtype="IMA_ADPCM")
    content = bytearray(path.read_bytes())
    at = content.index(b"fmt ") + 8
    struct.pack_into("<H", content, at + 18, 65535)  # samples of a block
    path.write_bytes(content)
    with pytest.raises(UnusableClip, match=r"promises|not a readable"):
        survey.examine(path, FEATURE)


def test_a_file_that_is_read_in_parts_is_read_whole(tmp_path):
    path = written(tmp_path, recording())

    class Parts(io.BytesIO):
        def readinto(self, memory):
            return super().readinto(memory[:1000])

    content = path.read_bytes()
    assert bytes(wav._read(Parts(content), len(content))) == content
    with pytest.raises(UnusableClip, match="changed while it was read"):
        wav._read(Parts(content[:-1]), len(content))
