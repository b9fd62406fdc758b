"""Translate a TensorFlowOpLayer, in which TensorFlow 1.15 to 2.3 saved a call: a node of a graph and its constants.

The node has the name of a graph operation (RealDiv). Later versions stored the name of the function (math.truediv).
This module gives the function, its operands and its other arguments.
"""

import base64
import json
from collections.abc import Callable
from typing import Any

Node = dict[str, Any]
Options = dict[str, Any]

NAMES = {
    "Add": "math.add",
    "AddV2": "math.add",
    "BiasAdd": "nn.bias_add",
    "Sub": "math.subtract",
    "Mul": "math.multiply",
    "RealDiv": "math.truediv",
    "Div": "math.truediv",
    "Pow": "math.pow",
    "Maximum": "math.maximum",
    "Minimum": "math.minimum",
    "Neg": "math.negative",
    "Abs": "math.abs",
    "Exp": "math.exp",
    "Log": "math.log",
    "Sqrt": "math.sqrt",
    "Rsqrt": "math.rsqrt",
    "Square": "math.square",
    "Reciprocal": "math.reciprocal",
    "Tanh": "math.tanh",
    "Sigmoid": "math.sigmoid",
    "Relu": "nn.relu",
    "Relu6": "nn.relu6",
    "LeakyRelu": "nn.leaky_relu",
    "Elu": "nn.elu",
    "Selu": "nn.selu",
    "Softplus": "nn.softplus",
    "Softsign": "nn.softsign",
    "Softmax": "nn.softmax",
    "LogSoftmax": "nn.log_softmax",
    "Identity": "identity",
    "StopGradient": "stop_gradient",
    "Mean": "reduce_mean",
    "Sum": "reduce_sum",
    "Max": "reduce_max",
    "Min": "reduce_min",
    "Reshape": "reshape",
    "Transpose": "transpose",
    "ExpandDims": "expand_dims",
    "Squeeze": "squeeze",
    "ConcatV2": "concat",
    "Cast": "cast",
    "StridedSlice": "__operators__.getitem",
    "Tile": "tile",
    "Pad": "pad",
    "ReverseV2": "reverse",
    "GatherV2": "gather",
    "Pack": "stack",
    "Split": "split",
    "ResizeBilinear": "image.resize",
    "ResizeNearestNeighbor": "image.resize",
}
DTYPES = {"DT_HALF": "float16", "DT_BFLOAT16": "bfloat16", "DT_FLOAT": "float32", "DT_DOUBLE": "float64"}


def graph_call(config: Node, sources: Any, options: Options) -> tuple[str, list[Any], Options]:
    """Give the function's name, its operands in order, and its other arguments.

    Args:
        config: the config of the TensorFlowOpLayer: `node_def` and `constants`, by the number of the operand.
        sources: the input tensors of the call: one, or a list.
        options: other arguments of the call; such a layer must not have any.

    Raises:
        KeyError: the node is incomplete.
        ValueError: the operation is not supported, or Keras 3 cannot compute it.
    """
    node = config["node_def"]
    node = json.loads(node) if isinstance(node, str) else node
    operation = node["op"]
    if operation not in NAMES or options:
        raise ValueError("the operation is not supported")
    attributes = {key: _attribute(value) for key, value in node.get("attr", {}).items()}
    constants = {int(key): value for key, value in config.get("constants", {}).items()}
    tensors = iter(sources if isinstance(sources, list) and sources and isinstance(sources[0], list) else [sources])
    count = sum(not name.startswith("^") for name in node["input"])
    operands = [constants[index] if index in constants else next(tensors, None) for index in range(count)]
    arrange = ARRANGEMENTS.get(operation)
    return NAMES[operation], *(arrange(operation, operands, attributes) if arrange else (operands, {}))


def _attribute(value: Node) -> Any:
    """Read one attribute of a node, in the JSON format of protobuf."""
    empty: tuple[str, Any] = ("", None)
    kind, inner = next(iter(value.items()), empty)
    if kind == "i":
        return int(inner)
    if kind == "s":
        return base64.b64decode(inner).decode()
    if kind == "list":
        return [int(item) for item in inner.get("i", [])]
    return inner


Arranged = tuple[list[Any], Options]


def _reduce(_operation: str, operands: list[Any], attributes: Options) -> Arranged:
    return operands[:1], {"axis": operands[1], "keepdims": attributes.get("keep_dims", False)}


def _second(name: str) -> Callable[[str, list[Any], Options], Arranged]:
    return lambda _operation, operands, _attributes: (operands[:1], {name: operands[1]})


def _squeeze(_operation: str, operands: list[Any], attributes: Options) -> Arranged:
    return operands, {"axis": attributes["squeeze_dims"]} if attributes.get("squeeze_dims") else {}


def _concat(_operation: str, operands: list[Any], _attributes: Options) -> Arranged:
    return [operands[:-1]], {"axis": operands[-1]}


def _pack(_operation: str, operands: list[Any], attributes: Options) -> Arranged:
    return [operands], {"axis": attributes.get("axis", 0)}


def _split(_operation: str, operands: list[Any], attributes: Options) -> Arranged:
    axis, tensor = operands
    return [tensor], {"num_or_size_splits": attributes["num_split"], "axis": axis}


def _gather(_operation: str, operands: list[Any], attributes: Options) -> Arranged:
    if attributes.get("batch_dims"):
        raise ValueError("batch_dims")
    return operands[:1], {"indices": operands[1], "axis": operands[2]}


def _bias(_operation: str, operands: list[Any], attributes: Options) -> Arranged:
    return operands, {"data_format": attributes.get("data_format", "NHWC")}


def _cast(_operation: str, operands: list[Any], attributes: Options) -> Arranged:
    return operands, {"dtype": DTYPES.get(attributes["DstT"], attributes["DstT"])}


def _leaky(_operation: str, operands: list[Any], attributes: Options) -> Arranged:
    return operands, {"alpha": attributes["alpha"]} if "alpha" in attributes else {}


def _resize(operation: str, operands: list[Any], attributes: Options) -> Arranged:
    if attributes.get("align_corners") or not attributes.get("half_pixel_centers"):
        raise ValueError("the pixel alignment of TensorFlow 1, which Keras 3 does not support")
    return operands[:1], {"size": operands[1], "method": "bilinear" if operation == "ResizeBilinear" else "nearest"}


def _slice(_operation: str, operands: list[Any], attributes: Options) -> Arranged:
    tensor, begin, end, strides = operands

    def masked(name: str, index: int) -> bool:
        return bool(attributes.get(f"{name}_mask", 0) & (1 << index))

    def part(index: int) -> Any:
        if masked("ellipsis", index):
            return {"class_name": "__ellipsis__"}
        if masked("new_axis", index):
            return None
        if masked("shrink_axis", index):
            return begin[index]
        start = None if masked("begin", index) else begin[index]
        stop = None if masked("end", index) else end[index]
        return {"start": start, "stop": stop, "step": strides[index]}

    return [tensor], {"slice_spec": [part(index) for index in range(len(begin))]}


ARRANGEMENTS: dict[str, Callable[[str, list[Any], Options], Arranged]] = {
    **dict.fromkeys(("Mean", "Sum", "Max", "Min"), _reduce),
    "Reshape": _second("shape"),
    "Transpose": _second("perm"),
    "ExpandDims": _second("axis"),
    "Squeeze": _squeeze,
    "ConcatV2": _concat,
    "Tile": _second("multiples"),
    "Pad": _second("paddings"),
    "ReverseV2": _second("axis"),
    "GatherV2": _gather,
    "Pack": _pack,
    "Split": _split,
    "BiasAdd": _bias,
    "Cast": _cast,
    "LeakyRelu": _leaky,
    "ResizeBilinear": _resize,
    "ResizeNearestNeighbor": _resize,
    "StridedSlice": _slice,
}
