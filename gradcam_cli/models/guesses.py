"""Guess the preprocessing by how certain the predictions are, if neither a scaling nor batch statistics show it."""

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.models.probe import Feeder
from gradcam_cli.models.sample_pictures import sample_pictures

SHOWN = 3
# Without normalisation, the logits of a network grow with the range of its input. If the range is 255 times too wide,
# every prediction is certain. If it is 255 times too narrow, all classes are equally probable.
SATURATED = 1e-4
# Probabilities that differ from equal ones by at most this count as equal.
LEVEL = 0.03


def likelier_guess(
    network: keras.Model, shape: tuple[int, int, int], guesses: Sequence[str], feeder: Feeder
) -> tuple[str, str]:
    """Take the first guess for which the predictions of sample images are neither all certain nor all undecided.

    Also give a text about what was wrong with the earlier guesses. If all guesses are wrong, take the first one.
    """
    pictures = sample_pictures(*shape)[:SHOWN]
    wrong: list[tuple[str, str]] = []
    for guess in guesses:
        given = np.stack([PREPROCESSINGS[guess](picture) for picture in pictures])
        outputs = network(feeder(network, given), training=False)
        flaw = (
            _flaw(np.asarray(keras.ops.convert_to_numpy(outputs), np.float64)) if keras.ops.is_tensor(outputs) else ""
        )
        if not flaw:
            return guess, "".join(f"; with '{name}' {how}" for name, how in wrong)
        wrong.append((guess, flaw))
    return guesses[0], ""


def _flaw(outputs: NDArray[np.float64]) -> str:
    """Say what is unlikely about probabilities (N, classes); empty if nothing is, or if they are not probabilities."""
    if outputs.ndim != 2 or not ((outputs >= 0) & (outputs <= 1)).all():
        return ""
    if outputs.shape[1] == 1:
        outputs = np.concatenate([outputs, 1 - outputs], axis=1)
    elif np.abs(outputs.sum(axis=1) - 1).max() > 1e-3:
        return ""
    best = outputs.max(axis=1)
    if (best > 1 - SATURATED).all():
        return "every sample image has a probability of 1"
    if (best < (1 + LEVEL) / outputs.shape[1]).all():
        return "all classes have the same probability"
    return ""
