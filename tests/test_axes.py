"""Where the channels are: decided for each tensor, never for a whole network by one setting of one layer."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from nets import classifier

from gradcam_cli.models.layers import explainable_layers
from gradcam_cli.models.trace import Trace, is_channels_first, trace

SHAPE = (16, 24, 1)


def traced(network: Any, shape: tuple[int, ...]) -> Trace:
    found: list[Trace] = []

    def run(inputs: Any) -> Any:
        found.append(trace(network, inputs))
        return found[0].logits

    tf.function(run, autograph=False).get_concrete_function(tf.TensorSpec((1, *shape), tf.float32))
    return found[0]


def grids(network: Any, shape: tuple[int, ...]) -> dict[str, tuple[int, int, int]]:
    return {info.path: (info.height, info.width, info.channels) for info in explainable_layers(traced(network, shape))}


ODD_LAYERS = {
    "flatten": [layers.Flatten(data_format="channels_first", name="odd")],
    "global pooling at the end": [
        layers.Flatten(),
        layers.Reshape((1, 1, -1)),
        layers.GlobalAveragePooling2D("channels_first"),
    ],
    "pooling": [layers.MaxPooling2D(data_format="channels_first", name="odd"), layers.Flatten()],
    "padding": [layers.ZeroPadding2D(data_format="channels_first", name="odd"), layers.Flatten()],
    "dropout": [layers.SpatialDropout2D(0.1, data_format="channels_first", name="odd"), layers.Flatten()],
}


@pytest.mark.parametrize("name", ODD_LAYERS)
def test_one_odd_layer_does_not_turn_the_network(name: str) -> None:
    network = keras.Sequential(
        [
            layers.Input(SHAPE),
            layers.Conv2D(8, 3, name="conv"),
            *ODD_LAYERS[name],
            layers.Dense(3, activation="softmax"),
        ]
    )
    assert not is_channels_first(network)
    assert grids(network, SHAPE)["conv"] == (14, 22, 8)


def test_a_pooling_of_another_format_keeps_height_and_width_where_they_are() -> None:
    """The emotion networks that many people copied pool over width and channels by mistake."""
    network = keras.Sequential(
        [
            layers.Input(SHAPE),
            layers.Conv2D(8, 3, name="conv"),
            layers.MaxPooling2D(data_format="channels_first", name="odd"),
            layers.Conv2D(6, 3, name="last"),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    assert grids(network, SHAPE) == {"conv": (14, 22, 8), "odd": (14, 11, 4), "last": (12, 9, 6)}


def test_a_transposed_picture_is_followed() -> None:
    inputs = layers.Input((3, 16, 24))
    x = layers.Permute((2, 3, 1), name="turn")(inputs)
    x = layers.Activation("relu", name="relu")(layers.Conv2D(8, 3, name="conv")(x))
    back = keras.ops.transpose(x, (0, 3, 1, 2))
    back = layers.Activation("tanh", name="back")(back)
    network = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D("channels_first")(back)))
    assert is_channels_first(network)
    assert classifier(network).arranged(tf.zeros((1, 16, 24, 3))).shape == (1, 3, 16, 24)
    found = grids(network, (3, 16, 24))
    assert {found[name] for name in ("conv", "relu", "back")} == {(14, 22, 8)}


@pytest.mark.parametrize(("shape", "first"), [((None, None, 3), False), ((3, None, None), True), ((3, 9, 3), False)])
def test_the_input_tells_where_its_channels_are(shape: tuple[int, ...], first: bool) -> None:
    data_format = "channels_first" if first else "channels_last"
    network = keras.Sequential(
        [layers.Input(shape), layers.Conv2D(4, 1, data_format=data_format), layers.Activation("relu"), layers.Flatten()]
        if None not in shape
        else [layers.Input(shape), layers.Conv2D(4, 1, data_format=data_format), layers.GlobalMaxPooling2D(data_format)]
    )
    assert is_channels_first(network) is first


def test_the_map_of_an_odd_network_is_that_of_the_plain_one() -> None:
    keras.utils.set_random_seed(3)
    plain = keras.Sequential([layers.Input(SHAPE), layers.Conv2D(8, 3, name="conv"), layers.Flatten(), layers.Dense(3)])
    odd = keras.Sequential(
        [layers.Input(SHAPE), layers.Conv2D(8, 3, name="conv"), layers.Flatten("channels_first"), layers.Dense(3)]
    )
    odd.set_weights(plain.get_weights())
    # This Flatten moves axis 1 to the end first: the rows of the dense kernel must have that order.
    kernel = plain.get_weights()[2].reshape(14, 22, 8, 3)
    odd.layers[-1].kernel.assign(kernel.transpose(1, 2, 0, 3).reshape(-1, 3))
    picture = np.random.default_rng(0).random((1, *SHAPE), "float32")
    np.testing.assert_allclose(odd(picture), plain(picture), rtol=1e-5, atol=1e-6)
    assert grids(odd, SHAPE) == grids(plain, SHAPE)
