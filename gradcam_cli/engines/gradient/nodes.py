"""Functions that make OpenVINO nodes. Every tensor here is an output of a node, float32, with a static shape."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.engines.graph import shape_of
from gradcam_cli.engines.runtime import core, openvino

Node = Any
# An output of a node.
Tensor = Any
Array = NDArray[Any]

op = openvino.opset15
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}
# Operations that constant folding does not remove after some constants, such as those stored in float16.
HANDING_ON = frozenset({"Convert", "Reshape", "Unsqueeze", "Squeeze", "Transpose", "Broadcast", "Concat"})


def output(node: Node) -> Tensor:
    """Give the only output of a node."""
    return node.output(0)


def constant(value: Any, dtype: Any = np.float32) -> Tensor:
    """Make a constant."""
    return output(op.constant(np.asarray(value, dtype)))


def integers(values: Any) -> Tensor:
    """Make a constant vector of int64."""
    return constant(np.asarray(values, np.int64).reshape(-1), np.int64)


def add(a: Tensor, b: Tensor) -> Tensor:
    """`a + b`."""
    return output(op.add(a, b))


def subtract(a: Tensor, b: Tensor) -> Tensor:
    """`a - b`."""
    return output(op.subtract(a, b))


def multiply(a: Tensor, b: Tensor | float) -> Tensor:
    """`a b`."""
    return output(op.multiply(a, constant(b) if isinstance(b, int | float) else b))


def divide(a: Tensor, b: Tensor) -> Tensor:
    """`a / b`."""
    return output(op.divide(a, b))


def negative(tensor: Tensor) -> Tensor:
    """`-x`."""
    return multiply(tensor, -1.0)


def power(tensor: Tensor, exponent: float) -> Tensor:
    """`x^e`."""
    return output(op.power(tensor, constant(exponent)))


def exponential(tensor: Tensor) -> Tensor:
    """`exp(x)`."""
    return output(op.exp(tensor))


def sigmoid(tensor: Tensor) -> Tensor:
    """`1 / (1 + exp(-x))`."""
    return output(op.sigmoid(tensor))


def one_minus(tensor: Tensor) -> Tensor:
    """`1 - x`."""
    return subtract(constant(1.0), tensor)


def plus(tensor: Tensor, number: float) -> Tensor:
    """`x + number`."""
    return add(tensor, constant(number))


def where(condition: Tensor, tensor: Tensor) -> Tensor:
    """`x` if the condition is true, else 0, for each element."""
    return output(op.select(condition, tensor, constant(0.0)))


def positive(tensor: Tensor) -> Tensor:
    """`x > 0`."""
    return output(op.greater(tensor, constant(0.0)))


def between(tensor: Tensor, low: float, high: float) -> Tensor:
    """`low < x < high`."""
    above, below = op.greater(tensor, constant(low)), op.less(tensor, constant(high))
    return output(op.logical_and(above, below))


def reshaped(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Reshape a tensor."""
    return (
        tensor if shape_of(tensor) == list(shape) else output(op.reshape(tensor, integers(shape), special_zero=False))
    )


def expanded(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Broadcast a tensor to a shape by NumPy's rules."""
    return tensor if shape_of(tensor) == list(shape) else output(op.broadcast(tensor, integers(shape)))


def transposed(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """Permute the axes of a tensor."""
    return output(op.transpose(tensor, integers(order)))


def joined(tensors: Sequence[Tensor], axis: int) -> Tensor:
    """Concatenate tensors along an axis."""
    return output(op.concat(list(tensors), axis))


def zeros(shape: Sequence[int]) -> Tensor:
    """Make a tensor of zeros; the stored constant is a single number."""
    return output(op.broadcast(constant(0.0), integers(shape)))


def sum_over(tensor: Tensor, axes: Sequence[int], *, keep: bool = True) -> Tensor:
    """Sum over axes; the axes are kept with size 1, or removed if `keep` is False."""
    return output(op.reduce_sum(tensor, integers(axes), keep)) if len(axes) else tensor


def summed_to(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Sum a gradient over all elements that were repeated by broadcasting from a shape."""
    found = shape_of(tensor)
    extra = len(found) - len(shape)
    repeated = [i + extra for i, size in enumerate(shape) if size == 1 and found[i + extra] != 1]
    return reshaped(sum_over(tensor, [*range(extra), *repeated]), shape)


def part(tensor: Tensor, axis: int, start: int, stop: int) -> Tensor:
    """Take the cells from `start` to `stop` along one axis."""
    if (start, stop) == (0, shape_of(tensor)[axis]):
        return tensor
    return output(op.slice(tensor, integers(start), integers(stop), integers(1), integers(axis)))


def spaced(tensor: Tensor, axis: int, step: int, length: int) -> Tensor:
    """Insert `step - 1` zeros after each cell of an axis, then crop or zero-pad the axis to a length.

    The zeros are made by a product with (1, 0, ..., 0) along a new axis, because OpenVINO's Pad is many times slower.
    """
    shape = shape_of(tensor)
    if step > 1:
        first = np.eye(1, step, dtype=np.float32).reshape(step, *[1] * (len(shape) - axis - 1))
        apart = reshaped(tensor, [*shape[: axis + 1], 1, *shape[axis + 1 :]])
        tensor = reshaped(multiply(apart, constant(first)), [*shape[:axis], shape[axis] * step, *shape[axis + 1 :]])
    missing = length - shape_of(tensor)[axis]
    if missing <= 0:
        return part(tensor, axis, 0, length)
    return joined([tensor, zeros([missing if i == axis else v for i, v in enumerate(shape_of(tensor))])], axis)


def times_matrix(tensor: Tensor, matrix: Array, axis: int) -> Tensor:
    """Multiply with a matrix (from, to) along one axis."""
    count = len(shape_of(tensor))
    order = [*[i for i in range(count) if i != axis], axis]
    last = tensor if axis == count - 1 else transposed(tensor, order)
    product = output(op.matmul(last, constant(matrix), transpose_a=False, transpose_b=False))
    return product if axis == count - 1 else transposed(product, np.argsort(order).tolist())


def known_value(tensor: Tensor) -> Array | None:
    """Give the value of a constant, or of operations that only convert or rearrange constants; else None."""
    node = tensor.get_node()
    name = node.get_type_name()
    if name == "Constant":
        return np.array(node.data)
    if name not in HANDING_ON or any(known_value(value) is None for value in node.input_values()):
        return None
    return evaluated(tensor)


def evaluated(tensor: Tensor) -> Array:
    """Compute a tensor that depends only on constants. It is always computed in float32."""
    compiled = core().compile_model(openvino.Model([tensor], []), "CPU", FLOAT32)
    return np.array(compiled([])[0])


def own_copy(tensor: Tensor, *, always: bool = False) -> Tensor:
    """Copy a square constant, or with `always` any constant, for a product in the gradient.

    If two products read a square constant, and one of them transposes it, OpenVINO (2025.2 to 2026.4, float32) uses the
    same operand in both and gives wrong results. Other constants are not copied, to save time and memory.
    """
    shape = shape_of(tensor)
    if not always and (len(shape) < 2 or shape[-1] != shape[-2]):
        return tensor
    value = known_value(tensor)
    return tensor if value is None else constant(value)
