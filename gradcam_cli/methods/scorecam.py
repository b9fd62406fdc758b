"""Score-CAM: channels weighted by the score of the image masked by each channel; no gradient is used."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.geometry import Size, over_input
from gradcam_cli.methods.arithmetic import Floats, divided, positive_mass, weighted_map
from gradcam_cli.methods.method import Batch, Method, RawMaps, by_target
from gradcam_cli.settings import MaskScaling


def scorecam(activations: Floats, masked_scores: Floats) -> Floats:
    """Score-CAM: channels weighted by the softmax, over channels, of the score of the masked image.

    `relu(sum_k w_k A_k)` with `w = softmax_k(S^c(X * M_k))`, X the image and M_k the mask of the channel, see `masks`.
    Wang et al. 2020, arXiv:1910.01279; the paper subtracts the score of a baseline, which is the same for all channels
    and cancels in the softmax.

    Args:
        activations: A, (N, h, w, K).
        masked_scores: the class's logit for the image masked by each channel, (N, K); -inf for a channel that is not
        used, whose weight is then 0.

    Returns:
        (N, h, w), non-negative.
    """
    highest = masked_scores.max(axis=1, keepdims=True)
    raised = np.exp(masked_scores - np.where(np.isneginf(highest), 0, highest))
    total = raised.sum(axis=1, keepdims=True)
    # If no channel is used, the map is 0.
    return weighted_map(activations, divided(raised, total, where=total != 0))


def strongest_channels(activations: Floats, limit: int, scaling: MaskScaling = "max") -> NDArray[np.bool_]:
    """Choose the channels that are used: the `limit` channels of largest mass `S_k = sum_ij max(A_ijk, 0)`.

    A channel without a mask is never used: with `max` a channel without mass, with `minmax` a constant channel. Of
    channels with equal mass the first is used.

    Returns:
        (N, K).
    """
    mass = positive_mass(activations)[:, 0, 0]
    makes_mask = mass > 0 if scaling == "max" else activations.max(axis=(1, 2)) > activations.min(axis=(1, 2))
    order = np.argsort(np.where(makes_mask, -mass, np.inf), axis=1, kind="stable")[:, :limit]
    taken = np.zeros(mass.shape, np.bool_)
    np.put_along_axis(taken, order, True, axis=1)
    chosen: NDArray[np.bool_] = taken & makes_mask
    return chosen


def masks(channels: NDArray[np.floating[Any]], scaling: MaskScaling = "max") -> NDArray[np.floating[Any]]:
    """Scale channels (P, h, w) to masks in [0, 1].

    `max`: `max(A, 0) / max(A)`. The minimum is not shifted to 0: an inactive cell after a ReLU is already 0.
    `minmax`: `(A - min A) / (max A - min A)`, as in the paper. They are equal where the minimum is 0.
    """
    highest = channels.max(axis=(1, 2), keepdims=True)
    lowest = channels.min(axis=(1, 2), keepdims=True) if scaling == "minmax" else 0
    scaled: NDArray[np.floating[Any]] = np.maximum(channels - lowest, 0) / (highest - lowest)
    return scaled


def _masked_scores(batch: Batch) -> NDArray[np.float32]:
    """Give the logit of each target for the image masked by each channel: (N, T, K), -inf for unused channels.

    A batch of the engine may have pairs of an image and a channel of different images. A mask darkens the image itself,
    towards black, not the preprocessed values.
    """
    engine, forward, options = batch.engine, batch.forward, batch.options
    height, width = engine.input_size
    scores = np.full((*forward.targets.shape, forward.activations.shape[3]), -np.inf, np.float32)
    pairs = np.argwhere(strongest_channels(forward.activations, options.max_channels, options.scorecam_masks))
    for start in range(0, len(pairs), engine.batch_size):
        images, channels = pairs[start : start + engine.batch_size].T
        small = masks(forward.activations[images, :, :, channels], options.scorecam_masks)
        mask = over_input(small, Size(width, height), engine.layer.geometry)
        lit = forward.inputs[images] - engine.black
        seen = (engine.black + mask[..., np.newaxis] * lit).astype(np.float32, copy=False)
        extras = {name: values[images] for name, values in forward.extras.items()}
        masked = engine.explain(seen, extras=extras)
        scores[images, :, channels] = np.take_along_axis(masked.logits, forward.targets[images], axis=1)
    return scores


def _maps(batch: Batch) -> RawMaps:
    scores = _masked_scores(batch)
    taken = ~np.isneginf(scores)
    # The -inf of unused channels is replaced before the check for finite values.
    return RawMaps(batch.maps(_map_of_taken, by_target(np.where(taken, scores, 0), taken)))


def _map_of_taken(activations: Floats, scores: Floats, taken: NDArray[np.bool_]) -> Floats:
    return scorecam(activations, np.where(taken, scores, -np.inf))


METHOD = Method(
    "scorecam",
    "channels weighted by the score of the image masked by each channel",
    _maps,
    "1 + `max_channels`",
    masks_inputs=True,
)
