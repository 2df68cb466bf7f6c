"""The threshold of a stream, its rule of alarms, and how often both are wrong.

The threshold is the quantile of the decisions' own scores on the training clips, whatever
`decision.threshold` says of clips: there are twenty times as many of them, and a gamma
distribution fitted to them follows neither their bulk nor their tail where clips differ more than
the decisions on one (real slider clips, four of five folds against the fifth: 5.3 and 2.0 % above
the gamma point that 10 and 1 % were to be above, 10.5 and 1.8 % above the quantile).

A network reconstructs clips that it was trained on better than others, the more so the fewer they
are; how often a threshold is wrong is therefore told of the clips that validated. With
`stream.threshold: validation` the quantile is multiplied by how much higher the same quantile is on
these, of the same machine ids, as those that validate may be of one id only. So many clips tell a
quantile of 1 - 1 / n at most; above that, the tail has the shape of the trained clips' one, drawn
out. Fifteen networks, each trained on four fifths of 55 slider clips, four or five of which
validated, then had 7.3, 3.9, 2.3 and 1.4 % of the decisions on the last fifth above where 10, 5, 3
and 1 % were to be; with the quantile on all of their clips 31, 22, 16 and 6.1 %. The clips that
validated there are hard ones: with five drawn at random from all that a network was not trained
on, 13.5 % of the decisions on the rest of them were above instead of 3 (22 % with the other way).
With one to three clips the factor is mostly chance (8 to 20 % instead of 3), and is left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asd.clips import Clip
from asd.config import Config, Streaming
from asd.evaluation import intervals, thresholds

LEAST_UNHEARD = 4  # clips that the model was not trained on, by which a threshold is moved


class Decisions(NamedTuple):
    """What a stream would decide on, of each training clip."""

    scores: list[np.ndarray]  # of each clip (n_decisions,) float64, dB^2
    clips: list[Clip]
    unheard: np.ndarray  # (n_clips,) bool: the model was not trained on it

    def at(self, chosen: np.ndarray) -> Decisions:
        """Those of some clips, (n_clips,) bool."""
        places = np.flatnonzero(chosen).tolist()
        return Decisions([self.scores[i] for i in places], [self.clips[i] for i in places],
                         self.unheard[chosen])  # fmt: skip

    def quantile(self, share: float) -> float:
        """Below which so many of all decisions are."""
        return thresholds.threshold(np.concatenate(self.scores), "empirical", share).value


class Limits(NamedTuple):
    """What scores are held against."""

    threshold: float  # dB^2
    release: float  # dB^2, never above the threshold
    way: str  # how the threshold was found
    moved: bool  # by the clips that validated


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


def of(how: Streaming, decisions: Decisions) -> Limits:
    """The threshold and the release point, which is between the scores' mean and the threshold."""
    return _limits(how, decisions, _moves(how, decisions.unheard))


def _limits(how: Streaming, decisions: Decisions, move: bool) -> Limits:
    threshold, way = _threshold(how.share, decisions, move)
    mean = float(np.concatenate(decisions.scores).mean())
    return Limits(threshold, min(mean + how.release * (threshold - mean), threshold), way, move)


def _threshold(share: float, decisions: Decisions, move: bool) -> tuple[float, str]:
    """That of all clips, or of the trained ones, moved by the others; and in words which."""
    if not move:
        count, few = len(decisions.clips), int(decisions.unheard.sum())
        why = f"{few} of them not trained on" if few else "none known as not trained on"
        return decisions.quantile(share), f"{share:g} quantile on {count} clips, {why}"
    heard, others = decisions.at(~decisions.unheard), decisions.at(decisions.unheard)
    factor, at = _factor(share, heard, others)
    return heard.quantile(share) * factor, (
        f"{share:g} quantile on {len(heard.clips)} trained clips, times {factor:.3g} by the "
        f"{at:.3g} quantiles on them and on {len(others.clips)} others"
    )


def _enough(unheard: np.ndarray) -> bool:
    """Whether the clips that were not trained on can tell how much higher their scores are."""
    return LEAST_UNHEARD <= unheard.sum() < len(unheard)


def _moves(how: Streaming, unheard: np.ndarray) -> bool:
    """Whether these clips are to move the threshold, and can."""
    return how.threshold == "validation" and _enough(unheard)


def _factor(share: float, heard: Decisions, others: Decisions) -> tuple[float, float]:
    """How much higher the others' decisions are than those on the same ids, and at which share."""
    at = min(share, 1 - 1 / len(others.clips))
    places = {clip.place for clip in others.clips}
    same = np.array([clip.place in places for clip in heard.clips])
    below = (heard.at(same) if same.any() else heard).quantile(at)
    return (max(others.quantile(at) / below, 1.0) if below > 0 else 1.0), at


def false_alarms(cfg: Config, decisions: Decisions) -> dict[str, float]:
    """How often a stream's threshold and rule are wrong about clips that they have not seen.

    Each fold's clips are held against threshold and release point of the other folds, each clip as
    a stream of its own. Where there are enough clips that the model was not trained on, these are
    the folds; the trained clips, which are below it too often, are not counted. The decisions
    on a clip are alike, so both intervals are by clips: that of a clustered share, and that of the
    share of clips on which an alarm begins. An hour is one of decisions: the time that a stream
    needs for its first one is not counted.

    Returns
    -------
    nominal : 1 - share
    share, low, high : of decisions on held-out clips above the threshold, and its 95 % interval
    decisions, clips : how many there are
    alarms_an_hour, alarms_an_hour_low, alarms_an_hour_high : that begin, by k of n
    hours : of the held-out clips' decisions
    unheard_clips : how many the model was not trained on, as far as is known
    held_out_unheard : 1 where all of the above is of these, 0 where it is of all clips
    unheard_share, unheard_low, unheard_high : where there are such clips, but too few for that:
        of the decisions on them above the threshold of the others
    """
    how, enough = cfg.stream, _enough(decisions.unheard)
    judged = decisions.unheard if enough else np.ones(len(decisions.clips), bool)
    held = decisions.at(judged)
    fold = np.full(len(judged), -1)  # the others are in no fold
    fold[judged] = np.arange(judged.sum()) % thresholds.FOLDS
    if not enough:
        fold = thresholds.folds(decisions.clips)
    limits = _held_out(how, decisions, fold, _moves(how, decisions.unheard))
    pairs = list(zip(held.scores, limits, strict=True))
    hits = np.array([(own > limit.threshold).sum() for own, limit in pairs])
    begun = np.array([
        begins(own, Alarm(*how.alarm, limit.threshold, limit.release)) for own, limit in pairs
    ])  # fmt: skip
    counts = np.array([len(one) for one in held.scores])
    low, high = intervals.of_clustered_share(hits, counts)
    clips, total = len(counts), int(counts.sum())
    hours = total * how.step * cfg.feature.hop_length / cfg.feature.sample_rate / 3600
    with_alarm = intervals.of_share(int((begun > 0).sum()), clips)
    return {
        "nominal": round(1 - how.share, 12), "share": float(hits.sum() / total),
        "low": low, "high": high, "decisions": float(total), "clips": float(clips),
        "alarms_an_hour": float(begun.sum() / hours),
        "alarms_an_hour_low": with_alarm[0] * clips / hours,
        "alarms_an_hour_high": with_alarm[1] * clips / hours,
        "hours": hours, "unheard_clips": float(decisions.unheard.sum()),
        "held_out_unheard": float(enough),
    } | ({} if enough else _of_few(how, decisions))  # fmt: skip


def _held_out(how: Streaming, decisions: Decisions, fold: np.ndarray, move: bool) -> list[Limits]:
    """For each clip in a fold what it is held against: that of all clips but its fold's."""
    own = fold[fold >= 0].tolist()
    limits = {}
    for one in set(own):
        others = fold != one
        limits[one] = _limits(how, decisions.at(others) if others.any() else decisions, move)
    return [limits[one] for one in own]


def _of_few(how: Streaming, decisions: Decisions) -> dict[str, float]:
    """How often decisions on clips not trained on are above the threshold of the others."""
    unheard = decisions.unheard
    if not unheard.any() or unheard.all():
        return {}
    others = decisions.at(unheard).scores
    limit = decisions.at(~unheard).quantile(how.share)
    hits, counts = np.array([[(own > limit).sum(), len(own)] for own in others]).T
    low, high = intervals.of_clustered_share(hits, counts)
    share = float(hits.sum() / counts.sum())
    return {"unheard_share": share, "unheard_low": low, "unheard_high": high}


def begins(scores: np.ndarray, alarm: Alarm) -> int:
    """How often an alarm begins over some decisions' scores."""
    begun = 0
    for score in scores:
        before = alarm.on
        alarm.decide(score)
        begun += alarm.on and not before
    return begun
