"""The walk from the logits back to the target layer, which appends the gradient to a network."""

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
        target: the tensor on the way to the logits that the target layer gives.
        layout: the operations that lay it out as `activations`, in their order.
        activations: (N, h, w, K).
        logits: (N, C).
        inside: the outputs that depend on `target`.
        nodes: the nodes on the way, in the order of a forward pass.
    """

    target: Tensor
    layout: tuple[Node, ...]
    activations: Tensor
    logits: Tensor
    inside: frozenset[Key]
    nodes: tuple[Node, ...]

    def laid_out(self, gradient: Tensor) -> Tensor:
        """Lay a gradient with respect to `target` out as the activations are: (N, h, w, K)."""
        for node in self.layout:
            gradient = laid_again(node, gradient)
        return gradient

    def laid_back(self, change: Tensor) -> Tensor:
        """Lay a change (N, h, w, K) of the activations out as `target` is, with 0 in what is no part of the map."""
        for node in reversed(self.layout):
            more = [False] * (len(node.input_values()) - 1)
            (change, *_) = RULES[node.get_type_name()](Step(node, (change,), (True, *more)))
        return change


@dataclass(frozen=True, eq=False)
class Differentiated:
    """What `differentiated` has appended: logits (N, C) and targets (N, T), and gradients (N, T, h, w, K)."""

    logits: Tensor
    targets: Tensor
    gradients: Tensor


def fixed(model: Any, batch: int) -> Any:
    """Fix the batch size of a network with one input, and fold its constants, in place; all shapes are static then."""
    model.reshape([batch, *[size.get_length() for size in list(model.input(0).get_partial_shape())[1:]]])
    fold_constants(model)
    return model


def passage(model: Any, marked: str = "activations", logits: str = "logits") -> Passage:
    """Find the way from the target layer to the logits in a network whose shapes are static.

    The output `marked` is often computed beside that way, by operations that only lay the tensor out: it is followed
    back to the tensor that the logits depend on. OpenVINO also shares such an operation between the output and one of
    several branches behind the layer: it is followed back to where all of them start.

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
    # Of those further back, only one with a branch of its own has another gradient.
    back = max((i for i in reaching[1:] if _branches(starts[i], ways[i]) > 1), default=first)
    target, layout = starts[back], tuple(reversed(relays[:back]))
    return Passage(target, layout, activations, scores, frozenset(insides[back]), ways[back])


def _relays_before(tensor: Tensor) -> list[Node]:
    """The operations before a tensor that only rearrange or select cells, the last one first."""
    found: list[Node] = []
    while tensor.get_node().get_type_name() in RELAYING:
        found.append(tensor.get_node())
        tensor = found[-1].input_value(0)
    return found


def _branches(tensor: Tensor, nodes: tuple[Node, ...]) -> int:
    """How many of the nodes read a tensor."""
    return sum(key(tensor) in [key(value) for value in node.input_values()] for node in nodes)


def _leading(ordered: list[Node], inside: set[Key], logits: Tensor) -> tuple[Node, ...]:
    """The nodes behind the target that the logits depend on."""
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
        NoRuleError: an operation on the way has no rule, or is not in float32.
    """
    gradients: dict[Key, Tensor] = {key(way.logits): seed}
    for node in reversed(way.nodes):
        _step_back(node, way, gradients)
    found = gradients.get(key(way.target))
    if found is None:
        raise no_rule(way.target.get_node(), "no gradient reaches its output")
    return found


def _step_back(node: Node, way: Passage, gradients: dict[Key, Tensor]) -> None:
    """Take the gradient of a node's inputs, and add each to what other consumers of the same tensor gave."""
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
    """Give a network that computes the gradients of its scores with respect to one of its outputs too.

    `g_t = d S^(c_t) / d A`, with S^c the logit of class c, or with the score `probability` its probability Y^c.

    Args:
        model: an `openvino.Model` with one input (N, ...) and the outputs `marked` A (N, h, w, K) and `logits` (N, C),
            float32. It is changed: its batch size is fixed.
        batch: N.
        count: T, the classes of each image.
        marked: name of the output with respect to which the gradient is taken.
        logits: name of the output with the logits.
        score: what is differentiated.
        kind: how probabilities follow from the logits. A `binary` network gives one logit S, and is seen as one of two
            classes with logits -S and S.

    Returns:
        An `openvino.Model` with one more input, `classes` (N, T) int32: the class of each target, or -1 in column t for
        the class with the t-th largest logit. Its outputs are `activations` (N, h, w, K), `logits` (N, C), `targets`
        (N, T) int32 and `gradients` (N, T, h, w, K).

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
    """Append the gradients of the scores of classes (N, T) to a network, see `with_gradients`.

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
    """One sigmoid unit is two classes: class 1 has the logit S, class 0 has -S."""
    return joined([negative(logits), logits], 1) if kind == "binary" else logits


def _one_side(seed: Tensor, kind: HeadKind) -> Tensor:
    """Give the slopes (N, 1) of what the network computes, from those of both classes of `both_sides`."""
    return subtract(_columns(seed, 1), _columns(seed, 0)) if kind == "binary" else seed


def _columns(tensor: Tensor, place: int) -> Tensor:
    """Column `place` of (N, M), as (N, 1)."""
    return output(op.slice(tensor, integers(place), integers(place + 1), integers(1), integers(1)))


def named(tensor: Tensor, name: str) -> Tensor:
    """Give a tensor one name."""
    tensor.get_tensor().set_names({name})
    return tensor


def _chosen(scores: Tensor, classes: Tensor, count: int) -> Tensor:
    """The classes (N, T): those given, and where -1 is given in column t the one with the t-th largest logit."""
    most = min(count, shape_of(scores)[1])
    best = op.topk(scores, constant(most, np.int64), 1, "max", "value", "i32", stable=True).output(1)
    if most < count:
        # More columns than classes: the further ones are classes that were asked for.
        rest = op.broadcast(constant(0, np.int32), integers([shape_of(scores)[0], count - most]))
        best = joined([best, output(rest)], 1)
    return output(op.select(op.less(classes, constant(0, np.int32)), best, classes))


def _logit_slopes(scores: Tensor, classes: Tensor, score: Score, kind: HeadKind) -> Tensor:
    """The derivatives (N, C) of the score of one class (N,) by all logits.

    Those of probabilities are as in `Head.probability_slopes`, for its reasons: Softmax `Y^c ([m = c] - Y^m)`, where
    `1 - Y^c` is the sum of the others; sigmoids `Y^c (1 - Y^c)`, where `1 - Y^c` is the sigmoid of `-S^c`.
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
