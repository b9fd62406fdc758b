"""Analysis of the maps of a run: the mean map of each class, flags for shortcuts, and clusters of maps."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gradcam_cli.report.clusters import cluster, number_of_clusters
from gradcam_cli.report.entries import Entry, Grid
from gradcam_cli.report.places import place_of

# A class with fewer maps is not flagged: one image with its object in a corner is not a shortcut.
LEAST_MAPS: Final = 5
# A class is flagged if this share of its maps has heat at one place, even if its mean map has not.
FLAGGED_SHARE: Final = 0.3
EXAMPLES: Final = 6
NAMED_CLASSES: Final = 3


@dataclass(frozen=True)
class Flag:
    """A class whose heat is at one edge of the image: `count` of its maps have it at `place`.

    `of_mean` says whether the mean map has it there too.
    """

    place: str
    count: int
    of_mean: bool


@dataclass(frozen=True, eq=False)
class ClassMean:
    """The mean map of a class (GRID, GRID), and the numbers of its images, the farthest from the mean first.

    The distance is the root mean square difference of the two maps.
    """

    index: int
    label: str
    mean: Grid
    members: tuple[int, ...]
    flag: Flag | None


@dataclass(frozen=True, eq=False)
class Cluster:
    """The numbers of images with similar maps, the most typical first.

    `classes` are the classes of several images, the most frequent first, with their counts.
    """

    mean: Grid
    members: tuple[int, ...]
    place: str | None
    classes: tuple[tuple[str, int], ...]


def class_means(entries: Sequence[Entry]) -> list[ClassMean]:
    """Average the maps of each explained class over all images: flagged classes first, then those with most maps."""
    maps: dict[tuple[int, str], list[tuple[int, Grid]]] = defaultdict(list)
    for number, entry in enumerate(entries):
        for found in entry.classes:
            if found.grid is not None and found.grid.any():
                maps[found.index, found.label].append((number, found.grid))
    means = [_class_mean(index, label, members) for (index, label), members in maps.items()]
    return sorted(means, key=lambda mean: (mean.flag is None, -len(mean.members), mean.label, mean.index))


def _class_mean(index: int, label: str, members: Sequence[tuple[int, Grid]]) -> ClassMean:
    grids = np.stack([grid for _, grid in members])
    mean = grids.mean(axis=0)
    distances = np.sqrt(((grids - mean) ** 2).mean(axis=(1, 2)))
    farthest = np.argsort(-distances, kind="stable")
    return ClassMean(index, label, mean, tuple(members[i][0] for i in farthest), flag_of(grids))


def flag_of(grids: Grid) -> Flag | None:
    """Flag the maps (n, GRID, GRID) of a class if their mean, or 30 % of them, have their heat at one edge.

    Returns:
        None if there are fewer than five maps, or if neither is true.
    """
    if len(grids) < LEAST_MAPS:
        return None
    counts = Counter(place for grid in grids if (place := place_of(grid)) is not None)
    of_mean = place_of(grids.mean(axis=0))
    if of_mean is not None:
        return Flag(of_mean, counts[of_mean], of_mean=True)
    if not counts:
        return None
    place, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
    enough = count >= max(LEAST_MAPS, FLAGGED_SHARE * len(grids))
    return Flag(place, count, of_mean=False) if enough else None


def clusters_of(entries: Sequence[Entry]) -> list[Cluster]:
    """Cluster the maps of the first explained class of each image; the largest cluster is first."""
    found = [
        (number, entry.first)
        for number, entry in enumerate(entries)
        if entry.first is not None and entry.first.grid is not None and entry.first.grid.any()
    ]
    if not found:
        return []
    grids = np.stack([explained.grid for _, explained in found if explained.grid is not None])
    divided = cluster(grids.reshape(len(grids), -1), number_of_clusters(len(grids)))
    clusters = []
    for label in np.unique(divided.labels):
        places = np.flatnonzero(divided.labels == label)
        typical = places[np.argsort(divided.distances[places], kind="stable")]
        mean = grids[places].mean(axis=0)
        names = Counter(found[i][1].label for i in places)
        repeated = [item for item in names.items() if item[1] > 1]
        frequent = sorted(repeated, key=lambda item: (-item[1], item[0]))[:NAMED_CLASSES]
        clusters.append(Cluster(mean, tuple(found[i][0] for i in typical), place_of(mean), tuple(frequent)))
    return sorted(clusters, key=lambda each: (-len(each.members), each.members))
