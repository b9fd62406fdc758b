"""Which preprocessing to guess where neither a scaling nor batch statistics show one: by how sure the model gets."""

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.models.probe import Feeder
from gradcam_cli.models.sample_pictures import sample_pictures

SHOWN = 3
# Without normalisation a network's logits grow with the range of its input. A range that is 255 times too wide makes
# every picture certain; one that is 255 times too narrow makes all classes equally probable.
SATURATED = 1e-4
# Classes stay within so much of equal.
LEVEL = 0.03


def likelier_guess(
    network: keras.Model, shape: tuple[int, int, int], guesses: Sequence[str], feeder: Feeder
) -> tuple[str, str]:
    """Take the first of the guesses under which sample pictures are neither all certain nor all undecided.

    Give it with what was wrong about the earlier ones, for people; the first one where all are wrong.
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
    """What is unlikely about probabilities (N, classes); empty if nothing is, or they are no probabilities."""
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
