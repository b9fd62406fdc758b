"""From a raw map to the heatmap in [0, 1] over the image, and its summary."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

AREA_THRESHOLD = 0.5
# Maximum side of the grid of a small map.
SMALL_SIDE = 64


@dataclass(frozen=True)
class Summary:
    """Summary of a heatmap: the hottest source pixel (None if flat), and the share of the image at >= 0.5."""

    peak: tuple[int, int] | None
    area: float
    flat: bool


def scale(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide a non-negative map by its maximum. No epsilon is added and the minimum is not subtracted.

    An all-zero map stays all zero.
    """
    highest = raw.max()
    if highest == 0:
        return np.zeros_like(raw)
    return np.asarray(raw / highest, np.float32)


def small(raw: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Quantise a raw map (h, w) for the sidecar: `round(255 M / max M)`, averaged to 64 cells where a side is larger.

    Returns:
        (min(h, 64), min(w, 64)).
    """
    heat = scale(raw).astype(np.float64)
    height, width = (min(side, SMALL_SIDE) for side in heat.shape)
    averaged = _shares(heat.shape[0], height) @ heat @ _shares(heat.shape[1], width).T
    return np.rint(255 * averaged).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=16)
def _shares(cells: int, fewer: int) -> NDArray[np.float64]:
    """Give the share of each of `cells` cells in each of `fewer` cells over the same length: (fewer, cells)."""
    edges, wider = np.arange(cells + 1), np.arange(fewer + 1) * (cells / fewer)
    overlap = np.minimum(edges[1:], wider[1:, None]) - np.maximum(edges[:-1], wider[:-1, None])
    shares = np.asarray(np.maximum(overlap, 0) * (fewer / cells), np.float64)
    shares.setflags(write=False)
    return shares


def summarise(heat: NDArray[np.float32], *, flat: bool) -> Summary:
    """Summarise a heatmap (H, W) float32 in [0, 1] over an image, in pixels of the image."""
    if flat:
        return Summary(peak=None, area=0.0, flat=True)
    area = np.count_nonzero(heat >= AREA_THRESHOLD) / heat.size
    return Summary(peak=_peak(heat), area=area, flat=False)


def _peak(heat: NDArray[np.float32]) -> tuple[int, int]:
    """Find the hottest pixel (x, y); in a plateau, the pixel nearest to the plateau's centre.

    Beyond the centre of a border cell its value is constant, so plateaus are common at the edge. The first pixel of
    such a plateau in reading order would always be a corner.
    """
    # Four times quicker than `nonzero` with two axes.
    rows, columns = np.divmod(np.flatnonzero(heat == heat.max()), heat.shape[1])
    distance = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
    nearest = int(distance.argmin())
    return int(columns[nearest]), int(rows[nearest])
