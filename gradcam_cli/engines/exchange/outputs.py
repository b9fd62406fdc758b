"""The output of a network: the tensor of the logits, and how probabilities are computed from them."""

from dataclasses import dataclass
from typing import Any

from gradcam_cli.engines.graph import SAME_NUMBERS, constant, is_float, kind, shape_of
from gradcam_cli.engines.protocol import HeadKind
from gradcam_cli.errors import ModelError
from gradcam_cli.settings import OutputKind


@dataclass(frozen=True, eq=False)
class Scores:
    """The tensor of the logits, (N, C) with possible additional axes of size 1.

    Attributes:
        logits: the tensor.
        kind: how probabilities are computed from the logits.
        units: C; one unit means two classes.
        reason: the reason for `kind`.
        assumed: whether `kind` is an assumption, because the file does not show it.
    """

    logits: Any
    kind: HeadKind
    units: int
    reason: str
    assumed: bool = False

    @property
    def class_count(self) -> int:
        """The number of classes."""
        return 2 if self.kind == "binary" else self.units


def read_scores(model: Any, name: str, output: str | None, said: OutputKind) -> Scores:
    """Find the logits of a network with static shapes.

    Args:
        model: the network.
        name: the name of the model, for messages.
        output: the name of the output to explain; None for the only output with one number for each class.
        said: the kind of the output that the user has given.

    Raises:
        ModelError: there is no such output, no output has one number for each class, several outputs have, or the
            output is not computed by a softmax or sigmoids although the user has given `probabilities`.
    """
    tensor = _chosen(model, name, output)
    units = max(shape_of(tensor)[1:])
    plain = _origin(tensor)
    if said == "softmax-logits":
        return Scores(tensor, _one_or_many(units, "linear"), units, "given as logits of a softmax")
    if said == "sigmoid-logits":
        return Scores(tensor, _one_or_many(units, "sigmoid"), units, "given as logits of sigmoids")
    if said == "value":
        return Scores(tensor, "value", units, "given as a value")
    found = _activated(plain, units)
    if found:
        return found
    if said == "probabilities":
        raise ModelError(
            f"{name}: `output_kind=probabilities` needs a softmax or sigmoids at the end of the network, but its "
            f"output comes from {kind(plain)}."
        )
    reason = "assumed to be logits, because the file does not show it"
    return Scores(tensor, _one_or_many(units, "linear"), units, reason, assumed=True)


def _one_or_many(units: int, many: HeadKind) -> HeadKind:
    return "binary" if units == 1 else many


def _activated(tensor: Any, units: int) -> Scores | None:
    """Give the input of a softmax, its logarithm, or sigmoids as logits; None if the output is none of them."""
    name, before = kind(tensor), tensor.get_node().input_values()
    if name == "Log" and kind(_origin(before[0])) in {"Softmax", "Sigmoid"}:
        return _activated(_origin(before[0]), units)
    if name in {"Softmax", "LogSoftmax"}:
        axis = int(tensor.get_node().get_attributes()["axis"]) % len(shape_of(tensor))
        if shape_of(tensor)[axis] == units:
            return Scores(before[0], "softmax", units, "softmax")
    if name == "Sigmoid":
        return Scores(before[0], _one_or_many(units, "sigmoid"), units, "sigmoid")
    return _softmax_by_hand(tensor, units)


def _softmax_by_hand(tensor: Any, units: int) -> Scores | None:
    """Recognise `exp(S) / sum(exp(S))`, a softmax that is written as single operations."""
    if kind(tensor) != "Divide":
        return None
    top, total = (_origin(each) for each in tensor.get_node().input_values())
    if kind(top) != "Exp" or kind(total) != "ReduceSum":
        return None
    same = _origin(total.get_node().input_value(0)).get_node().get_instance_id() == top.get_node().get_instance_id()
    return Scores(top.get_node().input_value(0), "softmax", units, "softmax") if same else None


def _origin(tensor: Any) -> Any:
    """Go back before operations that only copy the values of their input in the same order."""
    while kind(tensor) in SAME_NUMBERS:
        tensor = tensor.get_node().input_value(0)
    return tensor


def _chosen(model: Any, name: str, output: str | None) -> Any:
    found = {_name(result): result.get_node().input_value(0) for result in model.outputs}
    if output is not None:
        if output not in found:
            raise ModelError(f"{name}: there is no output '{output}'. There are: {', '.join(found)}.")
        found = {output: found[output]}
    scores = {label: tensor for label, tensor in found.items() if _is_scores(tensor)}
    if not scores:
        shown = ", ".join(f"'{label}' {tensor.get_partial_shape()}" for label, tensor in found.items())
        raise ModelError(f"{name}: the output must have one number for each class, but this output is {shown}.")
    if len(scores) > 1:
        raise ModelError(f"{name}: the model has several outputs: {', '.join(scores)}. Choose one with `output_name`.")
    return next(iter(scores.values()))


def _name(result: Any) -> str:
    names = sorted(result.get_names())
    return str(names[0]) if names else str(result.get_node().input_value(0).get_node().get_friendly_name())


def _is_scores(tensor: Any) -> bool:
    """Whether an output has the shape (N, C), with possible additional axes of size 1."""
    if tensor.get_partial_shape().is_dynamic or not is_float(tensor) or constant(tensor) is not None:
        return False
    shape = shape_of(tensor)
    return len(shape) >= 2 and sum(size > 1 for size in shape[1:]) <= 1
