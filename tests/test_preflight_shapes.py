"""The preflight's shape inference against Keras itself: what every layer allocates and gives."""

import json
import math
from pathlib import Path
from typing import Any

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from gradcam_cli.errors import ModelError
from gradcam_cli.models.safety.config import check_config
from gradcam_cli.models.safety.hdf5 import Stored
from gradcam_cli.models.safety.walk import Walk, total

Config = dict[str, Any]
PATH = Path("model.keras")


def serialized(model: Any) -> Config:
    config: Config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    return config


def stored(model: Any) -> Stored:
    return Stored(tuple(tuple(variable.shape) for variable in model.weights))


def stripped(config: Any) -> Any:
    """Without the shapes that Keras 3 states beside each tensor and layer: only the rules are left."""
    if isinstance(config, dict):
        if config.get("class_name") == "__keras_tensor__":
            config = {**config, "config": {**config["config"], "shape": None}}
        return {key: stripped(value) for key, value in config.items() if key != "build_config"}
    return [stripped(item) for item in config] if isinstance(config, list) else config


def history(config: Any) -> Any:
    """The same graph in the notation of Keras 2: calls as lists of [layer, call, output, {}]."""
    config = json.loads(json.dumps(config))
    for layer in config["config"]["layers"]:
        calls = []
        for call in layer["inbound_nodes"]:
            found, waiting = [], [call["args"]]
            while waiting:
                item = waiting.pop(0)
                if isinstance(item, list):
                    waiting = [*item, *waiting]
                elif isinstance(item, dict):
                    found.append([*item["config"]["keras_history"], {}])
            calls.append(found)
        layer["inbound_nodes"] = calls
        layer.pop("build_config", None)
        layer.pop("module", None)
    return config


PICTURE, SEQUENCE, FRAMES, VECTOR = (24, 20, 6), (12, 8), (5, 12, 12, 4), (10,)
LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "conv": (lambda: layers.Conv2D(8, (3, 5), strides=2, groups=2), PICTURE),
    "conv same": (lambda: layers.Conv2D(7, 4, strides=3, padding="same", use_bias=False), PICTURE),
    "conv dilated": (lambda: layers.Conv2D(7, 3, dilation_rate=(2, 3)), PICTURE),
    "conv lora": (lambda: layers.Conv2D(7, 3, lora_rank=2), PICTURE),
    "conv1d causal": (lambda: layers.Conv1D(7, 3, padding="causal"), SEQUENCE),
    "conv3d": (lambda: layers.Conv3D(7, 2), FRAMES),
    "transpose same": (lambda: layers.Conv2DTranspose(5, 3, strides=2, padding="same"), PICTURE),
    "transpose valid": (lambda: layers.Conv2DTranspose(5, 4, strides=(2, 3)), PICTURE),
    "depthwise": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), PICTURE),
    "separable": (lambda: layers.SeparableConv2D(9, 3, depth_multiplier=3), PICTURE),
    "separable1d": (lambda: layers.SeparableConv1D(9, 3), SEQUENCE),
    "pool": (lambda: layers.MaxPooling2D(3, strides=2), PICTURE),
    "pool same": (lambda: layers.AveragePooling2D((2, 3), padding="same"), PICTURE),
    "adaptive": (lambda: layers.AdaptiveAveragePooling2D((4, 5)), PICTURE),
    "gap": (lambda: layers.GlobalAveragePooling2D(keepdims=True), PICTURE),
    "gmp": (layers.GlobalMaxPooling1D, SEQUENCE),
    "padding": (lambda: layers.ZeroPadding2D(((1, 2), (3, 4))), PICTURE),
    "padding1d": (lambda: layers.ZeroPadding1D((1, 4)), SEQUENCE),
    "cropping": (lambda: layers.Cropping2D((2, 3)), PICTURE),
    "upsampling": (lambda: layers.UpSampling2D((2, 3)), PICTURE),
    "resizing": (lambda: layers.Resizing(9, 11), PICTURE),
    "center crop": (lambda: layers.CenterCrop(9, 11), PICTURE),
    "random": (layers.RandomFlip, PICTURE),
    "flatten": (layers.Flatten, PICTURE),
    "reshape": (lambda: layers.Reshape((-1, 6, 2)), PICTURE),
    "permute": (lambda: layers.Permute((3, 1, 2)), PICTURE),
    "repeat": (lambda: layers.RepeatVector(5), VECTOR),
    "dense": (lambda: layers.Dense(7), VECTOR),
    "dense on a map": (lambda: layers.Dense(7, use_bias=False), PICTURE),
    "dense lora": (lambda: layers.Dense(7, lora_rank=3), VECTOR),
    "einsum": (lambda: layers.EinsumDense("abc,cd->abd", output_shape=(None, 7), bias_axes="d"), SEQUENCE),
    "einsum heads": (lambda: layers.EinsumDense("abc,cde->abde", output_shape=(None, 3, 5), bias_axes="de"), SEQUENCE),
    "einsum dots": (lambda: layers.EinsumDense("...x,xy->...y", output_shape=9), SEQUENCE),
    "einsum batch dots": (lambda: layers.EinsumDense("ab...,bc->ac...", output_shape=9), SEQUENCE),
    "embedding": (lambda: layers.Embedding(50, 6), VECTOR),
    "batch norm": (layers.BatchNormalization, PICTURE),
    "batch norm first": (lambda: layers.BatchNormalization(axis=1), PICTURE),
    "layer norm": (lambda: layers.LayerNormalization(axis=[1, 3]), PICTURE),
    "group norm": (lambda: layers.GroupNormalization(2), PICTURE),
    "rms norm": (layers.RMSNormalization, PICTURE),
    "prelu": (layers.PReLU, PICTURE),
    "prelu shared": (lambda: layers.PReLU(shared_axes=[1, 2]), PICTURE),
    "lstm": (lambda: layers.LSTM(7, return_sequences=True), SEQUENCE),
    "gru": (lambda: layers.GRU(7), SEQUENCE),
    "simple rnn": (lambda: layers.SimpleRNN(7), SEQUENCE),
    "rnn": (lambda: layers.RNN([layers.LSTMCell(5), layers.GRUCell(7)], return_sequences=True), SEQUENCE),
    "both ways": (lambda: layers.Bidirectional(layers.LSTM(7, return_sequences=True)), SEQUENCE),
    "conv lstm": (lambda: layers.ConvLSTM2D(7, 3, return_sequences=True), FRAMES),
    "each step": (lambda: layers.TimeDistributed(layers.Conv2D(7, 3)), FRAMES),
    "spectral": (lambda: layers.SpectralNormalization(layers.Conv2D(7, 3)), PICTURE),
    "category": (lambda: layers.CategoryEncoding(num_tokens=9, output_mode="multi_hot"), VECTOR),
}
# Rules count recurrent biases, both directions and power iterations roughly: to a factor.
ROUGH = {"lstm", "simple rnn", "gru", "rnn", "both ways", "spectral", "conv lstm"}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_allocates_and_gives_what_keras_says(name: str) -> None:
    make, shape = LAYERS[name]
    layer = make()
    inputs = layers.Input(shape)
    output = layer(inputs)
    walk = Walk()
    given = walk.layer(stripped(serialized(layer)), (shape,))
    assert given[0] is not None
    for ours, side in zip(given[0], output.shape[1:], strict=True):
        assert side in {None, ours}
    allocated = sum(math.prod(v.shape) for v in layer.weights if "seed" not in v.path)
    found = sum(total(measured.weights) for measured in walk.measured.values())
    assert found == allocated if name not in ROUGH else allocated / 2.5 < found < allocated * 1.5


def twice(layer: Any, x: Any) -> Any:
    return layer(layer(x))


def attention(query: Any, value: Any, **more: Any) -> Any:
    return layers.MultiHeadAttention(3, 4, **more)(query, value)


GRAPHS: dict[str, Any] = {
    "attention": lambda x: attention(x, x, value_dim=5, output_shape=7),
    "cross attention": lambda x: attention(layers.Conv1D(5, 3)(x), x),
    "grouped attention": lambda x: layers.GroupQueryAttention(4, 6, 2)(x, x),
    "dot attention": lambda x: layers.Attention()([layers.Conv1D(8, 3)(x), x]),
    "merges": lambda x: layers.Concatenate()([layers.Add()([x, x]), layers.Multiply()([x, x])]),
    "concatenate in time": lambda x: layers.Concatenate(axis=1)([x, layers.Conv1D(8, 3)(x)]),
    "shared": lambda x: twice(layers.Dense(8), x),
    "nested": lambda x: twice(keras.Sequential([layers.Input((12, 8)), layers.Conv1D(8, 3, padding="same")]), x),
    "nested without an input": lambda x: twice(keras.Sequential([layers.Conv1D(8, 3, padding="same")]), x),
    "states": lambda x: layers.Concatenate()(list(layers.LSTM(4, return_state=True)(x))),
    "arithmetic": lambda x: layers.Dense(3)((x * 2.0 - 1.0) / 3.0 + x),
    "reduction": lambda x: layers.Dense(3)(ops.mean(x, axis=1)),
    "reshape": lambda x: layers.Dense(3)(ops.reshape(x, (-1, 6, 16))),
    "reshape with the batch": lambda x: layers.Dense(3)(ops.reshape(x, (-1, 8))),
    "indexing": lambda x: layers.Dense(3)(layers.Flatten()(x[:, 2:7:2, ::-1])),
    "class token": lambda x: layers.Dense(3)(x[:, 0]),
    "ellipsis": lambda x: layers.Dense(3)(x[..., 1:4]),
    "tile": lambda x: layers.Flatten()(ops.tile(x, (1, 2, 3))),
    "repeat": lambda x: layers.Flatten()(ops.repeat(x, 3, axis=1)),
    "pad": lambda x: layers.Flatten()(ops.pad(x, [[0, 0], [1, 2], [0, 3]])),
    "transpose": lambda x: layers.Dense(3)(ops.transpose(x, (0, 2, 1))),
    "expand": lambda x: layers.Conv2D(3, 3)(ops.expand_dims(x, -1)),
    "resize": lambda x: layers.Flatten()(ops.image.resize(ops.expand_dims(x, -1), (5, 7))),
    "matmul": lambda x: layers.Flatten()(ops.matmul(x, ops.transpose(x, (0, 2, 1)))),
    "stack": lambda x: layers.Flatten()(ops.stack([x, x, x], axis=1)),
    "one hot": lambda x: layers.Flatten()(ops.one_hot(ops.argmax(x, axis=-1), 9)),
    "unknown operation": lambda x: layers.Dense(3)(ops.split(x, 2, axis=1)[1]),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_allocates_and_gives_what_keras_says(name: str) -> None:
    inputs = layers.Input(SEQUENCE)
    model = keras.Model(inputs, GRAPHS[name](inputs))
    whole = serialized(model)
    versions = [whole] if name == "unknown operation" else [whole, stripped(whole)]
    if name in {"merges", "shared", "concatenate in time"}:
        versions.append(history(whole))
    for config in versions:
        walk = Walk()
        given = walk.layer(config, ())
        assert given == (tuple(model.output.shape[1:]),)
        found = sum(total(measured.weights) for measured in walk.measured.values())
        assert model.count_params() * 0.9 <= found <= model.count_params() * 1.5
        check_config(PATH, config, stored(model))


def test_channels_first() -> None:
    with_first = {"data_format": "channels_first"}
    model = keras.Sequential(
        [
            layers.Input((3, 20, 24)),
            layers.ZeroPadding2D(2, **with_first),
            layers.Conv2D(5, 3, **with_first),
            layers.BatchNormalization(axis=1),
            layers.MaxPooling2D(2, **with_first),
            layers.UpSampling2D(2, **with_first),
            layers.GlobalAveragePooling2D(**with_first),
            layers.Dense(2),
        ]
    )
    walk = Walk()
    assert walk.layer(stripped(serialized(model)), ()) == ((2,),)
    assert sum(total(measured.weights) for measured in walk.measured.values()) == model.count_params()


def nets() -> list[Any]:
    return [
        keras.Sequential([layers.Input((16, 16, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(9)]),
        keras.Sequential(
            [layers.Input((16, 16, 3)), layers.PReLU(), layers.MaxPooling2D(), layers.Flatten(), layers.Dense(9)]
        ),
    ]


@settings(max_examples=60)
@given(batch=st.one_of(st.none(), st.integers(1, 10**9)), which=st.integers(0, 1), units=st.integers(1, 10**7))
def test_the_batch_never_changes_the_verdict(batch: int | None, which: int, units: int) -> None:
    config, kept = BATCHES[which]
    told = []
    for size in (None, batch):
        changed = json.loads(json.dumps(config))
        changed["config"]["layers"][-1]["config"]["units"] = units
        set_batch(changed, size)
        try:
            check_config(PATH, changed, kept)
            told.append("passes")
        except ModelError as error:
            told.append(str(error))
    assert told[0] == told[1]


def set_batch(config: Any, size: int | None) -> None:
    if isinstance(config, dict):
        for key, value in config.items():
            if key in {"batch_shape", "input_shape", "shape", "build_input_shape"} and isinstance(value, list):
                value[0] = size
            else:
                set_batch(value, size)
    elif isinstance(config, list):
        for item in config:
            set_batch(item, size)


BATCHES = [(serialized(model), stored(model)) for model in nets()]
