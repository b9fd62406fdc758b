"""Read the scaling before a network's first weights, and the range of values that it was made for."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.models.probe import ONLY_PICTURES, Feeder, first_met

# The input of a network with its own scaling: raw pixels, or pixels that were already scaled.
SCALED_BEFORE = ("none", "unit", "tf")
# Usual input ranges of first weights: [0, 1], [-1, 1], [-0.5, 0.5], and that of torchvision.
RANGES = ((0.0, 1.0), (-1.0, 1.0), (-0.5, 0.5), (-2.1, 2.6))
# The ranges of Caffe: by a subtraction only, or by a scaling back from [0, 1].
WIDE_RANGES = ((-124.0, 131.0), (-127.5, 127.5))
RAW_RANGE = (0.0, 255.0)
SAME = 1e-3
# A range is certain if the distances of all others from the usual ranges are larger by this factor and difference.
CLEAR_RATIO, CLEAR_DIFFERENCE = 1.5, 0.2


@dataclass(frozen=True)
class Scaling:
    """The preprocessing whose values the scaling turns into a usual range; `certain` if only this one fits."""

    preprocess: str
    certain: bool
    layer: str


def read_scaling(network: keras.Model, shape: tuple[int, int, int], feeder: Feeder = ONLY_PICTURES) -> Scaling | None:
    """Find the preprocessing that a network's own scaling was made for; None if it scales nothing.

    Images of one constant value pass through everything before the first weights (Rescaling, Normalization, arithmetic
    with constants, changes of the channels' order, also in nested models). So the smallest and the largest value of
    each preprocessing become a range [lo, hi]. Its distance from the nearest usual range [lo*, hi*] is
    `(|lo - lo*| + |hi - hi*|) / min(hi - lo, hi* - lo*)`.
    """
    ends = {name: PREPROCESSINGS[name].range for name in SCALED_BEFORE}
    values = sorted({value for pair in ends.values() for value in pair})
    pictures = np.ones((len(values), *shape), np.float32) * np.asarray(values, np.float32)[:, None, None, None]
    met = first_met(network, pictures, has_learned_weights, feeder)
    if met is None:
        return None
    # Padding adds zeros at the border, so the median is used.
    given = np.median(met.inputs.reshape(len(values), -1, met.inputs.shape[-1]), axis=1)
    if np.allclose(given, np.asarray(values)[:, None], rtol=SAME, atol=SAME):
        return None
    become = dict(zip(values, given.mean(axis=1), strict=True))
    distances = {name: _distance(become[low], become[high], high - low) for name, (low, high) in ends.items()}
    best, second = sorted(distances, key=lambda name: distances[name])[:2]
    certain = bool(distances[second] > CLEAR_RATIO * distances[best] + CLEAR_DIFFERENCE)
    return Scaling(best, certain, _scaling_layer(network, met.path))


def has_learned_weights(layer: Any) -> bool:
    """Whether a layer's weights were trained. This is false only for Normalization, which is a scaling."""
    return not isinstance(layer, keras.layers.Normalization)


def _distance(low: float, high: float, span: float) -> float:
    width = high - low
    if not np.isfinite(width) or width <= 0:
        return float("inf")
    usual = list(RANGES)
    gain = width / span
    # A shifted raw range is that of Caffe. A raw range computed from scaled values is a scaling back.
    usual += WIDE_RANGES if gain > 1 - SAME and (span > 1.5 * 127.5 or gain > 10) else ()
    usual += (RAW_RANGE,) if gain > 10 else ()
    return min((abs(low - a) + abs(high - b)) / min(width, b - a) for a, b in usual)


def _scaling_layer(network: keras.Model, weights: str) -> str:
    """Name the first layer before the weights that changes values, for messages."""
    from gradcam_cli.models.layer_paths import layer_paths

    for path, layer in layer_paths(network):
        if path == weights:
            break
        if type(layer).__name__ in SCALING_TYPES:
            return str(path)
    return weights


SCALING_TYPES = frozenset(
    {"Rescaling", "Normalization", "Subtract", "TrueDivide", "Divide", "Multiply", "Add", "Arithmetic", "Lambda"}
)
