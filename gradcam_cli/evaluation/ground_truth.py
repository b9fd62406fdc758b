"""Ground truth: boxes of objects, in pixels of the original image."""

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.errors import UsageError
from gradcam_cli.imaging.geometry import Size

COLUMNS = ("file", "x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class TruthBox:
    """One box in continuous pixel coordinates: `x0 <= x < x1`, `y0 <= y < y1`."""

    x0: float
    y0: float
    x1: float
    y1: float

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies inside."""
        return self.x0 <= x < self.x1 and self.y0 <= y < self.y1


Boxes = tuple[TruthBox, ...]


def read_boxes(path: Path) -> dict[str, Boxes]:
    """Read a CSV file with the columns file, x0, y0, x1, y1: one box per line, one or more boxes for each image.

    Raises:
        UsageError: the file cannot be read, a column is missing, or a line is not a box.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: the file of boxes cannot be read: {error}.") from error
    rows = csv.DictReader(io.StringIO(text, newline=""))
    missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise UsageError(
            f"{path}: the column {', '.join(missing)} is missing. The first line must be: {','.join(COLUMNS)}"
        )
    found: dict[str, list[TruthBox]] = {}
    for row in rows:
        found.setdefault(row["file"], []).append(_box(row, f"{path}, line {rows.line_num}"))
    return {name: tuple(boxes) for name, boxes in found.items()}


def _box(row: dict[str, str], where: str) -> TruthBox:
    try:
        x0, y0, x1, y1 = (float(row[name]) for name in COLUMNS[1:])
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: x0, y0, x1 and y1 must be numbers.") from error
    if not (all(map(math.isfinite, (x0, y0, x1, y1))) and x0 < x1 and y0 < y1):
        raise UsageError(f"{where}: a box needs x0 < x1 and y0 < y1.")
    return TruthBox(x0, y0, x1, y1)


def hits(boxes: Iterable[TruthBox], pixel: tuple[int, int]) -> bool:
    """Whether a pixel (x, y), by its centre, is inside any of the boxes."""
    return any(box.holds(pixel[0] + 0.5, pixel[1] + 0.5) for box in boxes)


def box_mask(boxes: Iterable[TruthBox], size: Size) -> NDArray[np.bool_]:
    """Mark the pixels of an image whose centre is inside any of the boxes: (height, width)."""
    x, y = np.arange(size.width) + 0.5, np.arange(size.height) + 0.5
    inside = np.zeros((size.height, size.width), np.bool_)
    for box in boxes:
        inside |= ((y >= box.y0) & (y < box.y1))[:, None] & ((x >= box.x0) & (x < box.x1))
    return inside
