"""Walk a model's config layer by layer, as Keras builds it, and record each layer's weights and output shapes."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from gradcam_cli.models.safety.graph import Source, calls_of, layer_name, references
from gradcam_cli.models.safety.operations import OPERATIONS
from gradcam_cli.models.safety.rules import RULES
from gradcam_cli.models.safety.shapes import RULE_ERRORS, Dims, Node, Shape, Sizes, dims_of, numbers

# The side of an open input size, if `input_size` is not given.
OPEN_SIDE = 224
PICTURE_RANK = 3
MAX_STEPS = 50_000
MAX_NESTING = 40
BATCHED, UNBATCHED = ("batch_shape", "batch_input_shape"), ("shape", "input_shape")
OPERATION_MODULES = ("keras.ops", "keras.src.ops")


class WalkError(ValueError):
    """A config that Keras could not build, or that has more steps or deeper nesting than any model."""


@dataclass(frozen=True)
class Measured:
    """The largest weights and tensors that were found for one layer over all of its calls."""

    weights: tuple[Dims, ...]
    tensors: tuple[Dims, ...]


class Walk:
    """A walk through one config. `measured` has an entry for the id of the node of each layer that was reached."""

    def __init__(self) -> None:
        """Start without measurements."""
        self.measured: dict[int, Measured] = {}
        self.input_numbers = 0
        self._models: dict[tuple[int, tuple[Shape, ...]], tuple[Shape, ...]] = {}
        self._steps = 0
        self._depth = 0

    def layer(self, node: Node, inputs: tuple[Shape, ...], settings: Node | None = None) -> tuple[Shape, ...]:
        """Measure one call of a layer or of a model, and give the shapes of its outputs.

        Raises:
            WalkError: the config takes too many steps, or is nested too deeply.
        """
        self._steps += 1
        if self._steps > MAX_STEPS or self._depth > MAX_NESTING:
            raise WalkError("it has too many layers, or they are nested too deeply")
        self._depth += 1
        try:
            return self._measure(node, inputs, settings or {})
        except RULE_ERRORS as error:
            if isinstance(error, WalkError):
                raise
            return (None,)
        finally:
            self._depth -= 1

    def _measure(self, node: Node, inputs: tuple[Shape, ...], settings: Node) -> tuple[Shape, ...]:
        kind, config = kind_of(node), node.get("config")
        if is_model(node):
            called = id(node), inputs
            if called not in self._models:
                self._models[called] = self._model(node, inputs)
            return self._models[called]
        if not isinstance(config, dict):
            return (None,)
        if not inputs and (own := own_shape(config)) is not None:
            inputs = (own,)
        if kind == "InputLayer":
            self._note(node, Sizes(outputs=inputs))
            return inputs
        known = tuple(dims for dims in inputs if dims is not None)
        if len(known) != len(inputs) or not known:
            return (None,)
        if kind in WRAPPERS:
            return WRAPPERS[kind](self, config, known)
        if str(node.get("module")).startswith(OPERATION_MODULES):
            shape = OPERATIONS[kind]({**settings, **config}, known)
            sizes = Sizes(outputs=(shape,))
        else:
            sizes = RULES[kind](config, known)
        self._note(node, sizes)
        return sizes.outputs

    def _note(self, node: Node, sizes: Sizes) -> None:
        before = self.measured.get(id(node), Measured((), ()))
        tensors = (*(dims for dims in sizes.outputs if dims is not None), *sizes.scratch)
        self.measured[id(node)] = Measured(
            max(before.weights, sizes.weights, key=total), max(before.tensors, tensors, key=total)
        )

    def _model(self, node: Node, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        config = node["config"]
        layers = [layer for layer in layers_of(config) if isinstance(layer, dict)]
        if isinstance(config, dict) and "input_layers" in config:
            return self._functional(config, layers, inputs)
        own = sequential_input(node, layers)
        if own and inputs and own != inputs:
            # Keras builds the model for its own declared input, and calls it with the actual input.
            self._sequential(layers, own)
        return self._sequential(layers, inputs or own)

    def _sequential(self, layers: list[Node], inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        shapes = inputs
        for number, layer in enumerate(layers):
            is_input = kind_of(layer) == "InputLayer"
            shapes = self._input(layer, shapes) if is_input else self.layer(layer, shapes)
            if number == 0:
                self._count_input(shapes if is_input else inputs)
        return shapes

    def _functional(self, config: Node, layers: list[Node], inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        names = Counter(layer_name(layer) for layer in layers)
        name, times = names.most_common(1)[0] if names else ("", 0)
        if times > 1:
            raise WalkError(f"{times} of its layers have the name '{name}'")
        given = {source.layer: shape for source, shape in zip(references(config["input_layers"]), inputs, strict=False)}
        made: dict[tuple[str, int], tuple[Shape, ...]] = {}
        for call in calls_of(layers):
            if kind_of(call.node) == "InputLayer":
                shapes = self._input(call.node, (given[call.name],) if call.name in given else ())
                self._count_input(shapes)
            else:
                shapes = self.layer(call.node, tuple(_found(made, source) for source in call.sources), call.settings)
            made[call.name, call.index] = shapes
        return tuple(_found(made, source) for source in references(config.get("output_layers")))

    def _input(self, node: Node, given: tuple[Shape, ...]) -> tuple[Shape, ...]:
        """Give the shapes of an input. Its open sizes are those of the tensor that the model is called with."""
        declared = declared_shape(node.get("config") or {})
        outer = given[0] if given else None
        if declared is None:
            shapes: tuple[Shape, ...] = (outer,)
        elif outer is not None and len(outer) == len(declared):
            shapes = (tuple(actual if side is None else side for side, actual in zip(declared, outer, strict=True)),)
        else:
            shapes = (closed(declared),)
        self._note(node, Sizes(outputs=shapes))
        return shapes

    def _count_input(self, shapes: tuple[Shape, ...]) -> None:
        """Record the size of the image. Inputs of nested models are ignored."""
        if self._depth == 1 or not self.input_numbers:
            self.input_numbers = max(self.input_numbers, *(numbers(dims) for dims in shapes if dims is not None), 0)


def _found(made: dict[tuple[str, int], tuple[Shape, ...]], source: Source) -> Shape:
    for call in (source.call, source.call - 1):
        outputs = made.get((source.layer, call), ())
        if 0 <= source.output < len(outputs) and outputs[source.output] is not None:
            return outputs[source.output]
    return source.stated


def total(shapes: Iterable[Dims]) -> int:
    """Count the values of several tensors."""
    return sum(numbers(dims) for dims in shapes)


def kind_of(node: Node) -> str:
    """Give the name of a node's class without its module or package."""
    return str(node.get("class_name")).rsplit(">", 1)[-1].rsplit(".", 1)[-1]


def is_model(node: Node) -> bool:
    """Whether a node is a model, which has its own layers."""
    config = node.get("config")
    if isinstance(config, dict):
        return isinstance(config.get("layers"), list)
    return isinstance(config, list) and kind_of(node) == "Sequential"


def layers_of(config: Any) -> list[Any]:
    """List the layers of a model. The config of the oldest Sequential is the list itself."""
    layers = config.get("layers") if isinstance(config, dict) else config
    return layers if isinstance(layers, list) else []


def sequential_input(node: Node, layers: list[Node]) -> tuple[Shape, ...]:
    """Find the input shape of a Sequential: in its first layer, or in the shape that it was built for.

    The input of a nested model at the beginning is read from that model.
    """
    first = layers[0].get("config") if layers else None
    if isinstance(first, dict) and (own := own_shape(first)) is not None:
        return (own,)
    for entry, key in ((node.get("config"), "build_input_shape"), (node.get("build_config"), "input_shape")):
        if isinstance(entry, dict) and isinstance(entry.get(key), list):
            return (opened(entry[key], batched=True),)
    return ()


def declared_shape(config: Node) -> tuple[int | None, ...] | None:
    """Read the input shape that a layer's config declares, without the batch, with None for open sizes."""
    for keys, batched in ((BATCHED, True), (UNBATCHED, False)):
        for key in keys:
            value = config.get(key)
            if isinstance(value, list):
                sides = value[1:] if batched else value
                dims = dims_of(value, batched=batched)
                return tuple(None if side is None else known for side, known in zip(sides, dims, strict=True))
    return None


def closed(declared: tuple[int | None, ...]) -> Dims:
    """Replace open sizes by a usual size for images, and by 1 for other inputs."""
    side = OPEN_SIDE if len(declared) == PICTURE_RANK else 1
    return tuple(side if known is None else known for known in declared)


def own_shape(config: Node) -> Dims | None:
    """Read the input shape that a layer's config declares, with usual sizes for open ones."""
    declared = declared_shape(config)
    return None if declared is None else closed(declared)


def opened(value: Any, *, batched: bool) -> Dims:
    """Read a shape of `build_config`.

    Raises:
        ValueError: it is not a shape.
    """
    rank = len(value) - (1 if batched else 0) if isinstance(value, list) else 0
    return dims_of(value, batched=batched, open_side=OPEN_SIDE if rank == PICTURE_RANK else 1)


def _each_step(walk: Walk, config: Node, inputs: tuple[Dims, ...]) -> tuple[Shape, ...]:
    """TimeDistributed: the inner layer gets one step at a time."""
    outputs = walk.layer(config["layer"], (inputs[0][1:],))
    return tuple(None if dims is None else (inputs[0][0], *dims) for dims in outputs)


def _both_ways(walk: Walk, config: Node, inputs: tuple[Dims, ...]) -> tuple[Shape, ...]:
    """Bidirectional: the layer twice, or the layer and its backward layer if there is one."""
    (output, *more) = walk.layer(config["layer"], inputs[:1])
    backward = config.get("backward_layer")
    if isinstance(backward, dict):
        walk.layer(backward, inputs[:1])
    merged = output
    if output is not None and config.get("merge_mode") == "concat":
        merged = (*output[:-1], 2 * output[-1])
    return (merged, *more, *more)


def _inside(walk: Walk, config: Node, inputs: tuple[Dims, ...]) -> tuple[Shape, ...]:
    """A wrapper that does not change shapes."""
    return walk.layer(config["layer"], inputs)


def _recurrent(walk: Walk, config: Node, inputs: tuple[Dims, ...]) -> tuple[Shape, ...]:
    """RNN: its cell gets one step, and gives the output and its states."""
    output, *states = walk.layer(config["cell"], (inputs[0][1:],))
    sequence = None if output is None else (inputs[0][0], *output)
    return (sequence if config.get("return_sequences") else output, *(states if config.get("return_state") else ()))


def _stacked(walk: Walk, config: Node, inputs: tuple[Dims, ...]) -> tuple[Shape, ...]:
    """StackedRNNCells: each cell gets the output of the cell before."""
    output: Shape = inputs[0]
    for cell in config["cells"]:
        output = walk.layer(cell, (output,))[0]
    return (output,)


WRAPPERS: Final[dict[str, Callable[[Walk, Node, tuple[Dims, ...]], tuple[Shape, ...]]]] = {
    "TimeDistributed": _each_step,
    "Bidirectional": _both_ways,
    "SpectralNormalization": _inside,
    "Wrapper": _inside,
    "RNN": _recurrent,
    "StackedRNNCells": _stacked,
}
