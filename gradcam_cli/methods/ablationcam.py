"""Ablation-CAM: channels weighted by the loss of the score when a channel is set to 0; no gradient is used."""

import numpy as np

from gradcam_cli.methods.arithmetic import Floats, weighted_map
from gradcam_cli.methods.method import Batch, Method, RawMaps, by_target


def ablationcam(activations: Floats, drops: Floats, scores: Floats) -> Floats:
    """Ablation-CAM: channels weighted by the relative loss of the score when a channel is set to 0.

    `relu(sum_k w_k A_k)` with `w_k = (S^c - S^c(A_k = 0)) / |S^c|`. Desai and Ramaswamy 2020, WACV, "Ablation-CAM:
    Visual Explanations for Deep Convolutional Network via Gradient-free Localization".

    Differs from the paper in the absolute value in the denominator. A logit may be negative; divided by it, the map
    would show evidence against the class. If the logit is exactly 0, the loss is not divided.

    Args:
        activations: A, (N, h, w, K).
        drops: `S^c - S^c(A_k = 0)`, the loss of the class's logit when channel k is set to 0, (N, K).
        scores: S^c, (N,).

    Returns:
        (N, h, w), non-negative.
    """
    size = np.abs(scores)[:, np.newaxis]
    return weighted_map(activations, np.divide(drops, size, out=drops.copy(), where=size != 0))


def _maps(batch: Batch) -> RawMaps:
    drops = batch.engine.ablation_drops(batch.forward)
    return RawMaps(batch.maps(ablationcam, by_target(drops, batch.scores)))


METHOD = Method(
    "ablationcam",
    "channels weighted by the loss of the score when a channel is set to 0",
    _maps,
    "1 + one of the head for each channel; GAP -> Dense: 1",
)
