"""Randomise the weights of a network, from its last layer to its first, without changing the network."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from gradcam_cli.errors import ModelError
from gradcam_cli.models.classifier import Classifier, WeightScope
from gradcam_cli.models.graph import passed_on

SEED = 0


@dataclass(frozen=True, eq=False)
class WeightedLayer:
    """A layer that the logits depend on, and its own weights without those of inner layers."""

    path: str
    weights: tuple[Any, ...]


def weighted_layers(classifier: Classifier) -> list[WeightedLayer]:
    """List the layers that have weights, from the logits back to the input.

    Raises:
        ModelError: no layer has weights.
    """

    def survey(inputs: Any) -> tuple[Any, list[tuple[str, Any]]]:
        run = classifier.run(inputs)
        # The output of the last layer is often a softmax, which comes after the logits.
        ends = {tensor.ref() for tensor in passed_on(run.output)}
        leading = (c for c in run.calls if c.output.ref() in ends or run.leads_to_logits(c.output))
        return inputs, [(call.path, call.layer) for call in leading]

    _, calls = classifier.traced(survey, 1)
    # A nested model also lists the weights of its layers. Each weight belongs to the innermost layer that has it.
    owner = {id(w): path for path, layer in sorted(calls, key=lambda c: c[0].count("/")) for w in _weights(layer)}
    found: dict[str, WeightedLayer] = {}
    for path, layer in reversed(calls):
        own = tuple(w for w in _weights(layer) if owner[id(w)] == path)
        if own:
            found.setdefault(path, WeightedLayer(path, own))
    if not found:
        raise ModelError(f"{classifier.name}: it has no weights to permute.")
    return list(found.values())


def _weights(layer: Any) -> list[Any]:
    return list(getattr(layer, "weights", []))


# A variable of a network, and the variable that replaces it.
StandIn = tuple[Any, Any]


def permuted(layer: WeightedLayer, rng: np.random.Generator) -> list[StandIn]:
    """Shuffle the values within each floating-point weight tensor, in variables that replace those of the layer.

    Each tensor keeps its set of values. So its mean and deviation stay the same, and the variances of a normalisation
    stay positive.
    This differs from Adebayo et al. 2018 (arXiv:1810.03292), who draw new weights from the initialiser.
    """
    stand_ins = []
    for weight in layer.weights:
        values = np.asarray(weight)
        if np.issubdtype(values.dtype, np.floating):
            shuffled = rng.permutation(values.reshape(-1)).reshape(values.shape)
            stand_ins.append((weight, tf.Variable(shuffled, trainable=False)))
    return stand_ins


def standing_in(stand_ins: list[StandIn]) -> WeightScope:
    """Give a scope in which a network is traced with other variables instead of its own."""
    pairs = list(stand_ins)

    def scope() -> keras.StatelessScope:
        return keras.StatelessScope(state_mapping=pairs)

    return scope
