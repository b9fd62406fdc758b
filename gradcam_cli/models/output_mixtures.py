"""Products with constant matrices that mix or group probabilities, so that the results are probabilities too."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gradcam_cli.models.graph import constant, origin

# Larger matrices are not read: a mixture has one weight for each branch or pair of classes.
LARGEST_MATRIX = 100_000
ROUNDING = 1e-4

Weights = NDArray[Any]


def mixed_source(tensor: Any) -> Any:
    """Give the tensor whose weighted means this tensor contains, with constant weights that add up to 1; else None.

    The mean may be a matrix product, an einsum, or a sum of products, as in an ensemble with weights.
    """
    found = _product(tensor)
    if found is None:
        return None
    source, weights, axes = found
    convex = (weights >= 0).all() and np.allclose(weights.sum(axis=axes), 1, atol=ROUNDING)
    return source if convex else None


def groups_a_softmax(tensor: Any) -> bool:
    """Whether this adds the probabilities of groups of classes, by a matrix of zeros and ones."""
    if tensor.op.type not in {"MatMul", "BatchMatMulV2"}:
        return False
    found = _product(tensor)
    return found is not None and bool(np.isin(found[1], (0, 1)).all()) and origin(found[0]).op.type == "Softmax"


def _product(tensor: Any) -> tuple[Any, Weights, tuple[int, ...]] | None:
    """Give the variable factor, the constant factor, and the summed axes of the constant factor."""
    op = tensor.op
    match op.type:
        case "MatMul" | "BatchMatMulV2":
            flags = ("transpose_a", "transpose_b") if op.type == "MatMul" else ("adj_x", "adj_y")
            summed = [(-2,) if op.get_attr(flags[0]) else (-1,), (-1,) if op.get_attr(flags[1]) else (-2,)]
            return _factors(op.inputs, summed)
        case "Einsum":
            return _factors(op.inputs, _summed_labels(op.get_attr("equation").decode()))
        case "Sum":
            return _summed_products(op)
        case _:
            return None


def _factors(inputs: Any, summed: Sequence[tuple[int, ...]]) -> tuple[Any, Weights, tuple[int, ...]] | None:
    for mine, other in ((1, 0), (0, 1)) if len(inputs) == len(summed) == 2 else ():
        weights = small_constant(inputs[mine])
        if weights is not None and summed[mine]:
            return inputs[other], weights, summed[mine]
    return None


def _summed_labels(equation: str) -> list[tuple[int, ...]]:
    """Give, for each operand of an equation such as `ab,bc->ac`, the axes that are not in the result."""
    given, _, result = equation.partition("->")
    if "." in equation:
        return []
    return [tuple(i for i, label in enumerate(labels) if label not in result) for labels in given.split(",")]


def _summed_products(op: Any) -> tuple[Any, Weights, tuple[int, ...]] | None:
    """Read a sum over products with constants, such as `sum(stack * weights, axis)`."""
    product, axes = origin(op.inputs[0]), tf.get_static_value(op.inputs[1])
    rank = product.shape.rank
    if product.op.type != "Mul" or axes is None or rank is None:
        return None
    summed = tuple(int(axis) % rank for axis in np.atleast_1d(axes))
    found = _factors(product.op.inputs, [summed, summed])
    if found is None:
        return None
    source, weights, _ = found
    weights = weights.reshape((1,) * (rank - weights.ndim) + weights.shape)
    whole = source.shape.rank == rank and all(weights.shape[axis] == source.shape[axis] for axis in summed)
    return (source, weights, summed) if whole else None


def small_constant(tensor: Any) -> Weights | None:
    """Give the values of a constant or of weights; None if there are too many, or for any other tensor."""
    size = tensor.shape.num_elements()
    if size is None or size > LARGEST_MATRIX or tensor.shape.rank == 0:
        return None
    return constant(tensor)
