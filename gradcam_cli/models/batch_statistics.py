"""What batch normalisation remembers of the training data, compared with what it meets under each preprocessing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from gradcam_cli.models.probe import ONLY_PICTURES, Feeder, first_met, statistics_met
from gradcam_cli.models.sample_pictures import sample_pictures
from gradcam_cli.preprocessing import PREPROCESSINGS, Preprocessing

# Moving averages start at mean 0 and variance 1; after a short training a share of the start is still in them.
SETTLED = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
# A channel whose variance is so far below the largest is one that does nothing.
LIVE = 1e-4
# Training data may be much darker (X-rays) or brighter (objects on white) than photographs: such pictures are tried,
# too. Without them, models trained on objects on white were taken for ones of another range.
DARK, WHITE = 0.4, 250
# These give numbers that differ by 0.4 %: nothing can tell them apart, and nothing has to.
ALIKE = frozenset({"tf", "lite"})
# Measured on models trained with each preprocessing: see docs/your-own-model.md.
CLEAR_RATIO = 1.5
# These ranges differ by a factor of two only, which other light in the training data can imitate: a public model for
# faces, trained on [-1, 1], fits [0, 1] 1.6 times as well.
CLOSE, CLOSE_RATIO = frozenset({"unit", "tf", "lite"}), 2.0
POOR = 1.0


@dataclass(frozen=True)
class Testimony:
    """Distances for each preprocessing, the smallest first, and the layer whose memory was compared.

    `clear` where the smallest is small and all others are much larger; `frozen` where the layer was not trained.
    """

    layer: str
    scores: Mapping[str, float]
    clear: bool
    frozen: bool

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

    def met_for(preprocessing: Preprocessing, shown: NDArray[np.uint8]) -> float:
        given = np.stack([preprocessing(picture) for picture in shown])
        return distance(*statistics_met(network, given, layer, feeder), mean, variance)

    variants = (pictures, np.asarray(pictures * DARK, np.uint8), _on_white(pictures))
    scores = {
        name: round(min(met_for(PREPROCESSINGS[name], shown) for shown in variants), 4)
        for name in candidates
        if PREPROCESSINGS[name].takes(shape[2])
    }
    ordered = dict(sorted(scores.items(), key=lambda item: item[1]))
    return Testimony(met.path, ordered, is_clear(ordered), not layer.trainable)


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
    rivals = [name for name in others if {best, name} != ALIKE]
    ratios = {name: CLOSE_RATIO if {best, name} <= CLOSE else CLEAR_RATIO for name in rivals}
    return (
        bool(rivals) and ordered[best] < POOR and all(ordered[name] > ratios[name] * ordered[best] for name in rivals)
    )


def _on_white(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle quarter of pictures, white around."""
    height, width = pictures.shape[1:3]
    middle = slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)
    laid = np.full_like(pictures, WHITE)
    laid[:, *middle] = pictures[:, *middle]
    return laid


def _remembers(layer: Any) -> bool:
    if not isinstance(layer, keras.layers.BatchNormalization):
        return False
    mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    fresh = not mean.any() and bool((variance == 1).all())
    return not fresh and bool(np.isfinite(mean).all() and (variance > 0).any())
