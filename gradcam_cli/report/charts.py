"""Small histograms: the heights of bars, and a text description."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

BARS: Final = 20
# Units of the drawing.
BAR_WIDTH: Final = 12
HEIGHT: Final = 60


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram in units of the drawing, and its description."""

    x: float
    y: float
    height: float
    title: str


@dataclass(frozen=True)
class Histogram:
    """A histogram of values from 0 to 1, with its median as text."""

    title: str
    bars: tuple[Bar, ...]
    highest: int
    summary: str
    width: int = BARS * BAR_WIDTH
    height: int = HEIGHT


def histogram(title: str, values: Sequence[float]) -> Histogram | None:
    """Count values from 0 to 1 in 20 bins of equal width; None if there are no values."""
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
    # The minimum height, so that a bar of one image among thousands is visible.
    height = max(1.5, HEIGHT * count / highest) if count else 0.0
    return Bar(number * BAR_WIDTH, round(HEIGHT - height, 2), round(height, 2), title)
