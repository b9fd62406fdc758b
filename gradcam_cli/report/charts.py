"""Small histograms: the heights of bars, and a sentence that says the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

BARS: Final = 20
# The drawing's own units.
BAR_WIDTH: Final = 12
HEIGHT: Final = 60


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram in the drawing's units, and what it stands for."""

    x: float
    y: float
    height: float
    title: str


@dataclass(frozen=True)
class Histogram:
    """A histogram of figures from 0 to 1, with its median in words."""

    title: str
    bars: tuple[Bar, ...]
    highest: int
    summary: str
    width: int = BARS * BAR_WIDTH
    height: int = HEIGHT


def histogram(title: str, values: Sequence[float]) -> Histogram | None:
    """Count figures from 0 to 1 in 20 bins of equal width; None where there are no figures."""
    if not values:
        return None
    counts, edges = np.histogram(np.clip(values, 0, 1), bins=BARS, range=(0, 1))
    highest = int(counts.max())
    bars = tuple(
        _bar(number, int(count), highest, f"{low:.2f} to {high:.2f}: {count}")
        for number, (count, low, high) in enumerate(zip(counts, edges[:-1], edges[1:], strict=True))
    )
    return Histogram(title, bars, highest, f"median {np.median(values):.2f}")


def _bar(number: int, count: int, highest: int, title: str) -> Bar:
    # A bar of one image among thousands has still to be seen.
    height = max(1.5, HEIGHT * count / highest) if count else 0.0
    return Bar(number * BAR_WIDTH, round(HEIGHT - height, 2), round(height, 2), title)
