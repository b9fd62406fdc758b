"""Peaks, boxes and overlays of pictures of any size in bounded memory.

Heat is smooth between the cells of its map, so that peaks and boxes of a large picture are found at a lower resolution
and carried back to its pixels. Large overlays are painted in strips.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.geometry import Box, Fit, Size, map_rows, map_to_source, seen_box
from gradcam_cli.imaging.heatmap import Summary, summarise
from gradcam_cli.imaging.overlay import draw_boxes, draw_boxes_into, mask, paint
from gradcam_cli.imaging.regions import Region, find_regions, level_of
from gradcam_cli.inputs.decoding import encode_jpeg
from gradcam_cli.settings import OverlaySettings, Threshold

# Pictures of more pixels are looked at in so many.
MOST_ANALYSED: Final = 2_000_000
# Larger overlays are painted in strips of about so many pixels.
STRIP: Final = 4_000_000
# Bytes a pixel that painting a picture takes: its pixels, its overlay, and the JPEG.
PAINTING_BYTES: Final = 7


def analysed_size(source: Size) -> Size:
    """Give the resolution at which heat is analysed: the picture's own, or one of at most `MOST_ANALYSED` pixels."""
    pixels = source.width * source.height
    if pixels <= MOST_ANALYSED:
        return source
    factor = (MOST_ANALYSED / pixels) ** 0.5
    width = min(source.width, max(1, int(source.width * factor)))
    height = min(source.height, max(1, int(source.height * factor)))
    return Size(min(width, MOST_ANALYSED // height), min(height, MOST_ANALYSED))


def find_heat(scaled: NDArray[np.float32], fit: Fit, boxes: Threshold | None) -> tuple[Summary, list[Region] | None]:
    """Sum up a scaled map (h, w) over the photograph, and find its regions where `boxes` is a level.

    Returns:
        Peak and boxes in pixels of the photograph; no regions where `boxes` is None.
    """
    size = analysed_size(fit.source)
    heat = map_to_source(scaled, fit, size)
    summary = summarise(heat, flat=not scaled.any())
    regions = None if boxes is None else find_regions(heat, seen_box(fit, size), boxes)
    if size == fit.source:
        return summary, regions
    if summary.peak:
        summary = replace(summary, peak=_peak_in_source(summary.peak, size, fit.source))
    return summary, regions and [replace(region, box=_in_source(region.box, size, fit.source)) for region in regions]


def _peak_in_source(peak: tuple[int, int], size: Size, source: Size) -> tuple[int, int]:
    """The pixel of the photograph that has the centre of an analysed pixel in it."""
    x, y = peak
    return (2 * x + 1) * source.width // (2 * size.width), (2 * y + 1) * source.height // (2 * size.height)


def _in_source(box: Box, size: Size, source: Size) -> Box:
    """The smallest box of the photograph around a box of analysed pixels."""
    return Box(
        box.left * source.width // size.width,
        box.top * source.height // size.height,
        -(-box.right * source.width // size.width),
        -(-box.bottom * source.height // size.height),
    )


def paint_overlay(
    pixels: NDArray[np.uint8],
    scaled: NDArray[np.float32],
    fit: Fit,
    style: OverlaySettings,
    regions: list[Region] | None,
) -> bytes:
    """Paint a scaled map (h, w) over the photograph (H, W, 3) at any resolution, and encode the overlay as a JPEG.

    Raises:
        ImageError: the overlay cannot be a JPEG.
    """
    height, width = pixels.shape[:2]
    size = Size(width, height)
    boxes = (regions or []) if style.draw_boxes else []
    if width * height <= STRIP:
        overlay = _painted(pixels, map_to_source(scaled, fit, size), seen_box(fit, size), style)
        return encode_jpeg(draw_boxes(overlay, boxes, fit.source) if boxes else overlay, style.quality)
    if style.mask == "otsu":
        small = analysed_size(size)
        seen = seen_box(fit, small)
        heat = map_to_source(scaled, fit, small)[seen.top : seen.bottom, seen.left : seen.right]
        style = replace(style, mask=level_of(heat, style.mask))
    overlay = _painted_in_strips(pixels, scaled, fit, style)
    draw_boxes_into(overlay, boxes, fit.source)
    return encode_jpeg(overlay, style.quality, blue_first=True)


def _painted(
    pixels: NDArray[np.uint8], heat: NDArray[np.float32], seen: Box, style: OverlaySettings
) -> NDArray[np.uint8]:
    return paint(pixels, heat, seen, style) if style.mask is None else mask(pixels, heat, seen, style.mask)


def _painted_in_strips(
    pixels: NDArray[np.uint8], scaled: NDArray[np.float32], fit: Fit, style: OverlaySettings
) -> NDArray[np.uint8]:
    """The overlay as (H, W, 3) with blue first, as the encoder takes it."""
    height, width = pixels.shape[:2]
    size = Size(width, height)
    seen = seen_box(fit, size)
    overlay = np.empty(pixels.shape, np.uint8)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        heat = map_rows(scaled, fit, size, slice(top, bottom))
        part = Box(seen.left, _within(seen.top, top, bottom), seen.right, _within(seen.bottom, top, bottom))
        overlay[top:bottom] = _painted(pixels[top:bottom], heat, part, style)[:, :, ::-1]
    return overlay


def _within(row: int, top: int, bottom: int) -> int:
    return min(max(row, top), bottom) - top
