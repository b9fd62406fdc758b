"""Questions to a traced graph: what a tensor depends on, what it only passes on, and the values of its constants."""

import math
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

# Operations that pass a tensor on unchanged, in another shape or in another float format.
PASSING = frozenset(
    {"Identity", "IdentityN", "StopGradient", "Reshape", "Squeeze", "ExpandDims", "Cast", "CheckNumerics"}
)
BEYOND = 60


def ancestors(tensor: Any) -> frozenset[Any]:
    """Give all tensors of the graph that this one is computed from, and itself."""
    found: set[Any] = set()
    waiting = [tensor]
    while waiting:
        current = waiting.pop()
        if current.ref() not in found:
            found.add(current.ref())
            waiting.extend(current.op.inputs)
    return frozenset(found)


def descendants(tensor: Any) -> frozenset[Any]:
    """Give all tensors of the graph that are computed from this one, and itself."""
    found = {tensor.ref()}
    waiting = [tensor]
    while waiting:
        made = [output for op in waiting.pop().consumers() for output in op.outputs if output.ref() not in found]
        found.update(output.ref() for output in made)
        waiting.extend(made)
    return frozenset(found)


def passed_on(tensor: Any) -> list[Any]:
    """Give the tensor and its earlier forms before it was only reshaped, cast or passed on, the newest first."""
    chain = [tensor]
    while _hands_on(chain[-1]):
        chain.append(chain[-1].op.inputs[0])
    return chain


def origin(tensor: Any) -> Any:
    """Give the first form of a tensor, before it was only reshaped, cast or passed on."""
    return passed_on(tensor)[-1]


def _hands_on(tensor: Any) -> bool:
    return tensor.op.type in PASSING or _moves_nothing(tensor)


def _moves_nothing(tensor: Any) -> bool:
    """Whether a transposition keeps the order of all values, because it moves only axes of size 1."""
    if tensor.op.type != "Transpose" or tensor.shape.rank is None:
        return False
    order = constant(tensor.op.inputs[1])
    sizes = tensor.op.inputs[0].shape.as_list()
    if order is None:
        return False
    moved = [int(axis) for axis in order if sizes[axis] != 1]
    return moved == sorted(moved)


def size_of_one(tensor: Any) -> int | None:
    """Give the number of values of a tensor for each image; None if it is unknown."""
    sizes = tensor.shape.as_list()[1:] if tensor.shape.rank else [None]
    return None if None in sizes else math.prod(sizes)


def number(tensor: Any) -> float | None:
    """Give the value of a constant with one element; None for any other tensor."""
    if tensor.shape.num_elements() != 1:
        return None
    value = tf.get_static_value(tensor)
    return None if value is None else float(np.asarray(value, np.float64).reshape(()))


def constant(tensor: Any, depth: int = 0) -> NDArray[np.float32] | None:
    """Compute a tensor that depends only on weights and constants; None if it depends on anything else."""
    if depth > BEYOND:
        return None
    op = tensor.op
    if op.type == "Const":
        return np.asarray(tf.get_static_value(tensor))
    if op.type == "ReadVariableOp":
        return _variable(op)
    parts = [constant(part, depth + 1) for part in op.inputs]
    if op.type not in FOLDED or any(part is None for part in parts):
        return None
    return np.asarray(FOLDED[op.type](op, *parts))


def _variable(op: Any) -> NDArray[np.float32] | None:
    outside = next((outer for outer, inner in op.graph.captures if inner is op.inputs[0]), None)
    if outside is None or not hasattr(outside, "numpy"):
        return None
    # The graph is still being traced, so values are read outside it.
    with tf.init_scope():
        value = tf.raw_ops.ReadVariableOp(resource=outside, dtype=op.get_attr("dtype"))
        return np.asarray(value)


def _product(op: Any, a: Any, b: Any) -> Any:
    left = a.T if op.get_attr("transpose_a") else a
    return left @ (b.T if op.get_attr("transpose_b") else b)


# Operations of Keras on a kernel before it is used (casts, the sum with a low-rank adapter), and on orders of axes.
FOLDED: dict[str, Any] = {
    "Sub": lambda _, a, b: a - b,
    "Pack": lambda op, *parts: np.stack(parts, axis=op.get_attr("axis")),
    "ConcatV2": lambda _, *parts: np.concatenate(parts[:-1], axis=int(parts[-1])),
    "Range": lambda _, *ends: np.arange(*(int(end) for end in ends)),
    "Identity": lambda _, a: a,
    "Cast": lambda op, a: a.astype(op.get_attr("DstT").as_numpy_dtype),
    "AddV2": lambda _, a, b: a + b,
    "Mul": lambda _, a, b: a * b,
    "MatMul": _product,
    "Reshape": lambda _, a, shape: a.reshape(shape),
    "Transpose": lambda _, a, order: a.transpose(order),
}
