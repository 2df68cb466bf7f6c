"""Which clips there are and which of them can be used, as far as names and headers tell."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from asd.clips import BadClip, Clip, ClipSet, judge
from asd.corpora.dcase2020 import find_clips
from asd.files import Paths
from common import Feature, UserError


def survey(
    paths: Paths, machine_types: Sequence[str], split: str, skip_bad_clips: bool
) -> list[ClipSet]:
    """Find and check (name, header, length) the clips of some machine types.

    Raises
    ------
    UserError : a folder is missing or empty, or a clip cannot be used and is not to be skipped.
    """
    sets = []
    for machine_type in machine_types:
        folder = paths.clips(machine_type, split)
        found, bad = find_clips(folder, paths.mode, machine_type, split)
        if split == "train" and paths.cfg.training_ids == "tested":
            found = _of_tested_ids(paths, machine_type, found)
        clips = []
        for clip in found:
            if reason := check_clip(clip.path, paths.cfg.feature):
                bad.append(BadClip(clip.path, reason))
            else:
                clips.append(clip)
        sets.append(ClipSet(paths.mode, machine_type, split, folder, tuple(clips), tuple(bad)))
    judge(paths, sets, skip_bad_clips)
    return sets


def _of_tested_ids(paths: Paths, machine_type: str, clips: list[Clip]) -> list[Clip]:
    """The training clips of ids that have test clips; what is left out is said."""
    folder = paths.clips(machine_type, "test")
    tested = {clip.section for clip in find_clips(folder, paths.mode, machine_type, "test")[0]}
    kept = [clip for clip in clips if clip.section in tested]
    if left := len(clips) - len(kept):
        print(f"{machine_type}: {left} training clips left out, of ids without test clips "
              "(training_ids: tested)")  # fmt: skip
    if clips and not kept:
        raise UserError(
            f"{folder}: no test clip of any id that has training clips; set training_ids: all"
        )
    return kept


def check_clip(path: Path, feature: Feature) -> str | None:
    """What is wrong with a clip as far as its header tells, with the remedy; None if nothing."""
    import soundfile

    try:
        with path.open("rb") as file:
            riff_size = int.from_bytes(file.read(8)[4:], "little")  # bytes, without these 8
            size = file.seek(0, os.SEEK_END)  # bytes
    except OSError as error:
        return f"cannot be read ({error.strerror}); make it readable or remove it"
    if size == 0:
        return "the file is empty; replace it"
    try:
        info = soundfile.info(str(path))
    except soundfile.LibsndfileError as error:
        return f"not a readable wav file ({error.error_string.rstrip('.')}); replace it"
    if info.format not in ("WAV", "WAVEX"):
        return f"a {info.format} file, not wav; convert it to wav"
    if size < riff_size + 8 and riff_size != 0xFFFFFFFF:  # all ones: written as a stream
        return f"truncated: its header promises {riff_size + 8} bytes, it has {size}; replace it"
    if info.samplerate != feature.sample_rate:
        return (
            f"sample rate {info.samplerate} Hz, feature.sample_rate is {feature.sample_rate} Hz; "
            "resample the clip"
        )
    if feature.channel is None and info.channels != 1:
        return (
            f"{info.channels} channels, one is expected; choose one with feature.channel: "
            f"0 to {info.channels - 1}"
        )
    if feature.channel is not None and feature.channel >= info.channels:
        return f"no channel {feature.channel}, it has {info.channels}; change feature.channel"
    first, end = feature.kept_frames(info.frames)
    n_frames, needed = feature.all_frames(info.frames), max(end, first + feature.frames)
    if n_frames < needed:
        return (
            f"too short: {n_frames} frames ({info.frames} samples), {needed} frames are needed; "
            "remove the clip or change feature.central_frames"
        )
    return None
