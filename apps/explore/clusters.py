"""Recordings without labels: PCA, k-means, pictures, and what the clusters agree with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from apps.explore import cause_list, pictures, recordings, report
from apps.explore.recordings import Recording
from asd import files
from asd.evaluation import maps
from asd.features.mfcc import mfcc
from asd.page import html
from common import Feature, UserError

SHARE = 0.95  # of the variance that the kept principal components have
STARTS = 10  # of k-means, of which the best is kept
LITTLE = 0.1  # an adjusted Rand index below is little more than chance
BY = {"machine": "machine id", "snr": "ratio", "label": "label", "cause": "cause"}


class Wanted(NamedTuple):
    """How recordings are put together."""

    feature: Feature
    count: int = 40  # coefficients of MFCC
    most: int = 10  # clusters that are tried
    k: int | None = None  # clusters; None: what the silhouette says
    by: str = "pca"  # of `maps.METHODS`, the picture
    only: str = ""  # recordings of that label; "": all
    causes: Path | None = None
    seed: int = 0


class Try(NamedTuple):
    """k-means with so many clusters."""

    k: int
    inertia: float  # sum of squared distances to the centres
    silhouette: float  # -1 to 1; Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7
    clusters: np.ndarray  # (n,) int32


class Agreement(NamedTuple):
    """How far clusters are what is known of recordings."""

    what: str
    values: int  # different ones
    clips: int  # of which it is known
    index: float  # adjusted Rand: 1 the same, 0 by chance; Hubert and Arabie 1985


def described(frames: np.ndarray, count: int) -> np.ndarray:
    """Mean and standard deviation of MFCC over the frames of a clip, (2 * count,) float32."""
    values = mfcc(frames, count)
    return np.concatenate([values.mean(axis=0), values.std(axis=0)])


def components(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of standardised rows, those that have `SHARE` of the variance.

    Parameters
    ----------
    rows : (n, width)

    Returns
    -------
    (n, n_kept) float64, and the share of the variance that each has, (n_kept,)
    """
    spread = rows.std(axis=0)
    values = (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1)
    left, sizes, _ = np.linalg.svd(values.astype(np.float64), full_matrices=False)
    shares = sizes**2 / max(np.sum(sizes**2), np.finfo(float).tiny)
    kept = min(int(np.searchsorted(np.cumsum(shares), SHARE)) + 1, len(shares))
    return left[:, :kept] * sizes[:kept], shares[:kept]


def tries(points: np.ndarray, most: int, seed: int) -> list[Try]:
    """k-means with 2 clusters to so many, and fewer than there are points."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score
    from threadpoolctl import threadpool_limits

    made = []
    different = len(np.unique(points, axis=0))
    with threadpool_limits(1):  # threads add up in the order in which they end
        for k in range(2, min(most, different - 1, len(points) - 1) + 1):
            found = KMeans(k, n_init=STARTS, random_state=seed).fit(points)
            width = float(silhouette_score(points, found.labels_))
            made.append(Try(k, float(found.inertia_), width, found.labels_))
    return made


def agreements(some: Sequence[Recording], clusters: np.ndarray) -> list[Agreement]:
    """How far clusters agree with each thing that is known and not the same of all."""
    from sklearn.metrics import adjusted_rand_score

    found = []
    for field, title in BY.items():
        values = np.array([getattr(one, field) for one in some])
        known = values != ""
        if (count := len(set(values[known]))) > 1:
            index = float(adjusted_rand_score(values[known], clusters[known]))
            found.append(Agreement(title, count, int(known.sum()), index))
    return found


def _index(one: Agreement) -> str:
    return f"{round(one.index, 2) + 0.0:.2f}"  # never -0.00


def verdict(found: Sequence[Agreement]) -> str:
    """What the agreements say, in a sentence."""
    if not found:
        return ("Nothing is known of these recordings that differs among them, so nobody can say "
                "what the clusters are.")  # fmt: skip
    told = ", ".join(f"{_index(one)} with the {one.what}" for one in found)
    best = max(found, key=lambda one: one.index)
    start = f"Adjusted Rand index {told}:"
    if best.index < LITTLE:
        return f"{start} these clusters are little of what is known of the recordings."
    if best.what == BY["machine"]:
        return (f"{start} these clusters are mostly machines, not faults; to call them causes "
                "would be a mistake.")  # fmt: skip
    return f"{start} most of what these clusters tell apart is the {best.what}."


def _recordings(folder: Path, wanted: Wanted) -> list[Recording]:
    found = recordings.find(folder)
    if wanted.causes:
        found = recordings.with_causes(found, cause_list.read(wanted.causes))
    some = [one for one in found if wanted.only in ("", one.label)]
    if len(some) < 4:
        raise UserError(f"{folder}: {len(some)} recordings {wanted.only}".rstrip()
                        + "; clusters need four or more")  # fmt: skip
    return some


def run(folder: Path, out: Path, wanted: Wanted) -> None:
    """Write clusters.csv, elbow.csv, agreement.csv, pictures of them and clusters.html.

    Raises
    ------
    UserError : too few recordings, or all alike; see `recordings.each`.
    """
    maps.check_installed(wanted.by)
    some = _recordings(folder, wanted)
    rows = np.stack(recordings.each(
        some, wanted.feature, lambda frames: described(frames, wanted.count), str(folder)
    ))  # fmt: skip
    points, shares = components(rows)
    tried = tries(points, max(wanted.most, wanted.k or 0), wanted.seed)
    if not tried:
        raise UserError(f"{folder}: its recordings are all alike; there are no clusters")
    best = max(tried, key=lambda one: one.silhouette)
    if wanted.k is not None:
        best = next((one for one in tried if one.k == wanted.k), None)
        if best is None:
            raise UserError(f"{folder}: {len(some)} recordings make at most {tried[-1].k} "
                            f"clusters, not {wanted.k}")  # fmt: skip
    found = agreements(some, best.clusters)
    _write(out, some, points, tried, best, found, wanted)
    print(f"{len(some)} recordings, {points.shape[1]} principal components with "
          f"{100 * shares.sum():.0f} % of the variance, {best.k} clusters, silhouette "
          f"{best.silhouette:.2f}")  # fmt: skip
    print(verdict(found))


def _write(out: Path, some, points, tried, best, found, wanted: Wanted) -> None:
    fields = ("machine", "snr", "label", "cause")
    files.write_csv(out / "clusters.csv", [
        ("path", "cluster", *fields),
        *((one.name, int(cluster), *(getattr(one, field) for field in fields))
          for one, cluster in zip(some, best.clusters, strict=True)),
    ])  # fmt: skip
    elbow = [(one.k, one.inertia, one.silhouette) for one in tried]
    files.write_csv(out / "elbow.csv", [("k", "inertia", "silhouette"), *elbow])
    header = ("agreement with", "values", "clips", "adjusted Rand index")
    lines = [(one.what, one.values, one.clips, _index(one)) for one in found]
    files.write_csv(out / "agreement.csv", [header, *found])
    report.show(header, lines)
    pictures.elbow(out / "elbow.png", elbow, best.k)
    flat = maps.flattened(points.astype(np.float32), wanted.by, wanted.seed)
    names = {"cluster": [str(cluster) for cluster in best.clusters]}
    names |= {title: [getattr(one, field) for one in some] for field, title in BY.items()}
    shown = {title: values for title, values in names.items() if len(set(values)) > 1}
    path = out / f"map_{wanted.by}.png"
    pictures.maps(path, flat, shown, wanted.by)
    report.write(out / "clusters.html", "Clusters of recordings", [
        html.Section("What they agree with", [
            html.paragraph(verdict(found)), html.table(header, lines, "Agreement of clusters"),
            html.paragraph("The adjusted Rand index is 1 where clusters are the same groups, and "
                           "0 where they agree by chance.")]),
        html.Section("Map", [report.picture(path, f"the recordings by {wanted.by}, coloured by "
                                            f"{', '.join(shown)}")]),
        html.Section("How many clusters", [
            report.picture(out / "elbow.png", "inertia and silhouette by the number of clusters"),
            html.table(("clusters", "inertia", "silhouette"),
                       [(k, f"{a:,.0f}", f"{b:.2f}") for k, a, b in elbow], "k-means")]),
    ])  # fmt: skip
