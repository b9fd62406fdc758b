"""The order of the images in a report."""

import math
from collections.abc import Callable, Sequence
from typing import Final

from gradcam_cli.report.entries import Entry
from gradcam_cli.requests import ReportSort


def sorted_entries(entries: Sequence[Entry], key: ReportSort) -> list[Entry]:
    """Sort images by a key of `REPORT_SORTS`, the highest value first, then by name.

    Images without this value are last: failures, and images without heat.
    """
    if key == "name":
        return sorted(entries, key=lambda entry: entry.name)
    figure = FIGURES[key]

    def order(entry: Entry) -> tuple[float, str]:
        value = figure(entry)
        return (math.inf if value is None else -value, entry.name)

    return sorted(entries, key=order)


def score_of(entry: Entry) -> float | None:
    """Give the probability of the first explained class, or its value if the output is not a probability."""
    if entry.first is None:
        return None
    record = entry.first.record
    score: float | None = record["value"] if record["probability"] is None else record["probability"]
    return score


def area_of(entry: Entry) -> float | None:
    """Give the share of the image with heat of 0.5 or more, 0 to 1, for the first explained class."""
    return None if entry.first is None else float(entry.first.record["area"])


def peak_distance(entry: Entry) -> float | None:
    """Give the distance of the peak from the middle of the image: 0 in the middle, 1 in a corner."""
    peak = entry.first and entry.first.record["peak"]
    if not peak or entry.size is None:
        return None
    across = (peak["x"] + 0.5) / entry.size.width - 0.5
    down = (peak["y"] + 0.5) / entry.size.height - 0.5
    # In pixels, divided by half of the diagonal.
    width, height = entry.size.width, entry.size.height
    return math.hypot(across * width, down * height) / (math.hypot(width, height) / 2)


FIGURES: Final[dict[str, Callable[[Entry], float | None]]] = {
    "probability": score_of,
    "area": area_of,
    "peak-distance": peak_distance,
}
