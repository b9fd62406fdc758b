"""From a request to a classifier: the network, what its input is, and what its classes are called."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradcam_cli.errors import ModelError
from gradcam_cli.labels import Labels, imagenet_labels
from gradcam_cli.models.named import LITE0, NAMED_MODELS, NamedModel
from gradcam_cli.models.request import ModelRequest
from gradcam_cli.models.weights import file_sha256, is_imagenet_file
from gradcam_cli.preprocessing import PREPROCESSINGS, Preprocessing

# Whatever ~/.keras/keras.json says: the tap is made of TensorFlow's graphs.
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras

IMAGENET_CLASSES = 1000
FALLBACK_SIDE = 224
# What keras.applications divides by once more where EfficientNet is built for ImageNet's weights.
IMAGENET_VARIANCE = (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network and what surrounds it. `input_shape` is (height, width, channels)."""

    name: str
    sha256: str | None
    network: Any
    input_shape: tuple[int, int, int]
    preprocessing: Preprocessing
    preprocess_guessed: bool
    labels: Labels


def load_classifier(request: ModelRequest, *, need_weights: bool = True) -> Classifier:
    """Build or load what was asked for; `need_weights=False` leaves a named model with random ones.

    Raises:
        ModelError: weights that do not fit, or a file that is no image classifier.
    """
    keras.config.set_image_data_format("channels_last")
    if request.named:
        return _from_name(request.named, request, need_weights=need_weights)
    return _from_file(request.file or Path(), request)


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
        labels=request.labels or imagenet_labels(),
    )


def _weighted(named: NamedModel, request: ModelRequest, size: tuple[int, int]) -> tuple[keras.Model, str]:
    if request.weights is None:
        from gradcam_cli.models.efficientnet_lite0 import load_packaged_weights

        network = _build(named, size)
        return network, load_packaged_weights(network)
    network = _build(named, size)
    if _has_imagenet_scaling(named, request.weights):
        network = _rescaled(network)
    _load_weights(network, named, request.weights)
    return network, file_sha256(request.weights)


def _build(named: NamedModel, size: tuple[int, int]) -> keras.Model:
    if named.name == LITE0:
        from gradcam_cli.models.efficientnet_lite0 import build_efficientnet_lite0

        return build_efficientnet_lite0(size)
    try:
        return getattr(keras.applications, named.builder)(weights=None, input_shape=(*size, 3))
    except ValueError as error:
        raise ModelError(f"{named.name} cannot be built for {size[0]}x{size[1]}: {_first_line(error)}") from error


def _load_weights(network: keras.Model, named: NamedModel, path: Path) -> None:
    try:
        with warnings.catch_warnings():
            # Keras warns of layers it found nothing for, and leaves them as they were: random.
            warnings.filterwarnings("error", message="Skipping", category=UserWarning)
            network.load_weights(path)
    except (ValueError, OSError, KeyError, TypeError, UserWarning) as error:
        raise ModelError(
            f"{path}: these weights do not fit {named.name} ({_first_line(error)}). They must come from the same "
            "architecture with its 1000 classes; a model of another shape is given whole: --model FILE.keras"
        ) from error


def _has_imagenet_scaling(named: NamedModel, weights: Path) -> bool:
    """Whether a file of weights wants the extra scaling that Keras gives EfficientNet B0 to B7 for ImageNet.

    The scaling has no weights of its own, so only the file's hash can tell.
    """
    return named.builder.startswith("EfficientNetB") and is_imagenet_file(weights, named)


def _rescaled(network: keras.Model) -> keras.Model:
    """Clone a network with a Rescaling layer behind its Normalization."""
    factors = [1 / variance**0.5 for variance in IMAGENET_VARIANCE]

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        output = layer(*args, **kwargs)
        return keras.layers.Rescaling(factors)(output) if isinstance(layer, keras.layers.Normalization) else output

    def clone(layer: keras.Layer) -> keras.Layer:
        return layer.__class__.from_config(layer.get_config())

    return keras.models.clone_model(network, clone_function=clone, call_function=call)


def _from_file(path: Path, request: ModelRequest) -> Classifier:
    network = _load_file(path)
    application = NAMED_MODELS.get(str(network.name).lower())
    preprocessing, guessed = _file_preprocessing(network, request.settings.preprocess, application)
    return Classifier(
        name=path.name,
        sha256=file_sha256(path),
        network=network,
        input_shape=_input_shape(path, network, request.settings.input_size),
        preprocessing=preprocessing,
        preprocess_guessed=guessed,
        labels=request.labels or _known_labels(network, application),
    )


def _load_file(path: Path) -> keras.Model:
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError, AttributeError, ImportError) as error:
        raise ModelError(f"{path}: Keras {keras.__version__} cannot load this model: {_first_line(error)}") from error


def _input_shape(path: Path, network: keras.Model, wanted: tuple[int, int] | None) -> tuple[int, int, int]:
    inputs = network.inputs
    if not inputs or len(inputs) != 1:
        count = len(inputs) if inputs else "no known"
        raise ModelError(f"{path}: the model has {count} inputs; one picture is explained at a time.")
    shape = tuple(inputs[0].shape)
    if len(shape) != 4 or shape[3] != 3:
        raise ModelError(f"{path}: its input is {shape}; pictures (N, height, width, 3) are explained.")
    height, width = wanted or (shape[1] or FALLBACK_SIDE, shape[2] or FALLBACK_SIDE)
    if (shape[1] or height, shape[2] or width) != (height, width):
        raise ModelError(f"{path}: its input is {shape[1]}x{shape[2]}; it cannot take {height}x{width}.")
    return height, width, 3


def _known_labels(network: keras.Model, application: NamedModel | None) -> Labels:
    shape = network.output_shape
    thousand = isinstance(shape, tuple) and shape[-1] == IMAGENET_CLASSES
    return imagenet_labels() if application and thousand else Labels()


def _file_preprocessing(
    network: keras.Model, wanted: str, application: NamedModel | None
) -> tuple[Preprocessing, bool]:
    """What a file's network wants: by request, by the scaling inside it, by its architecture, else a stated guess."""
    if wanted != "auto":
        return PREPROCESSINGS[wanted], False
    if any(isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization)) for layer in network.layers):
        return PREPROCESSINGS["none"], False
    if application:
        return PREPROCESSINGS[application.preprocess], False
    return PREPROCESSINGS["unit"], True


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
