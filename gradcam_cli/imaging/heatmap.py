"""From a raw map to heat in [0, 1] on the photograph, and the few numbers that sum it up."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

AREA_THRESHOLD = 0.5
# Sides of the grid of a small map, at most.
SMALL_SIDE = 64


@dataclass(frozen=True)
class Summary:
    """Heat in figures: the hottest source pixel (None where flat), and the share of the picture at >= 0.5."""

    peak: tuple[int, int] | None
    area: float
    flat: bool


def scale(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide a non-negative map by its maximum, exactly: no epsilon, and the minimum stays where it is.

    An all-zero map stays all zero.
    """
    highest = raw.max()
    if highest == 0:
        return np.zeros_like(raw)
    return np.asarray(raw / highest, np.float32)


def small(raw: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Quantise a raw map (h, w) for the sidecar: `round(255 M / max M)`, averaged down where a side is above 64.

    Returns:
        (min(h, 64), min(w, 64)).
    """
    heat = scale(raw).astype(np.float64)
    height, width = (min(side, SMALL_SIDE) for side in heat.shape)
    averaged = _shares(heat.shape[0], height) @ heat @ _shares(heat.shape[1], width).T
    return np.rint(255 * averaged).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=16)
def _shares(cells: int, fewer: int) -> NDArray[np.float64]:
    """The part that each of `cells` cells has in each of `fewer` cells over the same length: (fewer, cells)."""
    edges, wider = np.arange(cells + 1), np.arange(fewer + 1) * (cells / fewer)
    overlap = np.minimum(edges[1:], wider[1:, None]) - np.maximum(edges[:-1], wider[:-1, None])
    shares = np.asarray(np.maximum(overlap, 0) * (fewer / cells), np.float64)
    shares.setflags(write=False)
    return shares


def summarise(heat: NDArray[np.float32], *, flat: bool) -> Summary:
    """Sum up heat (H, W) float32 in [0, 1] over a photograph, in the photograph's pixels."""
    if flat:
        return Summary(peak=None, area=0.0, flat=True)
    area = np.count_nonzero(heat >= AREA_THRESHOLD) / heat.size
    return Summary(peak=_peak(heat), area=area, flat=False)


def _peak(heat: NDArray[np.float32]) -> tuple[int, int]:
    """Find the hottest pixel (x, y); of a plateau, its pixel nearest to the plateau's centre.

    A hottest cell at the border holds its value out to the edge, so plateaus are common there, and their
    first pixel in reading order would always be a corner.
    """
    # Four times quicker than `nonzero` with two axes.
    rows, columns = np.divmod(np.flatnonzero(heat == heat.max()), heat.shape[1])
    distance = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
    nearest = int(distance.argmin())
    return int(columns[nearest]), int(rows[nearest])
