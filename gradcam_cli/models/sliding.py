"""The effects of kernels, strides, padding, slices and resizing on the positions of a tensor's cells."""

import math
from dataclasses import dataclass, replace

from gradcam_cli.models.placement import (
    Axis,
    Factor,
    Placement,
    Side,
    bounded,
    finer,
    is_spatial,
    moved,
    other,
    sides_in,
    simplified,
    size_of,
    unknown,
    widened,
)


@dataclass(frozen=True)
class Window:
    """A kernel along one axis: its cells, their stride and dilation, the padding before, and the number of outputs."""

    kernel: int
    stride: int
    dilation: int
    before: int
    outputs: int


def padding_before(padding: str, size: int, kernel: int, stride: int, dilation: int) -> int:
    """Count the cells that TensorFlow adds before the first one: of an odd number, the smaller half."""
    if padding != "SAME":
        return 0
    reach = (kernel - 1) * dilation + 1
    return max((math.ceil(size / stride) - 1) * stride + reach - size, 0) // 2


def one_side(axis: Axis) -> tuple[Side, Factor] | None:
    """Read an axis that is only rows or only columns, without a gap; None for any other axis."""
    parts = simplified(axis)
    if len(parts) != 1 or parts[0].kind not in {"row", "column"}:
        return None
    return ("row" if parts[0].kind == "row" else "column"), parts[0]


def slid(place: Placement, index: int, window: Window) -> Placement:
    """Slide a kernel along an axis."""
    place = finer(place, index)
    axis = place.axes[index]
    found = one_side(axis)
    if found is None:
        whole = window.stride == 1 and window.outputs == size_of(axis)
        kept = axis if whole else unknown(window.outputs) if _may_be_spatial(axis) else other(window.outputs)
        return place.with_axis(index, kept)
    side, cells = found
    reach = (window.kernel - 1) * window.dilation / 2
    line = moved(place.lines[side], cells.step * (reach - window.before))
    line = widened(line, abs(cells.step) * reach, abs(cells.step) * reach)
    after = (replace(cells, size=window.outputs, step=cells.step * window.stride),)
    return _bounded(place.with_axis(index, after).with_line(side, line), side)


def _bounded(place: Placement, side: Side, *, sliced: bool = False) -> Placement:
    """Remove the pixels that no cell is computed from."""
    factors = [factor for axis in place.axes for factor in axis]
    return place.with_line(side, bounded(place.lines[side], factors, side, sliced=sliced))


def _may_be_spatial(axis: Axis) -> bool:
    return is_spatial(axis) or any(factor.kind == "unknown" for factor in axis)


def transposed_slide(place: Placement, index: int, window: Window) -> Placement:
    """Slide the kernel of a transposed convolution along an axis: `stride` outputs for each cell."""
    place = finer(place, index)
    found = one_side(place.axes[index])
    if found is None:
        axis = place.axes[index]
        return place.with_axis(index, unknown(window.outputs) if _may_be_spatial(axis) else other(window.outputs))
    side, cells = found
    step = cells.step / window.stride
    reach = (window.kernel - 1) * window.dilation / 2
    line = moved(place.lines[side], step * (window.before - reach))
    line = widened(line, abs(step) * reach, abs(step) * reach)
    after = (replace(cells, size=window.outputs, step=step),)
    return _bounded(place.with_axis(index, after).with_line(side, line), side)


def padded(place: Placement, index: int, before: int, after: int) -> Placement:
    """Add cells that contain nothing of the image before and after an axis."""
    if before == after == 0:
        return place
    axis = place.axes[index]
    if min(before, after) < 0:
        return sliced(place, index, max(-before, 0), 1, size_of(axis) - max(-before, 0) - max(-after, 0))
    place = replace(place, altered=True)
    found = one_side(axis)
    if found is not None and len(place.axes) != 3:
        side, cells = found
        longer = (replace(cells, size=cells.size + before + after),)
        return place.with_axis(index, longer).with_line(side, moved(place.lines[side], -before * cells.step))
    if is_spatial(axis):
        return place.with_axis(index, with_more_tokens(axis, before, after))
    return place.with_axis(index, (Factor(size_of(axis) + before + after, axis[0].kind if axis else "other"),))


def with_more_tokens(axis: Axis, before: int, after: int) -> Axis:
    """Add tokens that are not cells of the image before and after those that are."""
    parts = simplified(axis)
    known = len(parts) == 1 and parts[0].kind == "tokens"
    row = parts[0] if known else Factor(size_of(axis), "tokens", inner=parts)
    return (replace(row, size=row.size + before + after, before=row.before + before, after=row.after + after),)


def sliced(place: Placement, index: int, begin: int, stride: int, count: int) -> Placement:
    """Take `count` cells of an axis from `begin` on, every `stride`-th."""
    axis = place.axes[index]
    if begin == 0 and stride == 1 and count == size_of(axis):
        return place
    found = one_side(axis)
    if found is not None:
        side, cells = found
        after = (replace(cells, size=count, step=cells.step * stride),)
        line = moved(place.lines[side], begin * cells.step)
        place = _bounded(place.with_axis(index, after).with_line(side, line), side, sliced=abs(stride) == 1)
        return replace(place, altered=place.altered or abs(stride) == 1)
    return place.with_axis(index, _sliced_tokens(axis, begin, stride, count))


def _sliced_tokens(axis: Axis, begin: int, stride: int, count: int) -> Axis:
    """Remove tokens that are not cells of the image. A slice through the image's own tokens cannot be followed."""
    if not _may_be_spatial(axis):
        return (Factor(count, axis[0].kind if axis else "other"),)
    parts = simplified(axis)
    row = parts[0] if len(parts) == 1 and parts[0].kind == "tokens" else None
    if row is None or stride != 1:
        return unknown(count)
    first, last = row.before, row.size - row.after
    if begin <= first and begin + count >= last:
        rest = replace(row, size=count, before=first - begin, after=begin + count - last)
        return row.inner if rest.before == rest.after == 0 else (rest,)
    return other(count) if begin + count <= first or begin >= last else unknown(count)


def picked(place: Placement, index: int, position: int) -> Placement:
    """Take one cell of an axis, and remove the axis."""
    axis = place.axes[index]
    found = one_side(axis)
    position %= max(size_of(axis), 1)
    if found is not None:
        side, cells = found
        place = place.with_line(side, moved(place.lines[side], position * cells.step))
    return replace(place, axes=(*place.axes[:index], *place.axes[index + 1 :]))


@dataclass(frozen=True)
class Resizing:
    """A resized axis: output `j` lies at the cell `start + j * scale`, and depends on `reach` cells on each side."""

    start: float
    scale: float
    reach: float
    outputs: int


def resizing(size: int, outputs: int, *, half_pixel: bool, align_corners: bool, reach: float) -> Resizing:
    """Give the positions that TensorFlow reads from when it resizes."""
    if align_corners and outputs > 1:
        return Resizing(0.0, (size - 1) / (outputs - 1), reach, outputs)
    scale = size / outputs
    return Resizing(scale / 2 - 0.5 if half_pixel else 0.0, scale, reach, outputs)


def resized(place: Placement, index: int, by: Resizing) -> Placement:
    """Resize an axis."""
    place = replace(finer(place, index), altered=True)
    axis = place.axes[index]
    found = one_side(axis)
    if found is None:
        return place.with_axis(index, unknown(by.outputs) if _may_be_spatial(axis) else other(by.outputs))
    side, cells = found
    line = widened(
        moved(place.lines[side], by.start * cells.step), by.reach * abs(cells.step), by.reach * abs(cells.step)
    )
    after = (replace(cells, size=by.outputs, step=cells.step * by.scale),)
    return _bounded(place.with_axis(index, after).with_line(side, line), side)


def reversed_axis(place: Placement, index: int) -> Placement:
    """Reverse an axis."""
    found = one_side(place.axes[index])
    if found is None:
        axis = place.axes[index]
        return place.with_axis(index, unknown(size_of(axis))) if _may_be_spatial(axis) else place
    side, cells = found
    line = moved(place.lines[side], (cells.size - 1) * cells.step)
    return place.with_axis(index, (replace(cells, step=-cells.step),)).with_line(side, line)


def rolled(place: Placement, index: int, shift: int) -> Placement | None:
    """Roll an axis by `shift` cells; None if the axis is not only rows or only columns."""
    found = one_side(place.axes[index])
    if found is None:
        return None
    side, cells = found
    by = -shift * cells.step
    down, across = place.turned
    turned = (down + by, across) if side == "row" else (down, across + by)
    return replace(place.with_line(side, moved(place.lines[side], by)), turned=turned)


def rolled_along(place: Placement, shifts: list[int], axes: list[int]) -> Placement | None:
    """Roll several axes, each by its shift; None if one of them cannot be followed."""
    for shift, axis in zip(shifts, axes, strict=True):
        found = rolled(place, axis % len(place.axes), shift)
        if found is None:
            return None
        place = found
    return place


def lost(place: Placement, sides: set[Side] | None = None) -> Placement:
    """Remove the positions of the cells, but keep the kinds of their axes."""
    for side in sides if sides is not None else sides_in(tuple(f for axis in place.axes for f in axis)):
        place = place.with_line(side, None)
    return place
