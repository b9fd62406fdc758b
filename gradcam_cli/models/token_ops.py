"""Operations that split, join and multiply tensors: the parts of tokens and attention."""

from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np

from gradcam_cli.models.graph_walk import GraphWalk, Handler
from gradcam_cli.models.placement import (
    SIDES,
    Axis,
    Factor,
    Placement,
    absorbed,
    is_spatial,
    merged,
    other,
    sides_in,
    simplified,
    size_of,
    unknown,
)
from gradcam_cli.models.sliding import padded, picked, sliced, with_more_tokens

TOKEN_RANK = 3


def _strided_slice(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    place = walk.inputs(op)[0]
    begin, end, strides = (walk.values.elements(each) for each in op.inputs[1:4])
    if begin is None or end is None or strides is None:
        return None
    masks = {name: int(op.get_attr(f"{name}_mask")) for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    explicit = sum(not _bit(masks["new_axis"], i) and not _bit(masks["ellipsis"], i) for i in range(len(begin)))
    axis = 0
    for i, bounds in enumerate(zip(begin, end, strides, strict=True)):
        if _bit(masks["ellipsis"], i):
            axis = len(place.axes) - (explicit - sum(_plain(masks, j) for j in range(i)))
        elif _bit(masks["new_axis"], i):
            place = replace(place, axes=(*place.axes[:axis], other(1), *place.axes[axis:]))
            axis += 1
        elif _bit(masks["shrink_axis"], i):
            place = picked(place, axis, bounds[0] or 0)
        else:
            first = None if _bit(masks["begin"], i) else bounds[0]
            last = None if _bit(masks["end"], i) else bounds[1]
            indices = range(size_of(place.axes[axis]))[slice(first, last, bounds[2])]
            # The size of a batch may be unknown, so it is never sliced.
            if axis and len(indices):
                place = sliced(place, axis, indices[0], bounds[2] or 1, len(indices))
            axis += 1
    return place


def _bit(mask: int, index: int) -> bool:
    return bool(mask >> index & 1)


def _plain(masks: dict[str, int], index: int) -> bool:
    return not _bit(masks["new_axis"], index) and not _bit(masks["ellipsis"], index)


def _slice(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    place = walk.inputs(op)[0]
    begin, sizes = (walk.values.elements(each) for each in op.inputs[1:3])
    if begin is None or sizes is None:
        return None
    for axis, (first, size) in enumerate(zip(begin, sizes, strict=True)):
        if axis and first is not None and size is not None:
            count = size_of(place.axes[axis]) - first if size < 0 else size
            place = sliced(place, axis, first, 1, count)
    return place


def _split(walk: GraphWalk, op: Any, index: int) -> Placement | None:
    whole, axis = (1, 0) if op.type == "Split" else (0, 2)
    place, axes = walk.place(op.inputs[whole]), walk.values.integers(op.inputs[axis])
    if place is None or axes is None:
        return None
    at = axes[0] % len(place.axes)
    total, parts = size_of(place.axes[at]), len(op.outputs)
    sizes = [total // parts] * parts if op.type == "Split" else walk.values.integers(op.inputs[1])
    if sizes is None:
        return None
    sizes = [total - sum(n for n in sizes if n >= 0) if size < 0 else size for size in sizes]
    return sliced(place, at, sum(sizes[:index]), 1, sizes[index])


def _unpack(walk: GraphWalk, op: Any, index: int) -> Placement:
    place = walk.inputs(op)[0]
    return picked(place, int(op.get_attr("axis")) % len(place.axes), index)


def _pack(walk: GraphWalk, op: Any, _index: int) -> Placement:
    places = walk.inputs(op)
    rank = max(len(place.axes) for place in places)
    together = merged(places, rank)
    at = int(op.get_attr("axis")) % (rank + 1)
    return replace(together, axes=(*together.axes[:at], other(len(op.inputs)), *together.axes[at:]))


def _gather(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    place, axes = walk.place(op.inputs[0]), walk.values.integers(op.inputs[2])
    indices = walk.values.of(op.inputs[1])
    if place is None or axes is None or indices is None or np.ndim(indices) > 1:
        return None
    at = axes[0] % len(place.axes)
    if np.ndim(indices) == 0:
        return picked(place, at, int(indices))
    steps = set(np.diff(indices).tolist()) or {1}
    if len(steps) > 1:
        axis = place.axes[at]
        return place.with_axis(at, unknown(len(indices)) if is_spatial(axis) else other(len(indices)))
    return sliced(place, at, int(indices[0]), int(steps.pop()), len(indices))


def _tile(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    place = walk.place(op.inputs[0])
    times = walk.values.elements(op.inputs[1])
    if place is None or times is None:
        return None
    if op.type == "BroadcastTo":
        place = replace(place, axes=(*(other(1) for _ in range(len(times) - len(place.axes))), *place.axes))
        times = [None if t is None else t // max(size_of(axis), 1) for t, axis in zip(times, place.axes, strict=True)]
    for at, count in enumerate(times):
        axis = place.axes[at]
        if at == 0 or count is None or count == 1:
            continue
        new: Axis = (Factor(count, "copy"),) if size_of(axis) == 1 else other(count * size_of(axis))
        place = place.with_axis(at, unknown(count * size_of(axis)) if is_spatial(axis) and size_of(axis) > 1 else new)
    return place


def _concat(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    axes = walk.values.integers(op.inputs[-1])
    return None if axes is None else concatenated(walk, list(op.inputs)[:-1], axes[0])


def concatenated(walk: GraphWalk, tensors: list[Any], axis: int) -> Placement | None:
    """Place a concatenation of tensors along an axis; None if its position cannot be followed."""
    places = [walk.place(tensor) for tensor in tensors]
    known = [place for place in places if place is not None]
    rank = len(known[0].axes)
    if any(len(place.axes) != rank for place in known):
        return None
    at = axis % rank
    sizes = [walk.sizes(tensor) for tensor in tensors]
    if any(size is None or len(size) != rank for size in sizes):
        return None
    counts = [size[at] for size in sizes if size is not None]
    pictures = [i for i, place in enumerate(places) if place is not None and _has_cells(place, at)]
    if not pictures:
        return _side_by_side(known, at, counts, [n for n, place in zip(counts, places, strict=True) if place])
    if len(pictures) > 1:
        return merged([place.with_axis(at, unknown(sum(counts))) for place in known], rank)
    starts = [0, *accumulate(counts)]
    (i,) = pictures
    place = places[i]
    before, after = starts[i], starts[-1] - starts[i + 1]
    assert place is not None  # noqa: S101 - it has cells
    if rank == TOKEN_RANK:
        return place.with_axis(at, with_more_tokens(place.axes[at], before, after))
    return padded(place, at, before, after)


def _has_cells(place: Placement, at: int) -> bool:
    """Whether an axis counts the cells of the image, and not pixels inside the channels of one cell."""
    if not is_spatial(place.axes[at]) or size_of(place.axes[at]) == 1:
        return False
    elsewhere = [axis for i, axis in enumerate(place.axes) if i != at and i > 0 and is_spatial(axis)]
    return at < len(place.axes) - 1 or not elsewhere


def _side_by_side(places: list[Placement], at: int, sizes: list[int], weights: list[int]) -> Placement:
    """Place concatenated channels of several tensors."""
    unclear = any(factor.kind == "unknown" for place in places for factor in place.axes[at])
    joined = unknown(sum(sizes)) if unclear else other(sum(sizes))
    flat = [absorbed(place, place.axes[at]).with_axis(at, joined) for place in places]
    return merged(flat, len(flat[0].axes), weights)


def _matmul(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    names = ("transpose_a", "transpose_b") if op.type == "MatMul" else ("adj_x", "adj_y")
    ranks = [_rank(walk, tensor) for tensor in op.inputs[:2]]
    if None in ranks:
        return None
    left, right = "ki" if op.get_attr(names[0]) else "ik", "jk" if op.get_attr(names[1]) else "kj"
    batch = "abcdefgh"[: max(rank or 0 for rank in ranks) - 2]
    labels = [batch[len(batch) - (rank or 0) + 2 :] + side for rank, side in zip(ranks, (left, right), strict=True)]
    return contracted(walk, op, labels, batch + "ij")


def _rank(walk: GraphWalk, tensor: Any) -> int | None:
    place = walk.place(tensor)
    rank: int | None = len(place.axes) if place is not None else tensor.shape.rank
    return rank


def _einsum(walk: GraphWalk, op: Any, _index: int) -> Placement | None:
    equation = op.get_attr("equation")
    equation = equation.decode() if isinstance(equation, bytes) else equation
    given, out = equation.replace(" ", "").split("->")
    labels = given.split(",")
    if "." in equation or len(labels) > 2:
        return None
    return contracted(walk, op, labels, out)


def contracted(walk: GraphWalk, op: Any, labels: list[str], out: str) -> Placement:
    """Multiply and sum over the labels that are not in the result.

    If both tensors have cells of the image along different axes, the cells of the first one are kept: a row of
    attention weights belongs to the query token.
    """
    found = [
        (place, names) for place, names in zip(map(walk.place, op.inputs), labels, strict=False) if place is not None
    ]
    lengths = _lengths(walk, op, labels)
    axes = [_of_label(label, found, lengths.get(label, 1)) for label in out]
    turned = max((place.turned for place, _ in found), key=lambda shifts: max(map(abs, shifts)))
    result = Placement(tuple(axes), None, None, any(place.altered for place, _ in found), turned)
    for side in SIDES:
        for place, names in sorted(found, key=lambda each: not _shows(each, side, out)):
            gone = [axis for axis, label in zip(place.axes, names, strict=True) if label not in out]
            for axis in gone:
                place = absorbed(place, axis)  # noqa: PLW2901 - step by step
            result = result.with_line(side, place.lines[side])
            break
    if len(found) > 1 and _attends(found, out):
        walk.attentions.append(op)
    return result


def _shows(found: tuple[Placement, str], side: Any, out: str) -> bool:
    place, names = found
    return any(side in sides_in(axis) for axis, label in zip(place.axes, names, strict=True) if label in out)


def _lengths(walk: GraphWalk, op: Any, labels: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for tensor, names in zip(op.inputs, labels, strict=False):
        for name, size in zip(names, walk.sizes(tensor) or (), strict=False):
            found[name] = max(size, found.get(name, 1))
    return found


def _of_label(label: str, found: list[tuple[Placement, str]], length: int) -> Axis:
    own = [(i, place.axes[names.index(label)]) for i, (place, names) in enumerate(found) if label in names]
    if not own:
        return other(length)
    largest = max(size_of(axis) for _, axis in own)
    i, axis = next(((i, axis) for i, axis in own if size_of(axis) == largest and is_spatial(axis)), own[0])
    if i > 0 and len(own) == 1 and is_spatial(axis):
        return other(size_of(axis))
    return axis


def _attends(found: list[tuple[Placement, str]], out: str) -> bool:
    """Whether the operation sums over tokens of the image, separately for each other token."""
    (first, first_names), (second, second_names) = found
    summed = [simplified(axis) for axis, name in zip(second.axes, second_names, strict=True) if name not in out]
    asking = [
        simplified(axis) for axis, name in zip(first.axes, first_names, strict=True) if name in out and is_spatial(axis)
    ]
    return any(is_spatial(axis) and size_of(axis) > 1 and axis in asking for axis in summed)


TOKEN_OPS: dict[str, Handler] = {
    "StridedSlice": _strided_slice,
    "Slice": _slice,
    "Split": _split,
    "SplitV": _split,
    "Unpack": _unpack,
    "Pack": _pack,
    "GatherV2": _gather,
    "Tile": _tile,
    "BroadcastTo": _tile,
    "ConcatV2": _concat,
    "MatMul": _matmul,
    "BatchMatMul": _matmul,
    "BatchMatMulV2": _matmul,
    "BatchMatMulV3": _matmul,
    "Einsum": _einsum,
}
