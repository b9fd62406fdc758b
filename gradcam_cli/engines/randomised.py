"""Engines of one network with an increasing share of permuted weights: the stages of the sanity check."""

from collections.abc import Iterator
from math import ceil

import numpy as np

from gradcam_cli.engines.protocol import RandomisedEngine
from gradcam_cli.engines.tensorflow import TensorFlowEngine
from gradcam_cli.engines.tracing import PassSettings, trace_model
from gradcam_cli.models.classifier import Classifier
from gradcam_cli.models.randomise import SEED, StandIn, permuted, standing_in, weighted_layers

# Shares of the layers with permuted weights, counted from the last layer; at the end all layers.
SHARES = (0.0, 0.1, 0.25, 0.5, 1.0)


def randomised_engines(
    classifier: Classifier, layer: str, settings: PassSettings, *, streams: int
) -> Iterator[RandomisedEngine]:
    """Permute the weights of the network in stages, and give an engine for each stage.

    The weights of the classifier are not changed: the engines are traced with other variables.
    """
    layers = weighted_layers(classifier)
    rng = np.random.default_rng(SEED)
    stand_ins: list[StandIn] = []
    done = 0
    for wanted in dict.fromkeys(max(1, ceil(share * len(layers))) for share in SHARES):
        for each in layers[done:wanted]:
            stand_ins += permuted(each, rng)
        done = wanted
        traced = trace_model(classifier, layer, settings, standing_in(stand_ins))
        engine = TensorFlowEngine(traced, streams=streams)
        yield RandomisedEngine(done, len(layers), layers[done - 1].path, engine)
