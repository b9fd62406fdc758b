"""Scalings that are used in training but are not preprocessings of this program: alternatives to the preprocessings.

If one of them fits a network's batch statistics about as well as the best preprocessing, the choice is not certain.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Numbers = NDArray[np.float32]


def _one_by_one(pictures: Pixels) -> Numbers:
    mean, deviation = pictures.mean((1, 2, 3), keepdims=True), pictures.std((1, 2, 3), keepdims=True)
    return np.asarray((pictures - mean) / np.maximum(deviation, 1), np.float32)


def _together(pictures: Pixels) -> Numbers:
    mean, deviation = pictures.mean((0, 1, 2)), pictures.std((0, 1, 2))
    return np.asarray((pictures - mean) / np.maximum(deviation, 1), np.float32)


def _without_mean(pictures: Pixels) -> Numbers:
    return np.asarray((pictures - pictures.mean((0, 1, 2))) / 255, np.float32)


def _affine(offset: float, scale: float) -> Callable[[Pixels], Numbers]:
    return lambda pictures: np.asarray((pictures - np.float32(offset)) / np.float32(scale), np.float32)


# Functions from images (N, height, width, channels) with values 0 to 255 to a network's input.
UNLISTED: Mapping[str, Callable[[Pixels], Numbers]] = {
    "a range from 0 to 2": _affine(0, 127.5),
    "a range from -0.5 to 0.5": _affine(127.5, 255),
    "a range from -128 to 127": _affine(128, 1),
    "pixels / 255 minus their mean": _without_mean,
    "each image standardised by itself": _one_by_one,
    "standardised pictures": _together,
}
