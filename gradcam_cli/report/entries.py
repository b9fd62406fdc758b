"""The images of a run for the report: read from sidecars, with each map interpolated on a common grid."""

import os
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.errors import UsageError, first_line
from gradcam_cli.imaging.geometry import Axis, Box, CellLine, Fit, Size, axes, interpolation
from gradcam_cli.report.image_state import NOT_WHOLE, fit_of, heat_of
from gradcam_cli.results.reading import records_below
from gradcam_cli.results.sidecar import Record, name_on_disk
from gradcam_cli.results.tree import Tree

# Side of the grid over the image on which maps of all shapes are compared.
GRID: Final = 16

Grid = NDArray[np.float32]
# Left, top, right, bottom, as shares of the image's width and height.
Window = tuple[float, float, float, float]


@dataclass(frozen=True)
class Placement:
    """The position of a map on its image: the rectangle of all cells, and the part that the model saw."""

    cells: Window
    seen: Window


@dataclass(frozen=True, eq=False)
class ExplainedClass:
    """One explained class of one image.

    `heat` (h, w) uint8 is the map of the sidecar, and `grid` (GRID, GRID) float32 in [0, 1] is the same map over the
    image. Both and `placement` are None in sidecars of the first version, which have no maps.
    """

    index: int
    label: str
    record: Record
    overlay: str | None
    heat: NDArray[np.uint8] | None = None
    grid: Grid | None = None
    placement: Placement | None = None


@dataclass(frozen=True, eq=False)
class Entry:
    """One image. `name` is its path as text; `relative` is its path on disk, below the output folder."""

    name: str
    relative: str
    record: Record
    classes: tuple[ExplainedClass, ...]

    @property
    def first(self) -> ExplainedClass | None:
        """The class that is shown in the grid of images; None for a failed image."""
        return self.classes[0] if self.classes else None

    @property
    def size(self) -> Size | None:
        """Width and height of the upright image, if they are known."""
        width, height = self.record["input"].get("width"), self.record["input"].get("height")
        return Size(width, height) if width and height else None


def read_entries(tree: Tree) -> list[Entry]:
    """Read every sidecar below an output folder, sorted by path; other files are ignored."""
    return [entry_of(record, name.removesuffix(".json")) for name, record in records_below(tree)]


def entry_of(record: Record, relative: str) -> Entry:
    """Make an entry from one sidecar.

    Args:
        record: the sidecar.
        relative: path of the image's files below the output folder, without the `.json` of the sidecar.

    Raises:
        UsageError: a field is missing or invalid.
    """
    try:
        classes = tuple(_explained(record, found, relative) for found in record["classes"])
        return Entry(record["input"]["path"], relative, record, classes)
    except NOT_WHOLE as error:
        raise UsageError(
            f"{relative}.json: this sidecar is incomplete ({first_line(error)}). Explain the image again, or remove "
            "the sidecar."
        ) from error


def _explained(record: Record, found: Record, relative: str) -> ExplainedClass:
    label = found["label"] or f"class {found['index']}"
    overlay = _beside(record, relative, found.get("overlay"))
    if not found.get("heat"):
        return ExplainedClass(found["index"], label, found, overlay)
    heat = heat_of(found["heat"])
    fit = fit_of(record, Size(heat.shape[1], heat.shape[0]))
    grid = _on_grid(np.asarray(heat / 255, np.float32), fit)
    return ExplainedClass(found["index"], label, found, overlay, heat, grid, placement_of(fit, heat.shape))


def _on_grid(heat: NDArray[np.float32], fit: Fit) -> Grid:
    """Interpolate a map on GRID x GRID cells over the image, see `map_to_source`."""
    across, down = axes(fit)
    rows, columns = (fit.geometry.rows, fit.geometry.columns) if fit.geometry else (None, None)
    return np.asarray(
        _weights(down, heat.shape[0], rows) @ heat @ _weights(across, heat.shape[1], columns).T, np.float32
    )


def _weights(axis: Axis, cells: int, line: CellLine | None) -> NDArray[np.float32]:
    if (axis.seen_from, axis.seen_to) == (0, axis.source):
        # If the whole side was seen, its length has no influence, so images of all sizes share the weights.
        axis = replace(axis, source=GRID, seen_to=GRID)
    return _kept_weights(axis, cells, line)


@lru_cache(maxsize=256)
def _kept_weights(axis: Axis, cells: int, line: CellLine | None) -> NDArray[np.float32]:
    weights = interpolation(axis, cells, GRID, line)
    weights.setflags(write=False)
    return weights


def _beside(record: Record, relative: str, name: str | None) -> str | None:
    """Give the path below the output folder of a file that a sidecar names."""
    if name is None:
        return None
    try:
        return os.path.join(os.path.dirname(relative), name_on_disk(record, name))  # noqa: PTH118, PTH120 - not UTF-8
    except ValueError:
        return None


def placement_of(fit: Fit, cells: tuple[int, ...]) -> Placement:
    """Give the position of a map of `cells` (h, w) on its image, as shares of the image's sides."""
    across, down = axes(fit)
    columns = fit.geometry.columns if fit.geometry else CellLine.over(fit.input.width, cells[1])
    rows = fit.geometry.rows if fit.geometry else CellLine.over(fit.input.height, cells[0])
    left, right = (_share(across, edge) for edge in _edges(columns, cells[1]))
    top, bottom = (_share(down, edge) for edge in _edges(rows, cells[0]))
    return Placement((left, top, right, bottom), _seen(fit, columns, rows))


def _edges(line: CellLine, cells: int) -> tuple[float, float]:
    """Give the first and last edge of the cells, in pixels of the input."""
    first = line.offset - line.stride / 2
    return first, first + cells * line.stride


def _share(axis: Axis, position: float) -> float:
    """Convert a position in the input to a share of the source's side."""
    scale = (axis.seen_to - axis.seen_from) / (axis.filled_to - axis.filled_from)
    return (axis.seen_from + (position - axis.filled_from) * scale) / axis.source


def _seen(fit: Fit, columns: CellLine, rows: CellLine) -> Window:
    across, down = axes(fit)
    seen: Box = fit.seen
    left = max(seen.left / fit.source.width, _share(across, columns.seen_from))
    top = max(seen.top / fit.source.height, _share(down, rows.seen_from))
    right = min(seen.right / fit.source.width, _share(across, columns.seen_to))
    bottom = min(seen.bottom / fit.source.height, _share(down, rows.seen_to))
    return left, top, right, bottom
