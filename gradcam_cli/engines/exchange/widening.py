"""Convert a network in float16, bfloat16 or float64 to float32, because gradients are built only in float32.

Weights in float16 and bfloat16 keep their values. On a CPU, float32 is as fast as float16, and its sums are exact
enough for maps.
"""

from typing import Any

import numpy as np

from gradcam_cli.engines.graph import is_float
from gradcam_cli.engines.runtime import openvino

OTHER = frozenset({"f16", "bf16", "f64"})
# The attributes with the type of an operation's output.
TYPES = ("destination_type", "output_type", "element_type")


def widened(model: Any) -> Any:
    """Convert a network to float32, in place. A network that only stores its weights in another type is not changed.

    Raises:
        RuntimeError: an operation does not accept float32.
    """
    nodes = model.get_ordered_ops()
    if not any(_is_other(output) for node in nodes if node.get_type_name() != "Constant" for output in node.outputs()):
        return model
    for node in nodes:
        _widen(node)
    model.validate_nodes_and_infer_types()
    return model


def _is_other(tensor: Any) -> bool:
    return tensor.get_element_type().get_type_name() in OTHER


def _widen(node: Any) -> None:
    kind = node.get_type_name()
    if kind == "Constant":
        if _is_other(node.output(0)):
            wide = openvino.opset15.constant(node.get_data(dtype=np.float32))
            wide.set_friendly_name(node.get_friendly_name())
            for reader in list(node.output(0).get_target_inputs()):
                reader.replace_source_output(wide.output(0))
    elif kind == "Parameter":
        if _is_other(node.output(0)):
            node.set_element_type(openvino.Type.f32)
    elif kind == "ConvertLike" and all(is_float(value) for value in node.input_values()):
        for reader in list(node.output(0).get_target_inputs()):
            reader.replace_source_output(node.input_value(0))
    else:
        attributes = node.get_attributes()
        for name in TYPES:
            if attributes.get(name) in OTHER:
                node.set_attribute(name, "f32")
