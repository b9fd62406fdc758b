"""Channels-first networks run on a CPU, with the same numbers as their channels-last twins."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from nets import engine_at

from gradcam_cli.engines.tensorflow import _reason
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.method_runner import raw_maps
from gradcam_cli.models.cpu_convolutions import channels_last_convolutions
from gradcam_cli.models.loading import load_classifier
from gradcam_cli.models.request import locate_model
from gradcam_cli.settings import ModelSettings, TargetSettings

SIDE = 20
Build = Callable[[Any, int], Any]


def varied(x: Any, axis: int) -> Any:
    """Strides, dilation, groups, depthwise and separable convolutions, pooling, padding, a merge."""
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(axis=axis)(x)
    x = layers.ReLU()(x)
    y = layers.Conv2D(8, 3, dilation_rate=2, padding="same", activation="relu")(x)
    x = layers.Add()([x, layers.Conv2D(8, 3, groups=2, padding="same")(y)])
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.SeparableConv2D(8, 3, padding="valid", activation="relu")(x)
    return layers.ZeroPadding2D(1)(layers.MaxPooling2D(2)(x))


def nested(x: Any, axis: int) -> Any:
    inside = layers.Input(x.shape[1:])
    return keras.Model(inside, varied(inside, axis), name="backbone")(x)


def pooled(x: Any) -> Any:
    return layers.GlobalAveragePooling2D()(x)


def convolved(x: Any) -> Any:
    return layers.GlobalMaxPooling2D()(layers.Conv2D(6, 3, activation="relu")(x))


def network(body: Build, head: Any, data_format: str) -> keras.Model:
    before = keras.config.image_data_format()
    keras.config.set_image_data_format(data_format)
    try:
        first = data_format == "channels_first"
        inputs = layers.Input((3, SIDE, SIDE) if first else (SIDE, SIDE, 3))
        x = head(body(layers.Rescaling(1 / 255)(inputs), 1 if first else -1))
        return keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    finally:
        keras.config.set_image_data_format(before)


def explained(path: Path, method: str) -> tuple[Any, Any]:
    made = load_classifier(locate_model(ModelSettings(model=str(path)), lambda *_: None))
    engine = engine_at(made, "auto", TargetSettings(top_k=2), batch_size=2)
    pictures = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.float32)
    forward = engine.explain(pictures)
    return forward.logits, raw_maps(METHODS[method], engine, forward).maps


@pytest.mark.parametrize(("body", "head"), [(varied, pooled), (nested, convolved)], ids=["flat", "nested"])
def test_equals_the_channels_last_twin(tmp_path: Path, body: Build, head: Any) -> None:
    keras.utils.set_random_seed(3)
    first, last = (network(body, head, each) for each in ("channels_first", "channels_last"))
    last.set_weights(first.get_weights())
    first.save(tmp_path / "first.keras")
    last.save(tmp_path / "last.keras")
    (ours, maps), (theirs, expected) = (explained(tmp_path / f"{n}.keras", "gradcam") for n in ("first", "last"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert expected.max() > 0
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-5 * expected.max())


def test_the_layers_are_afterwards_as_they_were() -> None:
    made = network(varied, pooled, "channels_first")
    before = [dict(layer.__dict__) for layer in made.layers]
    with channels_last_convolutions(made):
        assert any("convolution_op" in layer.__dict__ for layer in made.layers)
        # Also outside of graphs, where no pass of TensorFlow rearranges anything.
        assert made(np.zeros((1, 3, SIDE, SIDE), np.float32)).shape == (1, 3)
    assert [layer.__dict__.keys() for layer in made.layers] == [each.keys() for each in before]


def test_a_convolution_of_the_users_own_is_left_alone() -> None:
    class Own(layers.Conv2D):  # type: ignore[misc] # keras has no types
        def convolution_op(self, inputs: Any, kernel: Any) -> Any:
            return super().convolution_op(inputs, kernel) * 2

    inputs = layers.Input((3, 8, 8))
    made = keras.Model(inputs, Own(2, 3, data_format="channels_first")(inputs))
    with channels_last_convolutions(made):
        assert "convolution_op" not in made.layers[-1].__dict__


def test_an_error_of_a_graph_says_what_is_wrong() -> None:
    said = (
        "Graph execution error:\n\nDetected at node g/Conv defined at (most recent call last):\n<stack traces "
        "unavailable>\nConv2DBackpropInputOp only supports NHWC.\n\t [[{{node g/Conv}}]]"
    )
    reason = _reason(tf.errors.UnimplementedError(None, None, said))
    assert reason.startswith("Conv2DBackpropInputOp only supports NHWC. Set TF_ENABLE_ONEDNN_OPTS=1")
