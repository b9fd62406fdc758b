"""The shape arithmetic of the preflight: a layer's weights and outputs from its config and its input shapes.

Shapes are tuples of integers without the batch. An unknown shape is None. Keras is not imported.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Node = dict[str, Any]
Dims = tuple[int, ...]
Shape = Dims | None

# Errors that a hostile config may cause in an arithmetic rule. The shapes are then unknown.
RULE_ERRORS = (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError, ZeroDivisionError)
# Larger numbers are not distinguished: they are all far too large.
LARGEST_NUMBER = 10**15
LONGEST_SHAPE = 32


@dataclass(frozen=True)
class Sizes:
    """The sizes of one call of a layer: its weights, its outputs, and temporary tensors of the call."""

    weights: tuple[Dims, ...] = ()
    outputs: tuple[Shape, ...] = ()
    scratch: tuple[Dims, ...] = ()


Rule = Callable[[Node, tuple[Dims, ...]], Sizes]


def whole(value: Any) -> int:
    """Read a count, which is a number that is not negative.

    Raises:
        ValueError: it is not a count.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ValueError("not a count")
    return int(min(value, LARGEST_NUMBER))


def several(value: Any, rank: int) -> Dims:
    """Read one count for all sides, or one for each side.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, list):
        if len(value) not in {1, rank}:
            raise ValueError("a wrong number of dimensions")
        return tuple(whole(item) for item in value) * (rank // len(value))
    return (whole(value),) * rank


def dims_of(value: Any, *, batched: bool, open_side: int = 1) -> Dims:
    """Read a shape; None in it is an open size.

    Raises:
        ValueError: it is not a shape.
    """
    if not isinstance(value, list) or len(value) > LONGEST_SHAPE or (batched and not value):
        raise ValueError("not a shape")
    return tuple(open_side if side is None else whole(side) for side in value[1 if batched else 0 :])


def numbers(dims: Dims) -> int:
    """Count the values of a tensor."""
    return math.prod(dims)


def lora(config: Node, kernel: Dims) -> tuple[Dims, ...]:
    """Give the two additional factors of a kernel with a `lora_rank`."""
    rank = config.get("lora_rank")
    return () if rank is None else ((*kernel[:-1], whole(rank)), (whole(rank), kernel[-1]))


def bias(config: Node, *dims: int) -> tuple[Dims, ...]:
    """Give a bias of this shape, or nothing if the config turns it off."""
    return (dims,) if config.get("use_bias", True) else ()


def is_channels_first(config: Node) -> bool:
    """Whether a layer's channels come before its sides."""
    return config.get("data_format") == "channels_first"


def split(dims: Dims, config: Node) -> tuple[Dims, int]:
    """Split a shape into sides and channels."""
    return (dims[1:], dims[0]) if is_channels_first(config) else (dims[:-1], dims[-1])


def joined(sides: Dims, channels: int, config: Node) -> Dims:
    """Join sides and channels to a shape."""
    return (channels, *sides) if is_channels_first(config) else (*sides, channels)


def after_window(sides: Dims, window: Dims, strides: Dims, dilation: Dims, padding: Any) -> Dims:
    """Give the sides after a convolution or a pooling."""
    if padding in {"same", "causal"}:
        return tuple(-(-side // stride) for side, stride in zip(sides, strides, strict=True))
    reach = [(width - 1) * spread + 1 for width, spread in zip(window, dilation, strict=True)]
    return tuple(
        max(1, (side - length) // stride + 1) for side, length, stride in zip(sides, reach, strides, strict=True)
    )


def axis_of(axis: Any, rank: int) -> int:
    """Turn an axis of a shape with the batch into an index of the shape without the batch.

    Raises:
        TypeError: it is not an axis.
        ValueError: there is no such axis, or it is the batch.
    """
    if isinstance(axis, bool) or not isinstance(axis, int):
        raise TypeError("not an axis")
    index = axis + rank if axis < 0 else axis - 1
    if not 0 <= index < rank:
        raise ValueError("no such axis")
    return index


def axes_of(axis: Any, rank: int) -> tuple[int, ...]:
    """Read one axis or a list of axes, like `axis_of`."""
    return tuple(axis_of(item, rank) for item in (axis if isinstance(axis, list) else [axis]))


def broadcast(shapes: tuple[Dims, ...]) -> Dims:
    """Give the shape of an elementwise operation on several tensors."""
    rank = max(len(dims) for dims in shapes)
    padded = [(1,) * (rank - len(dims)) + dims for dims in shapes]
    return tuple(max(sides) for sides in zip(*padded, strict=True))


def concatenated(shapes: tuple[Dims, ...], axis: Any) -> Dims:
    """Give the shape of a concatenation of tensors."""
    first = shapes[0]
    at = axis_of(axis, len(first))
    return (*first[:at], sum(dims[at] for dims in shapes), *first[at + 1 :])


def reshaped(dims: Dims, target: Dims, open_at: int | None) -> Dims:
    """Give the shape of a reshape, in which one side may be open."""
    if open_at is None:
        return target
    others = numbers(target[:open_at] + target[open_at + 1 :])
    return (*target[:open_at], max(1, numbers(dims) // max(1, others)), *target[open_at + 1 :])


def target_of(value: Any) -> tuple[Dims, int | None]:
    """Read the target of a reshape, and the index of its open side.

    Raises:
        ValueError: it is not a target.
    """
    sides = value if isinstance(value, list) else [value]
    is_open = [side is None or side == -1 for side in sides]
    if sum(is_open) > 1:
        raise ValueError("more than one dimension is undefined")
    dims = tuple(1 if empty else whole(side) for side, empty in zip(sides, is_open, strict=True))
    return dims, is_open.index(True) if any(is_open) else None
