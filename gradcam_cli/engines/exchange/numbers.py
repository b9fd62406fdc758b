"""The preprocessing of a network: found in its first operations, or guessed."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcam_cli.engines.exchange.picture import PictureInput
from gradcam_cli.engines.graph import constant, kind
from gradcam_cli.errors import ModelError
from gradcam_cli.imaging.preprocessing import ASKED_FOR, PREPROCESSINGS, Preprocessing

IMAGENET_CLASSES = 1000
CLOSE = 0.02
# Operations that may come before the first operation that scales the image.
HANDING_ON = frozenset({"Convert", "Transpose", "Identity"})
SCALING = frozenset({"Subtract", "Add", "Multiply", "Divide"})
COLOURS = 3


@dataclass(frozen=True)
class Numbers:
    """A preprocessing, whether it is a guess, and the reason for it."""

    preprocessing: Preprocessing
    guessed: bool
    reason: str


def choose_numbers(tensor: Any, picture: PictureInput, classes: int, wanted: str, name: str) -> Numbers:
    """Choose the preprocessing of a network from its input tensor.

    Args:
        tensor: the network's input.
        picture: the shape of the input.
        classes: the number of classes.
        wanted: the name of a preprocessing, or `auto`.
        name: the name of the model, for messages.

    Raises:
        ModelError: the requested preprocessing is not possible for this number of channels.
    """
    if wanted != "auto":
        if not PREPROCESSINGS[wanted].takes(picture.channels):
            raise ModelError(
                f"{name}: `preprocess={wanted}` needs three channels, but the model's input has {picture.channels}."
            )
        return Numbers(PREPROCESSINGS[wanted], guessed=False, reason=ASKED_FOR)
    if picture.whole_numbers:
        return Numbers(PREPROCESSINGS["none"], guessed=False, reason="its input has an integer type")
    found = _scaled_inside(tensor, picture)
    if found:
        return found
    if picture.channels == COLOURS and classes == IMAGENET_CLASSES and picture.channels_first:
        reason = "it has 1000 classes, as ImageNet has, and the file does not show its preprocessing"
        return Numbers(
            PREPROCESSINGS["torch"], guessed=True, reason=f"{reason}; models of torchvision use this preprocessing"
        )
    reason = "the file does not show its preprocessing"
    other = "; networks that were trained from torchvision's weights usually take 'torch'"
    return Numbers(PREPROCESSINGS["unit"], guessed=True, reason=reason + (other if picture.channels == COLOURS else ""))


def _scaled_inside(tensor: Any, picture: PictureInput) -> Numbers | None:
    """Recognise a normalisation of values in [0, 255] or [0, 1] at the beginning of the network; None if there is none.

    The first operations must be `x * slope + offset`, with the mean and the scale of a known preprocessing.
    """
    slope, offset = np.ones(picture.channels), np.zeros(picture.channels)
    node = _only_reader(tensor)
    scaled = False
    while node is not None and node.get_type_name() in HANDING_ON | SCALING:
        if node.get_type_name() in SCALING:
            step = _step(node, picture.channels)
            if step is None:
                return None
            slope, offset = slope * step[0], offset * step[0] + step[1]
            scaled = True
        node = _only_reader(node.output(0))
    if not scaled:
        return None
    for name, known in PREPROCESSINGS.items():
        if known.bgr or name == "none" or not known.takes(picture.channels):
            continue
        mean, scale = (np.asarray(v if picture.channels == COLOURS else v[:1]) for v in (known.mean, known.scale))
        for most, takes in ((255.0, "none"), (1.0, "unit")):
            wanted_slope, wanted_offset = 255 / most / scale, -mean / scale
            if np.allclose(slope, wanted_slope, rtol=CLOSE) and np.allclose(offset, wanted_offset, atol=CLOSE):
                reason = f"its first operations scale the values 0 to {most:g} as '{name}' does"
                return Numbers(PREPROCESSINGS[takes], guessed=False, reason=reason)
    return None


def _only_reader(tensor: Any) -> Any:
    readers = [target.get_node() for target in tensor.get_target_inputs()]
    readers = [node for node in readers if node.get_type_name() not in {"ShapeOf", "Result"}]
    return readers[0] if len(readers) == 1 else None


def _step(node: Any, channels: int) -> tuple[Any, Any] | None:
    """Read `x * slope + offset` with constants for each channel; None for anything else."""
    first, second = node.input_values()
    value, swapped = constant(second), False
    if value is None:
        value, swapped = constant(first), True
    if value is None or value.size not in {1, channels}:
        return None
    numbers, name = value.astype(np.float64).ravel(), kind(node.output(0))
    if swapped and name in {"Subtract", "Divide"}:
        return None
    one, none = np.ones(1), np.zeros(1)
    if name in {"Add", "Subtract"}:
        return one, numbers if name == "Add" else -numbers
    if name == "Multiply":
        return numbers, none
    return None if (numbers == 0).any() else (1 / numbers, none)
