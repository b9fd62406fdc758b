"""Calls between layers: from the lists of Keras 2, `[name, call, output, arguments]`, to the notation of Keras 3."""

from collections.abc import Callable, Iterator
from typing import Any

Node = dict[str, Any]
Tensor = Callable[[str, int, int], Node]

# Used instead of a layer's name if the first argument of a TensorFlow call is a number.
CONSTANT = "_CONSTANT_VALUE"
REFERENCE_LENGTH = 3


def is_reference(value: Any) -> bool:
    """Whether a value is `[layer name, call, output]`."""
    return (
        isinstance(value, list)
        and len(value) == REFERENCE_LENGTH
        and isinstance(value[0], str)
        and all(isinstance(index, int) for index in value[1:])
    )


def is_source(value: Any) -> bool:
    """Whether a value is a reference, or a reference followed by the other arguments of the call."""
    if not isinstance(value, list) or not value or not isinstance(value[0], str):
        return False
    if value[0] == CONSTANT:
        return len(value) >= REFERENCE_LENGTH
    return is_reference(value[:REFERENCE_LENGTH]) and len(value) <= REFERENCE_LENGTH + 1


def calls(layer: Node) -> list[Any]:
    """Give the calls of one layer of a functional config."""
    found = layer.get("inbound_nodes")
    return found if isinstance(found, list) else []


def call_inputs(call: Any) -> tuple[Any, Node]:
    """Split one call into the sources of its first argument, in their structure, and the other arguments."""
    arguments: Node = {}

    def without_arguments(value: Any) -> Any:
        if is_source(value):
            if len(value) > REFERENCE_LENGTH and isinstance(value[-1], dict):
                arguments.update(value[-1])
            return value[:REFERENCE_LENGTH]
        if isinstance(value, list):
            return [without_arguments(item) for item in value]
        if isinstance(value, dict):
            return {key: without_arguments(item) for key, item in value.items()}
        return value

    first = without_arguments(call)
    if isinstance(first, list) and len(first) == 1 and not is_source(first):
        first = first[0]
    return first, arguments


def references(call: Any) -> Iterator[list[Any]]:
    """Give all references to outputs of layers in one call."""
    if is_source(call) and call[0] != CONSTANT:
        yield call
        rest = call[REFERENCE_LENGTH:]
    else:
        rest = call
    values = rest.values() if isinstance(rest, dict) else rest if isinstance(rest, list) else ()
    for value in values:
        yield from references(value)


def revived(value: Any, tensor: Tensor) -> Any:
    """Replace each reference by its tensor in the notation of Keras 3, and each constant by its number."""
    if isinstance(value, list) and value and value[0] == CONSTANT:
        return value[2]
    if is_reference(value):
        return tensor(*value)
    if isinstance(value, list):
        return [revived(item, tensor) for item in value]
    if isinstance(value, dict):
        return {key: revived(item, tensor) for key, item in value.items()}
    return value


def keras_tensor(name: str, call: int, output: int) -> Node:
    """Give a tensor in the notation of Keras 3. Keras reads only the history; the shape is a placeholder."""
    history = [name, call, output]
    return {"class_name": "__keras_tensor__", "config": {"shape": [None], "dtype": "float32", "keras_history": history}}
