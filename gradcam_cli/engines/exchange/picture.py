"""The input of a network: the shape of the image, and the order of its axes."""

import math
from dataclasses import dataclass
from typing import Any

from gradcam_cli.engines.graph import constant, fold_constants, is_float, kind, whole_numbers
from gradcam_cli.engines.protocol import MOST_NUMBERS
from gradcam_cli.errors import ModelError, first_line

CHANNELS = (1, 3, 4)
FALLBACK_SIDE = 224
PICTURE_RANK = 4
LOOKED_AT = 200


@dataclass(frozen=True)
class PictureInput:
    """The shape of a network's input.

    Attributes:
        batch: the batch size; None if the network accepts any batch size.
        height, width, channels: the size of one image.
        channels_first: whether the axes are (N, channels, height, width).
        whole_numbers: whether the values are integers.
        open_size: whether the file does not fix the height or the width.
    """

    batch: int | None
    height: int
    width: int
    channels: int
    channels_first: bool
    whole_numbers: bool = False
    open_size: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.height, self.width, self.channels

    def sizes(self, batch: int) -> list[int]:
        """Give the shape of the network's input for a batch."""
        own = (self.channels, self.height, self.width) if self.channels_first else self.shape
        return [batch, *own]


def picture_input(model: Any, name: str, wanted: tuple[int, int] | None) -> PictureInput:
    """Find the input for the image. `wanted` (height, width) is used if the network does not fix its size.

    Raises:
        ModelError: the network has several inputs, its input is not an image, or it has another size than `wanted`.
    """
    used = [parameter for parameter in model.get_parameters() if parameter.output(0).get_target_inputs()]
    if len(used) != 1:
        names = ", ".join(f"'{parameter.get_friendly_name()}'" for parameter in used) or "none"
        raise ModelError(f"{name}: the model must have one input, the image, but it has {names}.")
    (tensor,) = (parameter.output(0) for parameter in used)
    shape = tensor.get_partial_shape()
    if shape.rank.is_dynamic or len(shape) != PICTURE_RANK:
        raise ModelError(f"{name}: its input is {shape}; it must be images (N, channels, height, width).")
    known = [None if size.is_dynamic else int(size.get_length()) for size in shape]
    first = _channels_first(tensor, known)
    channels, *own = (known[1], known[2], known[3]) if first else (known[3], known[1], known[2])
    if channels is None:
        channels = _kernel_channels(tensor)
    if channels not in CHANNELS:
        raise ModelError(f"{name}: its input is {shape}; images must have 1, 3 or 4 channels.")
    height, width = wanted or (own[0] or FALLBACK_SIDE, own[1] or FALLBACK_SIDE)
    if (own[0] or height, own[1] or width) != (height, width):
        raise ModelError(f"{name}: its input is {own[0]}x{own[1]}; it does not accept {height}x{width}.")
    return PictureInput(known[0], height, width, channels, first, not is_float(tensor), None in own)


def set_shape(model: Any, picture: PictureInput, batch: int, name: str) -> None:
    """Fix the shape of a network's input, and so the shapes of all tensors.

    Raises:
        ModelError: the network cannot be run on images of this shape.
    """
    try:
        model.reshape({_parameter(model).output(0): picture.sizes(batch)})
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if "While validating" in line]
        reason = first_line(Exception(lines[0])) if lines else first_line(error)
        raise ModelError(
            f"{name}: the network cannot be run on a {picture.height}x{picture.width} image ({reason}). If it was "
            "exported for another size, give `input_size=HxW`."
        ) from error


def static_copy(model: Any, picture: PictureInput, name: str) -> Any:
    """Copy a network with static shapes and folded constants. The batch size is that of the file, else 1.

    Raises:
        ModelError: the network cannot be run on images of this shape, a tensor is too large, or the constants cannot
            be computed.
    """
    copy = model.clone()
    set_shape(copy, picture, picture.batch or 1, name)
    _refuse_huge(copy, name)
    try:
        fold_constants(copy)
    except RuntimeError as error:
        raise ModelError(f"{name}: OpenVINO cannot compute its constants ({first_line(error)}).") from error
    return copy


def _refuse_huge(model: Any, name: str) -> None:
    """Refuse a network with a tensor that is too large for any machine: a small file can declare any size."""
    for node in model.get_ordered_ops():
        for output in node.outputs():
            shape = output.get_partial_shape()
            if not shape.is_dynamic and math.prod(size.get_length() for size in shape) > MOST_NUMBERS:
                raise ModelError(
                    f"{name}: '{node.get_friendly_name()}' makes a tensor {shape} from one image, more than "
                    f"{MOST_NUMBERS:,} numbers. Refused."
                )


def _parameter(model: Any) -> Any:
    return next(parameter for parameter in model.get_parameters() if parameter.output(0).get_target_inputs())


def picture_tensor(model: Any) -> Any:
    """Give the input tensor of a network."""
    return _parameter(model).output(0)


def _channels_first(tensor: Any, known: list[int | None]) -> bool:
    """Whether axis 1 is the channels: by the sizes of the axes, else by the operations before the first convolution.

    OpenVINO's convolutions accept only (N, channels, H, W). If the input is transposed first, its channels are last.
    """
    first, last = known[1] in CHANNELS, known[3] in CHANNELS
    if first != last:
        return first
    waiting = [tensor]
    for _ in range(LOOKED_AT):
        if not waiting:
            break
        for target in waiting.pop(0).get_target_inputs():
            node = target.get_node()
            if node.get_type_name() in {"Convolution", "GroupConvolution"}:
                return True
            if node.get_type_name() == "Transpose" and whole_numbers(node.input_value(1)) == [0, 3, 1, 2]:
                return False
            waiting.extend(node.outputs())
    return True


def _kernel_channels(tensor: Any) -> int | None:
    """Give the number of input channels of the first convolution after an input; None if it is not found."""
    waiting = [tensor]
    for _ in range(LOOKED_AT):
        if not waiting:
            return None
        for target in waiting.pop(0).get_target_inputs():
            node = target.get_node()
            if node.get_type_name() == "Convolution":
                kernel = constant(node.input_value(1))
                return None if kernel is None else int(kernel.shape[1])
            waiting.extend(output for output in node.outputs() if kind(output) != "ShapeOf")
    return None
