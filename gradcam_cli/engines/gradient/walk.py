"""Walk from the logits back to the target layer, and append the gradient to the network."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcam_cli.engines.gradient import convolution, pointwise, products, shapes
from gradcam_cli.engines.gradient.nodes import (
    Node,
    Tensor,
    add,
    constant,
    integers,
    joined,
    multiply,
    negative,
    one_minus,
    op,
    output,
    reshaped,
    sigmoid,
    subtract,
    sum_over,
)
from gradcam_cli.engines.gradient.shapes import RELAYING, laid_again
from gradcam_cli.engines.gradient.step import Rule, Step, no_rule
from gradcam_cli.engines.graph import Key, depending_on, fold_constants, key, shape_of
from gradcam_cli.engines.protocol import HeadKind
from gradcam_cli.engines.runtime import openvino
from gradcam_cli.settings import Score

RULES: dict[str, Rule] = {**convolution.RULES, **pointwise.RULES, **products.RULES, **shapes.RULES}


@dataclass(frozen=True, eq=False)
class Passage:
    """The part of a network between the target layer and the logits.

    Attributes:
        target: the tensor of the target layer that the logits are computed from.
        layout: the operations that rearrange `target` to `activations`, in order.
        activations: (N, h, w, K).
        logits: (N, C).
        inside: the tensors that depend on `target`.
        nodes: the nodes between `target` and the logits, in the order of a forward pass.
    """

    target: Tensor
    layout: tuple[Node, ...]
    activations: Tensor
    logits: Tensor
    inside: frozenset[Key]
    nodes: tuple[Node, ...]

    def laid_out(self, gradient: Tensor) -> Tensor:
        """Rearrange a gradient with respect to `target` to the layout of the activations: (N, h, w, K)."""
        for node in self.layout:
            gradient = laid_again(node, gradient)
        return gradient

    def laid_back(self, change: Tensor) -> Tensor:
        """Rearrange a change (N, h, w, K) of the activations to the layout of `target`; it is 0 outside the map."""
        for node in reversed(self.layout):
            more = [False] * (len(node.input_values()) - 1)
            (change, *_) = RULES[node.get_type_name()](Step(node, (change,), (True, *more)))
        return change


@dataclass(frozen=True, eq=False)
class Differentiated:
    """The result of `differentiated`: logits (N, C), targets (N, T), and gradients (N, T, h, w, K)."""

    logits: Tensor
    targets: Tensor
    gradients: Tensor


def fixed(model: Any, batch: int) -> Any:
    """Fix the batch size of a network with one input, and fold its constants, in place. Then all shapes are static."""
    model.reshape([batch, *[size.get_length() for size in list(model.input(0).get_partial_shape())[1:]]])
    fold_constants(model)
    return model


def passage(model: Any, marked: str = "activations", logits: str = "logits") -> Passage:
    """Find the part between the target layer and the logits, in a network with static shapes.

    The output `marked` is often computed from the layer by operations that only rearrange the tensor, and the logits do
    not depend on them. In this case the function goes back to the tensor that the logits depend on. OpenVINO may also
    share such an operation between the output and one of several branches after the layer. In this case the function
    goes back to the tensor at which all branches start.

    Raises:
        NoRuleError: the logits do not depend on the output.
    """
    activations, scores = (model.output(name).get_node().input_value(0) for name in (marked, logits))
    ordered = model.get_ordered_ops()
    relays = _relays_before(activations)
    starts = [activations, *[node.input_value(0) for node in relays]]
    insides = [depending_on(ordered, [start]) for start in starts]
    ways = [_leading(ordered, inside, scores) for inside in insides]
    reaching = [place for place, way in enumerate(ways) if way]
    if not reaching:
        raise no_rule(
            starts[-1].get_node(), "the logits do not depend on its output, which is the map of the target layer"
        )
    first = reaching[0]
    # A tensor further back has another gradient only if several nodes on the way to the logits read it.
    back = max((i for i in reaching[1:] if _branches(starts[i], ways[i]) > 1), default=first)
    target, layout = starts[back], tuple(reversed(relays[:back]))
    return Passage(target, layout, activations, scores, frozenset(insides[back]), ways[back])


def _relays_before(tensor: Tensor) -> list[Node]:
    """Give the operations before a tensor that only rearrange or select elements, the last one first."""
    found: list[Node] = []
    while tensor.get_node().get_type_name() in RELAYING:
        found.append(tensor.get_node())
        tensor = found[-1].input_value(0)
    return found


def _branches(tensor: Tensor, nodes: tuple[Node, ...]) -> int:
    """Count the nodes that read a tensor."""
    return sum(key(tensor) in [key(value) for value in node.input_values()] for node in nodes)


def _leading(ordered: list[Node], inside: set[Key], logits: Tensor) -> tuple[Node, ...]:
    """Give the nodes that depend on the target and that the logits depend on."""
    wanted, found = {key(logits)}, []
    for node in reversed(ordered):
        keys = {key(out) for out in node.outputs()}
        depends = any(key(value) in inside for value in node.input_values())
        if depends and keys & wanted:
            found.append(node)
            wanted |= {key(value) for value in node.input_values()}
    return tuple(reversed(found))


def gradient(way: Passage, seed: Tensor) -> Tensor:
    """Append `d sum(logits * seed) / d target` to a network, in the shape of `target`.

    Raises:
        NoRuleError: an operation between the target and the logits has no rule, or is not in float32.
    """
    gradients: dict[Key, Tensor] = {key(way.logits): seed}
    for node in reversed(way.nodes):
        _step_back(node, way, gradients)
    found = gradients.get(key(way.target))
    if found is None:
        raise no_rule(way.target.get_node(), "no gradient reaches its output")
    return found


def _step_back(node: Node, way: Passage, gradients: dict[Key, Tensor]) -> None:
    """Compute the gradients of a node's inputs, and add each to the gradient from other readers of the same tensor."""
    arrived = tuple(gradients.get(key(out)) for out in node.outputs())
    if all(each is None for each in arrived):
        return
    rule = RULES.get(node.get_type_name())
    if rule is None:
        raise no_rule(node, "its derivative is not implemented")
    if str(node.output(0).get_element_type().get_type_name()) != "f32":
        raise no_rule(node, "it does not compute in float32")
    values = list(node.input_values())
    needed = tuple(key(value) in way.inside for value in values)
    for value, found in zip(values, rule(Step(node, arrived, needed)), strict=True):
        if found is not None and key(value) in way.inside:
            before = gradients.get(key(value))
            gradients[key(value)] = found if before is None else add(before, found)


def with_gradients(
    model: Any,
    batch: int,
    count: int,
    marked: str = "activations",
    logits: str = "logits",
    score: Score = "logit",
    *,
    kind: HeadKind = "softmax",
) -> Any:
    """Append to a network the gradients of its scores with respect to one of its outputs.

    `g_t = d S^(c_t) / d A`, with S^c the logit of class c; for the score `probability`, its probability Y^c instead.

    Args:
        model: an `openvino.Model` with one input (N, ...) and the outputs `marked` A (N, h, w, K) and `logits` (N, C),
            float32. Its batch size is fixed in place.
        batch: N.
        count: T, the number of classes for each image.
        marked: the name of the output A of the derivative.
        logits: the name of the output with the logits.
        score: the score that is differentiated: the logit or the probability.
        kind: how probabilities are computed from the logits. A `binary` network has one logit S, which is converted to
            two classes with the logits -S and S.

    Returns:
        An `openvino.Model` with the additional input `classes` (N, T) int32: the class of each target, or -1 in column
        t for the class with the t-th largest logit. Its outputs are `activations` (N, h, w, K), `logits` (N, C),
        `targets` (N, T) int32 and `gradients` (N, T, h, w, K).

    Raises:
        NoRuleError: the gradient of this network cannot be built.
    """
    way = passage(fixed(model, batch), marked, logits)
    classes = op.parameter([batch, count], np.int32, "classes")
    made = differentiated(way, batch, classes, score, kind)
    for tensor in (way.activations, way.logits):
        tensor.get_tensor().set_names(set())
    outputs = [
        named(way.activations, "activations"),
        named(made.logits, "logits"),
        named(made.targets, "targets"),
        named(made.gradients, "gradients"),
    ]
    named(output(classes), "classes")
    return openvino.Model(outputs, [*model.get_parameters(), classes])


def differentiated(way: Passage, batch: int, classes: Node, score: Score, kind: HeadKind) -> Differentiated:
    """Append the gradients of the scores of classes (N, T) to a network; see `with_gradients`.

    Raises:
        NoRuleError: the gradient of this network cannot be built.
    """
    scores = both_sides(way.logits, kind)
    count = shape_of(output(classes))[1]
    chosen = _chosen(scores, output(classes), count)
    slopes = []
    for place in range(count):
        column = reshaped(_columns(chosen, place), [batch])
        seed = _logit_slopes(scores, column, score, kind)
        slope = way.laid_out(gradient(way, _one_side(seed, kind)))
        slopes.append(output(op.unsqueeze(slope, integers([1]))))
    return Differentiated(scores, chosen, joined(slopes, 1))


def both_sides(logits: Tensor, kind: HeadKind) -> Tensor:
    """Give the logits of two classes for one sigmoid unit: -S for class 0, S for class 1; other logits unchanged."""
    return joined([negative(logits), logits], 1) if kind == "binary" else logits


def _one_side(seed: Tensor, kind: HeadKind) -> Tensor:
    """Convert the derivatives by the two logits of `both_sides` to the derivative (N, 1) by the network's logit."""
    return subtract(_columns(seed, 1), _columns(seed, 0)) if kind == "binary" else seed


def _columns(tensor: Tensor, place: int) -> Tensor:
    """Give column `place` of (N, M) as (N, 1)."""
    return output(op.slice(tensor, integers(place), integers(place + 1), integers(1), integers(1)))


def named(tensor: Tensor, name: str) -> Tensor:
    """Set the only name of a tensor."""
    tensor.get_tensor().set_names({name})
    return tensor


def _chosen(scores: Tensor, classes: Tensor, count: int) -> Tensor:
    """Give the classes (N, T); a -1 in column t is replaced by the class with the t-th largest logit."""
    most = min(count, shape_of(scores)[1])
    best = op.topk(scores, constant(most, np.int64), 1, "max", "value", "i32", stable=True).output(1)
    if most < count:
        # If there are more columns than classes, the additional columns are always named classes, never -1.
        rest = op.broadcast(constant(0, np.int32), integers([shape_of(scores)[0], count - most]))
        best = joined([best, output(rest)], 1)
    return output(op.select(op.less(classes, constant(0, np.int32)), best, classes))


def _logit_slopes(scores: Tensor, classes: Tensor, score: Score, kind: HeadKind) -> Tensor:
    """Give the derivatives (N, C) of the score of one class (N,) by all logits.

    The derivative of a probability is `Y^c ([m = c] - Y^m)` for a softmax, and `Y^c (1 - Y^c)` for sigmoids. As in
    `Head.probability_slopes`, `1 - Y^c` is not computed as a difference, for precision: for a softmax it is the sum of
    the other probabilities, for sigmoids it is the sigmoid of `-S^c`.
    """
    depth = constant(shape_of(scores)[1], np.int64)
    own = output(op.one_hot(classes, depth, constant(1.0), constant(0.0), 1))
    if score == "logit":
        return own
    if kind in {"sigmoid", "binary"}:
        return multiply(own, multiply(sigmoid(scores), sigmoid(negative(scores))))
    probabilities = output(op.softmax(scores, 1))
    others = multiply(probabilities, one_minus(own))
    probability = sum_over(multiply(probabilities, own), [1])
    return multiply(probability, subtract(multiply(own, sum_over(others, [1])), others))
