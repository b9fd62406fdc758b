"""Run convolutions of channels-first networks if TensorFlow does not support this order, as on most CPUs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from gradcam_cli.models.layer_paths import layer_paths


@contextmanager
def channels_last_convolutions(network: keras.Model) -> Iterator[None]:
    """Make each channels-first convolution layer compute in channels-last order; this has no effect on a GPU.

    The input is transposed before the convolution, and the result is transposed back. So the layer's output and its
    gradient keep their order of axes. The layers are restored when the block ends.
    """
    replaced = [] if tf.config.list_physical_devices("GPU") else list(_channels_first(network))
    try:
        for layer in replaced:
            # This avoids __setattr__ of Keras, which would try to track the value.
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
        # A user's class may compute its convolution in another way.
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
