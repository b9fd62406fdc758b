"""What nodes and tensors of an OpenVINO network are, and which depend on which. A tensor is an output of a node."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Node and output: OpenVINO's wrappers are made again at every access, and friendly names are not unique.
Key = tuple[int, int]
# Operations that give the numbers of their input in the same order.
SAME_NUMBERS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Convert", "Identity"})
FLOAT = ("f32", "f16", "f64", "bf16")


def key(tensor: Any) -> Key:
    """Give a key that identifies a tensor."""
    return tensor.get_node().get_instance_id(), tensor.get_index()


def kind(tensor: Any) -> str:
    """Name the type of the operation that made a tensor."""
    return str(tensor.get_node().get_type_name())


def shape_of(tensor: Any) -> list[int]:
    """Give the shape of a tensor whose shape is static."""
    return [int(size) for size in tensor.get_shape()]


def is_float(tensor: Any) -> bool:
    """Whether a tensor holds floating-point numbers."""
    return tensor.get_element_type().get_type_name() in FLOAT


def constant(tensor: Any) -> NDArray[Any] | None:
    """Give the value of a constant, through conversions of its type; None of anything else."""
    node = tensor.get_node()
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return np.array(node.data) if node.get_type_name() == "Constant" else None


def whole_numbers(tensor: Any) -> list[int] | None:
    """Give the value of a constant as a list of integers; None of anything else."""
    value = constant(tensor)
    return None if value is None else [int(number) for number in value.ravel()]


def depending_on(ordered: Iterable[Any], starts: Iterable[Any]) -> set[Key]:
    """Give all tensors that are computed from some others, and these; `ordered` are the nodes of the network."""
    found = {key(start) for start in starts}
    for node in ordered:
        if any(key(source) in found for source in node.input_values()):
            found |= {key(output) for output in node.outputs()}
    return found


def leading_to(tensor: Any) -> set[Key]:
    """Give all tensors that a tensor is computed from, and itself."""
    found: set[Key] = set()
    waiting = [tensor]
    while waiting:
        current = waiting.pop()
        if key(current) not in found:
            found.add(key(current))
            waiting.extend(current.get_node().input_values())
    return found


def fold_constants(model: Any) -> None:
    """Replace everything that depends on constants alone, such as shapes, by its value."""
    from openvino.passes import ConstantFolding, Manager

    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(model)
