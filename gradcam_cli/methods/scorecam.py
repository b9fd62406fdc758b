"""Score-CAM: channels weighted by the score of the picture seen through them; no gradient is taken."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.geometry import Size, over_input
from gradcam_cli.methods.arithmetic import Floats, divided, positive_mass, weighted_map
from gradcam_cli.methods.method import Batch, Method, RawMaps, by_target
from gradcam_cli.settings import MaskScaling


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
    return weighted_map(activations, divided(raised, total, where=total != 0))


def strongest_channels(activations: Floats, limit: int, scaling: MaskScaling = "max") -> NDArray[np.bool_]:
    """Choose the channels that are taken: the `limit` of largest mass `S_k = sum_ij max(A_ijk, 0)`.

    A channel that makes no mask is never taken: with `max` one without mass, with `minmax` one that is the same
    everywhere. Of equal masses the first wins.

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

    `max`: `max(A, 0) / max(A)`. The minimum is not stretched to 0: an inactive cell behind a ReLU is 0 already.
    `minmax`: `(A - min A) / (max A - min A)`, as in the paper. They are equal where the minimum is 0.
    """
    highest = channels.max(axis=(1, 2), keepdims=True)
    lowest = channels.min(axis=(1, 2), keepdims=True) if scaling == "minmax" else 0
    scaled: NDArray[np.floating[Any]] = np.maximum(channels - lowest, 0) / (highest - lowest)
    return scaled


def _masked_scores(batch: Batch) -> NDArray[np.float32]:
    """The logit of each target for the picture seen through each channel: (N, T, K), -inf where none was taken.

    Pairs of an image and a channel fill the engine's batches, whichever images they are of. A mask dims the picture
    itself, towards black, not the numbers that the network takes for it.
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
    # What was not taken is no fault of the image: its -inf is left out of what has to be finite.
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
