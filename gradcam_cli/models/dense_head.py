"""The weights of a head that is global average pooling and one dense layer, read from the graph's operations."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gradcam_cli.models.graph import PASSING, ancestors, constant, size_of_one
from gradcam_cli.models.layout import Layout
from gradcam_cli.models.linearity import is_spatial_mean

Weights = NDArray[np.float32]
# Operations that pass on numbers and gradients unchanged.
HANDED_ON = PASSING - {"StopGradient"}


def dense_weights(logits: Any, target: Any, layout: Layout) -> Weights | None:
    """Give W (K, C) float32 if the logits are `mean_ij(A_ijk) W + b` of the target's output A; None for any other head.

    Every operation between the logits and the target is checked. Allowed are a bias, one matrix product or 1x1
    convolution (or several, if their logits are concatenated), the mean over both spatial axes, and operations that
    keep the numbers and their order. For any other operation the result is None.
    """
    if layout.kind == "tokens":
        return None
    found = _Walk(target, layout, target.ref()).weights(logits)
    return None if found is None or found.shape[1] != size_of_one(logits) else found.astype(np.float32)


@dataclass(frozen=True)
class _Walk:
    target: Any
    layout: Layout
    key: Any

    def weights(self, tensor: Any) -> Weights | None:
        """Follow the operations from the logits back to the kernel."""
        op = tensor.op
        inputs = list(op.inputs)
        if op.type in HANDED_ON:
            return self.weights(inputs[0]) if _keeps_rows(tensor, inputs[0]) else None
        if op.type in {"BiasAdd", "AddV2", "Sub"}:
            return self._without_bias(tensor, inputs)
        if op.type == "MatMul" and not op.get_attr("transpose_a") and not op.get_attr("transpose_b"):
            return self._kernel(inputs[0], constant(inputs[1]))
        if op.type == "Conv2D" and inputs[1].shape[:2].as_list() == [1, 1]:
            kernel = constant(inputs[1])
            return self._kernel(inputs[0], None if kernel is None else kernel[0, 0])
        if op.type == "ConcatV2":
            return self._beside_each_other(tensor, inputs)
        return None

    def _without_bias(self, tensor: Any, inputs: list[Any]) -> Weights | None:
        first, second = inputs
        if tensor.op.type != "Sub" and not self._depends(first):
            first, second = second, first
        same = first.shape.as_list() == tensor.shape.as_list()
        return self.weights(first) if same and not self._depends(second) else None

    def _beside_each_other(self, tensor: Any, inputs: list[Any]) -> Weights | None:
        axis = tf.get_static_value(inputs[-1])
        if axis is None or int(axis) % tensor.shape.rank != tensor.shape.rank - 1:
            return None
        if size_of_one(tensor) != tensor.shape[-1]:
            return None
        parts = [self.weights(part) for part in inputs[:-1]]
        known = [part for part in parts if part is not None]
        return np.concatenate(known, axis=1) if len(known) == len(parts) else None

    def _kernel(self, pooled: Any, kernel: Weights | None) -> Weights | None:
        fits = kernel is not None and kernel.ndim == 2 and kernel.shape[0] == self.layout.channels
        return kernel if fits and size_of_one(pooled) == self.layout.channels and self._is_pooled(pooled) else None

    def _is_pooled(self, tensor: Any) -> bool:
        op = tensor.op
        if op.type in HANDED_ON:
            return _keeps_rows(tensor, op.inputs[0]) and self._is_pooled(op.inputs[0])
        return is_spatial_mean(op, self.layout) and self._is_target(op.inputs[0])

    def _is_target(self, tensor: Any) -> bool:
        if tensor.ref() == self.key:
            return True
        handed_on = tensor.op.type in {"Identity", "Cast", "CheckNumerics"}
        return handed_on and self._is_target(tensor.op.inputs[0])

    def _depends(self, tensor: Any) -> bool:
        return self.key in ancestors(tensor)


def _keeps_rows(tensor: Any, source: Any) -> bool:
    """Whether each image keeps its numbers in the same order and in a floating-point format."""
    same = size_of_one(tensor) is not None and size_of_one(tensor) == size_of_one(source)
    rows = tensor.shape[:1].as_list() == source.shape[:1].as_list() or None in {tensor.shape[0], source.shape[0]}
    return same and rows and tensor.dtype.is_floating and source.dtype.is_floating
