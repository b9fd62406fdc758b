"""Measures of the quality of a map, as pure functions of arrays; `measures` has their definitions in words."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

EQUAL = 1e-5


def drop(before: float, after: float) -> float:
    """Average drop of one image, in percent: `100 max(0, Y - O) / Y`.

    Chattopadhyay et al. 2018, arXiv:1710.11063. `before` is Y, the class's probability for the image; `after` is O, its
    probability for the image masked by its heat. The result is 0 if the original probability is 0.
    """
    return 100 * (max(0.0, before - after) / before) if before > 0 else 0.0


def increase(before: float, after: float) -> float:
    """Increase in confidence of one image, in percent: 100 if `O > Y`, otherwise 0. Chattopadhyay et al. 2018."""
    return 100.0 * (after > before)


def win(after: float, other: float) -> float:
    """One method against another on one image, in percent: 100 if its O is higher, 50 if they are equal, otherwise 0.

    Values within `EQUAL` are equal: two formulas for one map may differ in the last bits of float32. Differs from
    Chattopadhyay et al. 2018 in that it compares O and not the drop, which is 0 for all increases, and in that equal
    values share the win.
    """
    if abs(after - other) <= EQUAL:
        return 50.0
    return 100.0 * (after > other)


def complexity(heat: Floats) -> float:
    """Mean of heat (H, W) in [0, 1]: its L1 norm divided by the area. Poppi et al. 2021, arXiv:2104.10252."""
    return float(heat.mean(dtype=np.float64))


def coherency(raw: Floats, masked: Floats) -> float:
    """`(1 + r) / 2` with r the Pearson correlation of a map and the map of the masked image, both (h, w).

    Poppi et al. 2021, arXiv:2104.10252. It is 0 if one of them is constant, a case that the paper does not define.
    """
    correlation = pearson(raw, masked)
    return 0.0 if correlation is None else (1 + correlation) / 2


def adcc(coherency: float, complexity: float, drop: float) -> float:
    """Harmonic mean of coherency, `1 - complexity` and `1 - drop` of one image; `drop` in percent.

    Poppi et al. 2021, arXiv:2104.10252. It is 0 if one of the three is 0.
    """
    parts = (coherency, 1 - complexity, 1 - drop / 100)
    return 3 / sum(1 / part for part in parts) if min(parts) > 0 else 0.0


def area_under(curve: Floats) -> float:
    """Area under a curve of equally spaced points over [0, 1], by trapezoids. RISE: Petsiuk 2018, arXiv:1806.07421."""
    return float((curve[1:] + curve[:-1]).mean(dtype=np.float64) / 2)


def removal_ranks(heat: Floats, order_of_equals: NDArray[np.intp]) -> NDArray[np.intp]:
    """Give the order in which pixels are removed, the hottest first: 0 to `H * W - 1`, as (H, W).

    `order_of_equals` is a permutation of all pixels. Without it, the part of a map with zero heat would be removed in
    reading order, so that the top of an image would seem more important than its bottom.
    """
    order = order_of_equals[np.argsort(-heat.reshape(-1)[order_of_equals], kind="stable")]
    ranks = np.empty(heat.size, np.intp)
    ranks[order] = np.arange(heat.size)
    return ranks.reshape(heat.shape)


def pearson(a: Floats, b: Floats) -> float | None:
    """Pearson correlation of two arrays of the same shape; None if one of them is constant."""
    # The mean of equal numbers is not always that number, so constants are detected by minimum and maximum.
    if a.min() == a.max() or b.min() == b.max():
        return None
    x, y = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (a, b))
    spread = np.sqrt((x * x).sum()) * np.sqrt((y * y).sum())
    return float(np.clip((x * y).sum() / spread, -1, 1)) if spread > 0 else None


def spearman(a: Floats, b: Floats) -> float | None:
    """Spearman correlation: the Pearson correlation of the ranks, see `_ranks`; None if one array is constant."""
    return pearson(_ranks(a), _ranks(b))


def _ranks(values: Floats) -> Floats:
    """Give ranks from 0; equal values have the mean of their ranks."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    middle: Floats = last - (sizes + 1) / 2
    return middle[group].reshape(values.shape)


def share_inside(heat: Floats, inside: Mask) -> float:
    """Share of non-negative heat (H, W) inside a region of the same shape; 0 if there is no heat."""
    total = heat.sum(dtype=np.float64)
    return float(heat[inside].sum(dtype=np.float64) / total) if total > 0 else 0.0
