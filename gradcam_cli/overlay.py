"""Heat painted over a photograph."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.geometry import Box
from gradcam_cli.opencv import cv2
from gradcam_cli.settings import OverlaySettings


@cache
def colour_table(colormap: str) -> NDArray[np.uint8]:
    """Give a colormap as (256, 3) uint8 RGB, cold to hot."""
    ramp = np.arange(256, dtype=np.uint8).reshape(256, 1)
    bgr = cv2.applyColorMap(ramp, getattr(cv2, f"COLORMAP_{colormap.upper()}"))
    table = np.ascontiguousarray(np.asarray(bgr, np.uint8)[:, 0, ::-1])
    table.setflags(write=False)
    return table


def paint(pixels: NDArray[np.uint8], heat: NDArray[np.float32], seen: Box, style: OverlaySettings) -> NDArray[np.uint8]:
    """Blend heat over a photograph: `(1 - alpha) * photo + alpha * colour(heat)`.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        heat: (H, W) float32 in [0, 1].
        seen: the part the model saw; outside of it the photograph is left as it is.
        style: alpha and colormap.

    Returns:
        (H, W, 3) uint8 RGB, a new array.
    """
    window = (slice(seen.top, seen.bottom), slice(seen.left, seen.right))
    index = cv2.convertScaleAbs(heat[window], alpha=255.0)
    # One lookup in a table of 256 colours; cv2 does not mind in which order their channels are.
    colour = cv2.applyColorMap(index, colour_table(style.colormap)[:, None])
    painted = cv2.addWeighted(pixels[window], 1.0 - style.alpha, colour, style.alpha, 0.0)
    if painted.shape == pixels.shape:
        return np.asarray(painted, np.uint8)
    whole = pixels.copy()
    whole[window] = painted
    return whole
