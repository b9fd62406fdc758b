"""Read the scaling in front of a network's first weights, and the range of numbers that it was made for."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.models.probe import ONLY_PICTURES, Feeder, first_met

# What a network with a scaling of its own may be given: raw pixels, or pixels that were scaled once before.
SCALED_BEFORE = ("none", "unit", "tf")
# Ranges that the first weights of networks are trained on: [0, 1], [-1, 1], [-0.5, 0.5], torchvision's, [0, 3] of a
# deviation alone.
RANGES = ((0.0, 1.0), (-1.0, 1.0), (-0.5, 0.5), (-2.1, 2.6))
# Caffe's, by a mere subtraction, or by a scaling back from [0, 1].
WIDE_RANGES = ((-124.0, 131.0), (-127.5, 127.5))
RAW_RANGE = (0.0, 255.0)
SAME = 1e-3
# A range is certain where all others are so much farther from what networks are trained on.
CLEAR_RATIO, CLEAR_DIFFERENCE = 1.5, 0.2


@dataclass(frozen=True)
class Scaling:
    """The preprocessing whose numbers the scaling turns into a usual range; `certain` where no other one does."""

    preprocess: str
    certain: bool
    layer: str


def read_scaling(network: keras.Model, shape: tuple[int, int, int], feeder: Feeder = ONLY_PICTURES) -> Scaling | None:
    """Find out which numbers a network's own scaling was made for; None if it scales nothing.

    Pictures of one constant value are sent through everything in front of the first weights (Rescaling, Normalization,
    arithmetic with constants, changes of the channels' order, also in nested models). Each preprocessing's smallest and
    largest number become a range there, whose distance from the nearest usual range (lo*, hi*) is
    `(|lo - lo*| + |hi - hi*|) / min(hi - lo, hi* - lo*)`.
    """
    ends = {name: PREPROCESSINGS[name].range for name in SCALED_BEFORE}
    values = sorted({value for pair in ends.values() for value in pair})
    pictures = np.ones((len(values), *shape), np.float32) * np.asarray(values, np.float32)[:, None, None, None]
    met = first_met(network, pictures, has_learned_weights, feeder)
    if met is None:
        return None
    # Padding puts zeros at the border, so the middle value is taken.
    given = np.median(met.inputs.reshape(len(values), -1, met.inputs.shape[-1]), axis=1)
    if np.allclose(given, np.asarray(values)[:, None], rtol=SAME, atol=SAME):
        return None
    become = dict(zip(values, given.mean(axis=1), strict=True))
    distances = {name: _distance(become[low], become[high], high - low) for name, (low, high) in ends.items()}
    best, second = sorted(distances, key=lambda name: distances[name])[:2]
    certain = bool(distances[second] > CLEAR_RATIO * distances[best] + CLEAR_DIFFERENCE)
    return Scaling(best, certain, _scaling_layer(network, met.path))


def has_learned_weights(layer: Any) -> bool:
    """Whether a layer's weights were trained: all but those of a Normalization, which is a scaling."""
    return not isinstance(layer, keras.layers.Normalization)


def _distance(low: float, high: float, span: float) -> float:
    width = high - low
    if not np.isfinite(width) or width <= 0:
        return float("inf")
    usual = list(RANGES)
    gain = width / span
    # Raw numbers that are shifted are Caffe's; raw numbers out of scaled ones are a scaling back.
    usual += WIDE_RANGES if gain > 1 - SAME and (span > 1.5 * 127.5 or gain > 10) else ()
    usual += (RAW_RANGE,) if gain > 10 else ()
    return min((abs(low - a) + abs(high - b)) / min(width, b - a) for a, b in usual)


def _scaling_layer(network: keras.Model, weights: str) -> str:
    """Name the first layer before the weights that changes numbers, for people."""
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
