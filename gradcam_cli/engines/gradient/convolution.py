"""Rules of convolutions and of pooling with windows. Tensors are (N, channels, spatial axes)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from gradcam_cli.engines.gradient.nodes import (
    Array,
    Tensor,
    constant,
    expanded,
    integers,
    joined,
    multiply,
    op,
    output,
    part,
    reshaped,
    spaced,
    transposed,
    where,
)
from gradcam_cli.engines.gradient.step import Gradients, Rule, Step
from gradcam_cli.engines.graph import shape_of

# Below every number that a network computes, and within float32.
LOWEST = -3e38


@dataclass(frozen=True)
class Windows:
    """Where the windows of a convolution or a pooling lie: one number for each spatial axis.

    Window j of an axis covers the cells `stride * j - begin + dilation * i` for i from 0 to `kernel - 1`.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]

    @property
    def reach(self) -> list[int]:
        """Cells between the first and the last one of a window."""
        return [d * (k - 1) for d, k in zip(self.dilations, self.kernel, strict=True)]


def _windows(step: Step, kernel: Sequence[int]) -> Windows:
    """Read the windows of a node; padding `same` is resolved to cells."""
    x, y = step.x_shape[2:], step.y_shape[2:]
    strides, dilations = _listed(step, "strides", len(x)), _listed(step, "dilations", len(x))
    padding = str(step.attribute("auto_pad", "explicit")).lower()
    begin, end = _listed(step, "pads_begin", len(x), 0), _listed(step, "pads_end", len(x), 0)
    if padding.startswith("same"):
        reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
        whole = [max((y[i] - 1) * strides[i] + reach[i] - x[i], 0) for i in range(len(x))]
        small, large = [w // 2 for w in whole], [w - w // 2 for w in whole]
        begin, end = (small, large) if padding.endswith("upper") else (large, small)
    elif padding == "valid":
        begin = end = [0] * len(x)
    return Windows(tuple(kernel), tuple(strides), tuple(dilations), tuple(begin), tuple(end))


def _listed(step: Step, name: str, count: int, default: int = 1) -> list[int]:
    found = step.attribute(name)
    return [int(v) for v in found] if isinstance(found, list | tuple) and found else [default] * count


def _transposed_convolution(
    g: Tensor, kernel: Array, size: Sequence[int], windows: Windows, *, grouped: bool
) -> Tensor:
    """The gradient (N, in, size) of a convolution's input, from g (N, out, ...) and the kernel ((groups,) out, in, k).

    `dx_i = sum_j w_(i - stride j + begin) g_j`: a convolution with stride 1 of g, with zeros between its cells, and the
    flipped kernel.

    ConvolutionBackpropData is avoided: OpenVINO runs it in float32 whatever the hint, treats a square kernel that a
    GroupConvolution reads too as the same operand, and refuses some groups.
    """
    count = len(windows.kernel)
    axes = (0, 2, 1) if grouped else (1, 0)
    turned = kernel.transpose(*axes, *range(kernel.ndim - count, kernel.ndim))
    turned = np.ascontiguousarray(np.flip(turned, tuple(range(kernel.ndim - count, kernel.ndim))))
    make = op.group_convolution if grouped else op.convolution
    reach, begin, strides = windows.reach, windows.begin, windows.strides
    if not any(reach) and not any(begin):
        # A pointwise convolution on the small grid first.
        small = make(g, constant(turned), [1] * count, [0] * count, [0] * count, [1] * count, "explicit")
        return reduce(lambda t, i: spaced(t, 2 + i, strides[i], size[i]), range(count), output(small))
    before = [max(reach[i] - begin[i], 0) for i in range(count)]
    after = []
    for i in range(count):
        cells = shape_of(g)[2 + i]
        g = spaced(g, 2 + i, strides[i], (cells - 1) * strides[i] + 1)
        # Where padding is wider than the reach, the first and last windows see no cell at all.
        g = part(g, 2 + i, max(begin[i] - reach[i], 0), shape_of(g)[2 + i])
        missing = size[i] + reach[i] - before[i] - shape_of(g)[2 + i]
        g = part(g, 2 + i, 0, shape_of(g)[2 + i] + min(missing, 0))
        after.append(max(missing, 0))
    return output(make(g, constant(turned), [1] * count, before, after, list(windows.dilations), "explicit"))


def _convolution(step: Step) -> Gradients:
    """Gradient of `y_j = sum_i w_i x_(stride j - begin + dilation i)`, for a constant kernel w."""
    grouped = step.type == "GroupConvolution"
    kernel = step.value(1)
    windows = _windows(step, kernel.shape[3 if grouped else 2 :])
    return step.only(_transposed_convolution(step.g, kernel, step.x_shape[2:], windows, grouped=grouped))


def _average(step: Step) -> Gradients:
    """Gradient of the mean of each window: g over the number of its cells, spread over them."""
    x, y = step.x_shape, step.y_shape
    windows = _windows(step, _listed(step, "kernel", len(x) - 2))
    excluded = bool(step.attribute("exclude-pad", step.attribute("exclude_pad", default=False)))
    g = multiply(step.g, constant(1 / _cells_in_windows(windows, x[2:], y[2:], excluded=excluded)))
    if math.prod(y[2:]) == 1 and not any(windows.begin) and list(windows.kernel) == x[2:]:
        return [expanded(g, x)]
    ones = np.ones((x[1], 1, 1, *windows.kernel), np.float32)
    return [_transposed_convolution(g, ones, x[2:], windows, grouped=True)]


def _cells_in_windows(windows: Windows, x: Sequence[int], y: Sequence[int], *, excluded: bool) -> Array:
    """Count the cells that each window's mean is taken over; with `excluded`, those of the padding do not count."""
    counts = np.ones(tuple(y), np.float32)
    for i, windows_count in enumerate(y):
        starts = np.arange(windows_count) * windows.strides[i] - windows.begin[i]
        low, high = (0, x[i]) if excluded else (-windows.begin[i], x[i] + windows.end[i])
        length = np.minimum(starts + windows.kernel[i], high) - np.maximum(starts, low)
        counts *= length.reshape([-1 if axis == i else 1 for axis in range(len(y))])
    return counts


def _maximum(step: Step) -> Gradients:
    """Gradient of the largest cell of each window: g goes to it; of equal cells to the first, as in TensorFlow."""
    x, y = step.x_shape, step.y_shape
    windows = _windows(step, _listed(step, "kernel", len(x) - 2))
    if any(d != 1 for d in windows.dilations):
        raise step.refused("its windows are dilated")
    count = len(windows.kernel)
    over = [windows.strides[i] * (y[2 + i] - 1) + windows.kernel[i] - windows.begin[i] - x[2 + i] for i in range(count)]
    parts = joined(_won(step, windows, over), 2)
    if windows.kernel == windows.strides and not any(windows.begin) and max(over) <= 0:
        return [_side_by_side(parts, windows, x, y)]
    cells = math.prod(windows.kernel)
    one_each = np.eye(cells, dtype=np.float32).reshape(cells, 1, *windows.kernel)
    flat = reshaped(parts, [y[0] * y[1], cells, *y[2:]])
    return [reshaped(_transposed_convolution(flat, one_each, x[2:], windows, grouped=False), x)]


def _won(step: Step, windows: Windows, over: list[int]) -> list[Tensor]:
    """For each cell of a window, in row order: g where it is the first largest one, (N, channels, 1, windows)."""
    x, y, count = step.x, step.y_shape, len(windows.kernel)
    if any(windows.begin) or max(over) > 0:
        before, after = [0, 0, *windows.begin], [0, 0, *[max(v, 0) for v in over]]
        x = output(op.pad(x, integers(before), integers(after), "constant", constant(LOWEST)))
    cells = [_cell(x, at, windows, y) for at in np.ndindex(*windows.kernel)]
    highest = reduce(lambda a, b: output(op.maximum(a, b)), cells)
    taken, found = None, []
    for cell in cells:
        equal = output(op.equal(cell, highest))
        first = equal if taken is None else output(op.logical_and(equal, op.logical_not(taken)))
        taken = equal if taken is None else output(op.logical_or(taken, equal))
        found.append(reshaped(where(first, step.g), [*y[:2], 1, *y[2:]]))
    assert len(y) == 2 + count  # noqa: S101 - OpenVINO has checked the node
    return found


def _cell(x: Tensor, at: tuple[int, ...], windows: Windows, y: list[int]) -> Tensor:
    """One cell of all windows: (N, channels, windows)."""
    axes = range(len(at))
    stop = [at[i] + windows.strides[i] * (y[2 + i] - 1) + 1 for i in axes]
    spatial = integers([2 + i for i in axes])
    return output(op.slice(x, integers(at), integers(stop), integers(windows.strides), spatial))


def _side_by_side(parts: Tensor, windows: Windows, x: list[int], y: list[int]) -> Tensor:
    """Lay out the cells of windows that neither overlap nor leave a gap."""
    count = len(windows.kernel)
    order = [0, 1, *[axis for i in range(count) for axis in (2 + count + i, 2 + i)]]
    whole = transposed(reshaped(parts, [*y[:2], *windows.kernel, *y[2:]]), order)
    whole = reshaped(whole, [*y[:2], *[y[2 + i] * windows.kernel[i] for i in range(count)]])
    return reduce(lambda t, i: spaced(t, 2 + i, 1, x[2 + i]), range(count), whole)


RULES: dict[str, Rule] = {
    "Convolution": _convolution,
    "GroupConvolution": _convolution,
    "AvgPool": _average,
    "MaxPool": _maximum,
}
