"""What a stream of samples is judged by: 02_convert.py writes it into an int8 file's record.

The stream itself is asd.monitor in Python and what asd.embedded.stream generates in C. The
threshold is the quantile of the decisions' own scores on the training clips, whatever
`decision.threshold` says of clips: there are twenty times as many of them, and a gamma
distribution fitted to them follows neither their bulk nor their tail where clips differ more than
the decisions on one (real slider clips, four of five folds against the fifth: 5.3 and 2.0 % above
the gamma point that 10 and 1 % were to be above, 10.5 and 1.8 % above the quantile).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from asd import files, paths
from asd.config import MOST_DECISIONS, Config, Streaming
from asd.evaluation import intervals, thresholds
from asd.evaluation.serving import Heard
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
    share: float  # of the decisions on the training clips, below the threshold
    false_alarms: dict[str, float]  # see `false_alarms`
    score_median: float | None = None  # dB^2, of the decisions on the training clips


class Alarm:
    """The rule of a stream: k of the last n decisions above, with hysteresis.

    Parameters
    ----------
    k, n : an alarm is on where at least k of the last n decisions are above
    threshold, release : that scores are held against while there is none, and while there is one;
        in any unit that the scores have
    """

    def __init__(self, k: int, n: int, threshold: float, release: float) -> None:
        self.k, self.n, self.threshold, self.release = k, n, threshold, release
        self.on, self._last = False, 0  # the last decisions, the newest as bit 0

    def decide(self, score: float) -> bool:
        """Whether the next score is above; the alarm is in `on` then."""
        above = bool(score > (self.release if self.on else self.threshold))
        self._last = (self._last << 1 | above) & ((1 << self.n) - 1)
        self.on = self._last.bit_count() >= self.k
        return above

    def forget(self) -> None:
        """Start the decisions anew, after a gap; the alarm stays until the next."""
        self._last = 0


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
    scores = [decision_scores(found.errors[i], windows, how.step) for i in long_enough]
    every = np.concatenate(scores)
    threshold, release = _limits(every, how.share, how.release)
    levels = [_means(found.frame_levels[i], windows, cfg.feature.frames) for i in long_enough]
    k, n = how.alarm
    rates = false_alarms(
        cfg, scores, thresholds.folds([found.scores.clips[i] for i in long_enough])
    )
    apart = np.isin(long_enough, list(unheard))
    return Stream(
        feature=cfg.feature, windows=windows, step=how.step, k=k, n=n,
        threshold=threshold, release=release,
        level_db=(min(map(float, map(np.min, levels))), max(map(float, map(np.max, levels)))),
        band_errors=tuple(np.maximum(found.bands, LEAST_ERROR).tolist()),
        share=how.share,
        false_alarms=rates | of_unheard(how, scores, apart),
        score_median=float(np.median(every)),
    )  # fmt: skip


def _limits(scores: np.ndarray, share: float, release: float) -> tuple[float, float]:
    """Threshold and release point of decisions' scores; the second is never above the first."""
    threshold = thresholds.threshold(scores, "empirical", share).value
    mean = float(scores.mean())
    return threshold, min(mean + release * (threshold - mean), threshold)


def _means(levels: np.ndarray, windows: int, frames: int) -> np.ndarray:
    """Mean levels of so many windows' newest frames, at every hop."""
    return decision_scores(levels[frames - 1 :], windows, 1)


def false_alarms(cfg: Config, scores: Sequence[np.ndarray], fold: np.ndarray) -> dict[str, float]:
    """How often a stream's threshold and rule are wrong about clips that they have not seen.

    Each fold's clips are held against threshold and release point of the other folds, each clip as
    a stream of its own. The decisions on a clip are alike, so both intervals are by clips: that of
    a clustered share, and that of the share of clips on which an alarm begins. An hour is one of
    decisions: the time that a stream needs for its first one is not counted.

    Parameters
    ----------
    scores : for each clip those of its decisions
    fold : (n_clips,) int64, the fold that it is held out in

    Returns
    -------
    nominal : 1 - share
    share, low, high : of decisions on held-out clips above the threshold, and its 95 % interval
    decisions, clips : how many there are
    alarms_an_hour, alarms_an_hour_low, alarms_an_hour_high : that begin, by k of n
    hours : of the held-out clips' decisions
    """
    how = cfg.stream
    limits = {}
    for one in set(fold.tolist()):
        others = [own for own, other in zip(scores, fold, strict=True) if other != one]
        limits[one] = _limits(np.concatenate(others or list(scores)), how.share, how.release)
    own_limits = [limits[one] for one in fold.tolist()]
    pairs = list(zip(scores, own_limits, strict=True))
    hits = np.array([(own > limit).sum() for own, (limit, _) in pairs])
    begun = np.array([begins(own, Alarm(*how.alarm, *both)) for own, both in pairs])
    counts = np.array([len(one) for one in scores])
    low, high = intervals.of_clustered_share(hits, counts)
    clips, decisions = len(scores), int(counts.sum())
    hours = decisions * how.step * cfg.feature.hop_length / cfg.feature.sample_rate / 3600
    with_alarm = intervals.of_share(int((begun > 0).sum()), clips)
    return {
        "nominal": round(1 - how.share, 12), "share": float(hits.sum() / decisions),
        "low": low, "high": high, "decisions": float(decisions), "clips": float(clips),
        "alarms_an_hour": float(begun.sum() / hours),
        "alarms_an_hour_low": with_alarm[0] * clips / hours,
        "alarms_an_hour_high": with_alarm[1] * clips / hours,
        "hours": hours,
    }  # fmt: skip


def of_unheard(
    how: Streaming, scores: Sequence[np.ndarray], unheard: np.ndarray
) -> dict[str, float]:
    """How often decisions on clips that the model itself has not heard are above.

    It reconstructs clips that it was trained on better than others, and a threshold made of those
    is too low, the more so the fewer they are. The threshold is that of the trained clips here.

    Parameters
    ----------
    unheard : (n_clips,) bool

    Returns
    -------
    unheard_share, unheard_low, unheard_high : see `false_alarms`; nothing where there is no such
        clip, or no other
    unheard_clips : how many there are
    """
    if not unheard.any() or unheard.all():
        return {}
    trained, others = ([one for one, is_new in zip(scores, unheard, strict=True) if is_new == new]
                       for new in (False, True))  # fmt: skip
    limit, _ = _limits(np.concatenate(trained), how.share, how.release)
    hits, counts = np.array([[(own > limit).sum(), len(own)] for own in others]).T
    low, high = intervals.of_clustered_share(hits, counts)
    share = float(hits.sum() / counts.sum())
    return {"unheard_share": share, "unheard_low": low, "unheard_high": high,
            "unheard_clips": float(len(others))}  # fmt: skip


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


def begins(scores: np.ndarray, alarm: Alarm) -> int:
    """How often an alarm begins over some decisions' scores."""
    begun = 0
    for score in scores:
        before = alarm.on
        alarm.decide(score)
        begun += alarm.on and not before
    return begun


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
    more = ""
    if found.get("unheard_clips"):
        more = (
            f"; {found['unheard_share']:.1%} on the {found['unheard_clips']:.0f} clips that it was "
            f"not trained on ({found['unheard_low']:.1%} - {found['unheard_high']:.1%})"
        )
    return (
        f"{path}: as a stream {stream.threshold:.4g} dB^2; {found['share']:.1%} of the decisions "
        f"on held-out clips above it ({found['low']:.1%} - {found['high']:.1%}), and by "
        f"{stream.k} of {stream.n} {found['alarms_an_hour']:.3g} alarms an hour "
        f"({found['alarms_an_hour_low']:.3g} - {found['alarms_an_hour_high']:.3g}){more}"
    )
