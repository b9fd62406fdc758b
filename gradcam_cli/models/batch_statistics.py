"""Compare the stored statistics of a batch normalisation with the statistics of its input under each preprocessing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.preprocessing import PREPROCESSINGS, Preprocessing, other_order
from gradcam_cli.models.probe import ONLY_PICTURES, Feeder, first_met, moments_met
from gradcam_cli.models.sample_pictures import sample_pictures
from gradcam_cli.models.unlisted_scalings import UNLISTED

# Moving averages start at mean 0 and variance 1. After a short training they still contain a share of these values.
SETTLED = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
# Smaller distances do not show the order of the channels.
LEAST = 0.05
# A channel is inactive if its variance divided by the largest one is not above this value.
LIVE = 1e-4
# Training data may be much darker (X-rays) or brighter (objects on white) than photographs, so such images are tried
# too. Without them, the wrong range was found for models trained on objects on white.
DARK, WHITE = 0.4, 250
# Dark images with the range 0 to 255 have the same values as brighter images in this smaller range.
SMALLER_RANGE = f"brighter images in a range {DARK} times as wide"
# The object takes 1/2 or 1/4 of the height and width of the white image.
ON_WHITE = (2, 4)
# The values of these differ by 0.4 %, so they cannot be told apart, and the difference does not matter.
ALIKE = frozenset({"tf", "lite"})
# Measured on models trained with each preprocessing: see docs/your-own-model.md. If ranges differ only by a factor of
# two, other brightness in the training data gives the same statistics.
CLEAR_RATIO = 2.0
POOR = 0.6
# An unlisted scaling fits about as well if its distance is at most this many times the smallest distance.
UNLISTED_RATIO = 1.5
# One preprocessing of each range; BGR is tried in addition.
RANGES = tuple(each.name for each in PREPROCESSINGS.values() if not (each.bgr and each.alike))


@dataclass(frozen=True)
class Testimony:
    """Distances for each preprocessing, the smallest first, and the layer whose statistics were compared.

    `clear` is True if the smallest distance is small and all others are much larger. `frozen` is True if the layer is
    not trainable. `rival` names an unlisted scaling that fits about as well or better. `order_ratio` is the distance of
    images in BGR divided by that of images in RGB; it is 1 if BGR was not tried.
    """

    layer: str
    scores: Mapping[str, float]
    clear: bool
    frozen: bool
    rival: str | None = None
    order_ratio: float = 1.0

    @property
    def best(self) -> str:
        """The preprocessing with the smallest distance, in the more probable order of the channels."""
        return next(iter(self.scores))


def batch_testimony(
    network: keras.Model,
    shape: tuple[int, int, int],
    candidates: tuple[str, ...] = RANGES,
    feeder: Feeder = ONLY_PICTURES,
) -> Testimony | None:
    """Compare the first trained BatchNormalization with sample images; None if there is none.

    Candidates that treat all channels alike are tried in RGB and BGR. The range is chosen by the RGB images, unless the
    distance of the RGB images is at least CLEAR_RATIO times that of the BGR images.
    """
    pictures = sample_pictures(*shape)
    met = first_met(network, np.asarray(pictures[:2], np.float32), _remembers, feeder)
    if met is None:
        return None
    layer = met.layer
    mean, variance = (np.asarray(v, np.float64) for v in (layer.moving_mean, layer.moving_variance))

    variants = [pictures, np.asarray(pictures * DARK, np.uint8), *(_on_white(pictures, part) for part in ON_WHITE)]

    def distances(scaled: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> list[float]:
        given = np.concatenate([scaled(shown) for shown in variants])
        moments = moments_met(network, given, layer, feeder)
        means, squares = (each.reshape(len(variants), len(pictures), -1).mean(axis=1) for each in moments)
        spreads = np.maximum(squares - means**2, 0)
        return [round(distance(m, v, mean, variance), 4) for m, v in zip(means, spreads, strict=True)]

    listed = [name for name in candidates if PREPROCESSINGS[name].takes(shape[2])]
    turned = [other for name in listed if (other := other_order(name)) and PREPROCESSINGS[other].takes(shape[2])]
    found = {name: distances(partial(_each, PREPROCESSINGS[name])) for name in (*listed, *turned)}
    scores = {name: min(each) for name, each in found.items()}
    ratio = _order_ratio(scores, listed, turned)
    if ratio * CLEAR_RATIO <= 1:
        ordered = _rising(scores, [*turned, *(name for name in listed if not PREPROCESSINGS[name].alike)])
        return Testimony(met.path, ordered | scores, is_clear(ordered), not layer.trainable, None, ratio)
    ordered = _rising(scores, listed)
    if not is_clear(ordered):
        return Testimony(met.path, ordered | scores, False, not layer.trainable, None, ratio)
    best = next(iter(ordered))
    unlisted = {name: min(distances(scaled)) for name, scaled in UNLISTED.items()}
    rival: str | None = min(unlisted, key=lambda name: unlisted[name])
    if unlisted[str(rival)] > UNLISTED_RATIO * ordered[best]:
        rival = SMALLER_RANGE if _is_of_dark(found[best]) and PREPROCESSINGS[best].range[0] == 0 else None
    return Testimony(met.path, ordered | scores, True, not layer.trainable, rival, ratio)


def _order_ratio(scores: Mapping[str, float], rgb: Sequence[str], bgr: Sequence[str]) -> float:
    """Give the smallest distance in BGR divided by the smallest distance in RGB."""
    if not bgr:
        return 1.0
    return max(min(scores[name] for name in bgr), LEAST) / max(min(scores[name] for name in rgb), LEAST)


def _rising(scores: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    return {name: scores[name] for name in sorted(names, key=lambda name: scores[name])}


def _is_of_dark(distances: list[float]) -> bool:
    """Whether the dark images, which are the second variant, have the smallest distance."""
    return distances.index(min(distances)) == 1


def _each(preprocessing: Preprocessing, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.stack([preprocessing(picture) for picture in pictures])


def distance(
    mean: NDArray[Any], variance: NDArray[Any], moving_mean: NDArray[Any], moving_variance: NDArray[Any]
) -> float:
    """Compare the statistics of a layer's input with its stored statistics, each (K,) for K channels.

    `min_s median_k(|s mu - mm| / sqrt(mv) + 0.5 |log((s va + 1 - s) / mv)|)` over the active channels k. Mean mu and
    variance va are those of the input, mm and mv the moving averages. s is the share of the moving averages that does
    not come from their start (mean 0, variance 1).
    """
    live = moving_variance > LIVE * moving_variance.max()
    mu, va, mm, mv = (np.asarray(v, np.float64)[live] for v in (mean, variance, moving_mean, moving_variance))
    found = []
    for share in SETTLED:
        spread = np.maximum(share * va + 1 - share, np.finfo(float).tiny)
        found.append(np.median(np.abs(share * mu - mm) / np.sqrt(mv) + 0.5 * np.abs(np.log(spread / mv))))
    return float(min(found))


def is_clear(ordered: Mapping[str, float]) -> bool:
    """Whether the first of the ascending distances is small, and those of all different ranges are much larger."""
    best, *others = ordered
    rivals = [ordered[name] for name in others if {best, name} != ALIKE]
    return bool(rivals) and ordered[best] < POOR and min(rivals) > CLEAR_RATIO * ordered[best]


def _on_white(pictures: NDArray[np.uint8], part: int) -> NDArray[np.uint8]:
    """Keep the centre of the images, 1 / `part` of their height and width, and make the rest white."""
    height, width = pictures.shape[1:3]
    rows, columns = (slice((size - size // part) // 2, (size + size // part + 1) // 2) for size in (height, width))
    laid = np.full_like(pictures, WHITE)
    laid[:, rows, columns] = pictures[:, rows, columns]
    return laid


def _remembers(layer: Any) -> bool:
    if not isinstance(layer, keras.layers.BatchNormalization):
        return False
    mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    fresh = not mean.any() and bool((variance == 1).all())
    return not fresh and bool(np.isfinite(mean).all() and (variance > 0).any())
