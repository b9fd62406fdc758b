"""Groups of maps of the same shape: k-means (Lloyd 1982, doi:10.1109/TIT.1982.1056489) with k-means++ seeding."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST_CLUSTERS: Final = 8
MAPS_A_CLUSTER: Final = 12
ROUNDS: Final = 50
SEED: Final = 0


@dataclass(frozen=True, eq=False)
class Clusters:
    """Which cluster each map belongs to (n,), and its distance to the cluster's centre (n,)."""

    labels: NDArray[np.intp]
    distances: NDArray[np.float64]


def number_of_clusters(maps: int) -> int:
    """Choose the number of clusters: one for every 12 maps, and between 1 and 8."""
    return max(1, min(MOST_CLUSTERS, maps // MAPS_A_CLUSTER))


def cluster(maps: NDArray[np.floating], count: int, seed: int = SEED) -> Clusters:
    """Divide maps into clusters by k-means; each map is first scaled to the Euclidean length 1.

    With the scaling, the positions of the heat are compared, not the size of the hot area. The same maps and the same
    seed give the same clusters.

    Args:
        maps: (n, cells), 0 or above.
        count: number of clusters, at most n; fewer remain if maps are equal.
        seed: of the choice of the first centres.
    """
    lengths = np.linalg.norm(maps, axis=1, keepdims=True)
    points = maps.astype(np.float64) / np.where(lengths > 0, lengths, 1)
    centres = _first_centres(points, count, np.random.default_rng(seed))
    labels = _nearest(points, centres).argmin(axis=1)
    for _ in range(ROUNDS):
        centres = np.stack([points[labels == i].mean(axis=0) for i in np.unique(labels)])
        moved = _nearest(points, centres).argmin(axis=1)
        if np.array_equal(moved, labels):
            break
        labels = moved
    squared = _nearest(points, centres)
    labels = squared.argmin(axis=1)
    return Clusters(labels, np.sqrt(squared[np.arange(len(points)), labels]))


def _first_centres(points: NDArray[np.float64], count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Choose the first centres far from each other: the probability of each is proportional to its squared distance."""
    chosen = [points[random.integers(len(points))]]
    while len(chosen) < count:
        squared = _nearest(points, np.stack(chosen)).min(axis=1)
        if squared.sum() <= 1e-12:
            break
        chosen.append(points[random.choice(len(points), p=squared / squared.sum())])
    return np.stack(chosen)


def _nearest(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances (n, k) of points (n, d) to centres (k, d)."""
    squared = (points**2).sum(axis=1)[:, None] - 2 * points @ centres.T + (centres**2).sum(axis=1)
    return np.asarray(np.maximum(squared, 0), np.float64)
