"""What batch normalisation remembers of the training data, compared with what it meets under each preprocessing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.preprocessing import PREPROCESSINGS, Preprocessing
from gradcam_cli.models.probe import ONLY_PICTURES, Feeder, first_met, moments_met
from gradcam_cli.models.sample_pictures import sample_pictures
from gradcam_cli.models.unlisted_scalings import UNLISTED

# Moving averages start at mean 0 and variance 1; after a short training a share of the start is still in them.
SETTLED = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
# A channel whose variance is so far below the largest is one that does nothing.
LIVE = 1e-4
# Training data may be much darker (X-rays) or brighter (objects on white) than photographs: such pictures are tried,
# too. Without them, models trained on objects on white were taken for ones of another range.
DARK, WHITE = 0.4, 250
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


@dataclass(frozen=True)
class Testimony:
    """Distances for each preprocessing, the smallest first, and the layer whose memory was compared.

    `clear` where the smallest is small and all others are much larger; `frozen` where the layer was not trained;
    `rival` names a scaling that is none of the preprocessings and fits about as well, or better.
    """

    layer: str
    scores: Mapping[str, float]
    clear: bool
    frozen: bool
    rival: str | None = None

    @property
    def best(self) -> str:
        """The preprocessing with the smallest distance."""
        return next(iter(self.scores))


def batch_testimony(
    network: keras.Model,
    shape: tuple[int, int, int],
    candidates: tuple[str, ...] = tuple(PREPROCESSINGS),
    feeder: Feeder = ONLY_PICTURES,
) -> Testimony | None:
    """Compare the first experienced BatchNormalization with sample pictures; None where there is none."""
    pictures = sample_pictures(*shape)
    met = first_met(network, np.asarray(pictures[:2], np.float32), _remembers, feeder)
    if met is None:
        return None
    layer = met.layer
    mean, variance = (np.asarray(v, np.float64) for v in (layer.moving_mean, layer.moving_variance))

    variants = [pictures, np.asarray(pictures * DARK, np.uint8), *(_on_white(pictures, part) for part in ON_WHITE)]

    def nearest(scaled: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> float:
        given = np.concatenate([scaled(shown) for shown in variants])
        moments = moments_met(network, given, layer, feeder)
        means, squares = (each.reshape(len(variants), len(pictures), -1).mean(axis=1) for each in moments)
        spreads = np.maximum(squares - means**2, 0)
        return round(min(distance(m, v, mean, variance) for m, v in zip(means, spreads, strict=True)), 4)

    listed = [PREPROCESSINGS[name] for name in candidates if PREPROCESSINGS[name].takes(shape[2])]
    scores = {each.name: nearest(partial(_each, each)) for each in listed}
    ordered = dict(sorted(scores.items(), key=lambda item: item[1]))
    if not is_clear(ordered):
        return Testimony(met.path, ordered, False, not layer.trainable)
    unlisted = {name: nearest(scaled) for name, scaled in UNLISTED.items()}
    rival = min(unlisted, key=lambda name: unlisted[name])
    fits = unlisted[rival] <= UNLISTED_RATIO * next(iter(ordered.values()))
    return Testimony(met.path, ordered, True, not layer.trainable, rival if fits else None)


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
