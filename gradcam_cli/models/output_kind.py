"""Decide what a model's output is: logits, probabilities, class scores or values.

Four sources are used, in this order: the user's setting, the operations that compute the output, the loss that is
stored in the file, and the range that the operations allow. If none of them decides, logits are assumed.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from gradcam_cli.engines.protocol import HeadKind
from gradcam_cli.models.graph import number, origin, size_of_one
from gradcam_cli.models.output_bounds import bounds, is_share, within
from gradcam_cli.models.stored_loss import Loss
from gradcam_cli.settings import OutputKind

PER_CENT = 100.0
SOFTMAX_TWICE = "softmax of a softmax"
SOFTMAX_OF_ONE = "softmax of one number, which is always 1"
# The smallest normal float32. A smaller probability would become 0, whose logarithm is not finite.
TINY = float(np.finfo(np.float32).tiny)
# Increasing functions of one number, without weights.
INCREASING = frozenset({"Relu", "Relu6", "Tanh", "Exp", "Log", "Softplus", "Sqrt", "Elu"})


@dataclass(frozen=True)
class OutputHints:
    """What is known about the output apart from the graph: the user's setting and the stored loss."""

    kind: OutputKind = "auto"
    loss: Loss | None = None


@dataclass(frozen=True, eq=False)
class Output:
    """The explained scores (N, C), their kind, and the reason for it.

    `probabilities` (N, C) are given if they cannot be computed from the scores. `assumed` is True if no source decides
    the kind.
    """

    kind: HeadKind
    scores: Any
    reason: str
    probabilities: Any = None
    assumed: bool = False


def read_output(output: Any, classes: int, hints: OutputHints) -> Output:
    """Decide what an output with `classes` numbers for each image is."""
    tensor = origin(output)
    match hints.kind:
        case "softmax-logits":
            return Output(_one_or_many(classes, "linear"), output, "given as logits of a softmax")
        case "sigmoid-logits":
            return Output(_one_or_many(classes, "sigmoid"), output, "given as logits of sigmoids")
        case "value":
            return Output("value", output, "given as a value")
        case "probabilities":
            return _activated(tensor, classes) or _probabilities(tensor, classes, "given as probabilities")
        case _:
            return _by_operations(tensor, classes, hints.loss) or _by_loss(output, classes, hints.loss)


def _one_or_many(classes: int, many: HeadKind) -> HeadKind:
    return "binary" if classes == 1 else many


def _by_operations(tensor: Any, classes: int, loss: Loss | None) -> Output | None:
    """Read the kind that the operations prove; None if they prove nothing."""
    found = _activated(tensor, classes) or _scaled(tensor, classes, loss)
    if found is None and _sparsemax(tensor) is not None:
        found = _probabilities(tensor, classes, "sparsemax")
    if found is None and within(bounds(tensor), 0, 1):
        of_one = tensor.op.type == "Softmax" and tensor.shape[-1] == 1
        reason = SOFTMAX_OF_ONE if of_one else "values between 0 and 1, as its operations show"
        found = _probabilities(tensor, classes, reason)
    return found


def _scaled(tensor: Any, classes: int, loss: Loss | None) -> Output | None:
    """Read probabilities in another unit, such as per cent; None for anything else."""
    inner, scale = _unscaled(tensor)
    if scale == 1:
        return None
    found = _activated(inner, classes)
    per_cent = not (classes == 1 and loss is not None and loss.family == "value")
    if found and scale > 0 and (found.kind == "softmax" or (per_cent and scale == PER_CENT)):
        unit = "per cent" if scale == PER_CENT else f"{scale:g} times its values"
        return Output(found.kind, found.scores, f"{found.reason}, in {unit}")
    highest = bounds(tensor)[1]
    if per_cent and within(bounds(tensor), 0, PER_CENT) and within((PER_CENT, PER_CENT), highest, highest + 1):
        name = "percent of values between 0 and 1, as its operations show"
        return _probabilities(tensor / tf.cast(PER_CENT, tensor.dtype), classes, name)
    return None


def _activated(tensor: Any, classes: int) -> Output | None:
    """Read a final softmax, or final sigmoids, whose inputs are the logits; None for anything else."""
    logits = _softmax_logits(tensor)
    if logits is not None and logits.shape[-1] == classes:
        twice = _softmax_logits(origin(logits)) is not None and origin(logits).op.type != "LogSoftmax"
        reason = SOFTMAX_OF_ONE if classes == 1 else SOFTMAX_TWICE if twice else "softmax"
        return Output("softmax", logits, reason)
    logits = _sigmoid_logits(tensor)
    if logits is not None:
        return Output(_one_or_many(classes, "sigmoid"), logits, "sigmoid")
    if tensor.op.type == "ConcatV2" and _along_classes(tensor, classes):
        branches = [_sigmoid_logits(origin(branch)) for branch in tensor.op.inputs[:-1]]
        if all(branch is not None for branch in branches):
            return Output("sigmoid", _beside_each_other(branches), f"{len(branches)} concatenated sigmoids")
    return None


def _softmax_logits(tensor: Any) -> Any:
    """Give the logits of a softmax, of a log-softmax, or of a softmax written by hand; None for anything else."""
    op = tensor.op
    if op.type in {"Softmax", "LogSoftmax"}:
        return op.inputs[0]
    if op.type == "Log" and origin(op.inputs[0]).op.type == "Softmax":
        return origin(op.inputs[0]).op.inputs[0]
    if op.type == "RealDiv" and origin(op.inputs[0]).op.type == "Exp" and is_share(tensor):
        total = origin(op.inputs[1])
        # It is a softmax only if the sum is over the last axis.
        if total.op.type == "Sum" and _over_last_axis(total):
            return _unshifted(origin(op.inputs[0]).op.inputs[0])
    return None


def _over_last_axis(total: Any) -> bool:
    axes, rank = tf.get_static_value(total.op.inputs[1]), total.op.inputs[0].shape.rank
    return axes is not None and [int(axis) % rank for axis in np.atleast_1d(axes)] == [rank - 1]


def _unshifted(exponent: Any) -> Any:
    """Give the exponent without the maximum that is subtracted to prevent overflow."""
    tensor = origin(exponent)
    if tensor.op.type == "Sub" and origin(tensor.op.inputs[1]).op.type == "Max":
        return tensor.op.inputs[0]
    return exponent


def _sigmoid_logits(tensor: Any) -> Any:
    """Give the logits of sigmoids, or of the logarithms of sigmoids; None for anything else."""
    if tensor.op.type == "Sigmoid":
        return tensor.op.inputs[0]
    if tensor.op.type == "Log" and origin(tensor.op.inputs[0]).op.type == "Sigmoid":
        return origin(tensor.op.inputs[0]).op.inputs[0]
    if tensor.op.type == "Neg" and tensor.op.inputs[0].op.type == "Softplus":
        inside = tensor.op.inputs[0].op.inputs[0]
        return inside.op.inputs[0] if inside.op.type == "Neg" else None
    return None


def _along_classes(tensor: Any, classes: int) -> bool:
    """Whether a concatenation joins its branches along the only axis that is not 1."""
    axis = tf.get_static_value(tensor.op.inputs[-1])
    return axis is not None and size_of_one(tensor) == classes and tensor.shape[int(axis)] == classes


def _beside_each_other(branches: list[Any]) -> Any:
    return tf.concat([tf.reshape(branch, (-1, size_of_one(branch))) for branch in branches], axis=1)


def _unscaled(tensor: Any) -> tuple[Any, float]:
    """Remove constant factors and added zeros, which `Rescaling(100)` adds to a graph; also give the factor."""
    scale = 1.0
    while tensor.op.type in {"Mul", "RealDiv", "AddV2"}:
        first, second = tensor.op.inputs
        if tensor.op.type == "Mul" and number(second) is None:
            first, second = second, first
        value = number(second)
        if value is None or (value == 0) != (tensor.op.type == "AddV2"):
            break
        if tensor.op.type != "AddV2":
            scale = scale * value if tensor.op.type == "Mul" else scale / value
        tensor = origin(first)
    # In floating point, 1 / 0.01 is not exactly 100.
    return tensor, round(scale, 4) or scale


def _probabilities(tensor: Any, classes: int, reason: str) -> Output:
    """Read the output as probabilities, and choose the scores that the map explains."""
    told = tf.cast(tf.reshape(tensor, (-1, classes)), tf.float32)
    scores = branch_scores(tensor)
    how = "the logits before them" if scores is not None else "their logarithm"
    if scores is not None:
        scores = tf.cast(tf.reshape(scores, (-1, classes)), tf.float32)
        scores = tf.concat([-scores, scores], axis=1) if classes == 1 else scores
    both = tf.concat([1 - told, told], axis=1) if classes == 1 else told
    if scores is None:
        scores = tf.math.log(tf.maximum(both, TINY))
    return Output("probabilities", scores, f"{reason}; the map explains {how}", both)


def branch_scores(tensor: Any) -> Any:
    """Give logits for probabilities of one or several softmaxes or sigmoids, also if clipped; None for anything else.

    For a sum or a mean of branches, these are the mean of the branches' logits with the same weights. No single logit
    exists there, and the gradient of the logarithm of the mean vanishes if the network is certain. For a concatenation,
    these are the concatenated logits of the branches.
    """
    tensor = origin(tensor)
    for logits in (_softmax_logits(tensor), _sigmoid_logits(tensor), _sparsemax(tensor)):
        if logits is not None:
            return logits
    op = tensor.op
    inputs = list(op.inputs)
    if op.type == "ConcatV2":
        branches = [branch_scores(branch) for branch in inputs[:-1]]
        return _all_known(branches, lambda: tf.concat(_shaped_as(branches, inputs), axis=inputs[-1]))
    if op.type == "Mean":
        return _mean_scores(tensor)
    if op.type in {"AddV2", "AddN", "BiasAdd"} and all(number(part) is None for part in inputs):
        return _mixture(inputs)
    return _through_increasing(op, inputs)


def _shaped_as(branches: list[Any], parts: list[Any]) -> list[Any]:
    return [tf.reshape(branch, tf.shape(part)) for branch, part in zip(branches, parts, strict=False)]


def _all_known(branches: list[Any], make: Any) -> Any:
    return make() if all(branch is not None for branch in branches) else None


def _mean_scores(tensor: Any) -> Any:
    """Give the scores of a mean over stacked branches, or over the cells of a map of probabilities."""
    source, axes = tensor.op.inputs
    keep = tensor.op.get_attr("keep_dims")
    packed = origin(source)
    if packed.op.type == "Pack":
        branches = [branch_scores(part) for part in packed.op.inputs]
        parts = list(packed.op.inputs)
        return _all_known(branches, lambda: tf.add_n(_shaped_as(branches, parts)) / len(parts))
    inner = branch_scores(source)
    return None if inner is None else tf.reduce_mean(tf.reshape(inner, tf.shape(source)), axes, keepdims=keep)


def _mixture(parts: list[Any]) -> Any:
    """Give the weighted mean of the logits of branches that are added."""
    terms = [_unscaled(origin(part)) for part in parts]
    branches = [branch_scores(inner) for inner, _ in terms]
    weights = [scale for _, scale in terms]
    if any(weight <= 0 for weight in weights):
        return None
    weighted = [w * b for w, b in zip(weights, branches, strict=True) if b is not None]
    return _all_known(branches, lambda: sum(_shaped_as(weighted, parts)) / sum(weights))


def _through_increasing(op: Any, inputs: list[Any]) -> Any:
    """Give the input of increasing functions such as a clip or a hard sigmoid, whose own gradient may be 0."""
    clips = op.type == "ClipByValue" or (op.type in {"Maximum", "Minimum"} and number(inputs[1]) is not None)
    if op.type in INCREASING or clips:
        inner = branch_scores(inputs[0])
        return inputs[0] if inner is None else inner
    if op.type == "RealDiv" and number(inputs[1]) is None:
        return branch_scores(inputs[0]) if is_share(op.outputs[0]) else None
    value = number(inputs[1]) if op.type in {"AddV2", "Sub", "Mul", "RealDiv"} else None
    if value is not None and (value > 0 or op.type in {"AddV2", "Sub"}):
        return branch_scores(inputs[0])
    if op.type == "Mul" and (number(inputs[0]) or 0) > 0:
        return branch_scores(inputs[1])
    if op.type == "Sub" and number(inputs[0]) is not None:
        inner = branch_scores(inputs[1])
        return None if inner is None else -inner
    return None


def _sparsemax(tensor: Any) -> Any:
    """Give the logits z of a sparsemax, `max(z - tau(z), 0)` with tau from the sorted z; None for anything else."""
    if tensor.op.type != "Maximum" or number(tensor.op.inputs[1]) != 0:
        return None
    shifted = origin(tensor.op.inputs[0])
    if shifted.op.type != "Sub" or shifted.op.inputs[1].shape[-1] != 1:
        return None
    logits = shifted.op.inputs[0]
    waiting, seen = [shifted.op.inputs[1]], 0
    while waiting and seen < 100:
        current = waiting.pop()
        seen += 1
        if current.op.type == "TopKV2":
            return logits
        waiting.extend(part for part in current.op.inputs if part is not logits)
    return None


def _by_loss(output: Any, classes: int, loss: Loss | None) -> Output:
    """Read an output without an activation, or without a known range, by the loss that it was trained with."""
    low, high = bounds(origin(output))
    limited = np.isfinite(low)
    if loss and loss.family == "value":
        return Output("value", output, f"a value: trained with the loss {loss.name}")
    if loss and loss.family == "hinge":
        return _score(output, classes, f"a score without probabilities: trained with the loss {loss.name}")
    if loss and loss.from_logits:
        many: HeadKind = "sigmoid" if loss.family == "binary" else "linear"
        return Output(_one_or_many(classes, many), output, f"logits: trained with {loss.name} from logits")
    if limited:
        which = f"its operations limit it to {low:g} and {high:g}"
        if classes == 1:
            return Output("value", output, f"a value: {which}")
        return _score(output, classes, f"a score without probabilities: {which}")
    said = f"the stored loss {loss.name} does not show it" if loss else "the file has no loss"
    return Output(_one_or_many(classes, "linear"), output, f"assumed to be logits: {said}", assumed=True)


def _score(output: Any, classes: int, reason: str) -> Output:
    scores = tf.cast(tf.reshape(output, (-1, classes)), tf.float32)
    return Output("score", tf.concat([-scores, scores], axis=1) if classes == 1 else output, reason)
