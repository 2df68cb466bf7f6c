"""The kinds of back ends that are not made of others, by the name that `kind` has in the YAML."""

from __future__ import annotations

from typing import Any

from asd.backends.clusters import KMeans
from asd.backends.densities import Gmm, Lof, Mahalanobis
from asd.backends.isolation import Isolation
from asd.backends.knn import Knn, RescaledKnn, Smote

SINGLE: dict[str, Any] = {
    "knn": Knn,
    "smote": Smote,
    "kmeans": KMeans,
    "rescaled_knn": RescaledKnn,
    "gmm": Gmm,
    "lof": Lof,
    "mahalanobis": Mahalanobis,
    "isolation": Isolation,
}
