"""Run the first part of a network on images, and read the inputs of its layers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from gradcam_cli.models.cpu_convolutions import channels_last_convolutions
from gradcam_cli.models.layer_paths import layer_paths
from gradcam_cli.models.trace import Feed, as_declared, is_channels_first

Array = NDArray[np.float32]
# The number of pixels that are run at a time.
PIXELS_AT_ONCE = 8 * 224 * 224


@dataclass(frozen=True)
class Feeder:
    """How images (N, H, W, channels) become a network's inputs: the index of their input, and the other inputs."""

    place: int = 0
    arranged: Callable[[Any], Any] | None = None

    def __call__(self, network: keras.Model, pictures: Array) -> Any:
        """Give the value that the network is called with."""
        if self.arranged is None:
            tensor = keras.ops.convert_to_tensor(
                np.moveaxis(pictures, -1, 1) if is_channels_first(network) else pictures
            )
        else:
            tensor = self.arranged(keras.ops.convert_to_tensor(pictures))
        return as_declared(network, tensor.tensors if isinstance(tensor, Feed) else (tensor,))


@dataclass(frozen=True, eq=False)
class Met:
    """A layer with weights, and its input (N, ...) in the network's own layout."""

    path: str
    layer: Any
    inputs: Array


ONLY_PICTURES = Feeder()


class _Reached(BaseException):
    """The run can stop. This is not an Exception, because Keras would change its message."""


def first_met(
    network: keras.Model, pictures: Array, wanted: Callable[[Any], bool], feeder: Feeder = ONLY_PICTURES
) -> Met | None:
    """Run images (N, H, W, channels) up to the first wanted layer; None if no such layer is reached.

    A layer whose input is the same for all images is skipped, because its input does not depend on the images.
    """
    found: list[Met] = []

    def stop(path: str, layer: Any, inputs: Array) -> None:
        if wanted(layer) and (len(inputs) == 1 or np.ptp(inputs, axis=0).any()):
            found.append(Met(path, layer, inputs))
            raise _Reached

    with channels_last_convolutions(network), _watched(network, stop):
        try:
            network(feeder(network, pictures), training=False)
        except _Reached:
            return found[0]
    return None


def moments_met(
    network: keras.Model, pictures: Array, layer: Any, feeder: Feeder = ONLY_PICTURES
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the mean of a layer's input, and of its square, for each image and channel: both (N, K) float64."""
    axis = channel_axis(layer)
    each = max(1, PIXELS_AT_ONCE // (pictures.shape[1] * pictures.shape[2]))
    means, squares = [], []
    for start in range(0, len(pictures), each):
        met = first_met(network, pictures[start : start + each], lambda each_layer: each_layer is layer, feeder)
        if met is None:
            raise ValueError("the layer is not used")
        values = np.moveaxis(met.inputs, axis, -1).astype(np.float64)
        values = values.reshape(len(values), -1, values.shape[-1])
        means.append(values.mean(axis=1))
        squares.append((values**2).mean(axis=1))
    return np.concatenate(means), np.concatenate(squares)


def statistics_met(
    network: keras.Model, pictures: Array, layer: Any, feeder: Feeder = ONLY_PICTURES
) -> tuple[Array, Array]:
    """Give mean and variance (K,) float32 of a layer's input for each channel, for images (N, H, W, channels)."""
    means, squares = moments_met(network, pictures, layer, feeder)
    mean = means.mean(axis=0)
    return np.asarray(mean, np.float32), np.asarray(np.maximum(squares.mean(axis=0) - mean**2, 0), np.float32)


def channel_axis(layer: Any) -> int:
    """Give the channel axis of a normalisation layer."""
    axis = layer.axis
    return int(axis if isinstance(axis, int) else next(iter(axis)))


def is_leaf(layer: Any) -> bool:
    """Whether a layer contains no other layers."""
    return isinstance(layer, keras.Layer) and not list(layer._flatten_layers(include_self=False))  # noqa: SLF001 - no public walk


@contextmanager
def _watched(network: keras.Model, seen: Callable[[str, Any, Array], None]) -> Iterator[None]:
    """Call `seen` with the first input tensor of each layer with weights, before the layer is run."""
    hooked: list[Any] = []

    def hook(path: str, layer: Any) -> None:
        original = layer.call

        def call(*args: Any, **kwargs: Any) -> Any:
            tensors = [t for t in keras.tree.flatten((args, kwargs)) if keras.ops.is_tensor(t)]
            if tensors:
                seen(path, layer, np.asarray(keras.ops.convert_to_numpy(tensors[0]), np.float32))
            return original(*args, **kwargs)

        hooked.append(layer)
        # This avoids __setattr__ of Keras, which would try to track the value.
        object.__setattr__(layer, "call", call)

    try:
        for path, layer in layer_paths(network):
            if is_leaf(layer) and layer.weights and "call" not in layer.__dict__:
                hook(path, layer)
        yield
    finally:
        for layer in hooked:
            object.__delattr__(layer, "call")
