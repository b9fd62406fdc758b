"""Drop constructor arguments that this version of Keras does not know, if this changes no prediction.

A layer that does nothing at inference may lose any unknown argument. Every other layer may lose only the arguments in
a table, with values that mean the same as a missing argument.
"""

import inspect
from collections.abc import Callable
from typing import Any

import keras

Node = dict[str, Any]

# Layers that act only in training: augmentation, dropout, noise and penalties.
IDENTITIES = frozenset(
    {
        "ActivityRegularization",
        "AlphaDropout",
        "AugMix",
        "CutMix",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "MixUp",
        "RandAugment",
        "RandomBrightness",
        "RandomColorDegeneration",
        "RandomColorJitter",
        "RandomContrast",
        "RandomElasticTransform",
        "RandomErasing",
        "RandomFlip",
        "RandomGaussianBlur",
        "RandomGrayscale",
        "RandomHue",
        "RandomInvert",
        "RandomPerspective",
        "RandomPosterization",
        "RandomRotation",
        "RandomSaturation",
        "RandomSharpness",
        "RandomShear",
        "RandomTranslation",
        "RandomZoom",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
    }
)
Meaningless = Callable[[Any], bool]


def _always(_value: Any) -> bool:
    return True


def _is(*values: Any) -> Meaningless:
    return lambda value: any(value == other and type(value) is type(other) for other in values)


# Checked against the predictions of the versions with this argument.
DROPPED: dict[str, dict[str, Meaningless]] = {
    "DepthwiseConv2D": {"groups": _is(1), "filters": _is(None)},
    "SeparableConv1D": {"groups": _is(1)},
    "SeparableConv2D": {"groups": _is(1)},
    "Conv1DTranspose": {"groups": _is(1)},
    "Conv2DTranspose": {"groups": _is(1)},
    "BatchNormalization": {
        "adjustment": _is(None),
        "fused": _always,
        "renorm": _is(False),
        "virtual_batch_size": _is(None),
    },
    "Attention": {"causal": _is(False)},
    "AdditiveAttention": {"causal": _is(False)},
    "GRU": {"time_major": _is(False), "implementation": _always},
    "LSTM": {"time_major": _is(False), "implementation": _always},
}


def trimmed(node: Any) -> Any:
    """Drop the arguments in a config and in everything inside it."""
    if isinstance(node, list):
        return [trimmed(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: trimmed(value) for key, value in node.items()}
    layer = _layer_class(made)
    if layer is not None and isinstance(made.get("config"), dict):
        return _trimmed_layer(made, layer)
    return made


def _layer_class(node: Node) -> Any:
    """Give the layer class of Keras with this name; None if there is none."""
    name, module = node.get("class_name"), node.get("module")
    own = module is None or (isinstance(module, str) and module.startswith("keras."))
    found = getattr(keras.layers, name, None) if own and isinstance(name, str) else None
    return found if inspect.isclass(found) and issubclass(found, keras.Layer) else None


def _trimmed_layer(node: Node, layer: Any) -> Node:
    name, config = layer.__name__, node["config"]
    unknown = config.keys() - accepted(layer)
    if name in IDENTITIES:
        config = {key: value for key, value in config.items() if key not in unknown}
        return {**node, "config": config} if _can_be_made(layer, config) else _identity(node)
    rules = DROPPED.get(name, {})
    dropped = {key for key in unknown if key in rules and rules[key](config[key])}
    return {**node, "config": {key: value for key, value in config.items() if key not in dropped}}


def accepted(layer: Any) -> set[str]:
    """Give the names of all arguments that a class and its base classes accept."""
    names: set[str] = set()
    for parent in layer.__mro__:
        if "__init__" not in parent.__dict__:
            continue
        parameters = inspect.signature(parent.__init__).parameters
        names.update(parameters)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return names


def _can_be_made(layer: Any, config: Node) -> bool:
    try:
        layer.from_config(dict(config))
    except Exception:  # noqa: BLE001 - whatever a constructor raises at arguments of another version
        return False
    return True


def _identity(node: Node) -> Node:
    config = {key: value for key, value in node["config"].items() if key in {"name", "dtype"}}
    return {**node, "class_name": "Identity", "module": "keras.layers", "registered_name": None, "config": config}
