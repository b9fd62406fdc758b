"""Score-CAM: channels weighted by the score of the picture seen through them; no gradient is taken."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.methods.gradcam import Floats, positive_mass, weighted_map


def scorecam(activations: Floats, masked_scores: Floats) -> Floats:
    """Score-CAM: channels weighted by the softmax, over channels, of the score that each lets through.

    `relu(sum_k w_k A_k)` with `w = softmax_k(S^c(X * M_k))`, X the picture and M_k the channel as a mask, see
    `masks`. Wang et al. 2020, arXiv:1910.01279; the baseline's score that is subtracted there is the same for all
    channels and drops out of the softmax.

    Args:
        activations: A, (N, h, w, K).
        masked_scores: the class's logit for the picture masked by each channel, (N, K); -inf for a channel that was
            not taken, whose weight is 0.

    Returns:
        (N, h, w), non-negative.
    """
    highest = masked_scores.max(axis=1, keepdims=True)
    raised = np.exp(masked_scores - np.where(np.isneginf(highest), 0, highest))
    total = raised.sum(axis=1, keepdims=True)
    # Where no channel was taken there is nothing to show.
    return weighted_map(activations, np.divide(raised, total, out=np.zeros_like(raised), where=total != 0))


def strongest_channels(activations: Floats, limit: int) -> NDArray[np.bool_]:
    """Choose the channels that are taken: the `limit` of largest mass `S_k = sum_ij max(A_ijk, 0)`.

    A channel without mass lets nothing through and is never taken; of equal masses the first wins.

    Returns:
        (N, K).
    """
    mass = positive_mass(activations)[:, 0, 0]
    order = np.argsort(-mass, axis=1, kind="stable")[:, :limit]
    taken = np.zeros(mass.shape, np.bool_)
    np.put_along_axis(taken, order, True, axis=1)
    chosen: NDArray[np.bool_] = taken & (mass > 0)
    return chosen


def masks(channels: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Scale channels (P, h, w) with mass to masks in [0, 1]: `max(A, 0) / max(A)`.

    Differs from the paper in that the minimum is not stretched to 0: what is at rest behind a ReLU is 0 already.
    """
    scaled: NDArray[np.floating[Any]] = np.maximum(channels, 0) / channels.max(axis=(1, 2), keepdims=True)
    return scaled
