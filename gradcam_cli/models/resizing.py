"""The same network, with its loaded weights, at another input size."""

from dataclasses import replace

import keras

from gradcam_cli.errors import ModelError
from gradcam_cli.inputs.other_inputs import is_picture
from gradcam_cli.models.classifier import Classifier
from gradcam_cli.models.loading import build_named
from gradcam_cli.models.picture_input import declared_inputs
from gradcam_cli.models.request import ModelRequest

Size = tuple[int, int]


def at_size(classifier: Classifier, request: ModelRequest, size: Size) -> Classifier:
    """Give a classifier for images of another size (height, width). No file is read again.

    A network with an open input size takes any size. A named model is built again and gets the loaded weights.

    Raises:
        ModelError: the network takes images of one size only.
    """
    own = _declared(classifier)
    sized = replace(classifier, input_shape=(*size, classifier.input_shape[2]))
    if all(side in {None, wanted} for side, wanted in zip(own, size, strict=True)):
        _refuse_further_pictures(classifier)
        return sized
    if request.named is None:
        raise ModelError(f"{classifier.name}: its input is {own[0]}x{own[1]}; it does not accept {size[0]}x{size[1]}.")
    network = build_named(request.named, request, size)
    _hand_over(classifier, network)
    return replace(sized, network=network)


def _declared(classifier: Classifier) -> tuple[int | None, int | None]:
    """Give height and width of the image's input; None for each that the network leaves open."""
    inputs = declared_inputs(classifier.network)
    shape = inputs[classifier.picture_input[0]].shape
    return (shape[2], shape[3]) if classifier.channels_first else (shape[1], shape[2])


def _refuse_further_pictures(classifier: Classifier) -> None:
    """Refuse another size if there are further image inputs, whose size would be unknown."""
    for other in classifier.other_inputs:
        if is_picture(other.shape) and not other.same:
            raise ModelError(
                f"{classifier.name}: its input '{other.name}' takes an image too, whose size would be unknown."
            )


def _hand_over(classifier: Classifier, network: keras.Model) -> None:
    try:
        network.set_weights(classifier.network.get_weights())
    except ValueError as error:
        height, width, _ = classifier.input_shape
        raise ModelError(
            f"{classifier.name}: its weights are for {height}x{width} images: the number of weights in a layer after "
            "the last map depends on the size of the map."
        ) from error
