"""Which axes of a tensor come from the image's rows and columns, and where their cells lie, in input pixels.

Every axis is a product of factors, the outermost first, as in a mixed-radix number. A row or column factor moves the
cell by `step` input pixels for each index. The centre of a cell, along rows or along columns, is

    origin + sum over the factors of that kind of index * step

Reshapes and transpositions only regroup factors. Padding, strides and kernels only change numbers.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

# `row` and `column` come from the image. `copy` repeats the factor before it. `tokens` is a row of cells with further
# tokens before or after them. `other` does not come from the image's rows or columns. `unknown` may be anything.
Kind = Literal["batch", "row", "column", "copy", "tokens", "other", "unknown"]
Side = Literal["row", "column"]
SIDES: tuple[Side, Side] = ("row", "column")
EPSILON = 1e-6


@dataclass(frozen=True)
class Factor:
    """A part of an axis. For tokens, `inner` has the factors of their grid; `before` and `after` count other tokens."""

    size: int
    kind: Kind
    step: float = 0.0
    inner: "tuple[Factor, ...]" = ()
    before: int = 0
    after: int = 0

    @property
    def spatial(self) -> bool:
        """Whether its index moves through the image."""
        return self.kind in {"row", "column", "tokens"}


Axis = tuple[Factor, ...]


@dataclass(frozen=True)
class Line:
    """The image's rows, or its columns, in one tensor, in input pixels.

    A cell is computed from the pixels between `before` before its centre and `after` after it. `seen` is the interval
    that all cells together are computed from. `kept` is the interval that remains after slices, without the effect of
    strides.
    """

    origin: float
    before: float
    after: float
    kept: tuple[float, float]
    seen: tuple[float, float]


@dataclass(frozen=True)
class Placement:
    """The position of a tensor that is computed from the image. A line is None if it could not be followed.

    `altered`: an operation before it crops, pads or resizes. `turned`: the number of pixels by which rows and columns
    were rolled. Pixels that leave the image on one side enter on the other side.
    """

    axes: tuple[Axis, ...]
    row: Line | None
    column: Line | None
    altered: bool = False
    turned: tuple[float, float] = (0.0, 0.0)

    @property
    def lines(self) -> dict[Side, Line | None]:
        """Both lines by their side."""
        return {"row": self.row, "column": self.column}

    def with_axis(self, index: int, axis: Axis) -> "Placement":
        """Replace one axis."""
        return replace(self, axes=(*self.axes[:index], axis, *self.axes[index + 1 :]))

    def with_line(self, side: Side, line: Line | None) -> "Placement":
        """Replace one line."""
        return replace(self, row=line) if side == "row" else replace(self, column=line)


def other(size: int) -> Axis:
    """Make an axis that does not come from the image's rows and columns."""
    return (Factor(size, "other"),)


def unknown(size: int) -> Axis:
    """Make an axis about which nothing is known."""
    return (Factor(size, "unknown"),)


def size_of(axis: Axis) -> int:
    """Count the cells of an axis."""
    return math.prod(factor.size for factor in axis)


def sides_in(axis: Axis) -> set[Side]:
    """Say whether an axis contains rows, columns or both."""
    kinds = {factor.kind for whole in axis for factor in (whole.inner or (whole,))}
    return {side for side in SIDES if side in kinds}


def is_spatial(axis: Axis) -> bool:
    """Whether an axis comes from the image's rows or columns."""
    return any(factor.spatial for factor in axis)


def simplified(axis: Axis) -> Axis:
    """Join neighbouring factors that count through the same line without a gap, and drop factors of size 1."""
    found: list[Factor] = []
    for factor in axis:
        last = found[-1] if found else None
        if last and last.kind == factor.kind != "tokens" and _continues(last, factor):
            found[-1] = replace(factor, size=last.size * factor.size)
        elif factor.size > 1 or factor.spatial:
            found.append(factor)
    several = tuple(factor for factor in found if factor.size > 1)
    return several or tuple(found[:1])


def _continues(outer: Factor, inner: Factor) -> bool:
    return outer.size == 1 or inner.size == 1 or abs(outer.step - inner.step * inner.size) < EPSILON


def flat_picture(height: int, width: int) -> tuple[Line, Line]:
    """Describe the lines of the image itself: pixel `i` has its centre at `i + 0.5`."""
    sizes = (float(height), float(width))
    rows, columns = (Line(0.5, 0.5, 0.5, (0.0, size), (0.0, size)) for size in sizes)
    return rows, columns


def moved(line: Line | None, by: float) -> Line | None:
    """Move the first cell by a number of pixels."""
    return None if line is None else replace(line, origin=line.origin + by)


def widened(line: Line | None, before: float, after: float) -> Line | None:
    """Let every cell be computed from more pixels."""
    return None if line is None else replace(line, before=line.before + before, after=line.after + after)


def bounded(line: Line | None, axis: Iterable[Factor], side: Side, *, sliced: bool) -> Line | None:
    """Remove the pixels that no cell is computed from; `sliced` if they were removed by a slice."""
    if line is None:
        return None
    lowest, highest = _extent(line, axis, side)
    bounds = lowest - line.before, highest + line.after
    seen = _common(line.seen, bounds)
    return replace(line, seen=seen, kept=_common(line.kept, bounds) if sliced else line.kept)


def _extent(line: Line, axis: Iterable[Factor], side: Side) -> tuple[float, float]:
    """Give the centres of the first and the last cell."""
    shifts = [(factor.size - 1) * factor.step for factor in _parts(axis) if factor.kind == side]
    return line.origin + sum(s for s in shifts if s < 0), line.origin + sum(s for s in shifts if s > 0)


def _parts(axis: Iterable[Factor]) -> Iterable[Factor]:
    return (factor for whole in axis for factor in (whole.inner or (whole,)))


def _common(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    lower, upper = max(a[0], b[0]), min(a[1], b[1])
    return (lower, upper) if lower < upper else a


def absorbed(place: Placement, axis: Axis) -> Placement:
    """Let cells be computed from the whole of a removed axis: their centres move to its middle."""
    for factor in _parts(axis):
        if factor.kind not in SIDES:
            continue
        side: Side = "row" if factor.kind == "row" else "column"
        reach = (factor.size - 1) / 2 * factor.step
        line = widened(moved(place.lines[side], reach), abs(reach), abs(reach))
        place = place.with_line(side, line)
    return place


def reduced(place: Placement, axes: Iterable[int], *, keep: bool) -> Placement:
    """Place cells that are computed from whole axes. These axes get size 1 (`keep`) or are removed."""
    gone = {axis % len(place.axes) for axis in axes}
    kept = place
    for index in gone:
        kept = absorbed(kept, place.axes[index])
    if keep:
        return replace(kept, axes=tuple(other(1) if i in gone else axis for i, axis in enumerate(place.axes)))
    return replace(kept, axes=tuple(axis for i, axis in enumerate(place.axes) if i not in gone))


def picture_place(batch: int, height: int, width: int, channels: int, *, channels_first: bool) -> Placement:
    """Place the image itself: (N, H, W, channels) or (N, channels, H, W)."""
    rows, columns = (Factor(height, "row", 1.0),), (Factor(width, "column", 1.0),)
    first, colours = (Factor(batch, "batch"),), other(channels)
    axes = (first, colours, rows, columns) if channels_first else (first, rows, columns, colours)
    return Placement(axes, *flat_picture(height, width))


def regrouped(place: Placement, sizes: Sequence[int]) -> Placement | None:
    """Distribute the factors of all axes over axes of other sizes, in the same order; None if one cannot be divided."""
    waiting = [factor for axis in place.axes for factor in axis]
    axes: list[Axis] = []
    for size in sizes:
        axis, waiting_after = _taken(waiting, size)
        if axis is None:
            return None
        axes.append(axis)
        waiting = waiting_after
    return None if any(factor.size > 1 for factor in waiting) else replace(place, axes=tuple(axes))


def _taken(waiting: list[Factor], size: int) -> tuple[Axis | None, list[Factor]]:
    """Take factors from the front until their product is a size."""
    if size == 1:
        single = waiting and waiting[0].size == 1
        return ((waiting[0],), waiting[1:]) if single else (other(1), waiting)
    taken: list[Factor] = []
    rest = list(waiting)
    left = size
    while left > 1:
        if not rest:
            return None, rest
        factor = rest.pop(0)
        if left % factor.size == 0:
            taken.append(factor)
            left //= factor.size
        elif factor.size % left == 0 and factor.kind != "tokens":
            inner = factor.size // left
            taken.append(replace(factor, size=left, step=factor.step * inner))
            rest.insert(0, replace(factor, size=inner))
            left = 1
        else:
            return None, rest
    return tuple(taken), rest


def finer(place: Placement, index: int) -> Placement:
    """Read repeated cells, or cells taken from channels, as cells of a finer grid."""
    parts = simplified(place.axes[index])
    if len(parts) != 2 or parts[0].kind not in {"row", "column"} or parts[1].kind not in {"copy", "other"}:
        return place
    cells, times = parts[0], parts[1].size
    side: Side = "row" if cells.kind == "row" else "column"
    step = cells.step / times
    line = moved(place.lines[side], -(cells.step - step) / 2)
    axis = (replace(cells, size=cells.size * times, step=step),)
    return replace(place.with_axis(index, axis).with_line(side, line), altered=True)


def merged(places: Sequence[Placement], rank: int, weights: Sequence[float] | None = None) -> Placement:
    """Combine tensors cell by cell, as an addition does, with broadcasting.

    Cells must lie near each other. The centre of a resulting cell is the mean of the centres.
    """
    shares = list(weights) if weights else [1.0] * len(places)
    places = _equally_fine(places, rank)
    axes = []
    for index in range(rank):
        own = [place.axes[index - rank] for place in places if len(place.axes) >= rank - index]
        axes.append(_common_axis(own))
    turned = max((place.turned for place in places), key=lambda shifts: max(map(abs, shifts)))
    result = Placement(tuple(axes), None, None, any(place.altered for place in places), turned)
    for side in SIDES:
        concerned = [
            (place, share)
            for place, share in zip(places, shares, strict=True)
            if any(side in sides_in(a) for a in place.axes)
        ]
        if not concerned:
            concerned = list(zip(places, shares, strict=True))
        lines = [(place.lines[side], _steps(place, side), share) for place, share in concerned]
        result = _with_common_line(result, side, lines)
    return result


def _equally_fine(places: Sequence[Placement], rank: int) -> Sequence[Placement]:
    """Read repeated cells as finer ones if others are finer, as in decoders that upsample by repetition."""
    for back in range(1, rank + 1):
        read = [finer(place, len(place.axes) - back) if len(place.axes) >= back else place for place in places]
        if _forms(places, back) > 1 and _forms(read, back) == 1:
            places = read
    return places


def _forms(places: Sequence[Placement], back: int) -> int:
    """Count the different forms of the image on an axis, which is counted from the last one."""
    own = [place.axes[-back] for place in places if len(place.axes) >= back]
    return len({_form(axis) for axis in own if is_spatial(axis) and size_of(axis) > 1})


def _form(axis: Axis) -> tuple[Any, ...]:
    """Describe what an axis counts, without its steps."""
    parts = simplified(axis)
    return tuple((f.kind, f.size, f.before, tuple((i.kind, i.size) for i in f.inner)) for f in parts)


def _steps(place: Placement, side: Side) -> list[tuple[int, float]]:
    return [(f.size, f.step) for axis in place.axes for f in _parts(axis) if f.kind == side]


def _common_axis(axes: list[Axis]) -> Axis:
    """Choose an axis of the result: of those with the largest size, the one that comes from the image."""
    largest = max(size_of(axis) for axis in axes)
    full = [simplified(axis) for axis in axes if size_of(axis) == largest]
    spatial = [axis for axis in full if is_spatial(axis)]
    if not spatial:
        return next((axis for axis in full if any(f.kind == "unknown" for f in axis)), full[0])
    return spatial[0] if len({_form(axis) for axis in spatial}) == 1 else unknown(largest)


def _tolerance(stride: float, lines: Sequence[Line]) -> float:
    """Give the distance up to which cells of several tensors count as the same.

    The upsampled cells of a decoder have wide receptive fields, and the padding of strided kernels has moved them. So a
    quarter of the field is allowed, unless the tensors were cropped in different ways.
    """
    same = len({line.kept for line in lines}) == 1
    field = max(line.before + line.after for line in lines) if same else 0.0
    return max(stride / 2, field / 4) + EPSILON


def _with_common_line(
    place: Placement, side: Side, lines: list[tuple[Line | None, list[tuple[int, float]], float]]
) -> Placement:
    known = [(line, steps, share) for line, steps, share in lines if line is not None]
    if len(known) < len(lines):
        return place.with_line(side, None)
    firsts = [line.origin for line, _, _ in known]
    lasts = [line.origin + sum((size - 1) * step for size, step in steps) for line, steps, _ in known]
    stride = max((abs(step) for _, steps, _ in known for _, step in steps), default=math.inf)
    if max(max(firsts) - min(firsts), max(lasts) - min(lasts)) > _tolerance(stride, [line for line, _, _ in known]):
        return place.with_line(side, None)
    total = sum(share for _, _, share in known)
    line = Line(
        origin=sum(line.origin * share for line, _, share in known) / total,
        before=max(line.before for line, _, _ in known),
        after=max(line.after for line, _, _ in known),
        kept=(min(line.kept[0] for line, _, _ in known), max(line.kept[1] for line, _, _ in known)),
        seen=(min(line.seen[0] for line, _, _ in known), max(line.seen[1] for line, _, _ in known)),
    )
    return place.with_line(side, line)
