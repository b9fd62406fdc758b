"""What batch normalisation remembers of the training data, compared with what it meets under each preprocessing."""

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

# Moving averages start at mean 0 and variance 1; after a short training a share of the start is still in them.
SETTLED = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
# Smaller distances say nothing of the order of the channels.
LEAST = 0.05
# A channel whose variance is so far below the largest is one that does nothing.
LIVE = 1e-4
# Training data may be much darker (X-rays) or brighter (objects on white) than photographs: such pictures are tried,
# too. Without them, models trained on objects on white were taken for ones of another range.
DARK, WHITE = 0.4, 250
# Dark pictures from 0 to 255 give the numbers of brighter ones in such a range.
SMALLER_RANGE = f"brighter images in a range {DARK} times as wide"
# The share of height and width that objects on white take: a half, a quarter.
ON_WHITE = (2, 4)
# These give numbers that differ by 0.4 %: nothing can tell them apart, and nothing has to.
ALIKE = frozenset({"tf", "lite"})
# Measured on models trained with each preprocessing: see docs/your-own-model.md. Ranges that differ by a factor of two
# only are imitated by other light in the training data.
CLEAR_RATIO = 2.0
POOR = 0.6
# So many times the smallest distance, a scaling that is no preprocessing fits about as well.
UNLISTED_RATIO = 1.5
# One preprocessing of each range; BGR is tried besides.
RANGES = tuple(each.name for each in PREPROCESSINGS.values() if not (each.bgr and each.alike))


@dataclass(frozen=True)
class Testimony:
    """Distances for each preprocessing, the best first, and the layer whose memory was compared.

    `clear` where the smallest is small and all others are much larger; `frozen` where the layer was not trained;
    `rival` names a scaling that is none of the preprocessings and fits about as well, or better. `order_ratio` is how
    many times as far the pictures in BGR are as those in RGB; 1 if BGR was not tried.
    """

    layer: str
    scores: Mapping[str, float]
    clear: bool
    frozen: bool
    rival: str | None = None
    order_ratio: float = 1.0

    @property
    def best(self) -> str:
        """The preprocessing with the smallest distance, among those of the likelier order of the channels."""
        return next(iter(self.scores))


def batch_testimony(
    network: keras.Model,
    shape: tuple[int, int, int],
    candidates: tuple[str, ...] = RANGES,
    feeder: Feeder = ONLY_PICTURES,
) -> Testimony | None:
    """Compare the first experienced BatchNormalization with sample pictures; None if there is none.

    The candidates that treat all channels alike are tried in both orders. The range is chosen among those in RGB,
    unless those in BGR are CLEAR_RATIO times nearer.
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
    """How many times as far the nearest preprocessing in BGR is as the nearest of the others."""
    if not bgr:
        return 1.0
    return max(min(scores[name] for name in bgr), LEAST) / max(min(scores[name] for name in rgb), LEAST)


def _rising(scores: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    return {name: scores[name] for name in sorted(names, key=lambda name: scores[name])}


def _is_of_dark(distances: list[float]) -> bool:
    """Whether the dark pictures, the second of the kinds, are nearer than all others."""
    return distances.index(min(distances)) == 1


def _each(preprocessing: Preprocessing, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.stack([preprocessing(picture) for picture in pictures])


def distance(
    mean: NDArray[Any], variance: NDArray[Any], moving_mean: NDArray[Any], moving_variance: NDArray[Any]
) -> float:
    """Compare what a layer meets with what it remembers, each (K,) for K channels.

    `min_s median_k(|s mu - mm| / sqrt(mv) + 0.5 |log((s va + 1 - s) / mv)|)` over the live channels k, where s is the
    share of the moving averages that is no longer their start (mean 0, variance 1).
    """
    live = moving_variance > LIVE * moving_variance.max()
    mu, va, mm, mv = (np.asarray(v, np.float64)[live] for v in (mean, variance, moving_mean, moving_variance))
    found = []
    for share in SETTLED:
        spread = np.maximum(share * va + 1 - share, np.finfo(float).tiny)
        found.append(np.median(np.abs(share * mu - mm) / np.sqrt(mv) + 0.5 * np.abs(np.log(spread / mv))))
    return float(min(found))


def is_clear(ordered: Mapping[str, float]) -> bool:
    """Whether the first of the scores, in rising order, is good, and all that give other numbers are much worse."""
    best, *others = ordered
    rivals = [ordered[name] for name in others if {best, name} != ALIKE]
    return bool(rivals) and ordered[best] < POOR and min(rivals) > CLEAR_RATIO * ordered[best]


def _on_white(pictures: NDArray[np.uint8], part: int) -> NDArray[np.uint8]:
    """The middle of pictures, a part of their height and width, white around."""
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
