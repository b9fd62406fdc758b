"""Peaks, boxes and overlays of images of any size in bounded memory.

A heatmap is smooth between the cells of its map, so peaks and boxes of a large image are found at a lower resolution
and converted to its pixels. Large overlays are painted in strips.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.figure import (
    UNSEEN,
    FigurePlan,
    Words,
    draw_bar,
    draw_caption,
    empty_figure,
    enlarge,
    plan_figure,
)
from gradcam_cli.imaging.geometry import Box, Fit, Size, map_rows, map_to_source, seen_box
from gradcam_cli.imaging.heatmap import Summary, summarise
from gradcam_cli.imaging.overlay import draw_boxes, draw_boxes_into, mask, paint
from gradcam_cli.imaging.regions import Region, find_regions, level_of
from gradcam_cli.inputs.decoding import encode_jpeg
from gradcam_cli.settings import OverlaySettings, Threshold

# Larger images are analysed at this number of pixels.
MOST_ANALYSED: Final = 2_000_000
# Larger overlays are painted in strips of about this number of pixels.
STRIP: Final = 4_000_000
# Bytes for each pixel of the image, and for each painted pixel: the overlay and the JPEG.
PIXEL_BYTES, PAINTED_BYTES = 3, 4


def analysed_size(source: Size) -> Size:
    """Give the resolution of the analysis: that of the image, or at most `MOST_ANALYSED` pixels."""
    pixels = source.width * source.height
    if pixels <= MOST_ANALYSED:
        return source
    factor = (MOST_ANALYSED / pixels) ** 0.5
    width = min(source.width, max(1, int(source.width * factor)))
    height = min(source.height, max(1, int(source.height * factor)))
    return Size(min(width, MOST_ANALYSED // height), min(height, MOST_ANALYSED))


def find_heat(
    scaled: NDArray[np.float32], fit: Fit, boxes: Threshold | None
) -> tuple[Summary, list[Region] | None, NDArray[np.float32]]:
    """Summarise a scaled map (h, w) over the image, and find its regions if `boxes` is a level.

    Returns:
        The summary and the regions in pixels of the image, without regions if `boxes` is None; and the map (H, W) over
        the image, at the resolution of the analysis.
    """
    size = analysed_size(fit.source)
    heat = map_to_source(scaled, fit, size)
    summary = summarise(heat, flat=not scaled.any())
    regions = None if boxes is None else find_regions(heat, seen_box(fit, size), boxes)
    if size == fit.source:
        return summary, regions, heat
    if summary.peak:
        summary = replace(summary, peak=_peak_in_source(summary.peak, size, fit.source))
    regions = regions and [replace(region, box=_in_source(region.box, size, fit.source)) for region in regions]
    return summary, regions, heat


def _peak_in_source(peak: tuple[int, int], size: Size, source: Size) -> tuple[int, int]:
    """Give the pixel of the image that contains the centre of an analysed pixel."""
    x, y = peak
    return (2 * x + 1) * source.width // (2 * size.width), (2 * y + 1) * source.height // (2 * size.height)


def _in_source(box: Box, size: Size, source: Size) -> Box:
    """Give the smallest box of the image around a box of analysed pixels."""
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
    words: Words | None = None,
    heat: NDArray[np.float32] | None = None,
) -> bytes:
    """Paint a scaled map (h, w) over an image (H, W, 3) at any resolution, and encode the overlay as JPEG.

    Args:
        pixels: the photograph.
        scaled: the map, in [0, 1].
        fit: how the image was fitted to the model's input.
        style: the settings of the overlay or figure.
        regions: boxes to draw, if the style has boxes.
        words: the text of the caption, if the style has one.
        heat: the map of `find_heat`; it is used if it has the size of the image.

    Raises:
        ImageError: the overlay cannot be a JPEG.
    """
    height, width = pixels.shape[:2]
    size = Size(width, height)
    boxes = (regions or []) if style.draw_boxes else []
    plan = plan_figure(size, style)
    if plan is None and width * height <= STRIP:
        if heat is None or heat.shape != (height, width):
            heat = map_to_source(scaled, fit, size)
        overlay = _painted(pixels, heat, seen_box(fit, size), style)
        return encode_jpeg(draw_boxes(overlay, boxes, fit.source) if boxes else overlay, style.quality)
    style = _with_level(style, scaled, fit, size)
    if plan is None:
        overlay = np.empty(pixels.shape, np.uint8)
        _paint_in_strips(overlay, pixels, scaled, fit, style)
        draw_boxes_into(overlay, boxes, fit.source)
    else:
        overlay = _figure(plan, pixels, scaled, fit, style, boxes, words or Words())
    return encode_jpeg(overlay, style.quality, blue_first=True)


def painting_bytes(style: OverlaySettings, shown: Size) -> int:
    """Estimate the bytes for painting: the image, and the pixels and JPEG of the overlay or of each panel."""
    plan = plan_figure(shown, style)
    size = plan.size if plan else shown
    return PIXEL_BYTES * shown.width * shown.height + PAINTED_BYTES * size.width * size.height


def figure_pixels(
    pixels: NDArray[np.uint8], scaled: NDArray[np.float32], fit: Fit, style: OverlaySettings, words: Words
) -> NDArray[np.uint8]:
    """Paint a figure or only the overlay, without boxes: (H, W, 3) uint8 RGB."""
    size = Size(pixels.shape[1], pixels.shape[0])
    plan = plan_figure(size, style)
    if plan is None:
        return _painted(pixels, map_to_source(scaled, fit, size), seen_box(fit, size), style)
    return np.ascontiguousarray(_figure(plan, pixels, scaled, fit, style, [], words)[:, :, ::-1])


def _with_level(style: OverlaySettings, scaled: NDArray[np.float32], fit: Fit, size: Size) -> OverlaySettings:
    """Compute the level of a mask once for all strips."""
    if style.mask != "otsu":
        return style
    small = analysed_size(size)
    seen = seen_box(fit, small)
    heat = map_to_source(scaled, fit, small)[seen.top : seen.bottom, seen.left : seen.right]
    return replace(style, mask=level_of(heat, style.mask))


def _figure(
    plan: FigurePlan,
    pixels: NDArray[np.uint8],
    scaled: NDArray[np.float32],
    fit: Fit,
    style: OverlaySettings,
    boxes: list[Region],
    words: Words,
) -> NDArray[np.uint8]:
    """Paint a figure (H, W, 3) in BGR; each panel is painted in place."""
    figure = empty_figure(plan)
    pixels = enlarge(pixels, plan.enlarged)
    panels = [figure[box.top : box.bottom, box.left : box.right] for box in plan.panels]
    _paint_in_strips(panels[-1], pixels, scaled, fit, style)
    draw_boxes_into(panels[-1], boxes, fit.source)
    if len(panels) > 1:
        panels[0][:] = pixels[:, :, ::-1]
    if len(panels) > 2:
        blank = np.broadcast_to(np.uint8(UNSEEN), pixels.shape)
        _paint_in_strips(panels[1], blank, scaled, fit, replace(style, alpha=1.0, mask=None))
    draw_bar(figure, plan, style, words)
    draw_caption(figure, plan, words)
    return figure


def _painted(
    pixels: NDArray[np.uint8], heat: NDArray[np.float32], seen: Box, style: OverlaySettings
) -> NDArray[np.uint8]:
    return paint(pixels, heat, seen, style) if style.mask is None else mask(pixels, heat, seen, style.mask)


def _paint_in_strips(
    overlay: NDArray[np.uint8], pixels: NDArray[np.uint8], scaled: NDArray[np.float32], fit: Fit, style: OverlaySettings
) -> None:
    """Paint into `overlay` (H, W, 3) in BGR, the order of the encoder."""
    height, width = pixels.shape[:2]
    size = Size(width, height)
    seen = seen_box(fit, size)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        heat = map_rows(scaled, fit, size, slice(top, bottom))
        part = Box(seen.left, _within(seen.top, top, bottom), seen.right, _within(seen.bottom, top, bottom))
        strip = np.ascontiguousarray(pixels[top:bottom])
        overlay[top:bottom] = _painted(strip, heat, part, style)[:, :, ::-1]


def _within(row: int, top: int, bottom: int) -> int:
    return min(max(row, top), bottom) - top
