"""Measures of the difference between two maps of one image, as pure functions of arrays."""

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.evaluation.metrics import pearson, spearman
from gradcam_cli.imaging.geometry import Size

Floats = NDArray[np.floating[Any]]

# The share of the cells that counts as hottest.
HOTTEST: Final = 0.2


def correlation(before: Floats, after: Floats) -> float:
    """Pearson's correlation of two maps of one shape.

    Equal maps have 1, also if they are constant. A constant map and another map have 0.
    """
    return _defined(pearson, before, after)


def rank_correlation(before: Floats, after: Floats) -> float:
    """Spearman's correlation of two maps; equal and constant maps as in `correlation`."""
    return _defined(spearman, before, after)


def _defined(measure: Callable[[Floats, Floats], float | None], before: Floats, after: Floats) -> float:
    if np.array_equal(before, after):
        return 1.0
    return measure(before, after) or 0.0


def overlap(before: Floats, after: Floats) -> float:
    """Intersection over union of the hottest 20 % of the cells of two maps of one shape.

    Cells with the same heat as the last of these are included; cells without heat are not. Two maps without heat have
    1.
    """
    one, other = _hottest(before), _hottest(after)
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def _hottest(heat: Floats) -> NDArray[np.bool_]:
    count = max(1, round(HOTTEST * heat.size))
    level = np.sort(heat, axis=None)[-count]
    hottest: NDArray[np.bool_] = (heat >= level) & (heat > 0)
    return hottest


def peak_shift(before: tuple[int, int], size: Size, after: tuple[int, int], size_after: Size) -> float:
    """Distance of two peaks (x, y), in percent of the image's diagonal.

    If the size of the image has changed, the second peak is scaled to the first size.
    """
    across = (after[0] + 0.5) * size.width / size_after.width - before[0] - 0.5
    down = (after[1] + 0.5) * size.height / size_after.height - before[1] - 0.5
    return 100 * math.hypot(across, down) / math.hypot(size.width, size.height)
