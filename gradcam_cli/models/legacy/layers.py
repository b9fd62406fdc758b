"""Functions and layers of Keras 2 that Keras 3 does not have, if a few lines can compute the same."""

from typing import Any

import keras

from gradcam_cli.models.legacy.rules import HARD_SIGMOID


def hard_sigmoid(x: Any) -> Any:
    """Compute the hard_sigmoid of Keras 2: clip(0.2 x + 0.5, 0, 1)."""
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


class LocallyConnected2D(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """A convolution with a different kernel at each position: `implementation=1` of Keras 2, channels last.

    The kernel is (positions, height * width * channels of one patch, filters), the bias (rows, columns, filters).
    """

    def __init__(
        self,
        filters: int,
        kernel_size: tuple[int, int],
        strides: tuple[int, int] = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        """Store the settings of Keras 2."""
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.strides = filters, tuple(kernel_size), tuple(strides)
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.data_format = "channels_last"

    def build(self, input_shape: Any) -> None:
        """Make the weights for an input (N, height, width, channels)."""
        rows, columns = self._places(input_shape)
        patch = self.kernel_size[0] * self.kernel_size[1] * input_shape[-1]
        self.kernel = self.add_weight(shape=(rows * columns, patch, self.filters), name="kernel")
        self.bias = self.add_weight(shape=(rows, columns, self.filters), name="bias") if self.use_bias else None

    def call(self, inputs: Any) -> Any:
        """Multiply each patch by the kernel of its position."""
        rows, columns = self._places(inputs.shape)
        patches = keras.ops.image.extract_patches(inputs, self.kernel_size, self.strides, padding="valid")
        patches = keras.ops.reshape(patches, (-1, rows * columns, self.kernel.shape[1]))
        outputs = keras.ops.reshape(
            keras.ops.einsum("npc,pcf->npf", patches, self.kernel), (-1, rows, columns, self.filters)
        )
        return self.activation(outputs if self.bias is None else outputs + self.bias)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Give (N, rows, columns, filters)."""
        return (input_shape[0], *self._places(input_shape), self.filters)

    def _places(self, shape: Any) -> tuple[int, int]:
        sides = zip(shape[1:3], self.kernel_size, self.strides, strict=True)
        rows, columns = ((side - kernel) // stride + 1 for side, kernel, stride in sides)
        return rows, columns


class PerImageStandardization(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """`tf.image.per_image_standardization`: (x - mean) / max(std, 1 / sqrt(n)) over the n values of each image."""

    def call(self, inputs: Any) -> Any:
        """Standardize images (N, height, width, channels)."""
        axes = (-3, -2, -1)
        mean, deviation = (reduce(inputs, axis=axes, keepdims=True) for reduce in (keras.ops.mean, keras.ops.std))
        count = keras.ops.cast(keras.ops.prod(keras.ops.shape(inputs)[-3:]), inputs.dtype)
        return (inputs - mean) / keras.ops.maximum(deviation, 1 / keras.ops.sqrt(count))


# The names of these objects in translated configs.
FORMER_OBJECTS: dict[str, Any] = {
    HARD_SIGMOID: hard_sigmoid,
    "LocallyConnected2D": LocallyConnected2D,
    "PerImageStandardization": PerImageStandardization,
}
