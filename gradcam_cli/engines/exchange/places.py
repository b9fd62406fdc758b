"""Where the cells of every tensor lie in the picture: a walk through a network of OpenVINO whose shapes are static.

The arithmetic is that of `models.placement`, `models.sliding` and `models.token_ops`; this module applies it to
the operations of OpenVINO (https://docs.openvino.ai, operation sets).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from gradcam_cli.engines.exchange.picture import PictureInput
from gradcam_cli.engines.graph import Key, constant, key, shape_of, whole_numbers
from gradcam_cli.models.picture_ops import mixes, resumed
from gradcam_cli.models.placement import (
    Factor,
    Placement,
    absorbed,
    finer,
    merged,
    other,
    picture_place,
    reduced,
    regrouped,
    size_of,
    unknown,
)
from gradcam_cli.models.sliding import (
    Window,
    lost,
    padded,
    picked,
    resized,
    resizing,
    reversed_axis,
    rolled,
    rolled_along,
    sliced,
    slid,
    transposed_slide,
)
from gradcam_cli.models.token_ops import concatenated, contracted

PICTURE_RANK = 4
LETTERS = "abcdefgh"
# Operations on each number alone, or together with those of the same place.
ELEMENTWISE = frozenset(
    """
    Abs Add BatchNormInference Ceiling Clamp Convert Cos Divide Elu Equal Erf Exp FakeQuantize Floor FloorMod Gelu
    Greater GreaterEqual GRN HardSigmoid HSigmoid HSwish Identity IsFinite IsInf IsNaN Less LessEqual Log LogicalAnd
    LogicalNot LogicalOr LogSoftmax LRN Maximum Minimum Mish Mod Multiply MVN Negative NormalizeL2 NotEqual Power PRelu
    Relu Round Select Selu Sigmoid Sign Sin Softmax SoftPlus SoftSign Sqrt SquaredDifference Subtract Swish Tan Tanh
    """.split()  # noqa: SIM905 - a list of strings would be four times as long
)
# Only the first input comes from the picture; the others are parameters.
UNARY = frozenset({"BatchNormInference", "Clamp", "FakeQuantize", "HardSigmoid", "LRN", "MVN", "NormalizeL2", "PRelu"})
REDUCTIONS = frozenset({f"Reduce{name}" for name in ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "LogicalOr")})
SHAPES = frozenset({"ShapeOf"})


@dataclass(frozen=True)
class Operands:
    """The inputs of a node, as `models.token_ops` asks for them."""

    inputs: tuple[Any, ...]
    node: Any


class PlaceWalk:
    """Places of all tensors of a network; a tensor that is not computed from the picture has none.

    `attentions` are the products that mix a picture's tokens by each other (operands: weights, values), `mixtures` the
    nodes that add to a picture's tokens what was computed from all of them.
    """

    def __init__(self, model: Any, picture: Any, described: PictureInput) -> None:
        """Walk through the whole network."""
        self.attentions: list[Operands] = []
        self.mixtures: list[Any] = []
        first = picture_place(shape_of(picture)[0], *described.shape, channels_first=described.channels_first)
        self._known: dict[Key, Placement] = {key(picture): first}
        for node in model.get_ordered_ops():
            self._visit(node)

    def place(self, tensor: Any) -> Placement | None:
        """Give the place of a tensor."""
        return self._known.get(key(tensor))

    def sizes(self, tensor: Any) -> list[int]:
        """Give the shape of a tensor."""
        return shape_of(tensor)

    def _visit(self, node: Any) -> None:
        kind = node.get_type_name()
        if kind in SHAPES or not any(self.place(tensor) for tensor in node.input_values()):
            return
        for index, output in enumerate(node.outputs()):
            if output.get_partial_shape().is_dynamic:
                continue
            found = HANDLERS[kind](self, node, index) if kind in HANDLERS else None
            if found is None or [size_of(axis) for axis in found.axes] != shape_of(output):
                found = self._unfollowed(node, output)
            self._known[key(output)] = found

    def _unfollowed(self, node: Any, output: Any) -> Placement:
        """Place the output of an unknown operation: the axes of an input of the same shape are kept."""
        places = [place for place in map(self.place, node.input_values()) if place]
        wanted = shape_of(output)
        same = next((place for place in places if [size_of(axis) for axis in place.axes] == wanted), None)
        if same is not None:
            return lost(same)
        return Placement(tuple(unknown(size) for size in wanted), None, None, altered=True)


Handler = Callable[[PlaceWalk, Any, int], Placement | None]


def _elementwise(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    if node.get_type_name() in UNARY:
        return walk.place(node.input_value(0))
    tensors = node.input_values()
    places = [place for place in map(walk.place, tensors) if place]
    rank = max(len(shape_of(tensor)) for tensor in tensors)
    result = merged(places, rank)
    own = [[p.axes[i - rank] for p in places if len(p.axes) >= rank - i] for i in range(rank)]
    if len(places) > 1 and any(map(mixes, own)):
        walk.mixtures.append(node)
    return result


def _first(walk: PlaceWalk, node: Any) -> Placement | None:
    return walk.place(node.input_value(0))


def _reshape(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    place = _first(walk, node)
    return None if place is None else regrouped(place, shape_of(node.output(0)))


def _unsqueeze(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    place, axes = _first(walk, node), whole_numbers(node.input_value(1))
    if place is None or axes is None:
        return None
    rank = len(place.axes) + len(axes)
    new, own = {axis % rank for axis in axes}, iter(place.axes)
    return replace(place, axes=tuple(other(1) if i in new else next(own) for i in range(rank)))


def _squeeze(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    place = _first(walk, node)
    if place is None:
        return None
    rank = len(place.axes)
    given = whole_numbers(node.input_value(1)) if node.get_input_size() > 1 else None
    gone = {axis % rank for axis in given} if given else {i for i, a in enumerate(place.axes) if size_of(a) == 1}
    return replace(place, axes=tuple(axis for i, axis in enumerate(place.axes) if i not in gone))


def _transpose(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    place, order = _first(walk, node), whole_numbers(node.input_value(1))
    if place is None or order is None:
        return None
    return replace(place, axes=tuple(place.axes[i] for i in order or range(len(place.axes))[::-1]))


def _reduce(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    place, axes = _first(walk, node), whole_numbers(node.input_value(1))
    if place is None or axes is None:
        return None
    return reduced(place, axes, keep=bool(node.get_attributes()["keep_dims"]))


def _with_channels(place: Placement, node: Any) -> Placement:
    """Place an output whose channels are computed from all channels of the input."""
    return absorbed(place, place.axes[1]).with_axis(1, other(shape_of(node.output(0))[1]))


def _convolution(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    place = _first(walk, node)
    if place is None or len(place.axes) != PICTURE_RANK:
        return None
    kernel = shape_of(node.input_value(1))[-2:]
    return _slid(_with_channels(place, node), node, kernel)


def _pooling(walk: PlaceWalk, node: Any, index: int) -> Placement | None:
    place = _first(walk, node)
    if place is None or len(place.axes) != PICTURE_RANK or index:
        return None
    return _slid(place, node, [int(size) for size in node.get_attributes()["kernel"]])


def _slid(place: Placement, node: Any, kernel: list[int]) -> Placement:
    attributes, place = node.get_attributes(), resumed(place, 2)
    outputs = shape_of(node.output(0))
    dilations = list(attributes.get("dilations") or (1, 1))
    for i, cells in enumerate(kernel):
        stride, dilation = int(attributes["strides"][i]), int(dilations[i])
        before = _before(attributes, i, size_of(place.axes[2 + i]), cells, stride, dilation)
        place = slid(place, 2 + i, Window(cells, stride, dilation, before, outputs[2 + i]))
    return place


def _before(attributes: dict[str, Any], i: int, size: int, kernel: int, stride: int, dilation: int) -> int:
    """Count the cells that are put before the first one."""
    padding = str(attributes.get("auto_pad", "explicit")).lower()
    if padding == "valid":
        return 0
    if not padding.startswith("same"):
        return int(attributes["pads_begin"][i])
    whole = max((math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return whole // 2 if padding.endswith("upper") else whole - whole // 2


def _transposed(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    place, attributes = _first(walk, node), node.get_attributes()
    if place is None or len(place.axes) != PICTURE_RANK or str(attributes["auto_pad"]).lower() != "explicit":
        return None
    kernel, outputs = shape_of(node.input_value(1))[-2:], shape_of(node.output(0))
    place = resumed(_with_channels(place, node), 2)
    for i, cells in enumerate(kernel):
        stride, dilation = int(attributes["strides"][i]), int(attributes["dilations"][i])
        window = Window(cells, stride, dilation, int(attributes["pads_begin"][i]), outputs[2 + i])
        place = transposed_slide(place, 2 + i, window)
    return replace(place, altered=True)


def _pad(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    place = _first(walk, node)
    begin, end = (whole_numbers(node.input_value(i)) for i in (1, 2))
    if place is None or begin is None or end is None:
        return None
    for index, (before, after) in enumerate(zip(begin, end, strict=True)):
        place = padded(place, index, before, after)
    return place


def _interpolate(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    place, attributes = _first(walk, node), node.get_attributes()
    if place is None or len(place.axes) != PICTURE_RANK:
        return None
    centred = str(attributes["coordinate_transformation_mode"])
    nearest = str(attributes["mode"]) == "nearest"
    for index, outputs in enumerate(shape_of(node.output(0))):
        size = size_of(place.axes[index])
        if size == outputs:
            continue
        half = "half_pixel" in centred
        by = resizing(
            size, outputs, half_pixel=half, align_corners=centred == "align_corners", reach=0.0 if nearest else 1.0
        )
        place = resized(place, index, by)
    return place


def _matmul(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    attributes, tensors = node.get_attributes(), tuple(node.input_values())
    ranks = [len(shape_of(tensor)) for tensor in tensors]
    if min(ranks) < 2:
        return None
    left = "ki" if attributes["transpose_a"] else "ik"
    right = "jk" if attributes["transpose_b"] else "kj"
    batch = LETTERS[: max(ranks) - 2]
    labels = [batch[len(batch) - rank + 2 :] + side for rank, side in zip(ranks, (left, right), strict=True)]
    return contracted(walk, Operands(tensors, node), labels, batch + "ij")  # type: ignore[arg-type]


def _einsum(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    given, out = str(node.get_attributes()["equation"]).replace(" ", "").split("->")
    labels = given.split(",")
    if "." in given or len(labels) > 2:
        return None
    return contracted(walk, Operands(tuple(node.input_values()), node), labels, out)  # type: ignore[arg-type]


def _attention(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    """Scaled dot-product attention in one operation: queries, keys, values."""
    query, keys, values = node.input_values()[:3]
    place = walk.place(query)
    if place is None or walk.place(values) is None:
        return None
    walk.attentions.append(Operands((keys, values), node))
    return place


def _concat(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    return concatenated(walk, list(node.input_values()), int(node.get_attributes()["axis"]))  # type: ignore[arg-type]


def _split(walk: PlaceWalk, node: Any, index: int) -> Placement | None:
    place, axes = _first(walk, node), whole_numbers(node.input_value(1))
    if place is None or axes is None:
        return None
    at = axes[0] % len(place.axes)
    lengths = [shape_of(output)[at] for output in node.outputs()]
    return sliced(place, at, sum(lengths[:index]), 1, lengths[index])


def _slice(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    place = _first(walk, node)
    values = [whole_numbers(tensor) for tensor in node.input_values()[1:]]
    if place is None or any(value is None for value in values):
        return None
    start, stop, step, *rest = [value or [] for value in values]
    axes = rest[0] if rest else range(len(start))
    for axis, *bounds in zip(axes, start, stop, step, strict=False):
        place = _cut(place, axis % len(place.axes), slice(*bounds))
    return place


def _cut(place: Placement, index: int, bounds: slice) -> Placement:
    indices = range(size_of(place.axes[index]))[bounds]
    whole = indices == range(size_of(place.axes[index]))
    if whole or not indices:
        return place
    if indices.step == -1 and len(indices) == size_of(place.axes[index]):
        return reversed_axis(place, index)
    return sliced(place, index, indices[0], indices.step, len(indices))


def _strided_slice(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    place, attributes = _first(walk, node), node.get_attributes()
    values = [whole_numbers(tensor) for tensor in node.input_values()[1:]]
    if place is None or any(value is None for value in values):
        return None
    start, stop, *more = [value or [] for value in values]
    step = more[0] if more else [1] * len(start)
    if any(attributes["ellipsis_mask"]) or any(attributes["new_axis_mask"]):
        return None
    dropped = 0
    for i, bounds in enumerate(zip(start, stop, step, strict=True)):
        axis = i - dropped
        if _masked(attributes, "shrink_axis_mask", i):
            place = picked(place, axis, bounds[0])
            dropped += 1
            continue
        first = None if _masked(attributes, "begin_mask", i) else bounds[0]
        last = None if _masked(attributes, "end_mask", i) else bounds[1]
        place = _cut(place, axis, slice(first, last, bounds[2]))
    return place


def _masked(attributes: dict[str, Any], name: str, index: int) -> bool:
    mask = list(attributes[name])
    return bool(index < len(mask) and mask[index])


def _gather(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    place, axes = _first(walk, node), whole_numbers(node.input_value(2))
    indices = constant(node.input_value(1))
    if place is None or axes is None or indices is None or indices.ndim > 1:
        return None
    at = axes[0] % len(place.axes)
    if indices.ndim == 0:
        return picked(place, at, int(indices))
    found = [int(index) for index in indices]
    steps = {after - before for before, after in pairwise(found)} or {1}
    if len(steps) > 1:
        return _rolled(place, at, found)
    return sliced(place, at, found[0], steps.pop(), len(found))


def _rolled(place: Placement, at: int, found: list[int]) -> Placement | None:
    """Roll an axis where the indices are those of a roll; any other order cannot be followed."""
    count = size_of(place.axes[at])
    turned = [(found[0] + i) % count for i in range(count)] == found
    return rolled(place, at, -found[0]) if turned else place.with_axis(at, unknown(len(found)))


def _roll(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    place = _first(walk, node)
    shifts, axes = (whole_numbers(node.input_value(i)) for i in (1, 2))
    if place is None or shifts is None or axes is None:
        return None
    return rolled_along(place, shifts, axes)


def _broadcast(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    place, wanted = _first(walk, node), shape_of(node.output(0))
    if place is None:
        return None
    axes = [*(other(1) for _ in range(len(wanted) - len(place.axes))), *place.axes]
    for at, (axis, size) in enumerate(zip(axes, wanted, strict=True)):
        if size_of(axis) == size:
            continue
        if size % max(size_of(axis), 1):
            return None
        axes[at] = (Factor(size, "copy"),) if size_of(axis) == 1 else unknown(size)
    return replace(place, axes=tuple(axes))


def _depth_to_space(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    place, block = _first(walk, node), int(node.get_attributes()["block_size"])
    if place is None or len(place.axes) != PICTURE_RANK:
        return None
    for axis in (2, 3):
        place = finer(place.with_axis(axis, (*place.axes[axis], Factor(block, "copy"))), axis)
    return _with_channels(place, node)


def _space_to_depth(walk: PlaceWalk, node: Any, _index: int) -> Placement | None:
    place, block = _first(walk, node), int(node.get_attributes()["block_size"])
    if place is None or len(place.axes) != PICTURE_RANK:
        return None
    for axis in (2, 3):
        place = slid(place, axis, Window(block, block, 1, 0, size_of(place.axes[axis]) // block))
    return _with_channels(place, node)


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(REDUCTIONS, _reduce),
    **dict.fromkeys(("Convolution", "GroupConvolution"), _convolution),
    **dict.fromkeys(("ConvolutionBackpropData", "GroupConvolutionBackpropData"), _transposed),
    **dict.fromkeys(("MaxPool", "AvgPool"), _pooling),
    **dict.fromkeys(("Split", "VariadicSplit"), _split),
    **dict.fromkeys(("Broadcast", "Tile"), _broadcast),
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Pad": _pad,
    "Interpolate": _interpolate,
    "MatMul": _matmul,
    "Einsum": _einsum,
    "ScaledDotProductAttention": _attention,
    "Concat": _concat,
    "Slice": _slice,
    "StridedSlice": _strided_slice,
    "Gather": _gather,
    "Roll": _roll,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
