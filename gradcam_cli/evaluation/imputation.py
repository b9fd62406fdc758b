"""Replacement of removed pixels: the baselines of deletion and insertion.

All functions work on a preprocessed image. Preprocessing is affine, so means, blurs and interpolations are the same as
on pixels; `Colours` has the values of black and white.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.opencv import cv2
from gradcam_cli.imaging.preprocessing import Preprocessing
from gradcam_cli.settings import Baseline

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
# A function from the removed pixels (H, W) to the image (H, W, channels) without them.
Imputation = Callable[[Mask], Floats]

# Fong and Vedaldi 2017 blur by 10 pixels at 224.
BLUR_OF_SIDE = 10 / 224
# Rong et al. 2022: weight 1/6 for a neighbour at a side, 1/12 at a corner; noise of 0.01 if white is 1.
NEIGHBOURS = np.asarray([[1, 2, 1], [2, 0, 2], [1, 2, 1]], np.float32) / 12
NOISE = 0.01
SEED = 0
# Iterations at each resolution.
ITERATIONS = 20


@dataclass(frozen=True, eq=False)
class Colours:
    """The preprocessed values of black and white (channels,)."""

    black: Floats
    white: Floats


def colours_of(preprocessing: Preprocessing, channels: int) -> Colours:
    """Give the values of black and white in a network's input."""
    white = preprocessing(np.full((1, 1, channels), 255, np.uint8)).reshape(channels)
    return Colours(preprocessing.black(channels), white)


def masked(picture: Floats, heat: Floats, colours: Colours) -> Floats:
    """Multiply an image's pixels by heat (H, W) in [0, 1]; after preprocessing this is `black + heat (x - black)`."""
    return np.asarray(colours.black + heat[:, :, None] * (picture - colours.black), np.float32)


def imputation(baseline: Baseline, picture: Floats, colours: Colours) -> Imputation:
    """Give the function that replaces pixels of a preprocessed image (H, W, channels).

    `zero` replaces them by black, `mean` by the mean colour of the image, `blur` by the image blurred with a Gaussian
    (sigma 10 pixels at a short side of 224). `road` is noisy linear imputation (Rong et al. 2022, arXiv:2202.00449):
    each pixel becomes the weighted mean of its eight neighbours, all at once, and noise is added, so that the shape of
    what was taken away tells the network nothing; with nothing left to impute from it is the mean colour and noise.
    """
    if baseline == "road":
        span = colours.white - colours.black
        noise = np.random.default_rng(SEED).normal(0, NOISE, picture.shape).astype(np.float32) * span
        return lambda removed: _replaced(picture, removed, linear_fill(picture, removed) + noise)
    filling = np.broadcast_to(_filling(baseline, picture, colours), picture.shape).copy()
    return lambda removed: _replaced(picture, removed, filling)


def _replaced(picture: Floats, removed: Mask, filling: Floats) -> Floats:
    """Give the image with removed pixels replaced; twenty times faster than np.where over the channels."""
    result = picture.copy()
    cv2.copyTo(filling, removed.view(np.uint8), result)
    return result


def _filling(baseline: Baseline, picture: Floats, colours: Colours) -> Floats:
    if baseline == "zero":
        return colours.black
    if baseline == "mean":
        return np.asarray(picture.mean(axis=(0, 1)), np.float32)
    blurred = cv2.GaussianBlur(picture, (0, 0), BLUR_OF_SIDE * min(picture.shape[:2]))
    return np.asarray(blurred, np.float32).reshape(picture.shape)


def linear_fill(picture: Floats, removed: Mask) -> Floats:
    """Solve `x_i = sum_j w_ij x_j / sum_j w_ij` over the neighbours j of every removed pixel i; other pixels are known.

    It uses conjugate gradients; each resolution starts with the solution at half of it. The remaining error is below
    the noise. If every pixel is removed, all have the mean colour.
    """
    if not removed.any():
        return picture
    if removed.all():
        return np.broadcast_to(picture.mean(axis=(0, 1)), picture.shape)
    hole = removed[:, :, None].astype(np.float32)
    mass = _neighbours(np.ones((*removed.shape, 1), np.float32))

    def apply(x: Floats) -> Floats:
        return hole * (mass * x - _neighbours(x))

    filled = np.where(removed[:, :, None], _from_half_the_size(picture, removed), picture)
    residual = -apply(filled)
    direction = residual
    energy = _dot(residual, residual)
    for _ in range(ITERATIONS):
        image = apply(direction)
        step = _ratio(energy, _dot(direction, image))
        filled = filled + step * direction
        residual = residual - step * image
        before, energy = energy, _dot(residual, residual)
        direction = residual + _ratio(energy, before) * direction
    return filled


def _from_half_the_size(picture: Floats, removed: Mask) -> Floats:
    """Solve at half the size, where a pixel is known if any of its four is, and enlarge the result."""
    height, width, channels = picture.shape
    odd = ((0, height % 2), (0, width % 2))
    weight = np.pad(~removed, odd).astype(np.float32)[:, :, None]
    rows, columns = weight.shape[0] // 2, weight.shape[1] // 2
    blocks = (rows, 2, columns, 2, -1)
    counts = weight.reshape(blocks).sum(axis=(1, 3))
    means = (np.pad(picture, (*odd, (0, 0))) * weight).reshape(blocks).sum(axis=(1, 3)) / np.maximum(counts, 1)
    coarse = linear_fill(means, counts[:, :, 0] == 0)
    grown: Any = cv2.resize(coarse, (2 * columns, 2 * rows), interpolation=cv2.INTER_LINEAR)
    return np.asarray(grown, np.float32).reshape(2 * rows, 2 * columns, channels)[:height, :width]


def _neighbours(x: Floats) -> Floats:
    summed: Any = cv2.filter2D(x, -1, NEIGHBOURS, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(summed, np.float32).reshape(x.shape)


def _dot(a: Floats, b: Floats) -> Floats:
    """Give the inner product of each channel: the channels are separate systems."""
    return np.asarray(np.einsum("ijk,ijk->k", a, b), np.float32)


def _ratio(a: Floats, b: Floats) -> Floats:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
