"""The output shapes of operations: `keras.ops` functions that a functional model stores as nodes."""

from collections.abc import Callable
from typing import Any, Final

from gradcam_cli.models.safety.shapes import (
    Dims,
    Node,
    Shape,
    axes_of,
    axis_of,
    broadcast,
    concatenated,
    numbers,
    reshaped,
    several,
    target_of,
    whole,
)

# Takes the settings of an operation and the shapes of its tensors, and gives the shape of its output.
Operation = Callable[[Node, tuple[Dims, ...]], Shape]

_ELEMENTWISE = """
    Absolute Abs Add Arctan Arctan2 BatchNorm BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil Celu Clip
    ConvertToTensor Copy Cos Cosh Cumprod Cumsum Divide DivideNoNan ElasticTransform Elu Equal Erf Exp Exp2 Expm1
    Flip Fliplr Flipud Floor FloorDivide FullLike GaussianBlur Gelu Greater GreaterEqual HSVToRGB HardShrink
    HardSigmoid HardSilu HardTanh Isfinite Isinf Isnan LayerNorm LeakyRelu Less LessEqual Log Log10 Log1p Log2
    LogSigmoid LogSoftmax LogicalAnd LogicalNot LogicalOr LogicalXor Maximum Minimum Mod Multiply NanToNum
    Negative Normalize NotEqual OnesLike Power RGBToHSV RMSNorm Reciprocal Relu Relu6 Roll Round Rsqrt
    SaturateCast Selu Sigmoid Sign Silu Sin Sinh SoftShrink Softmax Softplus Softsign Sparsemax SparsePlus
    SparseSigmoid Sqrt Square Squareplus StopGradient Subtract Tan Tanh TanhShrink Threshold Tril Triu TrueDivide
    Where ZerosLike
"""
ELEMENTWISE: Final = frozenset(_ELEMENTWISE.split())
_REDUCTIONS = """
    All Amax Amin Any Argmax Argmin Average CountNonzero Logsumexp Max Mean Median Min Norm Prod Std Sum Var
"""
REDUCTIONS: Final = frozenset(_REDUCTIONS.split())


def _elementwise(_settings: Node, inputs: tuple[Dims, ...]) -> Shape:
    return broadcast(inputs)


def _reduced(settings: Node, inputs: tuple[Dims, ...]) -> Shape:
    dims, axis = inputs[0], settings.get("axis")
    gone = set(range(len(dims))) if axis is None else set(axes_of(axis, len(dims)))
    if settings.get("keepdims"):
        return tuple(1 if at in gone else side for at, side in enumerate(dims))
    return tuple(side for at, side in enumerate(dims) if at not in gone)


def _reshape(settings: Node, inputs: tuple[Dims, ...]) -> Shape:
    value = settings["newshape"]
    target, empty = target_of([1, *value[1:]] if isinstance(value, list) else value)
    # The first side is the batch. If it is open, it takes none of the values of one image.
    return reshaped(inputs[0], target[1:], None if empty is None else empty - 1)


def _transposed(settings: Node, inputs: tuple[Dims, ...]) -> Shape:
    axes = settings["axes"]
    return tuple(inputs[0][axis] for axis in axes_of(axes[1:], len(inputs[0])))


def _concatenated(settings: Node, inputs: tuple[Dims, ...]) -> Shape:
    return concatenated(inputs, settings.get("axis", -1))


def _stacked(settings: Node, inputs: tuple[Dims, ...]) -> Shape:
    at = axis_of(settings.get("axis", -1), len(inputs[0]) + 1)
    return (*inputs[0][:at], len(inputs), *inputs[0][at:])


def _expanded(settings: Node, inputs: tuple[Dims, ...]) -> Shape:
    dims = inputs[0]
    axes = axes_of(settings["axis"], len(dims) + (len(settings["axis"]) if isinstance(settings["axis"], list) else 1))
    sides = iter(dims)
    return tuple(1 if at in axes else next(sides) for at in range(len(dims) + len(axes)))


def _squeezed(settings: Node, inputs: tuple[Dims, ...]) -> Shape:
    axis = settings.get("axis")
    gone = [at for at, side in enumerate(inputs[0]) if side == 1] if axis is None else axes_of(axis, len(inputs[0]))
    return tuple(side for at, side in enumerate(inputs[0]) if at not in gone)


def _tiled(settings: Node, inputs: tuple[Dims, ...]) -> Shape:
    dims = (1, *inputs[0])
    repeats = several(settings["repeats"], len(settings["repeats"]) if isinstance(settings["repeats"], list) else 1)
    rank = max(len(dims), len(repeats))
    padded, times = (1,) * (rank - len(dims)) + dims, (1,) * (rank - len(repeats)) + repeats
    # The batch is repeated too. This is counted in the first remaining side.
    return (numbers(times[:1]) * padded[1] * times[1], *(a * b for a, b in zip(padded[2:], times[2:], strict=True)))


def _repeated(settings: Node, inputs: tuple[Dims, ...]) -> Shape:
    dims, times = inputs[0], whole(settings["repeats"])
    if settings.get("axis") is None:
        return (numbers(dims) * times,)
    at = axis_of(settings["axis"], len(dims))
    return (*dims[:at], dims[at] * times, *dims[at + 1 :])


def _padded(settings: Node, inputs: tuple[Dims, ...]) -> Shape:
    width = settings["pad_width"]
    pairs = width if isinstance(width, list) and isinstance(width[0], list) else [width] * (len(inputs[0]) + 1)
    margins = [sum(several(pair, 2)) for pair in pairs][1:]
    return tuple(side + margin for side, margin in zip(inputs[0], margins, strict=True))


def _broadcasted(settings: Node, _inputs: tuple[Dims, ...]) -> Shape:
    return target_of([1, *settings["shape"][1:]])[0][1:]


def _resized(settings: Node, inputs: tuple[Dims, ...]) -> Shape:
    height, width = several(settings["size"], 2)
    dims = inputs[0]
    return (dims[0], height, width) if settings.get("data_format") == "channels_first" else (height, width, dims[-1])


def _one_hot(settings: Node, inputs: tuple[Dims, ...]) -> Shape:
    return (*inputs[0], whole(settings["num_classes"]))


def _outer(_settings: Node, inputs: tuple[Dims, ...]) -> Shape:
    return (numbers(inputs[0]), numbers(inputs[-1]))


def _multiplied(_settings: Node, inputs: tuple[Dims, ...]) -> Shape:
    first, second = inputs
    outer = broadcast((first[:-2], second[:-2])) if first[:-2] else ()
    return (*outer, *first[-2:-1], second[-1])


def _item(settings: Node, inputs: tuple[Dims, ...]) -> Shape:
    """Indexing: an integer removes a side, a slice makes it shorter."""
    key = settings["key"]
    parts = [_index(part) for part in (key if isinstance(key, list) else [key])]
    rank = len(inputs[0]) + 1
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (rank - len(parts) + 1)
    parts += [slice(None)] * (rank - len(parts))
    sides = zip(inputs[0], parts[1:], strict=True)
    return tuple(len(range(*part.indices(side))) for side, part in sides if isinstance(part, slice))


def _index(value: Any) -> Any:
    if isinstance(value, dict):
        inner = value.get("config") or {}
        marks = {"__ellipsis__": Ellipsis, "__slice__": slice(inner.get("start"), inner.get("stop"), inner.get("step"))}
        return marks[str(value.get("class_name"))]
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("not an index")
    return value


OPERATIONS: Final[dict[str, Operation]] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(REDUCTIONS, _reduced),
    "BroadcastTo": _broadcasted,
    "Concatenate": _concatenated,
    "ExpandDims": _expanded,
    "GetItem": _item,
    "Kron": _outer,
    "Matmul": _multiplied,
    "OneHot": _one_hot,
    "Outer": _outer,
    "Pad": _padded,
    "Repeat": _repeated,
    "Reshape": _reshape,
    "Resize": _resized,
    "Squeeze": _squeezed,
    "Stack": _stacked,
    "Tile": _tiled,
    "Transpose": _transposed,
}
