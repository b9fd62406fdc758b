"""The head after the target layer: how logits become probabilities, and the weights of a head of one dense layer."""

import numpy as np

from gradcam_cli.engines.protocol import Head
from gradcam_cli.models.dense_head import dense_weights
from gradcam_cli.models.layers import Target
from gradcam_cli.models.linearity import linearity
from gradcam_cli.models.trace import Trace


def head_of(trace: Trace, target: Target) -> Head:
    """Describe the head, with its weights (K, C) if it is GAP -> Dense directly on the target layer."""
    weights = dense_weights(trace.logits, target.call.output, target.layout)
    if trace.read.kind == "probabilities":
        # A product with the weights gives the gradient of the scores, not that of the probabilities.
        weights = None
    read, class_count = trace.read, int(trace.logits.shape[-1])
    if read.kind == "binary":
        class_count = 2
        weights = None if weights is None else np.concatenate([-weights, weights], axis=1)
    # The third derivative is outside the range of half precision.
    slopes = linearity(trace.logits, target.call.output, target.layout) if weights is None else "piecewise"
    if slopes == "pooled" and target.call.output.dtype != "float32":
        slopes = "smooth"
    return Head(read.kind, class_count, weights, read.reason, read.assumed, slopes)
