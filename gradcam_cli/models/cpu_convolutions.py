"""Run convolutions of channels-first networks where TensorFlow has none for that arrangement: on most CPUs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from gradcam_cli.models.layer_paths import layer_paths


@contextmanager
def channels_last_convolutions(network: keras.Model) -> Iterator[None]:
    """Let each channels-first convolution layer compute in channels-last order; without effect on a GPU.

    Inputs are transposed before the convolution and its result is transposed back, so that the layer's own output and
    the gradient that arrives there are arranged as before. Afterwards the layers are as they were.
    """
    replaced = [] if tf.config.list_physical_devices("GPU") else list(_channels_first(network))
    try:
        for layer in replaced:
            # Past Keras's own __setattr__, which would try to track what it is given.
            object.__setattr__(layer, "convolution_op", _transposed(layer))
        yield
    finally:
        for layer in replaced:
            layer.__dict__.pop("convolution_op", None)


def _channels_first(network: keras.Model) -> Iterator[Any]:
    own = keras.layers.Conv2D.convolution_op
    for _, layer in layer_paths(network):
        if not isinstance(layer, keras.layers.Conv2D) or layer.data_format != "channels_first":
            continue
        # A class that the user defined may convolve in another way.
        if type(layer).convolution_op is own and "convolution_op" not in layer.__dict__:
            yield layer


def _transposed(layer: Any) -> Callable[[Any, Any], Any]:
    def convolution(inputs: Any, kernel: Any) -> Any:
        result = keras.ops.conv(
            keras.ops.moveaxis(inputs, 1, -1),
            kernel,
            strides=list(layer.strides),
            padding=layer.padding,
            dilation_rate=layer.dilation_rate,
            data_format="channels_last",
        )
        return keras.ops.moveaxis(result, -1, 1)

    return convolution
