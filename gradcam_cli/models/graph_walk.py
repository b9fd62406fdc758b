"""Walk a traced graph from the image: which tensors are maps of the image, and where their cells lie."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gradcam_cli.models.placement import Placement, picture_place, size_of, unknown
from gradcam_cli.models.sliding import lost
from gradcam_cli.models.static_values import StaticValues

# The results of these operations depend only on the shapes of their inputs.
SHAPES = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})
CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
CONDITIONS = frozenset({"If", "StatelessIf"})
# A tensor filled with a constant passes through these operations before it is joined to the image.
SAME_SIZES = frozenset({"Mul", "Cast", "Identity", "ZerosLike", "OnesLike"})
# These operations move cells in ways that are not followed here.
WARPS = frozenset({"CropAndResize", "ImageProjectiveTransformV2", "ImageProjectiveTransformV3", "ExtractGlimpse"})

Handler = Callable[["GraphWalk", Any, int], Placement | None]


class GraphWalk:
    """Places of the tensors of one graph. A tensor that is not computed from the image has no place.

    `attentions` are the operations that multiply attention weights by the values of the image's tokens (inputs:
    weights, values). `mixtures` are the operations that add to the image's tokens values computed from all tokens.
    """

    def __init__(self, picture: Any, handlers: Mapping[str, Handler], *, channels_first: bool) -> None:
        """Start at the image, (N, H, W, channels) or (N, channels, H, W). `handlers` maps operation types to rules."""
        self._handlers = handlers
        self.attentions: list[Any] = []
        self.mixtures: list[Any] = []
        self._outer: dict[Any, Any] = {}
        self.values = StaticValues(self._outer, self.sizes)
        self._known: dict[Any, Placement | None] = {picture.ref(): _picture(picture.shape.as_list(), channels_first)}

    def of(self, tensor: Any) -> Placement | None:
        """Give the place of a tensor; None if it is not computed from the image."""
        waiting = [tensor]
        while waiting:
            current = waiting[-1]
            if current.ref() in self._known:
                waiting.pop()
                continue
            missing = [each for each in self._sources(current) if each.ref() not in self._known]
            if missing:
                waiting.extend(missing)
            else:
                self._known[current.ref()] = self._placed(current)
        return self._known[tensor.ref()]

    def sizes(self, tensor: Any) -> list[int] | None:
        """Give the sizes of a tensor, or None if they are unknown. A batch of unknown size counts as one image."""
        place = self.of(tensor)
        if place is not None:
            return [size_of(axis) for axis in place.axes]
        if tensor.ref() in self._outer:
            return self.sizes(self._outer[tensor.ref()])
        if tensor.shape.rank is not None and None not in tensor.shape[1:]:
            return [size or 1 for size in tensor.shape.as_list()]
        if tensor.op.type == "Fill":
            return self.values.integers(tensor.op.inputs[0])
        if tensor.op.type in SAME_SIZES and tensor.op.inputs:
            found = [self.sizes(each) for each in tensor.op.inputs]
            return max((sizes for sizes in found if sizes is not None), key=len, default=None)
        return None

    def inputs(self, op: Any) -> list[Placement]:
        """Give the places of those inputs of an operation that have one."""
        return [place for place in map(self.place, op.inputs) if place is not None]

    def place(self, tensor: Any) -> Placement | None:
        """Give a place that is already known."""
        return self._known[tensor.ref()]

    def _sources(self, tensor: Any) -> list[Any]:
        if tensor.ref() in self._outer:
            return [self._outer[tensor.ref()]]
        op = tensor.op
        if op.type in SHAPES:
            return []
        inner = self._inner_result(tensor)
        return list(op.inputs) if inner is None else [inner]

    def _placed(self, tensor: Any) -> Placement | None:
        if tensor.ref() in self._outer:
            return self.place(self._outer[tensor.ref()])
        op = tensor.op
        if op.type in SHAPES:
            return None
        inner = self._inner_result(tensor)
        if inner is not None:
            return self.place(inner)
        if not self.inputs(op):
            return None
        handler = self._handlers.get(op.type)
        place = handler(self, op, tensor.value_index) if handler else None
        return self.unfollowed(tensor) if place is None else place

    def unfollowed(self, tensor: Any) -> Placement:
        """Place the result of an unknown operation: if an input has the same sizes, its axes are kept."""
        places = self.inputs(tensor.op)
        altered = tensor.op.type in WARPS or any(place.altered for place in places)
        sizes = [size or 1 for size in tensor.shape.as_list()] if tensor.shape.rank is not None else []
        same = next((place for place in places if [size_of(a) for a in place.axes[1:]] == sizes[1:]), None)
        if same is not None and sizes:
            return replace(lost(same), altered=altered)
        return Placement(tuple(unknown(size) for size in sizes), None, None, altered=True)

    def _inner_result(self, tensor: Any) -> Any:
        """Give the output tensor inside a called function, and record the arguments of the call."""
        op = tensor.op
        graph = self._called(op)
        if graph is None:
            return None
        given = list(op.inputs)[1:] if op.type in CONDITIONS else list(op.inputs)
        if len(graph.inputs) != len(given) or tensor.value_index >= len(graph.outputs):
            return None
        for argument, value in zip(graph.inputs, given, strict=True):
            self._outer[argument.ref()] = value
        return graph.outputs[tensor.value_index]

    def _called(self, op: Any) -> Any:
        if op.type in CALLS:
            return _function_graph(op, op.get_attr("f"))
        if op.type in CONDITIONS:
            chosen = self.values.of(op.inputs[0])
            if chosen is not None:
                return _function_graph(op, op.get_attr("then_branch" if bool(np.all(chosen)) else "else_branch"))
        return None


def _function_graph(op: Any, attribute: Any) -> Any:
    name = attribute.name if hasattr(attribute, "name") else attribute
    if isinstance(name, bytes):
        name = name.decode()
    # There is no public way from a call to the graph of the called function.
    function = op.graph._get_function(name)  # noqa: SLF001 - see above
    return getattr(function, "graph", None)


def _picture(shape: list[int | None], channels_first: bool) -> Placement:
    batch, *sizes = shape
    channels, height, width = sizes if channels_first else (sizes[2], sizes[0], sizes[1])
    return picture_place(batch or 1, height or 1, width or 1, channels or 1, channels_first=channels_first)
