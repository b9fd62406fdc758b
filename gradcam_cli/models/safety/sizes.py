"""Compare the sizes that a config makes Keras allocate with the stored sizes, layer by layer.

Keras builds a model before it reads a weight. In a valid file, every tensor that Keras builds is stored.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradcam_cli.errors import ModelError
from gradcam_cli.models.safety.attention import metric
from gradcam_cli.models.safety.hdf5 import Stored
from gradcam_cli.models.safety.rules import RULES
from gradcam_cli.models.safety.shapes import RULE_ERRORS, Dims, Node, numbers, whole
from gradcam_cli.models.safety.walk import BATCHED, PICTURE_RANK, Walk, WalkError, is_model, kind_of, opened, total

# Keras may allocate more values than a file stores: values may be packed into 4 bits, or stored once for two layers.
MAX_RATIO = 4
FREE_NUMBERS = 10**7
# One image may grow by the factor MAX_GROWTH in one layer. FREE_ACTIVATIONS values are always allowed, and more than
# MAX_ACTIVATIONS never.
MAX_GROWTH = 512
FREE_ACTIVATIONS = 2**27
MAX_ACTIVATIONS = 2**31
MAX_INPUT_SIDE = 16_384
# If the shape of a layer's input is unknown, these settings give the size of its weights.
SIZES = frozenset(
    {"units", "filters", "output_dim", "input_dim", "intermediate_dim", "depth_multiplier", "hidden_dim", "lora_rank"}
)
WAY_OUT = "If you made the model, load it in the original program, and save it again with its weights."


def check_sizes(path: Path, config: Node, nodes: list[tuple[str, Node]], stored: Stored) -> None:
    """Refuse a config that needs weights which are not stored, or too many values for one image.

    Args:
        path: the model's file, for messages.
        config: the config of the model.
        nodes: all objects in the config, each with the name of its layer.
        stored: the tensors of the file.

    Raises:
        ModelError: the config is refused. The message has the file and the layer.
    """
    for layer, node in nodes:
        _check_input(path, layer, node)
    walk = Walk()
    try:
        walk.layer(config, ())
    except WalkError as error:
        raise ModelError(f"{path}: {error}. Refused. {WAY_OUT}") from error
    _check_weights(path, nodes, walk, stored)
    _check_activations(path, nodes, walk)


def _check_input(path: Path, layer: str, node: Node) -> None:
    """Refuse image inputs that are too large. The size of a batch and the length of a vector are not limited."""
    for key in BATCHED:
        shape = node.get(key)
        if (
            isinstance(shape, list)
            and len(shape) > PICTURE_RANK
            and max(_counts(shape[1:]), default=0) > MAX_INPUT_SIDE
        ):
            raise ModelError(f"{path}: {layer} declares an input of {shape}. Refused.")


def _check_weights(path: Path, nodes: list[tuple[str, Node]], walk: Walk, stored: Stored) -> None:
    entries = [(layer, node) for layer, node in nodes if "class_name" in node and isinstance(node.get("config"), dict)]
    unreached = [node["config"] for _, node in entries if id(node) not in walk.measured]
    widest = max((size for config in unreached for size in _sizes(config)), default=stored.largest)
    batch = max((size for _, node in nodes for size in _batches(node)), default=1)
    asked, most, at_fault = 0, 0, ""
    for layer, node in entries:
        tensors = _weights(node, walk, stored, widest, batch)
        if not tensors:
            continue
        largest = max(tensors, key=numbers)
        if numbers(largest) > MAX_RATIO * stored.largest_tensor + FREE_NUMBERS:
            raise ModelError(
                f"{path}: {layer} declares {numbers(largest):,} weights ({_text(largest)}), but the largest stored "
                f"tensor has {stored.largest_tensor:,}. Refused. {WAY_OUT}"
            )
        amount = total(tensors)
        asked += amount
        if amount > most:
            most, at_fault = amount, layer
    if asked > MAX_RATIO * stored.total + FREE_NUMBERS:
        raise ModelError(
            f"{path}: its layers declare {asked:,} weights, most of them {at_fault} ({most:,}), but the file stores "
            f"{stored.total:,}. Refused. {WAY_OUT}"
        )


def _weights(node: Node, walk: Walk, stored: Stored, widest: int, batch: int) -> tuple[Dims, ...]:
    """Give what Keras allocates for one node, by the shapes of its inputs, or by the shapes that it was built for."""
    config = node["config"]
    if is_model(node):
        return ()
    measured = walk.measured.get(id(node))
    inferred = measured.weights if measured else ()
    built = _built(node, config)
    found = max(inferred, built or (), key=total)
    if measured is None and built is None:
        found = _guessed(config, stored, widest)
    return (*found, *_at_once(node, config, batch))


def _built(node: Node, config: Node) -> tuple[Dims, ...] | None:
    """Give the weights by `build_config`, with which Keras builds a layer before its call; None if there is none."""
    entry = node.get("build_config")
    if not isinstance(entry, dict):
        return None
    shapes = entry.get("shapes_dict")
    values = list(shapes.values()) if isinstance(shapes, dict) else [entry.get("input_shape")]
    if values and isinstance(values[0], list) and values[0] and isinstance(values[0][0], list):
        values = values[0]
    try:
        inputs = tuple(opened(value, batched=True) for value in values if value is not None)
        return RULES[kind_of(node)](config, inputs).weights
    except RULE_ERRORS:
        return None


def _guessed(config: Node, stored: Stored, widest: int) -> tuple[Dims, ...]:
    """Estimate the weights of a layer with an unknown input: a stored tensor with its size, or the largest case."""
    size = max(_sizes(config), default=0)
    if not size:
        return ()
    fitting = max((numbers(dims) for dims in stored.shapes if size in dims), default=0)
    kernel = numbers(tuple(_counts(config.get("kernel_size"))))
    return ((fitting,),) if fitting else ((size, max(1, kernel), widest),)


def _at_once(node: Node, config: Node, batch: int) -> tuple[Dims, ...]:
    """Give what is allocated for any input: a metric's counts, and the states of a stateful recurrent layer."""
    try:
        counts = metric(config) if "IoU" in kind_of(node) or "num_thresholds" in config else ()
        states = ((batch, max(_sizes(config), default=1)),) if config.get("stateful") is True else ()
    except RULE_ERRORS:
        return ()
    return (*counts, *states)


def _check_activations(path: Path, nodes: list[tuple[str, Node]], walk: Walk) -> None:
    limit = min(MAX_ACTIVATIONS, max(FREE_ACTIVATIONS, MAX_GROWTH * walk.input_numbers))
    for layer, node in nodes:
        measured = walk.measured.get(id(node))
        if measured is None:
            continue
        largest = max(measured.tensors, key=numbers, default=())
        if numbers(largest) > limit:
            raise ModelError(
                f"{path}: {layer} makes {numbers(largest):,} numbers from one image ({_text(largest)}), but "
                f"the limit is {limit:,}. Refused. If you made the model, build "
                "it for smaller images."
            )


def _sizes(config: Node) -> list[int]:
    """Give the lengths of a layer's weights that its config contains."""
    heads = config.get("num_heads", config.get("num_query_heads"))
    width = config.get("key_dim", config.get("head_dim"))
    found = [value for key in SIZES & config.keys() for value in _counts(config[key])]
    return [*found, *(head * length for head in _counts(heads) for length in _counts(width))]


def _batches(node: Node) -> Iterator[int]:
    for key in BATCHED:
        shape = node.get(key)
        if isinstance(shape, list):
            yield from _counts(shape[:1])


def _counts(value: Any) -> list[int]:
    """Give the counts in a setting: one, or a list of them. Other values are ignored."""
    found = []
    for item in value if isinstance(value, list) else [value]:
        try:
            found.append(whole(item))
        except ValueError:
            continue
    return found


def _text(dims: Dims) -> str:
    return " x ".join(f"{side:,}" for side in dims)
