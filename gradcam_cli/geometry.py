"""Squash, crop and pad: from a photograph to a model's input, and the exact way back for maps and points.

Coordinates are continuous: pixel `i` covers `[i, i + 1)` and has its centre at `i + 0.5`. Each fit maps one
rectangle of the source onto one rectangle of the input, so that one pair of boxes describes all three.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.opencv import cv2
from gradcam_cli.settings import FitMode

# The mean colour of ImageNet: padding that most networks see as "nothing in particular".
PAD_COLOUR = (124, 116, 104)
PAD_GREY = 117


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
    """How one photograph was laid into a model's input: `seen` of the source fills `filled` of the input."""

    source: Size
    input: Size
    seen: Box
    filled: Box


def plan_fit(source: Size, target: Size, mode: FitMode) -> Fit:
    """Decide which part of the source fills which part of the input.

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
    """Give the largest size of the given proportions inside `outer`, at least one pixel each way."""
    scale = min(outer.width / proportions.width, outer.height / proportions.height)
    width = min(outer.width, max(1, round(proportions.width * scale)))
    height = min(outer.height, max(1, round(proportions.height * scale)))
    return Size(width, height)


def _centred(inner: Size, outer: Size) -> Box:
    left = (outer.width - inner.width) // 2
    top = (outer.height - inner.height) // 2
    return Box(left, top, left + inner.width, top + inner.height)


def apply_fit(pixels: NDArray[np.uint8], fit: Fit) -> NDArray[np.uint8]:
    """Lay a photograph (H, W, channels) uint8 into the model's input (h, w, channels) uint8: 1, 3 or 4 channels."""
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
    # cv2 drops an axis of one channel.
    return np.asarray(result, np.uint8).reshape(size.height, size.width, pixels.shape[2])


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
        """Source coordinates to input coordinates."""
        scale = (self.filled_to - self.filled_from) / (self.seen_to - self.seen_from)
        return self.filled_from + (position - self.seen_from) * scale


def axes(fit: Fit) -> tuple[Axis, Axis]:
    """Take a fit apart into its horizontal and its vertical axis."""
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


def interpolation(axis: Axis, cells: int, pixels: int) -> NDArray[np.float32]:
    """Bilinear weights that read a map of `cells` along one axis at the centres of `pixels` output pixels.

    The output is the whole source axis at any resolution: `pixels == axis.source` is the source itself.
    Rows sum to 1 inside what the model saw and to 0 outside of it; beyond the outermost cell centres the
    outermost value holds.

    Returns:
        (pixels, cells) float32.
    """
    centres = (np.arange(pixels) + 0.5) * (axis.source / pixels)
    position = axis.to_input(centres) * (cells / axis.length) - 0.5
    position = np.clip(position, 0.0, cells - 1)
    below = np.minimum(position.astype(np.intp), max(cells - 2, 0))
    share = position - below
    weights = np.zeros((pixels, cells), np.float64)
    rows = np.arange(pixels)
    weights[rows, below] = 1.0 - share
    if cells > 1:
        weights[rows, below + 1] = share
    weights[(centres < axis.seen_from) | (centres > axis.seen_to)] = 0.0
    return weights.astype(np.float32)


def resize_maps(maps: NDArray[np.floating[Any]], size: Size) -> NDArray[np.floating[Any]]:
    """Carry maps (..., h, w) to another grid (..., size.height, size.width), bilinear between cell centres."""
    return _read(maps, _whole(size.width), _whole(size.height), size)


def _whole(pixels: int) -> Axis:
    """An axis all of which was seen, at its own resolution."""
    return Axis(pixels, pixels, 0, pixels, 0, pixels)


def map_to_source(heat: NDArray[np.float32], fit: Fit, size: Size | None = None) -> NDArray[np.float32]:
    """Carry a map over the model's input back onto the photograph.

    Args:
        heat: (h, w) float32 over the whole input.
        fit: how the photograph was laid into the input.
        size: resolution of the answer; the photograph's own unless told.

    Returns:
        (H, W) float32, bilinear between cell centres, 0 where the model did not look.
    """
    size = size or fit.source
    horizontal, vertical = axes(fit)
    return np.asarray(_read(heat, horizontal, vertical, size), np.float32)


def map_rows(heat: NDArray[np.float32], fit: Fit, size: Size, rows: slice) -> NDArray[np.float32]:
    """Carry a map back onto some rows of the photograph, as `map_to_source` does onto all of them."""
    horizontal, vertical = axes(fit)
    down = interpolation(vertical, heat.shape[-2], size.height)[rows]
    across = interpolation(horizontal, heat.shape[-1], size.width)
    return np.asarray(down @ heat @ across.T, np.float32)


def _read(maps: NDArray[np.floating[Any]], horizontal: Axis, vertical: Axis, size: Size) -> NDArray[np.floating[Any]]:
    """Read maps (..., h, w) along both axes at the centres of pixels: (..., size.height, size.width)."""
    rows = interpolation(vertical, maps.shape[-2], size.height)
    columns = interpolation(horizontal, maps.shape[-1], size.width)
    read: NDArray[np.floating[Any]] = rows @ maps @ columns.T
    return read


def seen_box(fit: Fit, size: Size) -> Box:
    """Give the part of a picture of `size` (the photograph at any resolution) that the model saw."""
    return scaled(fit.seen, fit.source, size)


def scaled(box: Box, source: Size, size: Size) -> Box:
    """Give a box of the photograph in pixels of the photograph at another resolution."""
    across = size.width / source.width
    down = size.height / source.height
    return Box(round(box.left * across), round(box.top * down), round(box.right * across), round(box.bottom * down))


def at_resolution(fit: Fit, size: Size) -> Fit:
    """Give the fit of the same photograph at another resolution: the same part fills the same part of the input."""
    return Fit(size, fit.input, seen_box(fit, size), fit.filled)
