"""Squash, crop and pad: from an image to a model's input, and the exact inverse for maps and points.

Coordinates are continuous: pixel `i` covers `[i, i + 1)` and has its centre at `i + 0.5`. Each fit maps one
rectangle of the source onto one rectangle of the input, so that one pair of boxes describes all three.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.settings import FitMode

# The mean colour of ImageNet, which is close to 0 after the usual preprocessings.
PAD_COLOUR = (124, 116, 104)
PAD_GREY = 117


@dataclass(frozen=True)
class CellLine:
    """The cells of a map along one axis, in input pixels: the centre of cell `i` lies at `offset + i * stride`.

    The network uses `[seen_from, seen_to)` of the input and crops the rest.
    """

    offset: float
    stride: float
    seen_from: float
    seen_to: float

    @classmethod
    def over(cls, pixels: int, cells: int) -> "CellLine":
        """Divide the whole axis into equal cells."""
        stride = pixels / cells
        return cls(stride / 2, stride, 0.0, float(pixels))

    def mirrored(self, pixels: int) -> "CellLine":
        """Give the positions of the same cells in the mirrored input."""
        return CellLine(pixels - self.offset, -self.stride, pixels - self.seen_to, pixels - self.seen_from)


@dataclass(frozen=True)
class MapGeometry:
    """The positions of the cells of a map in the network's input."""

    rows: CellLine
    columns: CellLine

    @classmethod
    def over(cls, size: "Size", cells: "Size") -> "MapGeometry":
        """Stretch a map over the whole input."""
        return cls(CellLine.over(size.height, cells.height), CellLine.over(size.width, cells.width))


@dataclass(frozen=True)
class Size:
    """Width and height in pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class Box:
    """A rectangle in whole pixels: `left <= x < right`, `top <= y < bottom`."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> Size:
        """Width and height of the rectangle."""
        return Size(self.right - self.left, self.bottom - self.top)


@dataclass(frozen=True)
class Fit:
    """How one image was fitted to a model's input: the part `seen` of the source fills the part `filled` of the input.

    `geometry` is the positions of a map's cells in the input; by default they divide all of it equally.
    """

    source: Size
    input: Size
    seen: Box
    filled: Box
    geometry: MapGeometry | None = None


def plan_fit(source: Size, target: Size, mode: FitMode) -> Fit:
    """Choose the part of the source and the part of the input that it fills.

    `squash` takes all of the source and fills all of the input, `crop` takes the largest centred rectangle
    of the input's proportions, `pad` takes all of the source and fills the largest centred rectangle of the
    source's proportions.
    """
    whole_source = Box(0, 0, source.width, source.height)
    whole_input = Box(0, 0, target.width, target.height)
    if mode == "crop":
        return Fit(source, target, _centred(_inscribed(source, target), source), whole_input)
    if mode == "pad":
        return Fit(source, target, whole_source, _centred(_inscribed(target, source), target))
    return Fit(source, target, whole_source, whole_input)


def _inscribed(outer: Size, proportions: Size) -> Size:
    """Give the largest size with the given aspect ratio inside `outer`, at least one pixel in each direction."""
    scale = min(outer.width / proportions.width, outer.height / proportions.height)
    width = min(outer.width, max(1, round(proportions.width * scale)))
    height = min(outer.height, max(1, round(proportions.height * scale)))
    return Size(width, height)


def _centred(inner: Size, outer: Size) -> Box:
    left = (outer.width - inner.width) // 2
    top = (outer.height - inner.height) // 2
    return Box(left, top, left + inner.width, top + inner.height)


def apply_fit(pixels: NDArray[np.uint8], fit: Fit) -> NDArray[np.uint8]:
    """Fit an image (H, W, channels) uint8 to the model's input (h, w, channels) uint8: 1, 3 or 4 channels."""
    seen = pixels[fit.seen.top : fit.seen.bottom, fit.seen.left : fit.seen.right]
    content = resize(seen, fit.filled.size)
    if content.shape[:2] == (fit.input.height, fit.input.width):
        return content
    channels = pixels.shape[2]
    canvas = np.empty((fit.input.height, fit.input.width, channels), np.uint8)
    canvas[:] = PAD_GREY if channels == 1 else (*PAD_COLOUR, 255)[:channels]
    canvas[fit.filled.top : fit.filled.bottom, fit.filled.left : fit.filled.right] = content
    return canvas


def resize(pixels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Resize (H, W, channels) uint8: by area where a side shrinks, bilinear where it grows."""
    # A run knows the types of this module before OpenCV is imported.
    from gradcam_cli.imaging.opencv import cv2

    height, width = pixels.shape[:2]
    if (width, height) == (size.width, size.height):
        return np.ascontiguousarray(pixels)
    # Area weights are only defined for shrinking: with one side of each kind, shrink first, then grow.
    shrunk = Size(min(width, size.width), min(height, size.height))
    result: Any = pixels
    if (shrunk.width, shrunk.height) != (width, height):
        result = cv2.resize(result, (shrunk.width, shrunk.height), interpolation=cv2.INTER_AREA)
    if shrunk != size:
        result = cv2.resize(result, (size.width, size.height), interpolation=cv2.INTER_LINEAR)
    # cv2 removes an axis of one channel.
    return np.asarray(result, np.uint8).reshape(size.height, size.width, pixels.shape[2])


# Larger weight matrices are not cached; they are computed for each image.
MOST_KEPT: Final = 2**15


@dataclass(frozen=True)
class Axis:
    """One axis of a fit: source `[seen_from, seen_to)` covers input `[filled_from, filled_to)` of `length`."""

    source: int
    length: int
    seen_from: int
    seen_to: int
    filled_from: int
    filled_to: int

    def to_input(self, position: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Convert source coordinates to input coordinates."""
        scale = (self.filled_to - self.filled_from) / (self.seen_to - self.seen_from)
        return self.filled_from + (position - self.seen_from) * scale


def axes(fit: Fit) -> tuple[Axis, Axis]:
    """Split a fit into its horizontal and its vertical axis."""
    return (
        Axis(
            fit.source.width,
            fit.input.width,
            fit.seen.left,
            fit.seen.right,
            fit.filled.left,
            fit.filled.right,
        ),
        Axis(
            fit.source.height,
            fit.input.height,
            fit.seen.top,
            fit.seen.bottom,
            fit.filled.top,
            fit.filled.bottom,
        ),
    )


def interpolation(axis: Axis, cells: int, pixels: int, line: CellLine | None = None) -> NDArray[np.float32]:
    """Give bilinear weights that interpolate a map of `cells` along one axis at the centres of `pixels` output pixels.

    The output is the whole source axis at any resolution: `pixels == axis.source` is the source itself.
    Rows sum to 1 inside the part that the model saw and to 0 outside it. Beyond the outermost cell centres the
    outermost value is used. `line` gives the positions of the cells in the input; without it they divide all of it
    equally.

    Returns:
        (pixels, cells) float32, read-only: other images may share it.
    """
    make = _kept_weights if pixels * cells <= MOST_KEPT else _weights
    return make(axis, cells, pixels, line or CellLine.over(axis.length, cells))


def _weights(axis: Axis, cells: int, pixels: int, line: CellLine) -> NDArray[np.float32]:
    centres = (np.arange(pixels) + 0.5) * (axis.source / pixels)
    inputs = axis.to_input(centres)
    position = np.clip((inputs - line.offset) / line.stride, 0.0, cells - 1)
    below = np.minimum(position.astype(np.intp), max(cells - 2, 0))
    share = position - below
    weights = np.zeros((pixels, cells), np.float64)
    rows = np.arange(pixels)
    weights[rows, below] = 1.0 - share
    if cells > 1:
        weights[rows, below + 1] = share
    first, last = _seen_pixels(axis, pixels, line)
    weights[:first] = 0.0
    weights[last:] = 0.0
    single = weights.astype(np.float32)
    single.setflags(write=False)
    return single


# The images of a folder often have few sizes, and the classes of one image share its weights.
# All that are kept take 8 MB at the most.
_kept_weights = lru_cache(maxsize=64)(_weights)


def _seen_pixels(axis: Axis, pixels: int, line: CellLine | None) -> tuple[int, int]:
    """Find the pixels, of `pixels` along the source, whose centre is in the part that the model saw."""
    scale = pixels / axis.source
    first, last = round(axis.seen_from * scale), round(axis.seen_to * scale)
    if line is None or (line.seen_from <= axis.filled_from and line.seen_to >= axis.filled_to):
        return first, last
    inwards = (axis.seen_to - axis.seen_from) / (axis.filled_to - axis.filled_from)
    bounds = (axis.seen_from + (edge - axis.filled_from) * inwards for edge in (line.seen_from, line.seen_to))
    lower, upper = (round(edge * scale, 6) for edge in bounds)
    first = min(max(first, math.ceil(lower - 0.5)), pixels - 1)
    return first, max(first + 1, min(last, math.floor(upper - 0.5) + 1))


def resize_maps(maps: NDArray[np.floating[Any]], size: Size) -> NDArray[np.floating[Any]]:
    """Interpolate maps (..., h, w) on another grid (..., size.height, size.width), bilinearly between cell centres."""
    return over_input(maps, size, None)


def over_input(maps: NDArray[np.floating[Any]], size: Size, geometry: MapGeometry | None) -> NDArray[np.floating[Any]]:
    """Interpolate maps (..., h, w) over an input of `size`, bilinear between cell centres, 0 outside the used part."""
    return _read(maps, (_whole(size.width), _whole(size.height)), size, geometry)


def regridded(
    maps: NDArray[np.floating[Any]], geometry: MapGeometry, target: MapGeometry, cells: Size
) -> NDArray[np.floating[Any]]:
    """Interpolate maps (..., h, w) at the centres of another grid's cells: (..., cells.height, cells.width)."""
    rows = _between(geometry.rows, target.rows, maps.shape[-2], cells.height)
    columns = _between(geometry.columns, target.columns, maps.shape[-1], cells.width)
    read: NDArray[np.floating[Any]] = rows @ maps @ columns.T
    return read


def _between(line: CellLine, target: CellLine, cells: int, wanted: int) -> NDArray[np.float32]:
    """Give the bilinear weights from the cells along one line to the centres of the cells along another."""
    centres = target.offset + np.arange(wanted) * target.stride
    position = np.clip((centres - line.offset) / line.stride, 0.0, cells - 1)
    distance = np.abs(position[:, None] - np.arange(cells))
    return np.asarray(np.maximum(0.0, 1.0 - distance), np.float32)


def _whole(pixels: int) -> Axis:
    """Give an axis that was seen completely, at its own resolution."""
    return Axis(pixels, pixels, 0, pixels, 0, pixels)


def _rows(geometry: MapGeometry | None) -> CellLine | None:
    return None if geometry is None else geometry.rows


def _columns(geometry: MapGeometry | None) -> CellLine | None:
    return None if geometry is None else geometry.columns


def map_to_source(heat: NDArray[np.float32], fit: Fit, size: Size | None = None) -> NDArray[np.float32]:
    """Transform a map over the model's input back to the image.

    Args:
        heat: (h, w) float32.
        fit: how the image was fitted to the input.
        size: resolution of the result; by default the resolution of the image.

    Returns:
        (H, W) float32, bilinear between cell centres, 0 outside the part that the model saw.
    """
    return np.asarray(_read(heat, axes(fit), size or fit.source, fit.geometry), np.float32)


def map_rows(heat: NDArray[np.float32], fit: Fit, size: Size, rows: slice) -> NDArray[np.float32]:
    """Transform a map back to some rows of the image; see `map_to_source`."""
    horizontal, vertical = axes(fit)
    down = interpolation(vertical, heat.shape[-2], size.height, _rows(fit.geometry))[rows]
    across = interpolation(horizontal, heat.shape[-1], size.width, _columns(fit.geometry))
    return np.asarray(down @ heat @ across.T, np.float32)


def _read(
    maps: NDArray[np.floating[Any]], both: tuple[Axis, Axis], size: Size, geometry: MapGeometry | None
) -> NDArray[np.floating[Any]]:
    """Interpolate maps (..., h, w) along both axes at the centres of pixels: (..., size.height, size.width)."""
    horizontal, vertical = both
    rows = interpolation(vertical, maps.shape[-2], size.height, _rows(geometry))
    columns = interpolation(horizontal, maps.shape[-1], size.width, _columns(geometry))
    read: NDArray[np.floating[Any]] = rows @ maps @ columns.T
    return read


def seen_box(fit: Fit, size: Size) -> Box:
    """Give the part that the model saw, in pixels of the image at resolution `size`."""
    horizontal, vertical = axes(fit)
    left, right = _seen_pixels(horizontal, size.width, _columns(fit.geometry))
    top, bottom = _seen_pixels(vertical, size.height, _rows(fit.geometry))
    return Box(left, top, right, bottom)


def scaled(box: Box, source: Size, size: Size) -> Box:
    """Convert a box of the image to pixels of the image at another resolution."""
    across = size.width / source.width
    down = size.height / source.height
    return Box(round(box.left * across), round(box.top * down), round(box.right * across), round(box.bottom * down))


def at_resolution(fit: Fit, size: Size) -> Fit:
    """Give the fit of the same image at another resolution: the same part fills the same part of the input."""
    return Fit(size, fit.input, scaled(fit.seen, fit.source, size), fit.filled, fit.geometry)
