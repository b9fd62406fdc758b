"""Translate TensorFlow calls that Keras 2 saved in functional models to equal operations and layers of Keras 3.

TensorFlow 2.4 to 2.15 saved `x / 127.5` as a TFOpLambda, TensorFlow 1.15 to 2.3 as a TensorFlowOpLayer. Both have the
name of a TensorFlow function. Only the functions of a fixed list are translated; their other arguments must be
numbers. No name from the file is ever looked up in TensorFlow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gradcam_cli.errors import ModelError
from gradcam_cli.models.legacy.graph_operations import graph_call
from gradcam_cli.models.legacy.nodes import Tensor, call_inputs, calls, revived
from gradcam_cli.models.legacy.numbers import constant, integers, number

Node = dict[str, Any]

TENSORFLOW_CALLS = frozenset({"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"})
NUMPY, NN, MATH, CORE = (f"keras.src.ops.{name}" for name in ("numpy", "nn", "math", "core"))
FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
SECOND = ("y", "bias")
# The default of TensorFlow for leaky_relu.
LEAKY = 0.2
UNIT_EPSILON = 1e-12


@dataclass(frozen=True)
class Translation:
    """A class of Keras 3, its settings without the name, and the arguments of its call."""

    class_name: str
    module: str
    config: Node
    args: list[Any]


Options = dict[str, Any]
Translator = Callable[[list[Any], Options], Translation]


def translated_call(entry: Node, tensor: Tensor, name: Callable[[str], str]) -> Node:
    """Translate one layer of a functional config that is a TensorFlow call.

    Args:
        entry: the layer's entry, with its calls.
        tensor: makes a tensor in the notation of Keras 3 from a layer's name, its call and its output.
        name: makes a layer's name for Keras 3.

    Raises:
        ModelError: the function is not supported, or an argument is not a number.
    """
    config, layer = entry["config"], entry["name"]
    function = str(config.get("function") or config.get("node_def", {}).get("op"))
    translations = []
    try:
        for call in calls(entry):
            first, options = call_inputs(call)
            function, operands, options = (
                graph_call(config, first, options)
                if entry["class_name"] == "TensorFlowOpLayer"
                else _lambda_call(function, first, options)
            )
            operands = [revived(operand, tensor) for operand in operands]
            translations.append(_translate(function, operands, options))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(_refusal(layer, function, f"its arguments: {error}")) from error
    if not translations or any(
        (made.class_name, made.config) != (translations[0].class_name, translations[0].config) for made in translations
    ):
        raise ModelError(_refusal(layer, function, "several calls that differ"))
    made = translations[0]
    settings = {"name": name(layer), **made.config}
    return {
        "class_name": made.class_name,
        "module": made.module,
        "config": settings,
        "name": settings["name"],
        "inbound_nodes": [{"args": translation.args, "kwargs": {}} for translation in translations],
    }


def _refusal(layer: str, function: str, why: str) -> str:
    return (
        f"layer '{layer}' is the TensorFlow function {function}, which cannot be translated to "
        f"Keras 3 ({why}). In the original program, replace "
        "it by a Keras layer (Rescaling, Reshape, Concatenate...), and save it again."
    )


def _lambda_call(function: str, first: Any, options: Options) -> tuple[str, list[Any], Options]:
    """Give the function's name without its prefix, the operands and the other arguments of a TFOpLambda."""
    for prefix in ("compat.v1.", "keras.backend.", "keras.activations.", "keras.ops."):
        function = function.removeprefix(prefix)
    given = {key: value for key, value in options.items() if key != "name" and value is not None}
    operands = [first, *(given.pop(key) for key in SECOND if key in given)]
    return function, operands, given


def _translate(function: str, operands: list[Any], options: Options) -> Translation:
    translator = TRANSLATORS.get(function)
    if translator is None:
        raise ValueError("the function is not supported")
    return translator(operands, options)


def _binary(class_name: str) -> Translator:
    def translate(operands: list[Any], options: Options) -> Translation:
        if options.pop("data_format", "NHWC") not in {"NHWC", "N...C"}:
            raise ValueError("data_format")
        _no_more(options)
        left, right = operands
        return Translation(class_name, NUMPY, {}, [constant(left), constant(right)])

    return translate


def _unary(class_name: str, module: str = NUMPY) -> Translator:
    def translate(operands: list[Any], options: Options) -> Translation:
        _no_more(options)
        return Translation(class_name, module, {}, [_only(operands)])

    return translate


def _reduction(class_name: str) -> Translator:
    def translate(operands: list[Any], options: Options) -> Translation:
        axis = options.pop("axis", None)
        config = {"axis": None if axis is None else integers(axis), "keepdims": options.pop("keepdims", False) is True}
        _no_more(options)
        return Translation(class_name, NUMPY, config, [_only(operands)])

    return translate


def _softmax(class_name: str) -> Translator:
    def translate(operands: list[Any], options: Options) -> Translation:
        axis = integers(options.pop("axis", -1))
        _no_more(options)
        return Translation(class_name, NN, {"axis": axis}, [_only(operands)])

    return translate


def _with_integers(class_name: str, argument: str, setting: str, default: Any = None) -> Translator:
    def translate(operands: list[Any], options: Options) -> Translation:
        value = options.pop(argument, default)
        options.pop("conjugate", None)
        _no_more(options)
        return Translation(class_name, NUMPY, {setting: None if value is None else integers(value)}, [_only(operands)])

    return translate


def _clip(operands: list[Any], options: Options) -> Translation:
    low = number(options.pop("clip_value_min", options.pop("min_value", None)))
    high = number(options.pop("clip_value_max", options.pop("max_value", None)))
    _no_more(options)
    return Translation("Clip", NUMPY, {"x_min": low, "x_max": high}, [_only(operands)])


def _cast(operands: list[Any], options: Options) -> Translation:
    dtype = options.pop("dtype")
    _no_more(options)
    if dtype not in FLOATS:
        raise ValueError(f"a cast to {dtype}")
    return Translation("Cast", CORE, {"dtype": dtype}, [_only(operands)])


def _leaky(operands: list[Any], options: Options) -> Translation:
    slope = number(options.pop("alpha", LEAKY))
    _no_more(options)
    return Translation("LeakyRelu", NN, {"negative_slope": slope}, [_only(operands)])


def _gelu(operands: list[Any], options: Options) -> Translation:
    approximate = options.pop("approximate", False) is True
    _no_more(options)
    return Translation("Gelu", NN, {"approximate": approximate}, [_only(operands)])


def _relu(operands: list[Any], options: Options) -> Translation:
    # The relu function of Keras has more arguments. Here they must have their defaults.
    if options.pop("alpha", 0) or options.pop("threshold", 0) or options.pop("max_value", None) is not None:
        raise ValueError("alpha, threshold or max_value")
    return _unary("Relu", NN)(operands, options)


def _concatenate(operands: list[Any], options: Options) -> Translation:
    axis = number(options.pop("axis", -1))
    _no_more(options)
    tensors = operands[0]
    if not isinstance(tensors, list) or not all(_is_tensor(tensor) for tensor in tensors):
        raise ValueError("not all of them are tensors")
    return Translation("Concatenate", NUMPY, {"axis": axis}, [tensors])


def _slice(operands: list[Any], options: Options) -> Translation:
    spec = options.pop("slice_spec")
    _no_more(options)
    parts = spec if isinstance(spec, list) else [spec]
    return Translation("GetItem", NUMPY, {}, [_only(operands), [_slice_part(part) for part in parts]])


def _slice_part(part: Any) -> Any:
    if part is None:
        return None
    if isinstance(part, dict):
        if part.get("class_name") == "__ellipsis__":
            return {"class_name": "__ellipsis__", "config": {}}
        inner = part.get("config", part)
        sides = {key: None if inner.get(key) is None else integers(inner[key]) for key in ("start", "stop", "step")}
        return {"class_name": "__slice__", "config": sides}
    return integers(part)


def _resize(operands: list[Any], options: Options) -> Translation:
    height, width = integers(options.pop("size"))
    method = options.pop("method", "bilinear")
    if options.pop("preserve_aspect_ratio", False) or options.pop("antialias", False):
        raise ValueError("preserve_aspect_ratio or antialias")
    _no_more(options)
    if method not in {"bilinear", "nearest"}:
        raise ValueError(f"the method {method}")
    # This is a layer, because the rules that follow the image through the network know this layer.
    config = {"height": height, "width": width, "interpolation": method}
    return Translation("Resizing", "keras.layers", config, [_only(operands)])


def _grey_to_rgb(operands: list[Any], options: Options) -> Translation:
    _no_more(options)
    return Translation("Concatenate", NUMPY, {"axis": -1}, [[_only(operands)] * 3])


def _stack(operands: list[Any], options: Options) -> Translation:
    made = _concatenate(operands, {"axis": 0, **options})
    return Translation("Stack", NUMPY, made.config, made.args)


def _repeat(operands: list[Any], options: Options) -> Translation:
    repeats = integers(options.pop("repeats", options.pop("rep", None)))
    axis = number(options.pop("axis"))
    _no_more(options)
    return Translation("Repeat", NUMPY, {"repeats": repeats, "axis": axis}, [_only(operands)])


def _pad(operands: list[Any], options: Options) -> Translation:
    width, mode = integers(options.pop("paddings")), str(options.pop("mode", "CONSTANT")).lower()
    if options.pop("constant_values", 0) or mode not in {"constant", "reflect", "symmetric"}:
        raise ValueError("mode or constant_values")
    _no_more(options)
    return Translation("Pad", NUMPY, {"pad_width": width, "mode": mode}, [_only(operands)])


def _take(operands: list[Any], options: Options) -> Translation:
    """Translate a selection of channels: evenly spaced indices are a slice."""
    found, axis = integers(options.pop("indices")), number(options.pop("axis", 0))
    options.pop("batch_dims", None)
    _no_more(options)
    steps = {after - before for before, after in pairwise(found)}
    if axis not in {-1, 3} or len(steps) != 1 or found[0] < 0:
        raise ValueError("indices that are not evenly spaced, or do not select channels")
    step = steps.pop()
    stop = found[-1] + (1 if step > 0 else -1)
    part = {"start": found[0], "stop": stop if stop >= 0 else None, "step": step}
    return _slice(operands, {"slice_spec": [{"class_name": "__ellipsis__"}, part]})


def _split(operands: list[Any], options: Options) -> Translation:
    sizes, axis = integers(options.pop("num_or_size_splits")), number(options.pop("axis", 0))
    _no_more(options)
    places = [sum(sizes[: index + 1]) for index in range(len(sizes) - 1)] if isinstance(sizes, list) else sizes
    return Translation("Split", NUMPY, {"indices_or_sections": places, "axis": axis}, [_only(operands)])


def _unit(operands: list[Any], options: Options) -> Translation:
    axis, epsilon = integers(options.pop("axis", -1)), options.pop("epsilon", UNIT_EPSILON)
    _no_more(options)
    if epsilon != UNIT_EPSILON:
        raise ValueError("epsilon")
    return Translation("UnitNormalization", "keras.layers", {"axis": axis}, [_only(operands)])


def _pass(operands: list[Any], options: Options) -> Translation:
    _no_more(options)
    return Translation("Identity", "keras.layers", {}, [_only(operands)])


def _standardize(operands: list[Any], options: Options) -> Translation:
    _no_more(options)
    return Translation("PerImageStandardization", "keras.layers", {}, [_only(operands)])


def _only(operands: list[Any]) -> Any:
    if len(operands) != 1 or not _is_tensor(operands[0]):
        raise ValueError("one tensor is expected")
    return operands[0]


def _is_tensor(value: Any) -> bool:
    return isinstance(value, dict) and value.get("class_name") == "__keras_tensor__"


def _no_more(options: Options) -> None:
    if options:
        raise ValueError(", ".join(sorted(options)))


def _under(prefixes: tuple[str, ...], names: dict[str, Translator]) -> dict[str, Translator]:
    return {prefix + name: translator for prefix in prefixes for name, translator in names.items()}


_BINARY = {
    "add": "Add",
    "subtract": "Subtract",
    "multiply": "Multiply",
    "truediv": "TrueDivide",
    "divide": "TrueDivide",
    "pow": "Power",
    "maximum": "Maximum",
    "minimum": "Minimum",
}
_UNARY = {
    "negative": "Negative",
    "abs": "Absolute",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "square": "Square",
    "tanh": "Tanh",
    "reciprocal": "Reciprocal",
}
_ACTIVATIONS = {
    "relu6": "Relu6",
    "sigmoid": "Sigmoid",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "silu": "Silu",
    "swish": "Silu",
    "selu": "Selu",
    "elu": "Elu",
}
_REDUCTIONS = {"mean": "Mean", "sum": "Sum", "max": "Max", "min": "Min", "std": "Std", "variance": "Var"}
TRANSLATORS: dict[str, Translator] = {
    **_under(("", "math.", "__operators__."), {name: _binary(made) for name, made in _BINARY.items()}),
    "nn.bias_add": _binary("Add"),
    **_under(("", "math.", "__operators__."), {name: _unary(made) for name, made in _UNARY.items()}),
    "__operators__.neg": _unary("Negative"),
    "nn.tanh": _unary("Tanh"),
    "math.rsqrt": _unary("Rsqrt", MATH),
    "math.erf": _unary("Erf", MATH),
    **_under(("", "nn.", "math."), {name: _unary(made, NN) for name, made in _ACTIVATIONS.items()}),
    **_under(("", "nn."), {"relu": _relu, "leaky_relu": _leaky, "gelu": _gelu}),
    **_under(("", "nn."), {"softmax": _softmax("Softmax"), "log_softmax": _softmax("LogSoftmax")}),
    **_under(("math.reduce_", "reduce_", ""), {name: _reduction(made) for name, made in _REDUCTIONS.items()}),
    "clip_by_value": _clip,
    "clip": _clip,
    "cast": _cast,
    "reshape": _with_integers("Reshape", "shape", "newshape"),
    "transpose": _with_integers("Transpose", "perm", "axes"),
    "expand_dims": _with_integers("ExpandDims", "axis", "axis", -1),
    "squeeze": _with_integers("Squeeze", "axis", "axis"),
    "concat": _concatenate,
    "concatenate": _concatenate,
    "__operators__.getitem": _slice,
    "image.resize": _resize,
    "image.grayscale_to_rgb": _grey_to_rgb,
    "image.per_image_standardization": _standardize,
    "stack": _stack,
    "tile": _with_integers("Tile", "multiples", "repeats"),
    "repeat": _repeat,
    "repeat_elements": _repeat,
    "pad": _pad,
    "reverse": _with_integers("Flip", "axis", "axis"),
    "gather": _take,
    "split": _split,
    **_under(("nn.", "math.", ""), {"l2_normalize": _unit}),
    "identity": _pass,
    "stop_gradient": _pass,
}
