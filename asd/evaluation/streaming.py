"""What a stream of samples is judged by: 02_convert.py writes it into an int8 file's record.

The stream itself is asd.monitor in Python and what asd.embedded.stream generates in C. Its
thresholds, and how often they are wrong, are those of `stream_limits`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from asd import files, paths
from asd.config import MOST_DECISIONS, Config
from asd.evaluation import stream_limits
from asd.evaluation.serving import Heard
from asd.evaluation.stream_limits import Decisions
from asd.store import Store
from common import Feature, Positive, UserError, mel_frequencies

KEY = "stream"  # of the record
LEAST_ERROR = 2.0**-12  # dB^2, of a band that training clips never fill


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """Features, the rule and the thresholds of a stream."""

    feature: Feature
    windows: Positive  # a score is the mean over the last so many
    step: Positive  # hops between decisions
    k: Positive  # an alarm: at least k of the last n decisions are above the threshold
    n: Annotated[int, msgspec.Meta(ge=1, le=MOST_DECISIONS)]
    threshold: float  # dB^2, of scores of the int8 file
    release: float  # dB^2, instead of the threshold while there is an alarm
    level_db: tuple[float, float]  # least and largest level of the training clips
    band_errors: tuple[float, ...]  # (n_mels,) dB^2, above 0: of each band on the training clips
    share: float  # of the decisions on normal clips, below the threshold
    false_alarms: dict[str, float]  # see `stream_limits.false_alarms`
    score_median: float | None = None  # dB^2, of the decisions on the training clips
    way: str = ""  # how the threshold was found, in words
    moved: bool = False  # by the clips that validated


def decision_scores(errors: np.ndarray, windows: int, step: int) -> np.ndarray:
    """The scores that a stream decides on, (n_decisions,) float64: means of its last windows.

    Parameters
    ----------
    errors : (n_windows,) float64, dB^2
    windows, step : windows of a mean, and hops between decisions, the first as soon as there are
        so many
    """
    sums = np.concatenate([[0.0], np.cumsum(errors)])
    ends = np.arange(windows, len(sums), step)
    return (sums[ends] - sums[ends - windows]) / windows


def of(cfg: Config, found: Heard, unheard: Collection[int] = ()) -> Stream | None:
    """The part of an int8 file's record that a stream reads; None where clips are too short.

    Parameters
    ----------
    found : what the int8 file makes of the training clips
    unheard : positions of clips among them that the model was not trained on
    """
    how = cfg.stream
    windows = how.windows or min(len(one) for one in found.errors)
    long_enough = [i for i, one in enumerate(found.errors) if len(one) >= windows]
    if not long_enough:
        return None
    apart = set(unheard)
    decisions = Decisions(
        [decision_scores(found.errors[i], windows, how.step) for i in long_enough],
        [found.scores.clips[i] for i in long_enough],
        np.array([i in apart for i in long_enough]),
    )
    limits = stream_limits.of(how, decisions)
    levels = [_means(found.frame_levels[i], windows, cfg.feature.frames) for i in long_enough]
    k, n = how.alarm
    return Stream(
        feature=cfg.feature, windows=windows, step=how.step, k=k, n=n,
        threshold=limits.threshold, release=limits.release,
        level_db=(min(map(float, map(np.min, levels))), max(map(float, map(np.max, levels)))),
        band_errors=tuple(np.maximum(found.bands, LEAST_ERROR).tolist()),
        share=how.share,
        false_alarms=stream_limits.false_alarms(cfg, decisions),
        score_median=float(np.median(np.concatenate(decisions.scores))),
        way=limits.way, moved=limits.moved,
    )  # fmt: skip


def _means(levels: np.ndarray, windows: int, frames: int) -> np.ndarray:
    """Mean levels of so many windows' newest frames, at every hop."""
    return decision_scores(levels[frames - 1 :], windows, 1)


def unheard(model: Path, store: Store) -> list[int]:
    """The positions of the training clips that a model did not learn from, as they validated.

    None where that is not known: of a published model, or where other clips are there now.
    """
    record = paths.record_of(model)
    clips = files.read_mapping(record).get("clips") if record.is_file() else None
    if not isinstance(clips, dict) or clips.get("fingerprint") != store.fingerprint:
        return []
    trained, validated = clips.get("trained"), clips.get("validated")
    if not isinstance(trained, int) or trained + validated != len(store):
        return []
    return list(range(trained, len(store)))  # the last validate, see `asd.features.windows.split`


def band_hz(feature: Feature) -> np.ndarray:
    """The middles of the mel bands, (n_mels,) float64, Hz."""
    low, high = feature.mel_range_hz or (0, feature.sample_rate / 2)
    return mel_frequencies(feature.n_mels + 2, low, high, feature.mel_scale)[1:-1]


def read(path: Path) -> Stream:
    """What the record of an int8 TFLite file says of a stream.

    Raises
    ------
    UserError : there is no record, it says nothing of a stream, it is damaged or of another file.
    """
    record = paths.record_of(path)
    if not record.is_file():
        raise UserError(f"{record}: no such file; run 02_convert.py")
    values = files.read_mapping(record)
    told = values.get(KEY)
    if told is None:
        raise UserError(f"{record}: says nothing of a stream; run 02_convert.py, with training "
                        "clips and a reconstruction error as score")  # fmt: skip
    if values.get("sha256") not in (None, files.file_hash(path)):
        raise UserError(f"{path}: not the file {record.name} describes; run 02_convert.py again")
    try:
        stream = msgspec.convert(told, Stream)
        _check(stream)
    except (msgspec.ValidationError, ValueError) as error:
        raise UserError(f"{record}: damaged ({error}); run 02_convert.py again") from error
    return stream


def _check(stream: Stream) -> None:
    """See that its numbers fit together."""
    numbers = [stream.threshold, stream.release, *stream.level_db, *stream.band_errors]
    if not np.isfinite(numbers).all():
        raise ValueError("a value that is no number")
    if stream.k > stream.n or stream.release > stream.threshold:
        raise ValueError("k above n, or release above threshold")
    if len(stream.band_errors) != stream.feature.n_mels or min(stream.band_errors) <= 0:
        raise ValueError("band_errors are not one above 0 for each band")


def tell(path: Path, stream: Stream | None) -> str:
    """What was found for a stream, in a line."""
    if stream is None:
        return f"{path}: no clip is as long as stream.windows, so its record tells of no stream"
    found = stream.false_alarms
    new = found.get("unheard_clips", 0.0)
    apart = f"the {new:.0f} clips that it was not trained on"
    whose, more = "held-out clips that it was trained on", ""
    if found.get("held_out_unheard"):
        whose = f"{apart}, each held out,"
    elif new:
        more = (
            f"; {found['unheard_share']:.1%} on {apart} "
            f"({found['unheard_low']:.1%} - {found['unheard_high']:.1%})"
        )
    hint = ""
    if found["low"] > found["nominal"] and not stream.moved:
        hint = "; stream.threshold: validation raises it by as much as they score higher"
    return (
        f"{path}: as a stream {stream.threshold:.4g} dB^2 ({stream.way}); of the decisions "
        f"{found['nominal']:.1%} are to be above it, of those on {whose} {found['share']:.1%} are "
        f"({found['low']:.1%} - {found['high']:.1%}); {stream.k} of {stream.n} make "
        f"{found['alarms_an_hour']:.3g} alarms an hour "
        f"({found['alarms_an_hour_low']:.3g} - {found['alarms_an_hour_high']:.3g}){more}{hint}"
    )
