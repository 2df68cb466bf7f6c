"""A classifier of causes: each machine's normal taken off, logistic regression, and its tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from apps.explore import splits
from asd.causes.distances import distances, radii
from asd.causes.model import NORMAL, UNKNOWN
from asd.causes.network import stepped

# Set on the demo's fans of seed 0 (README.md has what others gave).
STRENGTH = 0.03  # C of scikit-learn's logistic regression: the inverse of its penalty
SHIFTS = (-1, 0, 1)  # mel bands by which training clips are moved: other machines, other speeds
MOST_ITERATIONS = 1000
ROUNDING = 1e-9  # of a sum of shares
DRAWS, TAILS = 2000, (0.025, 0.975)  # of the bootstrap; the ends of a 95 % interval


class Clips(NamedTuple):
    """What is learnt from."""

    rows: np.ndarray  # (n, len(NAMES), n_mels) float32, `statistics`
    causes: np.ndarray  # (n,) str
    machines: np.ndarray  # (n,) str
    groups: np.ndarray  # (n,) str, which recording

    def at(self, which: np.ndarray) -> Clips:
        """Some of them."""
        return Clips(*(one[which] for one in self))


def references(clips: Clips) -> dict[str, np.ndarray]:
    """The mean of the normal clips of each machine that has some, (len(NAMES), n_mels) float64."""
    normal = clips.causes == NORMAL
    return {
        str(machine): clips.rows[which].mean(axis=0, dtype=np.float64)
        for machine, of_machine in splits.leaving_out(clips.machines)
        if (which := of_machine & normal).any()
    }


def referred(clips: Clips) -> np.ndarray:
    """Rows less the normal mean of their machine: what is not as it was when all was well.

    From a normal clip the mean of the machine's other normal clips is taken, as of a clip that is
    not in the reference: n / (n - 1) times the difference from the mean of all n.

    Returns
    -------
    (n, len(NAMES), n_mels) float32

    Raises
    ------
    KeyError : a machine has no normal clip.
    """
    means, normal = references(clips), clips.causes == NORMAL
    rows = clips.rows - np.stack([means[machine] for machine in clips.machines])
    for _, of_machine in splits.leaving_out(clips.machines):
        which = of_machine & normal
        count = int(which.sum())
        rows[which] *= count / max(count - 1, 1)
    return rows.astype(np.float32)


class Fitted(NamedTuple):
    """A classifier of standardised rows."""

    classes: np.ndarray  # (n_classes,) str, sorted
    mean: np.ndarray  # (size,) float64, of rows
    scale: np.ndarray
    weights: np.ndarray  # (size, n_classes) float64
    bias: np.ndarray  # (n_classes,) float64
    known: np.ndarray  # (n, size) float64, training clips, standardised, `stepped`
    radii: np.ndarray  # (n,) float64, of these

    def standardised(self, rows: np.ndarray) -> np.ndarray:
        """(n, size) float32"""
        flat = rows.reshape(len(rows), -1)
        return ((flat - self.mean) / self.scale).astype(np.float32)

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Of each class, (n, n_classes) float64."""
        logits = self.standardised(rows) @ self.weights + self.bias
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def distances(self, rows: np.ndarray) -> np.ndarray:
        """From training clips; see `asd.causes.distances`."""
        return distances(self.known, self.radii, stepped(self.standardised(rows)))


def moved(rows: np.ndarray, bands: int) -> np.ndarray:
    """Rows whose mel bands are moved up; the last band fills what is left empty."""
    places = np.clip(np.arange(rows.shape[2]) - bands, 0, rows.shape[2] - 1)
    return rows[:, :, places]


def fit(rows: np.ndarray, causes: np.ndarray, machines: np.ndarray) -> Fitted:
    """Multinomial logistic regression in which each class weighs the same.

    Parameters
    ----------
    rows : (n, len(NAMES), n_mels) float32; copies moved by `SHIFTS` are learnt from as well
    causes, machines : (n,) str; two classes or more
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    copies = np.concatenate([moved(rows, bands) for bands in SHIFTS])
    flat = copies.reshape(len(copies), -1).astype(np.float64)
    mean, scale = flat.mean(axis=0), flat.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    with threadpool_limits(1):  # so that a run is repeatable
        learner = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=MOST_ITERATIONS)
        learner.fit((flat - mean) / scale, np.tile(causes, len(SHIFTS)))
    weights, bias = learner.coef_.T, learner.intercept_
    if len(learner.classes_) == 2:  # of two, the second's logit alone
        weights, bias = np.hstack([-weights, weights]) / 2, np.array([-bias[0], bias[0]]) / 2
    known = stepped((rows.reshape(len(rows), -1) - mean) / scale)
    return Fitted(learner.classes_, mean, scale, weights, bias, known, radii(known, machines))


class Heldout(NamedTuple):
    """What classifiers say of clips that they have not learnt from."""

    said: np.ndarray  # (n,) str, the most probable class
    probability: np.ndarray  # (n,) float64, of it
    distance: np.ndarray  # (n,) float64


def held_out(rows: np.ndarray, clips: Clips, parts: Sequence) -> Heldout:
    """Each part by turns is left out and asked.

    Parameters
    ----------
    rows : of the clips, `referred` or not
    parts : (n,) the part of each
    """
    causes = clips.causes
    said = np.empty(len(rows), causes.dtype)
    probability, distance = np.empty((2, len(rows)))
    for _, test in splits.leaving_out(parts):
        fitted = fit(rows[~test], causes[~test], clips.machines[~test])
        found = fitted.probabilities(rows[test])
        said[test], probability[test] = fitted.classes[found.argmax(axis=1)], found.max(axis=1)
        distance[test] = fitted.distances(rows[test])
    return Heldout(said, probability, distance)


def balanced_accuracy(causes: np.ndarray, said: np.ndarray) -> float:
    """The mean over the classes of the share of their clips that are told right."""
    return float(np.mean([np.mean(said[causes == one] == one) for one in np.unique(causes)]))


def interval(clips: Clips, said: np.ndarray, seed: int) -> tuple[float, float]:
    """A 95 % interval of the balanced accuracy, by a bootstrap of machines and recordings.

    Machines are drawn with replacement, then recordings of each: Davison and Hinkley, Bootstrap
    Methods and their Application (1997), section 3.8. Few machines make it wide, as it should be;
    classes that a draw lacks are left out of it.
    """
    rng, right = np.random.default_rng(seed), said == clips.causes
    classes, of_class = np.unique(clips.causes, return_inverse=True)
    cells = []  # of each machine, by recording: clips of each class, and how many are right
    for _, of_machine in splits.leaving_out(clips.machines):
        names, which = np.unique(clips.groups[of_machine], return_inverse=True)
        table = np.zeros((2, len(names), len(classes)))
        np.add.at(table[0], (which, of_class[of_machine]), 1)
        np.add.at(table[1], (which, of_class[of_machine]), right[of_machine])
        cells.append(table)
    values = []
    for _ in range(DRAWS):
        total = np.zeros((2, len(classes)))
        for i in rng.integers(len(cells), size=len(cells)):
            n = cells[i].shape[1]
            times = np.bincount(rng.integers(n, size=n), minlength=n)
            total += times @ cells[i]
        there = total[0] > 0
        values.append(np.mean(total[1, there] / total[0, there]))
    low, high = np.quantile(values, TAILS)
    return float(low), float(high)


def threshold(causes: np.ndarray, distance: np.ndarray, share: float) -> float:
    """The distance that so small a share of the clips exceeds, each class weighing the same.

    Parameters
    ----------
    causes, distance : (n,)
    share : of clips of known causes that may be called unknown
    """
    _, which, counts = np.unique(causes, return_inverse=True, return_counts=True)
    order = np.argsort(distance)
    weights = (1 / counts[which] / len(counts))[order]
    reached = np.searchsorted(np.cumsum(weights), 1 - share - ROUNDING)
    return float(distance[order][min(reached, len(order) - 1)])


def thresholds(clips: Clips, distance: np.ndarray, share: float) -> np.ndarray:
    """For each clip the `threshold` of the clips of other machines.

    Parameters
    ----------
    distance : (n,) of clips held out by machine

    Returns
    -------
    (n,) float64
    """
    found = np.empty(len(distance))
    for _, test in splits.leaving_out(clips.machines):
        found[test] = threshold(clips.causes[~test], distance[~test], share)
    return found


class Unheard(NamedTuple):
    """What becomes of a cause that was not learnt, on machines that were not heard."""

    cause: str
    clips: int
    unknown: float  # share of its clips that are called unknown
    auc: float  # how well the distance parts them from clips of known causes


def unheard(clips: Clips, rows: np.ndarray, limits: np.ndarray) -> list[Unheard]:
    """Leave out each cause and each machine by turns.

    Parameters
    ----------
    limits : (n,) of `thresholds`
    """
    from asd.evaluation.metrics import auc

    found = []
    for cause in sorted(set(clips.causes) - {NORMAL}):
        distance, other = np.empty(len(rows)), clips.causes == cause
        for _, test in splits.leaving_out(clips.machines):
            train = ~test & ~other
            fitted = fit(rows[train], clips.causes[train], clips.machines[train])
            distance[test] = fitted.distances(rows[test])
        found.append(Unheard(str(cause), int(other.sum()),
                             float(np.mean((distance > limits)[other])),
                             auc(other.astype(int), distance)))  # fmt: skip
    return found


def with_unknown(found: Heldout, limits: np.ndarray) -> np.ndarray:
    """What is said, `UNKNOWN` beyond the limits; (n,) str."""
    return np.where(found.distance > limits, UNKNOWN, found.said.astype(object)).astype(str)
