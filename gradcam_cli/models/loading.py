"""Make a classifier of a request: build a named model and load its weights, or load a file."""

import warnings
from pathlib import Path
from typing import Any

import keras

from gradcam_cli.errors import ModelError, first_line
from gradcam_cli.imaging.preprocessing import ASKED_FOR, PREPROCESSINGS
from gradcam_cli.labels.class_labels import imagenet_labels
from gradcam_cli.models.classifier import Classifier
from gradcam_cli.models.files import classifier_from_file
from gradcam_cli.models.in_memory import classifier_of_network
from gradcam_cli.models.named import LITE0, NamedModel
from gradcam_cli.models.output_kind import OutputHints
from gradcam_cli.models.request import ModelRequest, checked, open_source
from gradcam_cli.models.weights import is_imagenet_file

# For the weights of ImageNet, EfficientNet in keras.applications also divides by the square roots of these values.
IMAGENET_VARIANCE = (0.229, 0.224, 0.225)


def load_classifier(request: ModelRequest, *, need_weights: bool = True) -> Classifier:
    """Build or load the requested model. With `need_weights=False`, a named model has random weights.

    Raises:
        ModelError: the weights do not fit, or the file is refused or is not an image classifier.
    """
    if request.network is not None:
        return classifier_of_network(request.network, request)
    keras.config.set_image_data_format("channels_last")
    request = checked(request)
    if request.named:
        return _from_name(request.named, request, need_weights=need_weights)
    return classifier_from_file(request.file or Path(), request)


def _from_name(named: NamedModel, request: ModelRequest, *, need_weights: bool) -> Classifier:
    size = request.settings.input_size or (named.size, named.size)
    network, digest = _weighted(named, request, size) if need_weights else (_build(named, size), None)
    wanted = request.settings.preprocess
    return Classifier(
        name=named.name,
        sha256=digest,
        network=network,
        input_shape=(*size, 3),
        preprocessing=PREPROCESSINGS[named.preprocess if wanted == "auto" else wanted],
        preprocess_guessed=False,
        preprocess_reason=f"that of {named.name}" if wanted == "auto" else ASKED_FOR,
        labels=request.labels or imagenet_labels(),
        output_hints=OutputHints(request.settings.output_kind),
        token_grid=request.settings.token_grid,
    )


def _weighted(named: NamedModel, request: ModelRequest, size: tuple[int, int]) -> tuple[keras.Model, str]:
    if request.weights is None:
        from gradcam_cli.models.efficientnet_lite0 import load_packaged_weights

        network = _build(named, size)
        return network, load_packaged_weights(network)
    network = build_named(named, request, size)
    with open_source(request.weights, request) as file:
        _load_weights(network, named, file)
    return network, request.sha256 or ""


def build_named(named: NamedModel, request: ModelRequest, size: tuple[int, int]) -> keras.Model:
    """Build a named model with random weights, in the form that the requested weights need.

    Raises:
        ModelError: the model cannot be built for images of this size.
    """
    network = _build(named, size)
    scaled = request.weights is not None and _has_imagenet_scaling(named, request.weights)
    return _rescaled(network) if scaled else network


def _build(named: NamedModel, size: tuple[int, int]) -> keras.Model:
    if named.name == LITE0:
        from gradcam_cli.models.efficientnet_lite0 import build_efficientnet_lite0

        return build_efficientnet_lite0(size)
    try:
        return getattr(keras.applications, named.builder)(weights=None, input_shape=(*size, 3))
    except ValueError as error:
        raise ModelError(f"{named.name} cannot be built for {size[0]}x{size[1]}: {first_line(error)}") from error


def _load_weights(network: keras.Model, named: NamedModel, path: Path) -> None:
    try:
        with warnings.catch_warnings():
            # Keras only warns about layers without stored weights, and leaves their random weights.
            warnings.filterwarnings("error", message="Skipping", category=UserWarning)
            network.load_weights(path)
    except (ValueError, OSError, KeyError, TypeError, UserWarning) as error:
        raise ModelError(
            f"{path}: these weights do not fit {named.name} ({first_line(error)}). The weights must be "
            "from the same architecture "
            "with its 1000 classes. For another architecture, give the whole model: `model=FILE.keras`"
        ) from error


def _has_imagenet_scaling(named: NamedModel, weights: Path) -> bool:
    """Whether a file of weights needs the extra scaling that Keras adds to EfficientNet B0 to B7 for ImageNet.

    The scaling has no weights, so only the hash of the file shows this.
    """
    return named.builder.startswith("EfficientNetB") and is_imagenet_file(weights, named)


def _rescaled(network: keras.Model) -> keras.Model:
    """Clone a network with a Rescaling layer after its Normalization."""
    factors = [1 / variance**0.5 for variance in IMAGENET_VARIANCE]

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        output = layer(*args, **kwargs)
        return keras.layers.Rescaling(factors)(output) if isinstance(layer, keras.layers.Normalization) else output

    def clone(layer: keras.Layer) -> keras.Layer:
        return layer.__class__.from_config(layer.get_config())

    return keras.models.clone_model(network, clone_function=clone, call_function=call)
