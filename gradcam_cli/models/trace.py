"""Run a Keras model once, symbolically, and record every call of a layer.

The same method works for every kind of model (functional, nested, Sequential, subclassed, shared layers). While a graph
is traced, each layer has an instance-level `call` that records inputs and outputs. It is removed afterwards. The graph
then shows which tensors the logits depend on, the input of the softmax, and the gradient with respect to any layer's
output. The model is not rebuilt or split, and it is the same after the trace.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from gradcam_cli.errors import ModelError
from gradcam_cli.models.axes import channels_first_outputs, input_is_channels_first
from gradcam_cli.models.cpu_convolutions import channels_last_convolutions
from gradcam_cli.models.geometry_walk import walk_graph
from gradcam_cli.models.graph import ancestors, size_of_one
from gradcam_cli.models.graph_walk import GraphWalk
from gradcam_cli.models.layer_paths import layer_paths
from gradcam_cli.models.output_kind import Output, OutputHints, read_output
from gradcam_cli.models.placement import Placement

# The methods of a layer that Keras calls: the second one if its weights are quantised.
ENTRIES = ("call", "quantized_call")


@dataclass(frozen=True, eq=False)
class Call:
    """One call of one layer: `order` in the network, and `index` among the calls of the same layer, from 0."""

    path: str
    layer: Any
    order: int
    index: int
    inputs: tuple[Any, ...]
    output: Any


@dataclass(frozen=True, eq=False)
class Trace:
    """One symbolic run: all calls in the order in which they ended, the logits, and how the output was read."""

    calls: list[Call]
    output: Any
    logits: Any
    read: Output
    channels_first: frozenset[Any] = field(repr=False)
    leading: frozenset[Any] = field(repr=False)
    walk: GraphWalk = field(repr=False)
    picture_name: str = ""

    def place(self, tensor: Any) -> Placement | None:
        """Give the position of a tensor's cells in the image; None if the tensor is not computed from the image."""
        return self.walk.of(tensor)

    def is_channels_first(self, tensor: Any) -> bool:
        """Whether this output of a layer is (N, channels, height, width)."""
        return tensor.ref() in self.channels_first

    def leads_to_logits(self, tensor: Any) -> bool:
        """Whether the logits are computed from this tensor."""
        return tensor.ref() in self.leading

    def sees_picture(self, tensor: Any) -> bool:
        """Whether this tensor is computed from the explained image, and not only from other inputs."""
        return self.place(tensor) is not None


@dataclass(frozen=True, eq=False)
class Feed:
    """The inputs of a network with several inputs: `tensors` in the network's order, one of which is the `picture`.

    `name` is the name of the image's input.
    """

    tensors: tuple[Any, ...]
    picture: Any
    name: str


Substitute = Callable[[str, int, Any], Any]


def trace(
    model: keras.Model,
    inputs: Any,
    output_name: str | None = None,
    substitute: Substitute | None = None,
    hints: OutputHints | None = None,
) -> Trace:
    """Run the model on a graph tensor, inside a function that is being traced.

    Args:
        model: any Keras classifier.
        inputs: (N, H, W, channels) symbolic tensor, or (N, channels, H, W) for a channels-first model; or a `Feed`.
        output_name: the output to explain, if there are several.
        substitute: takes a layer's path, the index of its call and its output, and gives the output that replaces it.
        hints: what is known about the output apart from the graph.

    Raises:
        ModelError: the model's output is not one score for each class.
    """
    feed = inputs if isinstance(inputs, Feed) else Feed((inputs,), inputs, "")
    recorded = _recorded(model, substitute or (lambda _path, _index, output: output))
    with channels_last_convolutions(model), recorded as calls:
        output = _one_output(model, model(as_declared(model, feed.tensors), training=False), output_name)
    classes = _class_count(model, output)
    read = read_output(output, classes, hints or OutputHints())
    # A single output may have been read as two classes.
    logits = tf.reshape(read.scores, (-1, size_of_one(read.scores) or classes))
    input_first = is_channels_first(model)
    first = channels_first_outputs(calls, input_first=input_first)
    walk = walk_graph(feed.picture, channels_first=input_first)
    return Trace(calls, output, logits, read, first, ancestors(logits), walk, feed.name)


def is_channels_first(model: keras.Model) -> bool:
    """Whether the input images of the model are (N, channels, H, W)."""
    inputs = getattr(model, "inputs", None) or []
    shape = tuple(inputs[0].shape) if len(inputs) == 1 else None
    return input_is_channels_first(shape, (layer for _, layer in layer_paths(model)))


def _one_output(model: keras.Model, outputs: Any, wanted: str | None) -> Any:
    if tf.is_tensor(outputs) and wanted is None:
        return outputs
    tensors = keras.tree.flatten(outputs)
    names = list(outputs) if isinstance(outputs, dict) else list(getattr(model, "output_names", None) or [])
    if len(names) != len(tensors):
        names = [str(i) for i in range(len(tensors))]
    listed = ", ".join(names)
    if wanted is None and len(tensors) != 1:
        raise ModelError(f"{model.name}: the model has {len(tensors)} outputs. Choose one with `output_name`: {listed}")
    if wanted is None:
        return tensors[0]
    if wanted not in names:
        raise ModelError(f"{model.name}: there is no output '{wanted}'. There are: {listed}")
    return tensors[names.index(wanted)]


def as_declared(model: keras.Model, tensors: Sequence[Any]) -> Any:
    """Give the inputs in the structure that a functional model declares: one tensor, a list, or a dict."""
    if not hasattr(model, "operations"):
        return tensors[0] if len(tensors) == 1 else list(tensors)
    return keras.tree.pack_sequence_as(model.input, list(tensors))


@contextmanager
def _recorded(model: keras.Model, substitute: Substitute) -> Iterator[list[Call]]:
    calls: list[Call] = []
    counts: Counter[str] = Counter()
    hooked: list[tuple[Any, str, Any]] = []

    def hook(path: str, layer: Any, entry: str) -> None:
        original = getattr(layer, entry)

        def call(*args: Any, **kwargs: Any) -> Any:
            output = original(*args, **kwargs)
            if not tf.is_tensor(output):
                return output
            index = counts[path]
            counts[path] += 1
            output = substitute(path, index, output)
            inputs = tuple(t for t in tf.nest.flatten((args, kwargs)) if tf.is_tensor(t))
            calls.append(Call(path, layer, len(calls), index, inputs, output))
            return output

        hooked.append((layer, entry, layer.__dict__.get(entry)))
        # This avoids __setattr__ of Keras, which would try to track the value.
        object.__setattr__(layer, entry, call)

    try:
        for path, layer in layer_paths(model):
            for entry in ENTRIES:
                if hasattr(layer, entry):
                    hook(path, layer, entry)
        yield calls
    finally:
        for layer, entry, own in reversed(hooked):
            if own is None:
                object.__delattr__(layer, entry)
            else:
                object.__setattr__(layer, entry, own)


def _class_count(model: keras.Model, output: Any) -> int:
    sizes = output.shape[1:].as_list()
    if not sizes or None in sizes or sum(size != 1 for size in sizes) > 1:
        shape = tuple(output.shape.as_list())
        raise ModelError(f"{model.name}: its output has shape {shape}, not one score for each class.")
    return math.prod(sizes)
