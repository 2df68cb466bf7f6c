"""Sound for a stream, a piece at a time: files of any length, the microphone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

from asd import wav
from asd.corpora import survey
from common import HERE, TOO_LOUD, Feature, UnusableClip, UserError

PIECE_BYTES = 2**20  # of a file, read at once
FULL_SCALE = 32768  # of int16
NEEDED = Path(__file__).with_name("requirements.txt").relative_to(HERE)


def check(path: Path, feature: Feature, least: int) -> int:
    """How many samples a recording has, which is whole, of the features' rate and channels.

    Parameters
    ----------
    least : samples, see `least_samples`

    Raises
    ------
    UnusableClip : it is not, or it is too short; with the remedy.
    """
    wav.check(path)
    if plain := _plain(path):
        form, where = plain
        survey.check_form(*form, feature)
        n_samples = where.held // (2 * form.channels)
    else:
        n_samples = survey.examine(path, feature)
    check_length(n_samples, least, feature)
    return n_samples


def check_length(n_samples: int, least: int, feature: Feature) -> None:
    """See that there are samples for a decision.

    Raises
    ------
    UnusableClip : there are not.
    """
    if n_samples < least:
        raise UnusableClip(
            f"too short: {n_samples / feature.sample_rate:.2f} s, the first decision needs "
            f"{least / feature.sample_rate:.2f} s; leave it out, or set stream.windows"
        )


def least_samples(feature: Feature, windows: int) -> int:
    """How many samples the first decision needs."""
    return (feature.frames - 1 + windows - 1) * feature.hop_length + feature.n_fft


def of_file(path: Path, feature: Feature) -> Iterator[np.ndarray]:
    """The samples of a recording, some at a time, (n,) int16; of the channel that is chosen.

    Those of more than 16 bits are rounded; floats have the full scale 1.

    Raises
    ------
    UnusableClip : it cannot be decoded, ends early, or its samples are no numbers or too loud.
    OSError : it cannot be read.
    """
    plain = _plain(path)
    pieces = _plain_pieces(path, *plain) if plain else _decoded_pieces(path)
    for piece in pieces:
        yield np.ascontiguousarray(piece[:, feature.channel or 0])


def _plain(path: Path) -> tuple[wav.Form, wav.Layout] | None:
    """Form and place of samples that need no decoding: they need no copy of a whole file either."""
    with path.open("rb") as file:
        where = wav.layout(file)
    form = wav.plain_form(where) if where else None
    return (form, where) if form else None


def _plain_pieces(path: Path, form: wav.Form, where: wav.Layout) -> Iterator[np.ndarray]:
    width = 2 * form.channels
    left = where.held // width * width
    with path.open("rb") as file:
        file.seek(where.start)
        while left:
            piece = file.read(min(PIECE_BYTES // width * width or width, left))
            if not piece or len(piece) % width:
                raise UnusableClip("ends early")
            left -= len(piece)
            yield np.frombuffer(piece, "<i2").reshape(-1, form.channels)


def _decoded_pieces(path: Path) -> Iterator[np.ndarray]:
    import soundfile

    try:
        with soundfile.SoundFile(wav.source(path)) as file:
            left = file.frames
            while left:
                piece = file.read(PIECE_BYTES // 4, "float32", always_2d=True)
                if not len(piece):
                    raise UnusableClip("ends early")
                left -= len(piece)
                yield _in_16_bits(piece)
    except soundfile.LibsndfileError as error:
        raise UnusableClip(f"cannot be decoded ({error.error_string.rstrip('.')})") from error


def _in_16_bits(samples: np.ndarray) -> np.ndarray:
    """Floats of full scale 1 as int16."""
    peak = float(np.abs(samples).max())
    if not np.isfinite(peak):
        raise UnusableClip("holds samples that are not numbers (NaN or infinite)")
    if peak > TOO_LOUD:
        raise UnusableClip(f"samples up to {peak:.6g}, full scale is 1; if they are integers of 16 "
                           "bits in a float file, divide them by 32768")  # fmt: skip
    limits = np.iinfo(np.int16)
    return np.clip(np.rint(samples * FULL_SCALE), limits.min, limits.max).astype(np.int16)


def of_microphone(
    feature: Feature, device: str | int | None, seconds: float | None
) -> Iterator[tuple[bool, np.ndarray]]:
    """What a microphone hears, a hop at a time, without an end or for so many seconds.

    Parameters
    ----------
    device : its number or a part of its name; None: the system's own

    Returns
    -------
    whether samples are missing before these, and (hop_length,) int16

    Raises
    ------
    UserError : sounddevice or its library is not installed, or there is no such microphone.
    UnusableClip : it gives no more.
    """
    sounddevice = _sounddevice()
    hop, channel = feature.hop_length, feature.channel or 0
    left = None if seconds is None else int(seconds * feature.sample_rate)
    heard = False
    try:
        with sounddevice.InputStream(
            samplerate=feature.sample_rate, channels=channel + 1, dtype="int16", blocksize=hop,
            device=device, latency="high",
        ) as stream:  # fmt: skip
            while left is None or left > 0:
                samples, overflowed = stream.read(hop if left is None else min(hop, left))
                left = None if left is None else left - len(samples)
                heard = True
                yield bool(overflowed), samples[:, channel].copy()
    except (sounddevice.PortAudioError, ValueError) as error:
        if heard:
            raise UnusableClip(f"microphone: {error}") from error
        raise UserError(f"microphone: {error}; `python -m sounddevice` lists what there "
                        "is, --device chooses")  from error  # fmt: skip


def _sounddevice() -> ModuleType:
    try:
        import sounddevice
    except ImportError as error:
        raise UserError("microphone: sounddevice is not installed; python -m pip install -r "
                        f"{NEEDED}") from error  # fmt: skip
    except OSError as error:  # what it calls
        raise UserError(f"microphone: sounddevice finds no PortAudio ({error}); install it, on "
                        "Debian libportaudio2") from error  # fmt: skip
    return sounddevice
