"""Split a network at its target layer, so that its head can be run alone on stored tensors.

The outputs of the front are the target layer's tensor and all other tensors that the head reads, for example those of a
skip connection around the layer. The head has inputs in the same order.
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
    """Give the network up to the target layer. The batch size of `model` is fixed in place.

    Returns:
        An `openvino.Model` whose outputs are the tensors that the head reads, with the target layer's tensor first.

    Raises:
        NoRuleError: the logits do not depend on the output `activations`.
    """
    way = passage(fixed(model, batch))
    return openvino.Model(_read_by_head(model, way), model.get_parameters())


def gradient_head(model: Any, batch: int, kind: HeadKind, score: Score = "logit") -> Any:
    """Give the head with the gradient of the score of one class for each image.

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
    """Give the head with a change that is added to the target layer's activations.

    Returns:
        An `openvino.Model` whose inputs are the tensors of `front_of` and the change (N, h, w, K), and whose output is
        the logits (N, C).

    Raises:
        NoRuleError: the logits do not depend on the output `activations`.
    """
    way, given = _detached(fixed(model, batch))
    change = op.parameter(shape_of(way.activations), np.float32, "change")
    moved = add(way.target, way.laid_back(output(change)))
    _read_instead(way.nodes, way.target, moved)
    return openvino.Model([both_sides(way.logits, kind)], [*given, change])


def _detached(model: Any) -> tuple[Passage, list[Node]]:
    """Replace all tensors that the head reads by inputs; give the passage of the head, and these inputs."""
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
    """Replace an input tensor of nodes by another tensor."""
    own = key(tensor)
    for node in nodes:
        for place in node.inputs():
            if key(place.get_source_output()) == own:
                place.replace_source_output(instead)


def _read_by_head(model: Any, way: Passage) -> list[Tensor]:
    """Give the target layer's tensor, and all other tensors that the head reads and that depend on the image."""
    varying = depending_on(model.get_ordered_ops(), [parameter.output(0) for parameter in model.get_parameters()])
    found = {key(way.target): way.target}
    for node in way.nodes:
        for value in node.input_values():
            if key(value) in varying and key(value) not in way.inside:
                found.setdefault(key(value), value)
    return list(found.values())
