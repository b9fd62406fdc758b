"""Peaks, boxes and overlays of pictures of any size in bounded memory.

Heat is smooth between the cells of its map, so that peaks and boxes of a large picture are found at a lower resolution
and carried back to its pixels. Large overlays are painted in strips.
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

# Pictures of more pixels are looked at in so many.
MOST_ANALYSED: Final = 2_000_000
# Larger overlays are painted in strips of about so many pixels.
STRIP: Final = 4_000_000
# Bytes of each pixel of the picture, and of each pixel that is painted: the overlay, and the JPEG.
PIXEL_BYTES, PAINTED_BYTES = 3, 4


def analysed_size(source: Size) -> Size:
    """Give the resolution at which heat is analysed: the picture's own, or one of at most `MOST_ANALYSED` pixels."""
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
    """Sum up a scaled map (h, w) over the photograph, and find its regions where `boxes` is a level.

    Returns:
        Peak and boxes in pixels of the photograph; no regions where `boxes` is None. Then the map (H, W) over the
        photograph, at the resolution at which it was analysed.
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
    words: Words | None = None,
    heat: NDArray[np.float32] | None = None,
) -> bytes:
    """Paint a scaled map (h, w) over the photograph (H, W, 3) at any resolution, and encode the overlay as a JPEG.

    Args:
        pixels: the photograph.
        scaled: the map, in [0, 1].
        fit: how the photograph was laid into the model's input.
        style: how heat is painted, and the parts of a figure.
        regions: boxes to draw, where the style asks for them.
        words: what the caption says, where the style asks for one.
        heat: what `find_heat` gives: it is painted where it has the size of the photograph.

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
    """Bytes that painting takes: the picture and, of the overlay or of each panel of a figure, pixels and JPEG."""
    plan = plan_figure(shown, style)
    size = plan.size if plan else shown
    return PIXEL_BYTES * shown.width * shown.height + PAINTED_BYTES * size.width * size.height


def figure_pixels(
    pixels: NDArray[np.uint8], scaled: NDArray[np.float32], fit: Fit, style: OverlaySettings, words: Words
) -> NDArray[np.uint8]:
    """Paint a figure, or the overlay alone, as `paint_overlay` does, without boxes: (H, W, 3) uint8 RGB."""
    size = Size(pixels.shape[1], pixels.shape[0])
    plan = plan_figure(size, style)
    if plan is None:
        return _painted(pixels, map_to_source(scaled, fit, size), seen_box(fit, size), style)
    return np.ascontiguousarray(_figure(plan, pixels, scaled, fit, style, [], words)[:, :, ::-1])


def _with_level(style: OverlaySettings, scaled: NDArray[np.float32], fit: Fit, size: Size) -> OverlaySettings:
    """Find the level of a mask once, for all strips."""
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
    """The figure as (H, W, 3) with blue first; each panel is painted where it lies."""
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
    """Paint into `overlay` (H, W, 3) with blue first, as the encoder takes it."""
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
