"""A `keras.Model` in memory: described like a model from a file, and never changed."""

import hashlib
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np

from gradcam_cli.errors import ModelError
from gradcam_cli.inputs.other_inputs import read_inputs
from gradcam_cli.models.classifier import Classifier
from gradcam_cli.models.files import describe
from gradcam_cli.models.request import ModelRequest, asked_labels
from gradcam_cli.models.stored_loss import Loss, configured_loss
from gradcam_cli.settings import ModelSettings


def request_for(network: Any, settings: ModelSettings) -> ModelRequest:
    """Make a request for a network in memory. Its `sha256` is the hash of its weights, in their order.

    Raises:
        ModelError: it is not a built Keras model.
    """
    if not isinstance(network, keras.Model):
        raise ModelError(f"`model` is a {type(network).__name__}. Give a name, a path, or a built keras.Model.")
    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            f"Keras runs on {keras.backend.backend()}, but only models of its TensorFlow backend can be explained."
        )
    if not network.built:
        raise ModelError(f"{network.name}: the model is not built. Call it once on a batch of images.")
    digest = hashlib.sha256()
    for weight in network.weights:
        digest.update(f"{weight.path} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(_bytes_of(weight))
    return ModelRequest(
        settings, None, None, None, asked_labels(settings), digest.hexdigest(),
        is_checked=True,
        inputs=read_inputs(settings),
        network=network,
    )  # fmt: skip


def fingerprint(network: keras.Model) -> int:
    """Give a number that changes with the weights. It is faster to compute than their hash."""
    found = 0
    for weight in network.weights:
        found = zlib.crc32(_bytes_of(weight), found)
    return found


def classifier_of_network(network: keras.Model, request: ModelRequest) -> Classifier:
    """Describe a network in memory.

    Raises:
        ModelError: its input is not an image.
    """
    return describe(network, Path(network.name), request, (), _loss(network, request.settings.output_name))


def _loss(network: keras.Model, wanted: str | None) -> Loss | None:
    if not network.compiled:
        return None
    names = [str(name) for name in getattr(network, "output_names", None) or []]
    return configured_loss(network.get_compile_config(), names, wanted)


def _bytes_of(weight: Any) -> memoryview:
    return np.ascontiguousarray(keras.ops.convert_to_numpy(weight)).view(np.uint8).reshape(-1).data
