"""The axis of the channels of an image: the one after the batch, or the last one.

The `data_format` of a layer is a setting of that layer only. A pooling layer with another format than the rest of the
network does not move the channels of the tensor, so its format says nothing about the network.
"""

from collections.abc import Iterable
from typing import Any

PICTURE_CHANNELS = (1, 3, 4)
PICTURE_AXES = 4


def input_is_channels_first(shape: Any, layers: Iterable[Any]) -> bool:
    """Decide by which axis of the input has a number of channels, then by the first convolution.

    Args:
        shape: the shape of the model's input, with the batch; None if it is unknown.
        layers: the layers of the model, in its order.
    """
    if shape is not None and len(shape) == PICTURE_AXES:
        first, last = shape[1] in PICTURE_CHANNELS, shape[3] in PICTURE_CHANNELS
        if first != last:
            return first
    formats = [(_mixes_channels(layer), layer.data_format) for layer in layers if hasattr(layer, "data_format")]
    convolutions = [data_format for mixes, data_format in formats if mixes]
    found = convolutions or [data_format for _, data_format in formats]
    return bool(found) and found[0] == "channels_first"


def channels_first_outputs(calls: Iterable[Any], *, input_first: bool) -> frozenset[Any]:
    """Follow the channels through the network, and give the outputs that are (N, channels, height, width).

    A convolution has its own format, a transposition moves the axes, and every other layer keeps the order of its
    input.
    """
    known: dict[Any, bool] = {}
    for call in calls:
        before = next((known[tensor.ref()] for tensor in call.inputs if tensor.ref() in known), input_first)
        known.setdefault(call.output.ref(), _after(call, before))
    return frozenset(tensor for tensor, first in known.items() if first)


def _after(call: Any, before: bool) -> bool:
    if _mixes_channels(call.layer):
        return bool(call.layer.data_format == "channels_first")
    order = _order(call.layer)
    return order.index(1 if before else 3) == 1 if order else before


def _mixes_channels(layer: Any) -> bool:
    """Whether a layer is a convolution: it has a kernel and a format."""
    return hasattr(layer, "data_format") and hasattr(layer, "kernel_size")


def _order(layer: Any) -> tuple[int, ...] | None:
    """Give the input axes in the order of the output if a layer permutes a batch of images; else None."""
    kind = type(layer).__name__
    axes: Any = (0, *layer.dims) if kind == "Permute" else getattr(layer, "axes", None) if kind == "Transpose" else None
    return tuple(axes) if axes is not None and sorted(axes) == list(range(PICTURE_AXES)) else None
