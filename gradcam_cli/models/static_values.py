"""Values of a graph's small tensors, such as the bounds of a slice, if they do not depend on the image."""

from collections.abc import Callable
from typing import Any

import numpy as np

# A tensor with more values holds weights, not shapes or indices.
LARGEST = 4096
# Some inputs have different names in the graph and in Python.
RENAMED = {"reduction_indices": "axis", "concat_dim": "axis"}
# A shape or an index is computed by few operations.
DEEPEST = 40


class StaticValues:
    """Computes tensors that are constants, shapes, or arithmetic on constants and shapes.

    `outer` maps an argument of a function inside the graph to the tensor that the caller passes. `sizes` gives the
    sizes of a tensor, or None if they are unknown; a batch of unknown size counts as one image.
    """

    def __init__(self, outer: dict[Any, Any], sizes: Callable[[Any], list[int] | None]) -> None:
        """Start without values."""
        self._outer = outer
        self._sizes = sizes
        self._known: dict[Any, Any] = {}

    def of(self, tensor: Any, depth: int = 0) -> Any:
        """Give the value as an array; None if it is unknown."""
        key = tensor.ref()
        if key not in self._known:
            self._known[key] = self._value(tensor, depth)
        return self._known[key]

    def integers(self, tensor: Any) -> list[int] | None:
        """Give a vector or a scalar of integers as a list; None if it is unknown."""
        value = self.of(tensor)
        return None if value is None else [int(number) for number in np.ravel(value)]

    def elements(self, tensor: Any) -> list[int | None] | None:
        """Give a vector of integers, with None for each unknown one; None if all are unknown."""
        whole = self.integers(tensor)
        if whole is not None:
            return list(whole)
        if tensor.ref() in self._outer:
            return self.elements(self._outer[tensor.ref()])
        if tensor.op.type != "Pack":
            return None
        parts = [self.integers(each) for each in tensor.op.inputs]
        return [None if part is None else part[0] for part in parts]

    def _value(self, tensor: Any, depth: int) -> Any:
        if tensor.ref() in self._outer:
            return self.of(self._outer[tensor.ref()], depth + 1)
        elements = tensor.shape.num_elements()
        if depth > DEEPEST or (elements is not None and elements > LARGEST):
            return None
        import tensorflow as tf

        value = tf.get_static_value(tensor)
        if value is not None:
            return value
        op = tensor.op
        if op.type == "Shape":
            sizes = self._sizes(op.inputs[0])
            return None if sizes is None else np.asarray(sizes)
        if not op.inputs or len(op.outputs) != 1:
            return None
        values = [self.of(each, depth + 1) for each in op.inputs]
        return None if any(value is None for value in values) else _run(op, values)


def _run(op: Any, values: list[Any]) -> Any:
    """Run one operation of the graph on known values; None if it cannot be run."""
    import tensorflow as tf

    waiting = [np.asarray(value, tensor.dtype.as_numpy_dtype) for value, tensor in zip(values, op.inputs, strict=True)]
    arguments: dict[str, Any] = {}
    inferred: set[str] = set()
    for argument in op.op_def.input_arg:
        inferred |= {argument.type_attr, argument.number_attr, argument.type_list_attr}
        count = op.get_attr(argument.number_attr) if argument.number_attr else 1
        taken, waiting = waiting[:count], waiting[count:]
        arguments[RENAMED.get(argument.name, argument.name)] = taken if argument.number_attr else taken[0]
    for attribute in op.op_def.attr:
        if attribute.name not in inferred:
            arguments[attribute.name] = op.get_attr(attribute.name)
    try:
        # The graph is still being traced, so values are computed outside it.
        with tf.init_scope():
            return np.asarray(getattr(tf.raw_ops, op.type)(**arguments))
    except (AttributeError, TypeError, ValueError, tf.errors.OpError):
        return None
