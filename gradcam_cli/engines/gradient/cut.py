"""A network that is cut at its target layer, so that its head can be run alone on kept tensors.

The front gives the target layer's tensor and all other tensors that the head reads, such as those of a shortcut around
the layer. The head takes them in the same order.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from gradcam_cli.engines.gradient.nodes import Node, Tensor, add, op, output
from gradcam_cli.engines.gradient.walk import Passage, both_sides, differentiated, fixed, named, passage
from gradcam_cli.engines.graph import depending_on, key, shape_of
from gradcam_cli.engines.protocol import HeadKind
from gradcam_cli.engines.runtime import openvino
from gradcam_cli.settings import Score


def front_of(model: Any, batch: int) -> Any:
    """Give the network up to the target layer, which is changed: its batch size is fixed.

    Returns:
        An `openvino.Model` that gives the tensors which the head reads, that of the target layer first.

    Raises:
        NoRuleError: the logits do not depend on the output `activations`.
    """
    way = passage(fixed(model, batch))
    return openvino.Model(_read_by_head(model, way), model.get_parameters())


def gradient_head(model: Any, batch: int, kind: HeadKind, score: Score = "logit") -> Any:
    """Give the head with the gradient of one class's score for each image.

    Returns:
        An `openvino.Model` whose inputs are the tensors of `front_of` and classes (N, 1) int32, and whose output is the
        gradient (N, 1, h, w, K).

    Raises:
        NoRuleError: the gradient cannot be built.
    """
    detached, given = _detached(fixed(model, batch))
    classes = op.parameter([batch, 1], np.int32, "classes")
    made = differentiated(detached, batch, classes, score, kind)
    return openvino.Model([made.gradients], [*given, classes])


def shifted_head(model: Any, batch: int, kind: HeadKind) -> Any:
    """Give the head with something added to the target layer's map.

    Returns:
        An `openvino.Model` whose inputs are the tensors of `front_of` and what is added to the activations
        (N, h, w, K), and whose output is the logits (N, C).

    Raises:
        NoRuleError: the logits do not depend on the output `activations`.
    """
    way, given = _detached(fixed(model, batch))
    change = op.parameter(shape_of(way.activations), np.float32, "change")
    moved = add(way.target, way.laid_back(output(change)))
    _read_instead(way.nodes, way.target, moved)
    return openvino.Model([both_sides(way.logits, kind)], [*given, change])


def _detached(model: Any) -> tuple[Passage, list[Node]]:
    """Replace all tensors that the head reads by inputs, and give its passage and these inputs."""
    way = passage(model)
    tensors = _read_by_head(model, way)
    given = [op.parameter(shape_of(tensor), tensor.get_element_type()) for tensor in tensors]
    for tensor, parameter in zip(tensors, given, strict=True):
        _read_instead((*way.nodes, *way.layout), tensor, output(parameter))
    activations = way.activations if way.layout else output(given[0])
    for tensor in (way.activations, way.logits):
        tensor.get_tensor().set_names(set())
    outputs = [named(activations, "activations"), named(way.logits, "logits")]
    again = passage(openvino.Model(outputs, given))
    return replace(again, target=output(given[0])), given


def _read_instead(nodes: Iterable[Node], tensor: Tensor, instead: Tensor) -> None:
    """Let nodes read one tensor in the place of another."""
    own = key(tensor)
    for node in nodes:
        for place in node.inputs():
            if key(place.get_source_output()) == own:
                place.replace_source_output(instead)


def _read_by_head(model: Any, way: Passage) -> list[Tensor]:
    """The target layer's tensor, and all others that the head reads and that depend on the picture."""
    varying = depending_on(model.get_ordered_ops(), [parameter.output(0) for parameter in model.get_parameters()])
    found = {key(way.target): way.target}
    for node in way.nodes:
        for value in node.input_values():
            if key(value) in varying and key(value) not in way.inside:
                found.setdefault(key(value), value)
    return list(found.values())
