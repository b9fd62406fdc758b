"""Images with the statistics of photographs, made from a fixed seed, for tests of a network."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

SEED = 20180317
COUNT = 8
# Fewer images are made if they are large.
MOST_PIXELS = 8 * 512 * 512
# Mean and deviation of the pixels of ImageNet, divided by 255, and the share of the deviation that all channels share.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = 0.27
SHARED = 0.93
# The amplitude of natural images falls with the spatial frequency to this power (Field 1987; van der Schaaf 1996).
FALL = 1.1
LEVELS = (-0.16, -0.08, 0.0, 0.0, 0.06, 0.12)


@cache
def sample_pictures(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Make (N, height, width, channels) uint8 images whose power spectrum, colours and contrast are natural.

    Every call and every machine gives the same images.
    """
    rng = np.random.default_rng(SEED)
    count = min(COUNT, max(1, MOST_PIXELS // (height * width)))
    pictures = np.stack([_picture(rng, height, width) for _ in range(count)])
    if channels == 1:
        pictures = pictures.mean(axis=3, keepdims=True)
    elif channels > 3:
        opaque = np.ones((*pictures.shape[:3], channels - 3))
        pictures = np.concatenate([pictures, opaque], axis=3)
    return np.asarray(np.clip(pictures * 255, 0, 255).round(), np.uint8)


def _picture(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """Make one image of coloured noise (height, width, 3), with values divided by 255."""
    luminance = _noise(rng, height, width)
    colours = [SHARED * luminance + (1 - SHARED**2) ** 0.5 * _noise(rng, height, width) for _ in MEAN]
    level = rng.choice(LEVELS)
    contrast = DEVIATION * rng.uniform(0.7, 1.1)
    return np.stack([mean + level + contrast * colour for mean, colour in zip(MEAN, colours, strict=True)], axis=2)


def _noise(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """Make noise whose amplitude falls with the frequency, with mean 0 and deviation 1."""
    rows, columns = np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width
    radius = np.hypot(rows, columns)
    radius[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((height, width))) / radius**FALL
    noise = np.fft.irfft2(spectrum, s=(height, width))
    return np.asarray(noise / max(noise.std(), 1e-9), np.float64)
