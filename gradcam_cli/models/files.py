"""From a model file to a classifier: loaded safely, its input, preprocessing and labels found out."""

import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import keras

from gradcam_cli.errors import ModelError
from gradcam_cli.label_files import choose_beside
from gradcam_cli.labels import Labels, imagenet_labels
from gradcam_cli.models.classifier import Classifier
from gradcam_cli.models.legacy.loading import load_network
from gradcam_cli.models.named import NAMED_MODELS, NamedModel
from gradcam_cli.models.output_kind import OutputHints
from gradcam_cli.models.picture_input import CHANNELS, Shape, picture_input, sized
from gradcam_cli.models.request import ModelRequest, open_source
from gradcam_cli.models.stored_loss import Loss, stored_loss
from gradcam_cli.models.trace import is_channels_first, layer_paths
from gradcam_cli.preprocessing import ASKED_FOR, PREPROCESSINGS, Preprocessing

IMAGENET_CLASSES = 1000
FALLBACK_SIDE = 224
GUESS = "unit"
# Bare operations that scale or shift a picture: what keras.applications' preprocess_input leaves in a network.
ARITHMETIC = frozenset({"Subtract", "TrueDivide", "Divide", "Multiply", "Add"})
# A layer that only this family has, for networks in which the backbone was laid flat.
FINGERPRINTS = {
    "conv2_block1_preact_bn": "resnet50v2",
    "conv5_block3_out": "resnet50",
    "block5_conv3": "vgg16",
    "block_16_project": "mobilenetv2",
    "conv_pw_13_relu": "mobilenet",
    "mixed10": "inceptionv3",
    "block14_sepconv2_act": "xception",
    "pool4_conv": "densenet121",
    "conv_7b_ac": "inceptionresnetv2",
}


def classifier_from_file(path: Path, request: ModelRequest) -> Classifier:
    """Load a .keras, .h5 or .hdf5 file that has passed the preflight.

    Raises:
        ModelError: the file is refused, cannot be loaded, or its input is no picture.
    """
    settings = request.settings
    with open_source(path, request) as file:
        network = load_network(file)
    channels_first = is_channels_first(network)
    found = picture_input(path, network, settings.image_input, request.inputs)
    shape = _input_shape(path, found.picture.shape, settings.input_size, channels_first=channels_first)
    own, why = _own_preprocessing(network)
    preprocessing = PREPROCESSINGS[(own or GUESS) if settings.preprocess == "auto" else settings.preprocess]
    if not preprocessing.takes(shape[2]):
        raise ModelError(
            f"{path}: --preprocess {preprocessing.name} is for three channels; the model's input has {shape[2]}."
        )
    labels, notes = _labels(network, request)
    return Classifier(
        name=path.name,
        sha256=request.sha256,
        network=network,
        input_shape=shape,
        preprocessing=preprocessing,
        preprocess_guessed=settings.preprocess == "auto" and own is None,
        labels=labels,
        output=settings.output_name,
        channels_first=channels_first,
        token_grid=settings.token_grid,
        warnings=(*_size_warnings(found.picture.shape, settings.input_size), *_range_warnings(own, why, preprocessing)),
        notes=(*notes, *([found.note] if found.note else [])),
        picture_input=(found.picture.place, found.picture.name),
        other_inputs=sized(found.others, shape[:2]),
        preprocess_reason=_reason(settings.preprocess, why),
        output_hints=OutputHints(settings.output_kind, _loss(path, network, request)),
    )


def _loss(path: Path, network: keras.Model, request: ModelRequest) -> Loss | None:
    names = [str(name) for name in getattr(network, "output_names", None) or []]
    with open_source(path, request) as source:
        return stored_loss(source, names, request.settings.output_name)


def _input_shape(
    path: Path, shape: Shape, wanted: tuple[int, int] | None, *, channels_first: bool
) -> tuple[int, int, int]:
    """Find height, width and channels of the one picture that goes in."""
    if len(shape) != 4:
        raise ModelError(f"{path}: its input is {shape}; pictures (N, height, width, channels) are explained.")
    own = (shape[2], shape[3], shape[1]) if channels_first else tuple(shape[1:])
    if own[2] not in CHANNELS:
        raise ModelError(f"{path}: its input is {shape}; pictures of 1, 3 or 4 channels are explained.")
    height, width = wanted or (own[0] or FALLBACK_SIDE, own[1] or FALLBACK_SIDE)
    if (own[0] or height, own[1] or width) != (height, width):
        raise ModelError(f"{path}: its input is {own[0]}x{own[1]}; it cannot take {height}x{width}.")
    return height, width, own[2]


def _reason(wanted: str, why: str) -> str:
    if wanted != "auto":
        return ASKED_FOR
    return why or "nothing in the model shows how pixels become its input"


def _labels(network: keras.Model, request: ModelRequest) -> tuple[Labels, tuple[str, ...]]:
    """Take the labels that were asked for, those beside the model, or ImageNet's; and what is to be said of them."""
    if request.labels:
        return request.labels, ()
    found, notes = choose_beside(request.labels_beside, _class_count(network, request.settings.output_name))
    return (found if len(found) else _known_labels(network)), notes


def _class_count(network: keras.Model, output: str | None) -> int | None:
    """Count the classes as far as the output's shape shows them: one unit is two classes."""
    outputs = list(getattr(network, "outputs", None) or [])
    names = list(getattr(network, "output_names", None) or [])
    index = names.index(output) if output in names else 0
    units = outputs[index].shape[-1] if len(outputs) > index else None
    return 2 if units == 1 else units


def _known_labels(network: keras.Model) -> Labels:
    """ImageNet's labels where the model is an application as it came."""
    shape = network.output_shape if hasattr(network, "outputs") else None
    thousand = isinstance(shape, tuple) and shape[-1] == IMAGENET_CLASSES
    return imagenet_labels() if thousand and named_like(str(network.name)) else Labels()


def _own_preprocessing(network: keras.Model) -> tuple[str | None, str]:
    """What the network itself tells of its input: None where it tells nothing; and how it tells."""
    for _, layer in _before_weights(network):
        if isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization)):
            return "none", f"it scales for itself ('{layer.name}')"
        if type(layer).__name__ in ARITHMETIC and not isinstance(layer, keras.Layer):
            return "none", f"it scales for itself ('{layer.name}')"
    family = _family(network)
    return (family.preprocess, f"it is built on {family.name}") if family else (None, "")


def _before_weights(network: keras.Model) -> Iterator[tuple[str, Any]]:
    """Layers in front of the first one that computes with a kernel."""
    return takewhile(lambda item: not hasattr(item[1], "kernel"), layer_paths(network))


def _family(network: keras.Model) -> NamedModel | None:
    """Recognise a backbone by its name, or a flat one by the names of its layers."""
    layers = list(layer_paths(network))
    names = [network.name, *(layer.name for _, layer in layers if isinstance(layer, keras.Model))]
    for name in names:
        if found := named_like(name):
            return found
    present = {layer.name for _, layer in layers}
    return next((NAMED_MODELS[family] for name, family in FINGERPRINTS.items() if name in present), None)


def named_like(name: str) -> NamedModel | None:
    """The architecture whose name begins this one, as Keras calls its models: `mobilenetv2_1.00_96`."""
    key = re.sub(r"[^a-z0-9]", "", name.lower())
    if key == "nasnet":
        return NAMED_MODELS["nasnetmobile"]
    fitting = [named for named in NAMED_MODELS if key.startswith(named)]
    return NAMED_MODELS[max(fitting, key=len)] if fitting else None


def _size_warnings(shape: Shape, wanted: tuple[int, int] | None) -> Iterator[str]:
    if wanted is None and None in shape[1:]:
        yield f"its input size is open; {FALLBACK_SIDE} was taken. Say another with --input-size HxW."


def _range_warnings(own: str | None, why: str, chosen: Preprocessing) -> Iterator[str]:
    if own is not None and own != chosen.name:
        yield (
            f"--preprocess {chosen.name} gives the model numbers from {_range(chosen)}, but {why}: "
            f"it expects '{own}', {_range(PREPROCESSINGS[own])}."
        )
    if own is None and chosen.name == "none":
        yield "the model meets raw numbers from 0 to 255, and nothing in it seems to scale them."


def _range(preprocessing: Preprocessing) -> str:
    low, high = preprocessing.range
    return f"{low:.4g} to {high:.4g}"
