"""Overlays: the heatmap over the image, or the image with grey cold parts; and boxes."""

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.geometry import Box, Size, scaled
from gradcam_cli.imaging.opencv import cv2
from gradcam_cli.imaging.regions import Region, level_of
from gradcam_cli.settings import OverlaySettings, Threshold

# With a mask: the width of the transition to grey below the level, and the brightness of the grey part.
FADE = 0.05
DIMMED = 0.5

FONT = cv2.FONT_HERSHEY_SIMPLEX
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@cache
def colour_table(colormap: str) -> NDArray[np.uint8]:
    """Give a colormap as (256, 3) uint8 RGB, cold to hot."""
    ramp = np.arange(256, dtype=np.uint8).reshape(256, 1)
    bgr = cv2.applyColorMap(ramp, getattr(cv2, f"COLORMAP_{colormap.upper()}"))
    table = np.ascontiguousarray(np.asarray(bgr, np.uint8)[:, 0, ::-1])
    table.setflags(write=False)
    return table


def paint(pixels: NDArray[np.uint8], heat: NDArray[np.float32], seen: Box, style: OverlaySettings) -> NDArray[np.uint8]:
    """Blend the heatmap over an image: `(1 - alpha) * image + alpha * colour(heat)`.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        heat: (H, W) float32 in [0, 1].
        seen: the part that the model saw; outside it the image is not changed.
        style: alpha and colormap.

    Returns:
        (H, W, 3) uint8 RGB, a new array.
    """
    window = (slice(seen.top, seen.bottom), slice(seen.left, seen.right))
    if seen.top >= seen.bottom:
        return pixels.copy()
    index = cv2.convertScaleAbs(heat[window], alpha=255.0)
    # One lookup in a table of 256 colours; the order of the channels does not matter to cv2.
    colour = cv2.applyColorMap(index, colour_table(style.colormap)[:, None])
    painted = cv2.addWeighted(pixels[window], 1.0 - style.alpha, colour, style.alpha, 0.0)
    if painted.shape == pixels.shape:
        return np.asarray(painted, np.uint8)
    whole = pixels.copy()
    whole[window] = painted
    return whole


def mask(pixels: NDArray[np.uint8], heat: NDArray[np.float32], seen: Box, threshold: Threshold) -> NDArray[np.uint8]:
    """Keep an image where the heatmap is at least the threshold, and make the rest grey and dark.

    Below the level there is a soft transition: the weight of the colours is `1 - (level - heat) / FADE`, at least 0.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        heat: (H, W) float32 in [0, 1].
        seen: the part that the model saw; outside it all is grey.
        threshold: a level in (0, 1), or `otsu`.

    Returns:
        (H, W, 3) uint8 RGB, a new array.
    """
    light = cv2.convertScaleAbs(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), alpha=DIMMED)
    masked = np.asarray(cv2.cvtColor(light, cv2.COLOR_GRAY2RGB), np.uint8)
    window = (slice(seen.top, seen.bottom), slice(seen.left, seen.right))
    if seen.top >= seen.bottom:
        return masked
    level = level_of(heat[window], threshold)
    kept = np.clip(1.0 - (level - heat[window]) / min(FADE, level), 0.0, 1.0)
    masked[window] = cv2.blendLinear(pixels[window], masked[window], kept, 1.0 - kept)
    return masked


def draw_boxes(pixels: NDArray[np.uint8], regions: Iterable[Region], source: Size) -> NDArray[np.uint8]:
    """Draw regions as boxes, each with its share of the heat in percent; the region with the most heat is on top.

    The size of lines and letters depends on the size of the image. A label is above its box, or inside if there is no
    space above. It is left out if it would cover a quarter of the image's width or height.

    Args:
        pixels: (H, W, 3) uint8 RGB: the photograph at any resolution.
        regions: boxes in pixels of the photograph, those with most heat first.
        source: the photograph's own size.

    Returns:
        (H, W, 3) uint8 RGB, a new array.
    """
    drawn = pixels.copy()
    draw_boxes_into(drawn, regions, source)
    return drawn


def draw_boxes_into(drawn: NDArray[np.uint8], regions: Iterable[Region], source: Size) -> None:
    """Draw boxes in place, see `draw_boxes`; boxes are black and white, so the image may be RGB or BGR."""
    height, width = drawn.shape[:2]
    unit = round(0.004 * (width * height) ** 0.5)
    line, rim = max(1, unit), (unit + 1) // 2
    for region in reversed(list(regions)):
        box = scaled(region.box, source, Size(width, height))
        corners = (box.left, box.top), (box.right - 1, box.bottom - 1)
        if rim:
            cv2.rectangle(drawn, *corners, BLACK, line + 2 * rim)
        cv2.rectangle(drawn, *corners, WHITE, line)
        _label(drawn, box, f"{region.share:.0%}")


def _label(drawn: NDArray[np.uint8], box: Box, text: str) -> None:
    height, width = drawn.shape[:2]
    letters = max(11, round(0.03 * (width * height) ** 0.5))
    thickness = max(1, round(letters / 9))
    size = cv2.getFontScaleFromHeight(FONT, letters, thickness)
    (text_width, _), _ = cv2.getTextSize(text, FONT, size, thickness)
    margin = max(3, letters // 3)
    plate = Size(text_width + 2 * margin, letters + 2 * margin)
    if plate.width > width / 4 or plate.height > height / 4:
        return
    left = min(box.left, width - plate.width)
    top = min(box.top - plate.height if box.top >= plate.height else box.top, height - plate.height)
    cv2.rectangle(drawn, (left, top), (left + plate.width - 1, top + plate.height - 1), WHITE, cv2.FILLED)
    # Digits and a per cent sign: putText crashes on what is not text in its font.
    # OpenCV 4 draws digits as high as `letters`, OpenCV 5 three quarters of it: this is the middle for both.
    baseline = top + margin + round(0.9 * letters)
    cv2.putText(drawn, text, (left + margin, baseline), FONT, size, BLACK, thickness, cv2.LINE_AA)
