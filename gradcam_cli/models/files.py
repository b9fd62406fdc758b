"""Make a classifier of a model file: load it safely, and find its input, preprocessing and labels."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keras

from gradcam_cli.errors import ModelError
from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.labels.class_labels import Labels, imagenet_labels
from gradcam_cli.labels.files import choose_beside
from gradcam_cli.models.classifier import Classifier
from gradcam_cli.models.families import is_as_it_came
from gradcam_cli.models.input_choice import choose_input
from gradcam_cli.models.legacy.loading import load_network, load_parts, read_source
from gradcam_cli.models.output_kind import OutputHints
from gradcam_cli.models.picture_input import CHANNELS, Shape, picture_input, sized
from gradcam_cli.models.probe import Feeder
from gradcam_cli.models.request import ModelRequest, open_source
from gradcam_cli.models.safety.held_file import held
from gradcam_cli.models.safety.preflight import read_architecture
from gradcam_cli.models.stored_loss import Loss, stored_loss
from gradcam_cli.models.subclasses import as_graphs
from gradcam_cli.models.trace import is_channels_first

FALLBACK_SIDE = 224


def classifier_from_file(path: Path, request: ModelRequest) -> Classifier:
    """Load a .keras, .h5 or .hdf5 file that has passed the preflight.

    Raises:
        ModelError: the file is refused, cannot be loaded, or its input is not an image.
    """
    network, own_notes = _network(path, request)
    return describe(network, path, request, own_notes, _loss(path, network, request))


def describe(
    network: keras.Model, path: Path, request: ModelRequest, own_notes: tuple[str, ...], loss: Loss | None
) -> Classifier:
    """Find the input, the preprocessing and the labels of a network. `path` names it in messages.

    Raises:
        ModelError: its input is not an image.
    """
    settings = request.settings
    channels_first = is_channels_first(network)
    found = picture_input(path, network, settings.image_input, request.inputs)
    shape = _input_shape(path, found.picture.shape, settings.input_size, channels_first=channels_first)
    if settings.preprocess != "auto" and not PREPROCESSINGS[settings.preprocess].takes(shape[2]):
        raise ModelError(
            f"{path}: `preprocess={settings.preprocess}` needs three channels, but the model's input has {shape[2]}."
        )
    labels, notes = _labels(network, request)
    loaded = Classifier(
        name=path.name,
        sha256=request.sha256,
        network=network,
        input_shape=shape,
        preprocessing=PREPROCESSINGS["none"],
        preprocess_guessed=True,
        labels=labels,
        output=settings.output_name,
        channels_first=channels_first,
        token_grid=settings.token_grid,
        warnings=tuple(_size_warnings(found.picture.shape, settings.input_size)),
        notes=(*own_notes, *notes, *([found.note] if found.note else [])),
        picture_input=(found.picture.place, found.picture.name),
        other_inputs=sized(found.others, shape[:2]),
        output_hints=OutputHints(settings.output_kind, loss),
    )
    choice = choose_input(network, shape, path, settings.preprocess, Feeder(found.picture.place, loaded.arranged))
    return replace(
        loaded,
        preprocessing=choice.preprocessing,
        preprocess_guessed=choice.guessed,
        preprocess_reason=choice.reason,
        preprocess_scores=choice.scores,
        fit=choice.fit,
        warnings=(*loaded.warnings, *choice.warnings),
        notes=(*loaded.notes, *choice.notes),
    )


def _loss(path: Path, network: keras.Model, request: ModelRequest) -> Loss | None:
    if request.architecture:
        return None
    names = [str(name) for name in getattr(network, "output_names", None) or []]
    with open_source(path, request) as source:
        return stored_loss(source, names, request.settings.output_name)


def _network(path: Path, request: ModelRequest) -> tuple[keras.Model, tuple[str, ...]]:
    """Load the network; also give notes about custom code, replaced classes, and files that were combined."""
    notes = [request.note] if request.note else []
    if request.architecture is None:
        with open_source(path, request) as file:
            config = read_source(file).config
            network = load_network(file, request.custom.run(config) if request.custom else None)
    else:
        with held(request.architecture) as beside:
            config = read_architecture(beside.link)
        with open_source(path.with_suffix(".h5"), request) as weights:
            own = request.custom.run(config) if request.custom else None
            network = load_parts(request.architecture.path, config, weights, own)
    if request.custom:
        notes.append(f"runs the code of {request.custom.path.name} (sha256 {request.custom.sha256})")
    replaced = sorted(set(as_graphs(config)[1].values()))
    if replaced:
        graph = "only the graph of layers in the file is loaded; no method of the class runs"
        notes.append(f"{' and '.join(replaced)} is not a class of Keras: {graph}")
    return network, tuple(notes)


def _input_shape(
    path: Path, shape: Shape, wanted: tuple[int, int] | None, *, channels_first: bool
) -> tuple[int, int, int]:
    """Find height, width and channels of the image input."""
    if len(shape) != 4:
        raise ModelError(f"{path}: its input is {shape}; it must be images (N, height, width, channels).")
    own = (shape[2], shape[3], shape[1]) if channels_first else tuple(shape[1:])
    if own[2] not in CHANNELS:
        raise ModelError(f"{path}: its input is {shape}; images must have 1, 3 or 4 channels.")
    height, width = wanted or (own[0] or FALLBACK_SIDE, own[1] or FALLBACK_SIDE)
    if (own[0] or height, own[1] or width) != (height, width):
        raise ModelError(f"{path}: its input is {own[0]}x{own[1]}; it does not accept {height}x{width}.")
    return height, width, own[2]


def _labels(network: keras.Model, request: ModelRequest) -> tuple[Labels, tuple[str, ...]]:
    """Choose the requested labels, those in the model's folder, or those of ImageNet; also give notes about them."""
    if request.labels:
        return request.labels, ()
    found, notes = choose_beside(request.labels_beside, _class_count(network, request.settings.output_name))
    return (found if len(found) else _known_labels(network)), notes


def _class_count(network: keras.Model, output: str | None) -> int | None:
    """Count the classes if the output's shape shows them. One unit means two classes."""
    outputs = list(getattr(network, "outputs", None) or [])
    names = list(getattr(network, "output_names", None) or [])
    index = names.index(output) if output in names else 0
    units = outputs[index].shape[-1] if len(outputs) > index else None
    return 2 if units == 1 else units


def _known_labels(network: keras.Model) -> Labels:
    """Give the labels of ImageNet if the model is an unchanged application of Keras."""
    return imagenet_labels() if is_as_it_came(network) else Labels()


def _size_warnings(shape: Shape, wanted: tuple[int, int] | None) -> Iterator[str]:
    if wanted is None and None in shape[1:]:
        yield (
            f"the model does not define its input size; {FALLBACK_SIDE} is used. Set another size with "
            "`input_size=HxW`."
        )
