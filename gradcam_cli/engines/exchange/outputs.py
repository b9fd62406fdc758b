"""The output of a network: which tensor holds the logits, and how probabilities follow from them."""

from dataclasses import dataclass
from typing import Any

from gradcam_cli.engines.graph import SAME_NUMBERS, constant, is_float, kind, shape_of
from gradcam_cli.engines.protocol import HeadKind
from gradcam_cli.errors import ModelError
from gradcam_cli.settings import OutputKind


@dataclass(frozen=True, eq=False)
class Scores:
    """The tensor of the logits, (N, C) but for axes of size 1, what they are, and why.

    `units` is C; one unit is two classes. `assumed`: nothing in the file tells what the output is.
    """

    logits: Any
    kind: HeadKind
    units: int
    reason: str
    assumed: bool = False

    @property
    def class_count(self) -> int:
        """Number of classes."""
        return 2 if self.kind == "binary" else self.units


def read_scores(model: Any, name: str, output: str | None, said: OutputKind) -> Scores:
    """Find the logits of a network whose shapes are static.

    Args:
        model: the network.
        name: of the model, for messages.
        output: the name of the output to explain; None: the only one that has a number for each class.
        said: what the user says that the output is.

    Raises:
        ModelError: there is no such output, or no output has one score for each class, or several have.
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
    """Step back over a softmax, its logarithm, or sigmoids; None if there are none."""
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
    """Read `exp(S) / sum(exp(S))`."""
    if kind(tensor) != "Divide":
        return None
    top, total = (_origin(each) for each in tensor.get_node().input_values())
    if kind(top) != "Exp" or kind(total) != "ReduceSum":
        return None
    same = _origin(total.get_node().input_value(0)).get_node().get_instance_id() == top.get_node().get_instance_id()
    return Scores(top.get_node().input_value(0), "softmax", units, "softmax") if same else None


def _origin(tensor: Any) -> Any:
    """Step back over operations that give the numbers of their input in the same order."""
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
    """Whether an output is (N, C), but for further axes of size 1."""
    if tensor.get_partial_shape().is_dynamic or not is_float(tensor) or constant(tensor) is not None:
        return False
    shape = shape_of(tensor)
    return len(shape) >= 2 and sum(size > 1 for size in shape[1:]) <= 1
