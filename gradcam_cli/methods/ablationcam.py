"""Ablation-CAM: channels weighted by what the score loses without them; no gradient is taken."""

import numpy as np

from gradcam_cli.methods.arithmetic import Floats, weighted_map
from gradcam_cli.methods.method import Batch, Method, RawMaps, by_target


def ablationcam(activations: Floats, drops: Floats, scores: Floats) -> Floats:
    """Ablation-CAM: channels weighted by the share of the score that goes with them.

    `relu(sum_k w_k A_k)` with `w_k = (S^c - S^c(A_k = 0)) / |S^c|`. Desai and Ramaswamy 2020, WACV, "Ablation-CAM:
    Visual Explanations for Deep Convolutional Network via Gradient-free Localization".

    Differs from the paper in the absolute value: a logit may be negative, and divided by it the map would show
    what speaks against the class. Where the logit is exactly 0 nothing is divided.

    Args:
        activations: A, (N, h, w, K).
        drops: `S^c - S^c(A_k = 0)`, what the class's logit loses when channel k is set to 0, (N, K).
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
