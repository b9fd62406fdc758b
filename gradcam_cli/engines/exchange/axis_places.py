"""Positions of cells after operations that rearrange, cut, repeat or reduce axes."""

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gradcam_cli.engines.graph import constant, shape_of, whole_numbers
from gradcam_cli.models.placement import Factor, Placement, other, reduced, regrouped, size_of, unknown
from gradcam_cli.models.sliding import picked, reversed_axis, rolled, rolled_along, sliced

if TYPE_CHECKING:
    from gradcam_cli.engines.exchange.places import Handler, PlaceWalk

REDUCTIONS = frozenset({f"Reduce{name}" for name in ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "LogicalOr")})


def _reshape(walk: "PlaceWalk", node: Any, _index: int) -> Placement | None:
    place = walk.place(node.input_value(0))
    return None if place is None else regrouped(place, shape_of(node.output(0)))


def _unsqueeze(walk: "PlaceWalk", node: Any, _index: int) -> Placement | None:
    place, axes = walk.place(node.input_value(0)), whole_numbers(node.input_value(1))
    if place is None or axes is None:
        return None
    rank = len(place.axes) + len(axes)
    new, own = {axis % rank for axis in axes}, iter(place.axes)
    return replace(place, axes=tuple(other(1) if i in new else next(own) for i in range(rank)))


def _squeeze(walk: "PlaceWalk", node: Any, _index: int) -> Placement | None:
    place = walk.place(node.input_value(0))
    if place is None:
        return None
    rank = len(place.axes)
    given = whole_numbers(node.input_value(1)) if node.get_input_size() > 1 else None
    gone = {axis % rank for axis in given} if given else {i for i, a in enumerate(place.axes) if size_of(a) == 1}
    return replace(place, axes=tuple(axis for i, axis in enumerate(place.axes) if i not in gone))


def _transpose(walk: "PlaceWalk", node: Any, _index: int) -> Placement | None:
    place, order = walk.place(node.input_value(0)), whole_numbers(node.input_value(1))
    if place is None or order is None:
        return None
    return replace(place, axes=tuple(place.axes[i] for i in order or range(len(place.axes))[::-1]))


def _reduce(walk: "PlaceWalk", node: Any, _index: int) -> Placement | None:
    place, axes = walk.place(node.input_value(0)), whole_numbers(node.input_value(1))
    if place is None or axes is None:
        return None
    return reduced(place, axes, keep=bool(node.get_attributes()["keep_dims"]))


def _split(walk: "PlaceWalk", node: Any, index: int) -> Placement | None:
    place, axes = walk.place(node.input_value(0)), whole_numbers(node.input_value(1))
    if place is None or axes is None:
        return None
    at = axes[0] % len(place.axes)
    lengths = [shape_of(output)[at] for output in node.outputs()]
    return sliced(place, at, sum(lengths[:index]), 1, lengths[index])


def _slice(walk: "PlaceWalk", node: Any, _index: int) -> Placement | None:
    place = walk.place(node.input_value(0))
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


def _strided_slice(walk: "PlaceWalk", node: Any, _index: int) -> Placement | None:
    place, attributes = walk.place(node.input_value(0)), node.get_attributes()
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


def _gather(walk: "PlaceWalk", node: Any, _index: int) -> Placement | None:
    place, axes = walk.place(node.input_value(0)), whole_numbers(node.input_value(2))
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
    """Roll an axis if the indices are those of a roll; after any other order, the positions are unknown."""
    count = size_of(place.axes[at])
    turned = [(found[0] + i) % count for i in range(count)] == found
    return rolled(place, at, -found[0]) if turned else place.with_axis(at, unknown(len(found)))


def _roll(walk: "PlaceWalk", node: Any, _index: int) -> Placement | None:
    place = walk.place(node.input_value(0))
    shifts, axes = (whole_numbers(node.input_value(i)) for i in (1, 2))
    if place is None or shifts is None or axes is None:
        return None
    return rolled_along(place, shifts, axes)


def _broadcast(walk: "PlaceWalk", node: Any, _index: int) -> Placement | None:
    place, wanted = walk.place(node.input_value(0)), shape_of(node.output(0))
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


HANDLERS: "dict[str, Handler]" = {
    **dict.fromkeys(REDUCTIONS, _reduce),
    **dict.fromkeys(("Split", "VariadicSplit"), _split),
    **dict.fromkeys(("Broadcast", "Tile"), _broadcast),
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Slice": _slice,
    "StridedSlice": _strided_slice,
    "Gather": _gather,
    "Roll": _roll,
}
