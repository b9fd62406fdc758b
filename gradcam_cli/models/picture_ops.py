"""Operations on images: kernels, padding, resizing, reshapes, and elementwise operations."""

import math
from dataclasses import replace
from typing import Any

from gradcam_cli.models.graph_walk import GraphWalk, Handler
from gradcam_cli.models.placement import (
    Factor,
    Placement,
    absorbed,
    finer,
    is_spatial,
    merged,
    other,
    reduced,
    regrouped,
    size_of,
)
from gradcam_cli.models.sliding import (
    Window,
    one_side,
    padded,
    padding_before,
    resized,
    resizing,
    reversed_axis,
    rolled_along,
    sliced,
    slid,
    transposed_slide,
)

# Elementwise operations: each number separately, or together with numbers at the same place.
ELEMENTWISE = frozenset(
    """
    Abs Add AddN AddV2 BiasAdd Cast Ceil CheckNumerics ClipByValue Cos Div DivNoNan Elu Equal Erf Erfc Exp Expm1
    FakeQuantWithMinMaxVars Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Greater
    GreaterEqual Identity IdentityN Inv IsFinite IsInf IsNan LRN LeakyRelu Less LessEqual Log Log1p LogSoftmax
    LogicalAnd LogicalNot LogicalOr Maximum Minimum Mod Mul MulNoNan Neg NotEqual Pow PreventGradient Quantize
    RealDiv Reciprocal Relu Relu6 Rint Round Rsqrt Select SelectV2 Selu Sigmoid Sign Sin Snapshot Softmax Softplus
    Softsign Sqrt Square SquaredDifference StopGradient Sub Tanh TruncateDiv Xdivy Xlogy
    """.split()  # noqa: SIM905 - a list of strings would be four times as long
)
REDUCTIONS = frozenset({"Mean", "Sum", "Max", "Min", "Prod", "Any", "All", "EuclideanNorm"})
RESIZING = {"ResizeNearestNeighbor": 0.0, "ResizeBilinear": 1.0, "ResizeBicubic": 2.0, "ResizeArea": 1.0}
POOLING = frozenset({"MaxPool", "MaxPoolV2", "AvgPool"})
CONVOLUTIONS = frozenset({"Conv2D", "DepthwiseConv2dNative"})
PICTURE_RANK = 4


def _elementwise(walk: GraphWalk, op: Any, _index: int) -> Placement:
    places = walk.inputs(op)
    ranks = [tensor.shape.rank or 0 for tensor in op.inputs]
    rank = max([len(place.axes) for place in places] + ([] if op.type == "BiasAdd" else ranks))
    places = [replace(place, axes=place.axes) for place in places]
    result = merged(places, rank)
    if len(places) > 1 and any(
        mixes([p.axes[i - rank] for p in places if len(p.axes) >= rank - i]) for i in range(rank)
    ):
        walk.mixtures.append(op)
    return result


def mixes(axes: list[Any]) -> bool:
    """Whether an axis of image cells is combined with an axis of the same size that does not count cells."""
    spatial = [axis for axis in axes if is_spatial(axis) and size_of(axis) > 1]
    same = [axis for axis in axes if not is_spatial(axis) and spatial and size_of(axis) == size_of(spatial[0])]
    return bool(spatial and same)


def _reshape(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    place = walk.inputs(op)[0]
    total = math.prod(size_of(axis) for axis in place.axes)
    sizes = walk.values.integers(op.inputs[1])
    if sizes is None and op.outputs[0].shape.rank is not None:
        sizes = [-1 if size is None else size for size in op.outputs[0].shape.as_list()]
    if sizes is None or sizes.count(-1) > 1:
        return None
    known = math.prod(size for size in sizes if size >= 0)
    if known == 0 or total % known:
        return None
    return regrouped(place, [total // known if size < 0 else size for size in sizes])


def _expand(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    place, axis = walk.inputs(op)[0], walk.values.integers(op.inputs[1])
    if axis is None:
        return None
    at = axis[0] % (len(place.axes) + 1)
    return replace(place, axes=(*place.axes[:at], other(1), *place.axes[at:]))


def _squeeze(walk: GraphWalk, op: Any, _index: int) -> Placement:
    place = walk.inputs(op)[0]
    rank = len(place.axes)
    dropped = [axis % rank for axis in op.get_attr("squeeze_dims")]
    gone = dropped or [i for i, axis in enumerate(place.axes) if size_of(axis) == 1 and i > 0]
    return replace(place, axes=tuple(axis for i, axis in enumerate(place.axes) if i not in gone))


def _transpose(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    place, order = walk.inputs(op)[0], walk.values.integers(op.inputs[1])
    return None if order is None else replace(place, axes=tuple(place.axes[i] for i in order))


def _reduce(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    place, axes = walk.inputs(op)[0], walk.values.integers(op.inputs[1])
    if axes is None:
        return None
    return reduced(place, axes, keep=bool(op.get_attr("keep_dims")))


def _pad(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    place, paddings = walk.inputs(op)[0], walk.values.integers(op.inputs[1])
    if paddings is None:
        return None
    for index in range(len(place.axes)):
        place = padded(place, index, paddings[2 * index], paddings[2 * index + 1])
    return place


def _format(op: Any) -> tuple[int, int]:
    """Give the two axes along which a kernel slides."""
    return (2, 3) if op.get_attr("data_format") in {b"NCHW", "NCHW"} else (1, 2)


def _text(value: Any) -> str:
    """Read an attribute that is text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _channels(down: int) -> int:
    return 3 if down == 1 else 1


def _convolution(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    down, _ = _format(op)
    sizes = op.inputs[1].shape[:2].as_list()
    if None in sizes:
        return None
    place = walk.place(op.inputs[0])
    dilations = [int(op.get_attr("dilations")[down + i]) for i in (0, 1)]
    place = None if place is None else _with_channels(place, op, down)
    return _slid(place, op, down, list(zip(sizes, dilations, strict=True)))


def _pooling(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    down, _ = _format(op)
    kernel = op.get_attr("ksize")
    return _slid(walk.place(op.inputs[0]), op, down, [(int(kernel[down + i]), 1) for i in (0, 1)])


def _patches(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    kernel, rates = op.get_attr("ksizes"), op.get_attr("rates")
    place = walk.place(op.inputs[0])
    place = None if place is None else _with_channels(place, op, 1)
    return _slid(place, op, 1, [(int(kernel[i]), int(rates[i])) for i in (1, 2)])


def _slid(place: Placement | None, op: Any, down: int, kernel: list[tuple[int, int]]) -> Placement | None:
    """Slide a kernel, given by its size and dilation on both axes, over an image."""
    if place is None or len(place.axes) != PICTURE_RANK:
        return None
    place = resumed(place, down)
    padding, strides = _text(op.get_attr("padding")), op.get_attr("strides")
    for i, (cells, dilation) in enumerate(kernel):
        axis = down + i
        size, stride = size_of(place.axes[axis]), int(strides[axis])
        sides = (
            [int(n) for n in op.get_attr("explicit_paddings")[2 * axis : 2 * axis + 2]] if padding == "EXPLICIT" else []
        )
        before = sides[0] if sides else padding_before(padding, size, cells, stride, dilation)
        reach = (cells - 1) * dilation + 1
        outputs = -(-size // stride) if padding == "SAME" else (size + sum(sides) - reach) // stride + 1
        place = slid(place, axis, Window(cells, stride, dilation, before, outputs))
    return place


def resumed(place: Placement, down: int) -> Placement:
    """Read the two axes of a kernel as rows and columns if nothing is known about them."""
    for axis, kind in ((down, "row"), (down + 1, "column")):
        (part, *more) = place.axes[axis] or other(1)
        if not more and part.kind == "unknown":
            place = place.with_axis(axis, (Factor(part.size, kind, 1.0),))  # type: ignore[arg-type]
            place = replace(place, row=None) if kind == "row" else replace(place, column=None)
    return place


def _transposed_convolution(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    place = walk.place(op.inputs[2])
    shape = op.outputs[0].shape.as_list()
    sizes = op.inputs[1].shape[:2].as_list()
    if place is None or None in sizes or len(place.axes) != PICTURE_RANK:
        return None
    down, across = _format(op)
    place = resumed(_with_channels(place, op, down), down)
    for i, axis in enumerate((down, across)):
        stride, dilation = int(op.get_attr("strides")[axis]), int(op.get_attr("dilations")[axis])
        outputs = shape[axis] or _given_size(walk, op.inputs[0], axis)
        if outputs is None:
            return None
        padding = _text(op.get_attr("padding"))
        before = padding_before(padding, outputs, sizes[i], stride, dilation)
        if padding == "EXPLICIT":
            before = int(op.get_attr("explicit_paddings")[2 * axis])
        place = transposed_slide(place, axis, Window(sizes[i], stride, dilation, before, outputs))
    return replace(place, altered=True)


def _given_size(walk: GraphWalk, shape: Any, axis: int) -> int | None:
    sizes = walk.values.integers(shape)
    return None if sizes is None else sizes[axis]


def _resize(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    place, sizes = walk.inputs(op)[0], walk.values.integers(op.inputs[1])
    if sizes is None or len(place.axes) != PICTURE_RANK:
        return None
    half = op.type != "ResizeArea" and bool(op.get_attr("half_pixel_centers"))
    for axis, outputs in zip((1, 2), sizes, strict=True):
        size = size_of(place.axes[axis])
        if size == outputs:
            continue
        aligned = bool(op.get_attr("align_corners"))
        reach = RESIZING[op.type] if op.type != "ResizeArea" else size / outputs / 2
        by = resizing(size, outputs, half_pixel=half or op.type == "ResizeArea", align_corners=aligned, reach=reach)
        if op.type == "ResizeNearestNeighbor" and half:
            # Nearest neighbour takes the input cell that contains the centre of the output cell.
            taken = [math.floor((i + 0.5) * by.scale) - i * by.scale for i in range(outputs)]
            by = replace(by, start=sum(taken) / outputs)
        place = resized(place, axis, by)
    return place


def _scale_and_translate(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    place, sizes = walk.inputs(op)[0], walk.values.integers(op.inputs[1])
    scales, translations = walk.values.of(op.inputs[2]), walk.values.of(op.inputs[3])
    if sizes is None or scales is None or translations is None or len(place.axes) != PICTURE_RANK:
        return None
    for axis, outputs, scale, shift in zip((1, 2), sizes, scales.tolist(), translations.tolist(), strict=True):
        by = replace(
            resizing(1, 1, half_pixel=True, align_corners=False, reach=2 * max(1.0, 1 / scale)),
            start=(0.5 - shift) / scale - 0.5,
            scale=1 / scale,
            outputs=outputs,
        )
        place = resized(place, axis, by)
    return place


def _reverse(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    place, axes = walk.inputs(op)[0], walk.values.integers(op.inputs[1])
    if axes is None:
        return None
    for axis in axes:
        place = reversed_axis(place, axis % len(place.axes))
    return place


def _space_to_depth(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    place, block = walk.inputs(op)[0], int(op.get_attr("block_size"))
    down, across = _format(op)
    for axis in (down, across):
        place = slid(place, axis, Window(block, block, 1, 0, size_of(place.axes[axis]) // block))
    return _with_channels(place, op, down)


def _depth_to_space(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    place, block = walk.inputs(op)[0], int(op.get_attr("block_size"))
    down, across = _format(op)
    for axis in (down, across):
        place = finer(place.with_axis(axis, (*place.axes[axis], Factor(block, "copy"))), axis)
    return _with_channels(place, op, down)


def _with_channels(place: Placement, op: Any, down: int) -> Placement:
    """Replace the channels by new ones, each of which is computed from all of them."""
    if len(place.axes) != PICTURE_RANK:
        return place
    axis = _channels(down)
    size = op.outputs[0].shape[axis]
    return absorbed(place, place.axes[axis]).with_axis(axis, other(size or 1))


def _space_to_batch(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    """Place the interleaved parts of the image that a dilated kernel reads, which are along the batch axis."""
    place = walk.inputs(op)[0]
    blocks, paddings = walk.values.integers(op.inputs[1]), walk.values.integers(op.inputs[2])
    if blocks is None or paddings is None:
        return None
    altered, parts = place.altered, []
    for i, block in enumerate(blocks):
        place = padded(place, i + 1, paddings[2 * i], paddings[2 * i + 1])
        found = one_side(place.axes[i + 1])
        if found is None:
            return None
        cells = found[1]
        place = place.with_axis(i + 1, (replace(cells, size=cells.size // block, step=cells.step * block),))
        parts.append(replace(cells, size=block))
    return replace(place.with_axis(0, (*parts, *place.axes[0])), altered=altered)


def _batch_to_space(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    place = walk.inputs(op)[0]
    blocks, crops = walk.values.integers(op.inputs[1]), walk.values.integers(op.inputs[2])
    if blocks is None or crops is None or len(place.axes[0]) < len(blocks):
        return None
    altered = place.altered
    parts, rest = place.axes[0][: len(blocks)], place.axes[0][len(blocks) :]
    if [part.size for part in parts] != blocks:
        return None
    place = place.with_axis(0, rest or other(1))
    for i, part in enumerate(parts):
        place = place.with_axis(i + 1, (*place.axes[i + 1], part))
        size = size_of(place.axes[i + 1]) - crops[2 * i] - crops[2 * i + 1]
        place = sliced(place, i + 1, crops[2 * i], 1, size)
    return replace(place, altered=altered)


def _roll(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    place = walk.inputs(op)[0]
    shifts, axes = walk.values.integers(op.inputs[1]), walk.values.integers(op.inputs[2])
    if shifts is None or axes is None:
        return None
    return rolled_along(place, shifts, axes)


PICTURE_OPS: dict[str, Handler] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(REDUCTIONS, _reduce),
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys(POOLING, _pooling),
    "ExtractImagePatches": _patches,
    **dict.fromkeys(RESIZING, _resize),
    **dict.fromkeys(("Pad", "PadV2", "MirrorPad"), _pad),
    "ScaleAndTranslate": _scale_and_translate,
    "Conv2DBackpropInput": _transposed_convolution,
    "Reshape": _reshape,
    "ExpandDims": _expand,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "ReverseV2": _reverse,
    "SpaceToDepth": _space_to_depth,
    "DepthToSpace": _depth_to_space,
    "SpaceToBatchND": _space_to_batch,
    "BatchToSpaceND": _batch_to_space,
    "Roll": _roll,
}
