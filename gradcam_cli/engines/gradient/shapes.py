"""Rules of operations that rearrange, select, repeat or interpolate the elements of x."""

from functools import reduce
from typing import Any

import numpy as np

from gradcam_cli.engines.gradient.nodes import (
    Tensor,
    constant,
    evaluated,
    integers,
    joined,
    op,
    output,
    part,
    reshaped,
    spaced,
    sum_over,
    summed_to,
    times_matrix,
    transposed,
    zeros,
)
from gradcam_cli.engines.gradient.step import Gradients, Rule, Step
from gradcam_cli.engines.graph import shape_of


def _reshape(step: Step) -> Gradients:
    """`dx` is g in the shape of x."""
    return step.only(reshaped(step.g, step.x_shape))


def _transpose(step: Step) -> Gradients:
    """`dx` is g with the inverse permutation of the axes."""
    order = step.numbers(1) or list(range(len(step.x_shape)))[::-1]
    return step.only(transposed(step.g, np.argsort(order).tolist()))


def _broadcast(step: Step) -> Gradients:
    """`dx` is the sum of g over all repetitions of an element."""
    if len(step.inputs) > 2:
        raise step.refused("it broadcasts along named axes")
    return step.only(summed_to(step.g, step.x_shape))


def _tile(step: Step) -> Gradients:
    """`dx` is the sum of g over the repetitions."""
    repeats, x = step.numbers(1), step.x_shape
    wide = [1] * (len(repeats) - len(x)) + x
    repeats = [1] * (len(wide) - len(repeats)) + repeats
    split = reshaped(step.g, [size for pair in zip(repeats, wide, strict=True) for size in pair])
    return step.only(reshaped(sum_over(split, range(0, 2 * len(wide), 2), keep=False), x))


def _concat(step: Step) -> Gradients:
    """The gradient of each input is its part of g."""
    axis = int(str(step.attribute("axis"))) % len(step.y_shape)
    ends = np.cumsum([shape_of(value)[axis] for value in step.inputs]).tolist()
    starts = [0, *ends[:-1]]
    return [
        part(step.g, axis, start, end) if needed else None
        for start, end, needed in zip(starts, ends, step.needed, strict=True)
    ]


def _split(step: Step) -> Gradients:
    """`dx` is the concatenation of the gradients of the parts; it is 0 for a part without effect on the score."""
    parts = [
        zeros(shape_of(out)) if g is None else g for g, out in zip(step.gradients, step.node.outputs(), strict=True)
    ]
    return step.only(joined(parts, step.numbers(1)[0]))


def _slice(step: Step) -> Gradients:
    """`dx` is g at the selected elements, and 0 at all others."""
    x = step.x_shape
    taken = _slices(step, x) if step.type == "Slice" else _strided_slices(step, x)
    ranges = [range(*each.indices(size)) for each, size in zip(taken, x, strict=True)]
    if any(r.step < 0 or not r for r in ranges):
        raise step.refused("it runs backwards")
    g = reshaped(step.g, [len(r) for r in ranges])
    for axis, (r, size) in enumerate(zip(ranges, x, strict=True)):
        g = spaced(g, axis, r.step, r[-1] + 1 - r[0])
        if r[0]:
            g = joined([zeros([r[0] if i == axis else v for i, v in enumerate(shape_of(g))]), g], axis)
        g = spaced(g, axis, 1, size)
    return step.only(g)


def _slices(step: Step, x: list[int]) -> list[slice]:
    """Give a Python slice for each axis of a Slice."""
    start, stop, by = (step.numbers(place) for place in (1, 2, 3))
    axes = step.numbers(4) if len(step.inputs) > 4 else range(len(start))
    found = [slice(None)] * len(x)
    for i, axis in enumerate(axes):
        found[axis % len(x)] = slice(start[i], stop[i], by[i])
    return found


def _strided_slices(step: Step, x: list[int]) -> list[slice]:
    """Give a Python slice for each axis of a StridedSlice, from its masks."""
    start, stop = step.numbers(1), step.numbers(2)
    by = step.numbers(3) if len(step.inputs) > 3 else [1] * len(start)
    masks: Any = step.node.get_attributes()

    def masked(name: str, i: int) -> bool:
        return len(masks[name]) > i and bool(masks[name][i])

    found, axis = [slice(None)] * len(x), 0
    for i in range(len(start)):
        if masked("ellipsis_mask", i):
            axis = len(x) - sum(not masked("new_axis_mask", j) for j in range(i + 1, len(start)))
        elif not masked("new_axis_mask", i):
            if masked("shrink_axis_mask", i):
                found[axis] = slice(start[i] % x[axis], start[i] % x[axis] + 1)
            else:
                first = None if masked("begin_mask", i) else start[i]
                found[axis] = slice(first, None if masked("end_mask", i) else stop[i], by[i])
            axis += 1
    return found


def _gather(step: Step) -> Gradients:
    """`dx` of an element is the sum of g over its copies: a product with a matrix of ones and zeros along the axis."""
    x, picked = step.x_shape, step.value(1)
    if step.attribute("batch_dims", 0):
        raise step.refused("it has batch axes")
    axis = step.numbers(2)[0] % len(x)
    matrix = np.eye(x[axis], dtype=np.float32)[picked.ravel() % x[axis]]
    flat = reshaped(step.g, [*x[:axis], picked.size, *x[axis + 1 :]])
    return step.only(times_matrix(flat, matrix, axis))


def _pad(step: Step) -> Gradients:
    """`dx` is g without the padding."""
    x, begin = step.x_shape, step.numbers(1)
    constant_margin = str(step.attribute("pad_mode")).lower().endswith("constant")
    if not constant_margin or min(begin) < 0:
        raise step.refused("it reflects or crops")
    return step.only(reduce(lambda t, i: part(t, i, begin[i], begin[i] + x[i]), range(len(x)), step.g))


def _depth_space(step: Step) -> Gradients:
    """`dx` is g after the inverse operation: SpaceToDepth and DepthToSpace are inverses of each other."""
    back = op.space_to_depth if step.type == "DepthToSpace" else op.depth_to_space
    return [output(back(step.g, str(step.attribute("mode")), int(str(step.attribute("block_size")))))]


def _interpolate(step: Step) -> Gradients:
    """`dx = M^T g` along each axis whose size changes. Row i of M^T is the operation's result for unit vector i."""
    g = step.g
    for axis, (before, after) in enumerate(zip(step.x_shape, step.y_shape, strict=True)):
        if before != after:
            g = times_matrix(g, _resizing(step, before, after).T.copy(), axis)
    return step.only(g)


def _resizing(step: Step, before: int, after: int) -> Any:
    """Give the matrix M^T (before, after) of an interpolation along one axis.

    The interpolation has two spatial axes, because the mode `linear_onnx` needs them.
    """
    a: Any = step.node.get_attributes()
    units = constant(np.eye(before, dtype=np.float32).reshape(1, before, before, 1))
    resized = op.interpolate(
        units, integers([after, 1]), a["mode"], "sizes", [0] * 4, [0] * 4, a["coordinate_transformation_mode"],
        a["nearest_mode"], a["antialias"], a["cube_coeff"], integers([2, 3]),
    )  # fmt: skip
    return evaluated(output(resized)).reshape(before, after)


def _convert(step: Step) -> Gradients:
    """`dx` is g, because the input and the output are float32."""
    return step.only(step.g)


RULES: dict[str, Rule] = {
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Transpose": _transpose,
    "Broadcast": _broadcast,
    "Tile": _tile,
    "Concat": _concat,
    "Split": _split,
    "VariadicSplit": _split,
    "Slice": _slice,
    "StridedSlice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "DepthToSpace": _depth_space,
    "SpaceToDepth": _depth_space,
    "Interpolate": _interpolate,
    "Convert": _convert,
}


def laid_again(node: Any, tensor: Tensor) -> Tensor:
    """Apply an operation of `RELAYING` to another tensor; it is linear, so it rearranges a gradient in the same way."""
    name, more = node.get_type_name(), list(node.input_values())[1:]
    if name in {"Reshape", "Squeeze", "Unsqueeze"}:
        return reshaped(tensor, shape_of(node.output(0)))
    if name == "Transpose":
        return output(op.transpose(tensor, *more))
    if name == "Slice":
        return output(op.slice(tensor, *more))
    if name == "StridedSlice":
        masks = {key: list(value) for key, value in node.get_attributes().items()}
        return output(op.strided_slice(tensor, *more, **masks))
    return tensor


# Operations that only rearrange or select elements of a tensor.
RELAYING = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Convert", "StridedSlice", "Slice"})
