"""A classifier: the network, what its input is, and what its classes are called."""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from gradcam_cli.labels import Labels
from gradcam_cli.preprocessing import Preprocessing


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network and what surrounds it.

    `input_shape` is (height, width, channels), whichever way round the network has it. `output` names the one to
    explain where there are several. `warnings` are for people: what about its input looks wrong.
    """

    name: str
    sha256: str | None
    network: Any
    input_shape: tuple[int, int, int]
    preprocessing: Preprocessing
    preprocess_guessed: bool
    labels: Labels
    output: str | None = None
    channels_first: bool = False
    warnings: tuple[str, ...] = ()

    def arranged(self, inputs: Any) -> Any:
        """Lay a batch (N, H, W, channels) out as the network wants it."""
        return tf.transpose(inputs, (0, 3, 1, 2)) if self.channels_first else inputs
