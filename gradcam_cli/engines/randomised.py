"""Engines of one network that forgets more and more: the stages of the sanity check."""

from collections.abc import Iterator
from math import ceil

import numpy as np

from gradcam_cli.engines.tensorflow import TensorFlowEngine
from gradcam_cli.engines.tracing import PassSettings, trace_model
from gradcam_cli.models.classifier import Classifier
from gradcam_cli.models.randomise import SEED, permute, weighted_layers
from gradcam_cli.settings import TargetSettings

# Shares of the layers, from the last one: first that alone, in the end all.
SHARES = (0.0, 0.1, 0.25, 0.5, 1.0)


def randomised_engines(
    classifier: Classifier, layer: str, *, batch_size: int, streams: int
) -> Iterator[tuple[int, int, str, TensorFlowEngine]]:
    """Randomise the network stage by stage, and give for each: layers randomised, of how many, back to which; engine.

    The classifier's own weights are changed: it must be a copy that nobody else uses. An engine is good until the next
    one is asked for.
    """
    layers = weighted_layers(classifier)
    rng = np.random.default_rng(SEED)
    settings = PassSettings(TargetSettings(top_k=1), batch_size)
    done = 0
    for wanted in dict.fromkeys(max(1, ceil(share * len(layers))) for share in SHARES):
        for forgotten in layers[done:wanted]:
            permute(forgotten, rng)
        done = wanted
        # A new engine: the weights of a dense head are read when it is made.
        traced = trace_model(classifier, layer, settings)
        yield done, len(layers), layers[done - 1].path, TensorFlowEngine(traced, streams=streams)
