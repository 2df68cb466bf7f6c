"""Which clips there are and which of them can be used, as far as names and headers tell."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asd import wav
from asd.clips import BadClip, Clip, ClipSet, judge
from asd.corpora.find import find_clips
from asd.paths import Paths
from common import Feature, UnusableClip, UserError, mel_filters

MOST_SAMPLES_A_BYTE = 64  # no compression of libsndfile's reaches that


def survey(
    paths: Paths, machine_types: Sequence[str], split: str, skip_bad_clips: bool
) -> list[ClipSet]:
    """Find and check (name, header, length) the clips of some machine types.

    Raises
    ------
    UserError : a folder is missing or empty, or a clip cannot be used and is not to be skipped.
    """
    sets = []
    _tell_empty_bands(paths.cfg.feature)
    for machine_type in machine_types:
        folders, found, bad = find_clips(paths, machine_type, split)
        if split == "train" and paths.cfg.training_ids == "tested":
            found = _of_tested_ids(paths, machine_type, found)
        clips = []
        for clip in found:
            try:
                n_samples = examine(clip.path, paths.cfg.feature)
                clips.append(dataclasses.replace(clip, n_samples=n_samples))
            except UnusableClip as error:
                bad.append(BadClip(clip.path, str(error)))
        all_clips = tuple(clips), tuple(bad)
        sets.append(ClipSet(paths.mode, machine_type, split, tuple(folders), *all_clips))
    judge(paths, sets, skip_bad_clips)
    return sets


@functools.cache
def _tell_empty_bands(feature: Feature) -> None:
    """Say, once, how many mel bands are so narrow that no bin of the spectrum is in them."""
    filters = mel_filters(feature)
    if empty := feature.n_mels - np.count_nonzero(filters.any(axis=1)):
        print(f"warning: {empty} of {feature.n_mels} mel bands are between the bins of the "
              f"spectrum and always empty; fewer feature.n_mels or a longer feature.n_fft "
              "would mend that")  # fmt: skip


def _of_tested_ids(paths: Paths, machine_type: str, clips: list[Clip]) -> list[Clip]:
    """The training clips of ids that have test clips; what is left out is said."""
    folder = paths.clips(machine_type, "test")
    tested = {clip.section for clip in find_clips(paths, machine_type, "test")[1]}
    kept = [clip for clip in clips if clip.section in tested]
    if left := len(clips) - len(kept):
        print(f"{machine_type}: {left} training clips left out, of ids without test clips "
              "(training_ids: tested)")  # fmt: skip
    if clips and not kept:
        raise UserError(
            f"{folder}: no test clip of any id that has training clips; set training_ids: all"
        )
    return kept


def examine(path: Path, feature: Feature) -> int:
    """The length of a clip in samples, as far as its header tells.

    Raises
    ------
    UnusableClip : with the remedy; as far as the header tells, too.
    """
    import soundfile

    wav.check(path)
    try:
        info = soundfile.info(wav.source(path))
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".") or "of no format that libsndfile knows"
        raise UnusableClip(f"not a readable wav file ({reason}); replace it") from error
    if info.format not in ("WAV", "WAVEX", "RF64"):
        raise UnusableClip(f"a {info.format} file, not wav; convert it to wav")
    if info.frames > MOST_SAMPLES_A_BYTE * path.stat().st_size:
        raise UnusableClip(f"its header promises {info.frames} samples, it holds less; replace it")
    check_form(info.samplerate, info.channels, feature)
    _check_length(info.frames, feature)
    return info.frames


def check_form(sample_rate: int, channels: int, feature: Feature) -> None:
    """See that a recording's rate and channels are those of the features.

    Raises
    ------
    UnusableClip : with the remedy.
    """
    if sample_rate != feature.sample_rate:
        raise UnusableClip(
            f"sample rate {sample_rate} Hz, feature.sample_rate is {feature.sample_rate} Hz; "
            "resample the clip"
        )
    if feature.channel is None and channels != 1:
        raise UnusableClip(
            f"{channels} channels, one is expected; choose one with feature.channel: "
            f"0 to {channels - 1}"
        )
    if feature.channel is not None and feature.channel >= channels:
        raise UnusableClip(
            f"no channel {feature.channel}, it has {channels}; change feature.channel"
        )


def _check_length(n_samples: int, feature: Feature) -> None:
    first, end = feature.kept_frames(n_samples)
    n_frames, needed = feature.all_frames(n_samples), max(end, first + feature.frames)
    if n_frames < needed:
        raise UnusableClip(
            f"too short: {n_frames} frames ({n_samples} samples), {needed} frames are needed; "
            "remove the clip or change feature.central_frames"
        )
