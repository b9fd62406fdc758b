"""Read and analyse a model in an exchange format: everything that does not depend on the layer."""

from dataclasses import dataclass
from typing import Any

from gradcam_cli.engines.exchange.layers import Layers
from gradcam_cli.engines.exchange.numbers import IMAGENET_CLASSES, Numbers, choose_numbers
from gradcam_cli.engines.exchange.outputs import Scores, read_scores
from gradcam_cli.engines.exchange.picture import FALLBACK_SIDE, PictureInput, picture_input, picture_tensor, static_copy
from gradcam_cli.engines.exchange.reading import read_network
from gradcam_cli.engines.protocol import LayerInfo
from gradcam_cli.errors import ModelError, first_line
from gradcam_cli.labels.class_labels import Labels, imagenet_labels
from gradcam_cli.labels.files import choose_beside
from gradcam_cli.models.request import ModelRequest

# The attribute with the number of a node, set before constants are folded: a node has the same number in all copies.
NUMBER = "gradcam_number"


@dataclass(frozen=True, eq=False)
class Network:
    """The network of the file (`model`), and a copy with static shapes (`analysed`).

    `layers`, `scores` and `numbers` refer to the copy.
    """

    request: ModelRequest
    name: str
    model: Any
    analysed: Any
    picture: PictureInput
    scores: Scores
    layers: Layers
    numbers: Numbers
    labels: Labels
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def list_layers(self) -> list[LayerInfo]:
        """List every layer that can be explained, in the order of the network."""
        return self.layers.listed()


def open_network(request: ModelRequest) -> Network:
    """Read a model, and find its input, output, layers, preprocessing and labels.

    Raises:
        ModelError: the model cannot be read, or is not an image classifier.
    """
    try:
        return _opened(request)
    except RuntimeError as error:
        raise ModelError(f"{request.name}: OpenVINO cannot follow this network ({first_line(error)}).") from error


def _opened(request: ModelRequest) -> Network:
    settings, name = request.settings, request.name
    model = read_network(request)
    picture = picture_input(model, name, settings.input_size)
    for number, node in enumerate(model.get_ordered_ops()):
        node.get_rt_info()[NUMBER] = number
    analysed = static_copy(model, picture, name)
    scores = read_scores(analysed, name, settings.output_name, settings.output_kind)
    layers = Layers(analysed, picture, scores, request)
    numbers = choose_numbers(picture_tensor(analysed), picture, scores.class_count, settings.preprocess, name)
    labels, notes = _labels(request, scores.class_count)
    open_size = picture.open_size and settings.input_size is None
    size = f"the model does not define its input size; {FALLBACK_SIDE} is used. Set another size with `input_size=HxW`."
    return Network(
        request=request,
        name=name,
        model=model,
        analysed=analysed,
        picture=picture,
        scores=scores,
        layers=layers,
        numbers=numbers,
        labels=labels,
        notes=notes,
        warnings=(size,) if open_size else (),
    )


def _labels(request: ModelRequest, classes: int) -> tuple[Labels, tuple[str, ...]]:
    """Give the requested labels, else the labels next to the model, else ImageNet's if the number of classes agrees."""
    if request.labels:
        return request.labels, ()
    found, notes = choose_beside(request.labels_beside, classes)
    if len(found) or classes != IMAGENET_CLASSES:
        return found, notes
    return imagenet_labels(), (
        *notes,
        "its 1000 classes are assumed to be those of ImageNet; give other names with `labels`",
    )
