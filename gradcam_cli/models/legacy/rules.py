"""The changes of single layers between Keras 2 and Keras 3, as a table: class -> rule.

Each rule gives the class and the settings with which Keras 3 computes the same. If there is no such class, the layer
is refused.
"""

from collections.abc import Callable
from typing import Any

from gradcam_cli.errors import ModelError

Node = dict[str, Any]
Rule = Callable[[str, Node], tuple[str, Node]]

# These settings are used only in training and to create new weights.
TRAINING_ONLY = ("_initializer", "_regularizer", "_constraint")
# The hard_sigmoid of Keras 2 is clip(0.2 x + 0.5, 0, 1). That of Keras 3 is relu6(x + 3) / 6.
HARD_SIGMOID = "keras_2_hard_sigmoid"
ACTIVATIONS = {
    "hard_sigmoid": HARD_SIGMOID,
    "softmax_v2": "softmax",
    "log_softmax_v2": "log_softmax",
    "swish_v2": "swish",
    "relu_v2": "relu",
}
ATTENTION_SHAPES = frozenset({"query_shape", "key_shape", "value_shape"})
INFERRED = frozenset({"infer", "_infer"})


def for_keras_3(class_name: str, config: Node) -> tuple[str, Node]:
    """Give the class and the settings of a Keras 2 layer for Keras 3.

    Raises:
        ModelError: Keras 3 has no layer that computes the same.
    """
    changed = {key: value for key, value in config.items() if not key.endswith(TRAINING_ONLY)}
    changed.pop("batch_input_shape", None)
    changed.pop("input_dtype", None)
    _mend_dtype(changed)
    for key in ("activation", "recurrent_activation"):
        if key in changed:
            changed[key] = _activation(changed[key])
    rule = RULES.get(class_name)
    return rule(class_name, changed) if rule else (class_name, changed)


def _mend_dtype(config: Node) -> None:
    dtype = config.get("dtype")
    if isinstance(dtype, dict):
        inner = dtype.get("config")
        dtype = inner.get("name") if isinstance(inner, dict) else None
    if dtype is None or dtype in INFERRED:
        config.pop("dtype", None)
    else:
        config["dtype"] = dtype


def _activation(value: Any) -> Any:
    """Translate a function's name. A layer as an activation keeps its entry, which the caller translates."""
    name = value
    if isinstance(value, dict) and value.get("class_name") == "function":
        name = value.get("config")
    if not isinstance(name, str):
        return value
    name = ACTIVATIONS.get(name, name)
    if name == HARD_SIGMOID:
        return {"class_name": "function", "config": name, "module": "builtins", "registered_name": name}
    return name


def _input(_class_name: str, config: Node) -> tuple[str, Node]:
    if config.get("sparse") or config.get("ragged"):
        raise ModelError(f"layer '{config.get('name')}' takes sparse or ragged tensors, which are not images.")
    return "InputLayer", {key: config[key] for key in ("batch_shape", "dtype", "name") if key in config}


def _batch_normalization(_class_name: str, config: Node) -> tuple[str, Node]:
    if config.get("renorm"):
        raise ModelError(
            f"layer '{config.get('name')}' is a BatchNormalization with renorm=True, which Keras 3 does "
            "not support. In the original program, build it "
            "with renorm=False, copy gamma, beta, moving_mean and moving_variance, and save it again."
        )
    axis = config.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        config["axis"] = axis[0]
    return "BatchNormalization", config


def _leaky_relu(class_name: str, config: Node) -> tuple[str, Node]:
    if "alpha" in config:
        config["negative_slope"] = config.pop("alpha")
    return class_name, config


def _softmax(class_name: str, config: Node) -> tuple[str, Node]:
    axis = config.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        config["axis"] = axis[0]
    return class_name, config


def _thresholded_relu(_class_name: str, config: Node) -> tuple[str, Node]:
    config["threshold"] = config.pop("theta", 1.0)
    return "ReLU", config


def _identity(_class_name: str, config: Node) -> tuple[str, Node]:
    return "Identity", {key: config[key] for key in ("name", "dtype", "trainable") if key in config}


def _random_crop(_class_name: str, config: Node) -> tuple[str, Node]:
    # At inference, the layer crops the centre to the wanted aspect ratio, and resizes it.
    kept: Node = {key: config[key] for key in ("name", "dtype", "trainable", "height", "width") if key in config}
    kept["crop_to_aspect_ratio"] = True
    return "Resizing", kept


def _gru(class_name: str, config: Node) -> tuple[str, Node]:
    # Keras 2.0 had only this order of the reset gate, and did not store it.
    config.setdefault("reset_after", False)
    return class_name, config


def _attention(class_name: str, config: Node) -> tuple[str, Node]:
    # Keras 3 computes the shapes when the layer is called.
    return class_name, {key: value for key, value in config.items() if key not in ATTENTION_SHAPES}


def _refused(class_name: str, config: Node) -> tuple[str, Node]:
    raise ModelError(
        f"layer '{config.get('name')}' is a {class_name}, which Keras 3 does not have. In the "
        "original program, replace it by another layer, train the model, and save it again."
    )


def _locally_connected(class_name: str, config: Node) -> tuple[str, Node]:
    expected = {"implementation": 1, "data_format": "channels_last", "padding": "valid"}
    if any(config.pop(key, value) != value for key, value in expected.items()):
        return _refused(class_name, config)
    return class_name, config


RULES: dict[str, Rule] = {
    "InputLayer": _input,
    "BatchNormalization": _batch_normalization,
    "BatchNormalizationV1": _batch_normalization,
    "BatchNormalizationV2": _batch_normalization,
    "SyncBatchNormalization": _batch_normalization,
    "LeakyReLU": _leaky_relu,
    "Softmax": _softmax,
    "ThresholdedReLU": _thresholded_relu,
    "RandomHeight": _identity,
    "RandomWidth": _identity,
    "LocallyConnected2D": _locally_connected,
    "RandomCrop": _random_crop,
    "MultiHeadAttention": _attention,
    "GRU": _gru,
    "GRUCell": _gru,
    **dict.fromkeys(
        (
            "LocallyConnected1D",
            "CuDNNGRU",
            "CuDNNLSTM",
            "DenseFeatures",
            "SequenceFeatures",
            "Merge",
            "MaxoutDense",
            "Highway",
        ),
        _refused,
    ),
}
