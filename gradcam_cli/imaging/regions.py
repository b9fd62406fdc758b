"""Connected regions of high heat as boxes, and the level from which a pixel is hot."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.geometry import Box
from gradcam_cli.settings import Threshold

# A region with less than this share of the heat of the first region is left out.
SPECK = 0.05


@dataclass(frozen=True)
class Region:
    """A connected region of hot pixels: the smallest box around it, and its share of all the heat."""

    box: Box
    share: float


def level_of(heat: NDArray[np.float32], threshold: Threshold) -> float:
    """Give the level of heat from which a pixel is hot.

    `otsu` is the level between two of 256 steps of heat that leaves the least variance within the cold and the hot
    pixels (Otsu 1979, doi:10.1109/TSMC.1979.4310076).
    """
    if threshold != "otsu":
        return threshold
    from gradcam_cli.imaging.opencv import cv2

    highest_cold, _ = cv2.threshold(cv2.convertScaleAbs(heat, alpha=255.0), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return (highest_cold + 0.5) / 255.0


def find_regions(heat: NDArray[np.float32], seen: Box, threshold: Threshold) -> list[Region]:
    """Find the connected regions of hot pixels, those with most heat first.

    Pixels are hot if their heat is at least the threshold. They are connected if they share a side or a corner. A
    region with less than a twentieth of the heat of the first region is left out.

    Args:
        heat: (H, W) float32 in [0, 1] over the image.
        seen: the part that the model saw; Otsu's level is computed from its pixels.
        threshold: a level in (0, 1), or `otsu`.

    Returns:
        Boxes in whole pixels of the image with their shares; an empty list if there is no heat.
    """
    window = heat[seen.top : seen.bottom, seen.left : seen.right]
    total = float(window.sum(dtype=np.float64))
    if total == 0:
        return []
    hot = window >= level_of(window, threshold)
    # A run knows the type of a region before OpenCV is imported.
    from gradcam_cli.imaging.opencv import cv2

    _, labels, boxes, _ = cv2.connectedComponentsWithStats(hot.view(np.uint8), connectivity=8)
    # Label 0 is the background.
    masses = np.bincount(labels[hot], weights=window[hot], minlength=len(boxes))[1:]
    order = np.argsort(-masses, kind="stable")
    kept = [i for i in order if masses[i] >= SPECK * masses[order[0]]]
    return [Region(_box(boxes[i + 1], seen), min(1.0, float(masses[i]) / total)) for i in kept]


def _box(component: NDArray[Any], seen: Box) -> Box:
    left, top, width, height, _ = (int(number) for number in component)
    return Box(seen.left + left, seen.top + top, seen.left + left + width, seen.top + top + height)
