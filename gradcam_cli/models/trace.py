"""Run a Keras model once, symbolically, and write down every layer's call.

One trick serves every kind of model (functional, nested, Sequential, subclassed, shared layers): while a graph is being
traced, each layer carries an instance-level `call` that notes what went in and came out, and is taken off again.
Afterwards the graph itself answers the questions: what leads to the logits, what the softmax was given, what the
gradient with respect to any layer's output is. The model is never changed, never rebuilt and never split.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from gradcam_cli.errors import ModelError
from gradcam_cli.network import HeadKind

# Graph operations that hand a tensor on as it is, in another shape or another float format.
PASSING = frozenset({"Identity", "IdentityN", "StopGradient", "Reshape", "Squeeze", "Cast", "CheckNumerics"})
# Sub-layers of these work on (queries, heads): four axes, none of them a picture.
ATTENTION = ("MultiHeadAttention", "GroupQueryAttention")


@dataclass(frozen=True, eq=False)
class Call:
    """One call of one layer: `index` counts the calls of the same layer from 0."""

    path: str
    layer: Any
    index: int
    inputs: tuple[Any, ...]
    output: Any


@dataclass(frozen=True, eq=False)
class Trace:
    """One symbolic run: all calls in the order in which they ended, the logits, and what follows them."""

    calls: list[Call]
    output: Any
    logits: Any
    kind: HeadKind
    leading: frozenset[Any] = field(repr=False)

    def leads_to_logits(self, tensor: Any) -> bool:
        """Whether the logits are computed from this tensor."""
        return tensor.ref() in self.leading


Substitute = Callable[[str, int, Any], Any]


def trace(model: keras.Model, inputs: Any, substitute: Substitute | None = None) -> Trace:
    """Run the model on a graph tensor, inside a function that is being traced.

    Args:
        model: any Keras classifier of one input and one output.
        inputs: (N, H, W, channels) symbolic tensor.
        substitute: given a layer's path, the index of its call and its output, gives what the layer is to hand on
            instead.

    Raises:
        ModelError: the model's output is not one score for each class.
    """
    with _recorded(model, substitute or (lambda _path, _index, output: output)) as calls:
        output = model(_as_declared(model, inputs), training=False)
    if not tf.is_tensor(output):
        raise ModelError(f"{model.name}: the model has several outputs; only one can be explained.")
    logits, kind = _logits(output)
    classes = _class_count(model, output)
    return Trace(calls, output, tf.reshape(logits, (-1, classes)), kind, _ancestors(logits))


def _as_declared(model: keras.Model, inputs: Any) -> Any:
    """Hand the picture over the way a functional model declared it: bare, in a list, or in a dict."""
    if not hasattr(model, "operations"):
        return inputs
    return keras.tree.pack_sequence_as(model.input, [inputs])


@contextmanager
def _recorded(model: keras.Model, substitute: Substitute) -> Iterator[list[Call]]:
    calls: list[Call] = []
    counts: dict[str, int] = {}
    hooked: list[tuple[Any, Any]] = []

    def hook(path: str, layer: Any) -> None:
        original = layer.call

        def call(*args: Any, **kwargs: Any) -> Any:
            output = original(*args, **kwargs)
            if not tf.is_tensor(output):
                return output
            index = counts.get(path, 0)
            counts[path] = index + 1
            output = substitute(path, index, output)
            inputs = tuple(t for t in tf.nest.flatten((args, kwargs)) if tf.is_tensor(t))
            calls.append(Call(path, layer, index, inputs, output))
            return output

        hooked.append((layer, layer.__dict__.get("call")))
        # Past Keras's own __setattr__, which would try to track what it is given.
        object.__setattr__(layer, "call", call)

    try:
        for path, layer in layer_paths(model):
            hook(path, layer)
        yield calls
    finally:
        for layer, own in reversed(hooked):
            if own is None:
                object.__delattr__(layer, "call")
            else:
                object.__setattr__(layer, "call", own)


def layer_paths(model: keras.Model) -> Iterator[tuple[str, Any]]:
    """Walk all layers and operations inside a model, each once, with paths such as `backbone/conv5_block3_out`."""
    seen: set[int] = set()

    def walk(parent: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for child in _children(parent):
            if id(child) in seen or isinstance(child, keras.layers.InputLayer):
                continue
            seen.add(id(child))
            path = f"{prefix}{child.name}"
            yield path, child
            if type(child).__name__ not in ATTENTION:
                yield from walk(child, f"{path}/")

    yield from walk(model, "")


def _children(parent: Any) -> list[Any]:
    # A functional model lists bare operations (ops.relu(x)) beside its layers; everything else has only layers.
    # A Sequential keeps a functional model inside, whose layers are its own.
    if not isinstance(parent, keras.Layer):
        return []
    if isinstance(parent, keras.Sequential):
        return list(parent.layers)
    operations = getattr(parent, "operations", None)
    return list(operations or parent._flatten_layers(include_self=False, recursive=False))  # noqa: SLF001 - there is no public walk


def _logits(output: Any) -> tuple[Any, HeadKind]:
    """Step back from the output over the softmax or sigmoid, if there is one, to what it was given."""
    tensor = output
    while tensor.op.type in PASSING:
        tensor = tensor.op.inputs[0]
    if tensor.op.type == "Softmax":
        return tensor.op.inputs[0], "softmax"
    if tensor.op.type == "Sigmoid":
        return tensor.op.inputs[0], "binary" if output.shape[-1] == 1 else "sigmoid"
    return output, "binary" if output.shape[-1] == 1 else "linear"


def _class_count(model: keras.Model, output: Any) -> int:
    sizes = output.shape[1:].as_list()
    if not sizes or any(size is None for size in sizes) or any(size != 1 for size in sizes[:-1]):
        shape = tuple(output.shape.as_list())
        raise ModelError(f"{model.name}: its output has shape {shape}, not one score for each class.")
    return int(sizes[-1])


def _ancestors(tensor: Any) -> frozenset[Any]:
    """All tensors of the graph that this one is computed from, itself included."""
    found: set[Any] = set()
    waiting = [tensor]
    while waiting:
        current = waiting.pop()
        if current.ref() not in found:
            found.add(current.ref())
            waiting.extend(current.op.inputs)
    return frozenset(found)


def passed_on(tensor: Any) -> list[Any]:
    """The tensor and those it was before it was merely reshaped, cast or handed on, newest first."""
    chain = [tensor]
    while chain[-1].op.type in PASSING:
        chain.append(chain[-1].op.inputs[0])
    return chain
