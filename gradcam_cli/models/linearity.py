"""Whether the scores are piecewise linear in the target layer's output.

The closed form of Grad-CAM++ (Chattopadhyay et al. 2018, arXiv:1710.11063) assumes this.
"""

from typing import Any

import tensorflow as tf

from gradcam_cli.engines.protocol import Linearity
from gradcam_cli.models.graph import PASSING, ancestors, size_of_one
from gradcam_cli.models.layout import Layout

# Piecewise linear in all inputs together.
PIECEWISE = PASSING | {
    "AddV2", "Add", "AddN", "Sub", "Neg", "BiasAdd", "Relu", "Relu6", "LeakyRelu", "Abs", "Maximum", "Minimum",
    "ClipByValue", "MaxPool", "AvgPool", "Mean", "Sum", "Max", "Min", "ConcatV2", "Pack", "Unpack", "Split", "SplitV",
    "Pad", "PadV2", "MirrorPad", "Transpose", "StridedSlice", "Slice", "GatherV2", "Tile", "BroadcastTo", "ReverseV2",
    "TopKV2", "ResizeBilinear", "ResizeNearestNeighbor", "DepthToSpace", "SpaceToDepth", "SpaceToBatchND",
    "BatchToSpaceND",
}  # fmt: skip
# Linear in one input, if the other inputs do not depend on the target layer.
LINEAR_IN_ONE = frozenset(
    {"Mul", "MatMul", "BatchMatMulV2", "Conv2D", "DepthwiseConv2dNative", "FusedBatchNormV3", "Einsum", "RealDiv"}
)
# Operations without a constant slope, but with derivatives of any order.
SMOOTH = frozenset(
    {
        "Sigmoid",
        "Tanh",
        "Erf",
        "Erfc",
        "Exp",
        "Log",
        "Square",
        "Sqrt",
        "Rsqrt",
        "Pow",
        "Softplus",
        "Elu",
        "Selu",
        "Softmax",
    }
    | {"LogSoftmax", "SquaredDifference", "Reciprocal", "Softsign", "Mul", "MatMul", "RealDiv", "Log1p"}
)
# For these, only the first input may depend on the target layer.
FIRST_ONLY = frozenset({"RealDiv", "FusedBatchNormV3"})
MEASURING = frozenset({"Shape", "ShapeN", "Size", "Rank"})


def linearity(logits: Any, target: Any, layout: Layout) -> Linearity:
    """Read the operations between a layer's output A and the scores.

    `piecewise`: the scores are piecewise linear in A. `pooled`: they are not, but they depend on A only through its K
    spatial means, by operations with known derivatives. `smooth`: anything else.
    """
    between = _between(target, logits)
    operations = list({id(t.op): t.op for t in between.values() if t is not target}.values())
    if all(_is_piecewise(op, between) for op in operations):
        return "piecewise"
    known = all(_is_piecewise(op, between) or op.type in SMOOTH for op in operations)
    alone = known and _sees_means(target, between, layout) and not _sees_more(operations, between)
    return "pooled" if alone else "smooth"


def _between(target: Any, logits: Any) -> dict[Any, Any]:
    """Find all tensors on a path from the target to the logits, by their reference."""
    leading = ancestors(logits)
    found: dict[Any, Any] = {}
    waiting = [target]
    while waiting:
        current = waiting.pop()
        if current.ref() in found or current.ref() not in leading:
            continue
        found[current.ref()] = current
        for operation in current.consumers():
            if operation.type not in MEASURING:
                waiting.extend(operation.outputs)
    return found


def _is_piecewise(op: Any, between: dict[Any, Any]) -> bool:
    if op.type in PIECEWISE:
        return True
    depending = [place for place, tensor in enumerate(op.inputs) if tensor.ref() in between]
    if op.type == "SelectV2":
        return True
    if op.type not in LINEAR_IN_ONE or len(depending) != 1:
        return False
    trained = op.type == "FusedBatchNormV3" and op.get_attr("is_training")
    return not trained and (depending == [0] or op.type not in FIRST_ONLY)


def _sees_means(target: Any, between: dict[Any, Any], layout: Layout) -> bool:
    """Whether every operation that reads the target's output takes its mean over both spatial axes."""
    waiting = [target]
    while waiting:
        for op in waiting.pop().consumers():
            handed = [output for output in op.outputs if output.ref() in between]
            if not handed or op.type in MEASURING:
                continue
            if op.type in {"Identity", "Cast"}:
                waiting.extend(handed)
            elif not is_spatial_mean(op, layout):
                return False
    return True


def is_averaged(target: Any, layout: Layout) -> bool:
    """Whether every operation that reads the target's output takes its mean over a map of any size, also of one cell.

    A pooling window of a fixed size is not such a mean.
    """
    waiting = [target]
    while waiting:
        for op in waiting.pop().consumers():
            if op.type in {"Identity", "Cast"}:
                waiting.extend(op.outputs)
            elif op.type not in MEASURING and not (op.type == "Mean" and is_spatial_mean(op, layout)):
                return False
    return True


def is_spatial_mean(op: Any, layout: Layout) -> bool:
    """Whether an operation takes the mean of a map over all cells."""
    if layout.kind == "tokens":
        return False
    if op.type == "Mean":
        axes = tf.get_static_value(op.inputs[1])
        spatial = [2, 3] if layout.kind == "channels_first" else [1, 2]
        return axes is not None and sorted(int(axis) % 4 for axis in axes.reshape(-1)) == spatial
    whole = op.type == "AvgPool" and op.get_attr("ksize")[1:3] == [layout.height, layout.width]
    return whole and layout.kind == "channels_last" and size_of_one(op.outputs[0]) == layout.channels


def _sees_more(operations: list[Any], between: dict[Any, Any]) -> bool:
    """Whether the scores also depend on the image by another path, which would be computed again for every channel."""
    aside = {t.ref(): t for op in operations for t in op.inputs if t.ref() not in between}
    return any(_sees_input(tensor) for tensor in aside.values())


def _sees_input(tensor: Any) -> bool:
    found = (reference.deref() for reference in ancestors(tensor))
    return any(t.op.type == "Placeholder" and t.dtype != tf.resource for t in found)
