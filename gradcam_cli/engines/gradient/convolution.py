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

# A float32 number that is smaller than every value that a network computes.
LOWEST = -3e38


@dataclass(frozen=True)
class Windows:
    """The windows of a convolution or a pooling: each field has one number for each spatial axis.

    Window j of an axis covers the cells `stride * j - begin + dilation * i` for i from 0 to `kernel - 1`.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]

    @property
    def reach(self) -> list[int]:
        """The distance between the first and the last cell of a window, in cells."""
        return [d * (k - 1) for d, k in zip(self.dilations, self.kernel, strict=True)]


def _windows(step: Step, kernel: Sequence[int]) -> Windows:
    """Read the windows of a node; the padding `same` is converted to numbers of cells."""
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
    """Give the gradient (N, in, size) of a convolution's input.

    `dx_i = sum_j w_(i - stride j + begin) g_j`: g with zeros between its cells is convolved with the flipped kernel,
    with stride 1.

    OpenVINO's ConvolutionBackpropData is not used, for three reasons. It runs in float32 for any precision hint. If a
    GroupConvolution reads the same square kernel, OpenVINO uses the same operand for both. It refuses some groups.

    Args:
        g: the gradient (N, out, ...) of the convolution's output.
        kernel: ((groups,) out, in, k).
        size: the spatial size of the convolution's input.
        windows: the windows of the convolution.
        grouped: whether the kernel has a first axis of groups.
    """
    count = len(windows.kernel)
    axes = (0, 2, 1) if grouped else (1, 0)
    turned = kernel.transpose(*axes, *range(kernel.ndim - count, kernel.ndim))
    turned = np.ascontiguousarray(np.flip(turned, tuple(range(kernel.ndim - count, kernel.ndim))))
    make = op.group_convolution if grouped else op.convolution
    reach, begin, strides = windows.reach, windows.begin, windows.strides
    if not any(reach) and not any(begin):
        # A pointwise convolution is faster before the zeros are inserted.
        small = make(g, constant(turned), [1] * count, [0] * count, [0] * count, [1] * count, "explicit")
        return reduce(lambda t, i: spaced(t, 2 + i, strides[i], size[i]), range(count), output(small))
    before = [max(reach[i] - begin[i], 0) for i in range(count)]
    after = []
    for i in range(count):
        cells = shape_of(g)[2 + i]
        g = spaced(g, 2 + i, strides[i], (cells - 1) * strides[i] + 1)
        # If the padding is wider than the reach, the first and last windows contain only padding.
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
    """Gradient of the mean of each window: each of its n cells gets g / n."""
    x, y = step.x_shape, step.y_shape
    windows = _windows(step, _listed(step, "kernel", len(x) - 2))
    excluded = bool(step.attribute("exclude-pad", step.attribute("exclude_pad", default=False)))
    g = multiply(step.g, constant(1 / _cells_in_windows(windows, x[2:], y[2:], excluded=excluded)))
    if math.prod(y[2:]) == 1 and not any(windows.begin) and list(windows.kernel) == x[2:]:
        return [expanded(g, x)]
    ones = np.ones((x[1], 1, 1, *windows.kernel), np.float32)
    return [_transposed_convolution(g, ones, x[2:], windows, grouped=True)]


def _cells_in_windows(windows: Windows, x: Sequence[int], y: Sequence[int], *, excluded: bool) -> Array:
    """Count the cells of each window's mean; with `excluded`, cells of the padding do not count."""
    counts = np.ones(tuple(y), np.float32)
    for i, windows_count in enumerate(y):
        starts = np.arange(windows_count) * windows.strides[i] - windows.begin[i]
        low, high = (0, x[i]) if excluded else (-windows.begin[i], x[i] + windows.end[i])
        length = np.minimum(starts + windows.kernel[i], high) - np.maximum(starts, low)
        counts *= length.reshape([-1 if axis == i else 1 for axis in range(len(y))])
    return counts


def _maximum(step: Step) -> Gradients:
    """Gradient of the maximum of each window: the largest cell gets g; of equal cells the first, as in TensorFlow."""
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
    """Give one tensor (N, channels, 1, windows) for each cell of a window, in row order.

    Its value is g if the cell is the first largest cell of its window, else 0.
    """
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
    """Give the cell at the position `at` of all windows: (N, channels, windows)."""
    axes = range(len(at))
    stop = [at[i] + windows.strides[i] * (y[2 + i] - 1) + 1 for i in axes]
    spatial = integers([2 + i for i in axes])
    return output(op.slice(x, integers(at), integers(stop), integers(windows.strides), spatial))


def _side_by_side(parts: Tensor, windows: Windows, x: list[int], y: list[int]) -> Tensor:
    """Arrange the cells of adjacent windows without overlap in the shape of x."""
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
