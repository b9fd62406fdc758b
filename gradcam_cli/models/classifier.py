"""A classifier: the network, what its input is, and what its classes are called."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import wraps
from threading import RLock
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from gradcam_cli.errors import GradcamError, ModelError, first_line
from gradcam_cli.imaging.preprocessing import Preprocessing
from gradcam_cli.inputs.other_inputs import OtherInput, missing_values
from gradcam_cli.labels.class_labels import Labels
from gradcam_cli.models.output_kind import OutputHints
from gradcam_cli.models.trace import Feed, Substitute, Trace, trace
from gradcam_cli.settings import FitMode

# Protobuf ends at 2 GB.
LARGEST_GRAPH = 3 * 2**29
# Keras writes what a layer said in bold, between the layer and its arguments.
CALLED = re.compile(r"Exception encountered when calling .*?\x1b\[1m(.*)\x1b\[0m\s*Arguments received by", re.DOTALL)

Found = TypeVar("Found")
# Makes a scope in which the network is traced with other weights, or with its own in another form.
WeightScope = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network and what surrounds it.

    `input_shape` is (height, width, channels), whichever way round the network has it. `output` names the one to
    explain where there are several. `warnings` are for people: what about its input looks wrong; so are `notes`: what
    was found out about it. `preprocess_scores` are distances between what the network remembers of its training data
    and what it meets under each preprocessing; `fit` is how its training pictures were laid into the input.
    `picture_input` is the place and the name of the explained picture among several inputs, the rest of which are
    `other_inputs`. `tracing` is held while the network is traced: a trace replaces methods of its layers for a while,
    so that two traces at once would disturb each other.
    """

    name: str
    sha256: str | None
    network: Any
    input_shape: tuple[int, int, int]
    preprocessing: Preprocessing
    preprocess_guessed: bool
    labels: Labels
    output: str | None = None
    channels_first: bool = False
    warnings: tuple[str, ...] = ()
    token_grid: tuple[int, int] | None = None
    preprocess_reason: str = ""
    preprocess_scores: Mapping[str, float] | None = None
    fit: FitMode = "squash"
    notes: tuple[str, ...] = ()
    picture_input: tuple[int, str] = (0, "")
    other_inputs: tuple[OtherInput, ...] = ()
    output_hints: OutputHints = field(default_factory=OutputHints)
    tracing: AbstractContextManager[Any] = field(default_factory=RLock, repr=False)

    @property
    def varying(self) -> tuple[OtherInput, ...]:
        """Inputs whose value differs from image to image."""
        return tuple(other for other in self.other_inputs if other.varies)

    def check_inputs(self) -> None:
        """Refuse to go on while an input has no value.

        Raises:
            ModelError: with the names and shapes of such inputs.
        """
        missing = missing_values(self.other_inputs)
        if missing:
            raise ModelError(f"{self.name}: {missing}.")

    def arranged(self, inputs: Any, extras: Sequence[Any] = ()) -> Any:
        """Lay a batch (N, H, W, channels) out as the network wants it, with the batches of what varies besides.

        Without `extras`, inputs that vary or have no value yet are zeros: good for the shape of the network only.
        """
        picture = tf.transpose(inputs, (0, 3, 1, 2)) if self.channels_first else inputs
        if not self.other_inputs:
            return picture
        place, name = self.picture_input
        tensors = {place: picture}
        varying = dict(zip((other.name for other in self.varying), extras, strict=bool(extras)))
        for other in self.other_inputs:
            tensors[other.place] = varying.get(other.name) if other.name in varying else _filled(other, picture)
        return Feed(tuple(tensors[i] for i in sorted(tensors)), picture, name)

    def run(self, inputs: Any, extras: Sequence[Any] = (), substitute: Substitute | None = None) -> Trace:
        """Run the network on a batch (N, H, W, channels) inside a function that is being traced.

        `extras` are those of `arranged`, `substitute` that of `trace`.

        Raises:
            ModelError: the network's output is not one score for each class.
        """
        return trace(self.network, self.arranged(inputs, extras), self.output, substitute, self.output_hints)

    def constants(self) -> WeightScope:
        """Read the weights, and give what makes them constants wherever the network is traced inside of it.

        A graph without variables is folded: batch normalisation goes into the convolution before it, and what can be
        computed beforehand is. Measured, that makes a pass of ResNet50 1.08 times as fast, of EfficientNet-Lite0 1.24
        times, and costs 1.8 and 0.2 s before the first one. Networks too large for one graph keep their variables.
        """
        values = [(variable, variable.numpy()) for variable in self.network.variables]
        if sum(value.nbytes for _, value in values) > LARGEST_GRAPH:
            return nullcontext

        def scope() -> AbstractContextManager[Any]:
            mapping = [(variable, tf.constant(value)) for variable, value in values]
            context: AbstractContextManager[Any] = keras.StatelessScope(state_mapping=mapping)
            return context

        return scope

    def traced(
        self, function: Callable[..., tuple[Any, Found]], batch_size: int | None, *more: Any
    ) -> tuple[Any, Found]:
        """Trace a function of a batch (N, H, W, channels) float32, and of `more` tensors, with one fixed signature.

        `function` gives the tensors that the traced function gives, and what it found out while it was traced. Returns
        the traced function and what was found out.

        Raises:
            ModelError: the network cannot be run on such pictures.
        """
        signature = [tf.TensorSpec((batch_size, *self.input_shape), tf.float32), *more]
        found: list[Found] = []

        @wraps(function)
        def graph(*tensors: Any) -> Any:
            outputs, noted = function(*tensors)
            found.append(noted)
            return outputs

        try:
            with self.tracing:
                traced = tf.function(graph, input_signature=signature, autograph=False).get_concrete_function()
        except GradcamError:
            raise
        except Exception as error:
            # A network may refuse its input in any way: a size that does not suit it, an operation the platform lacks.
            height, width, channels = self.input_shape
            raise ModelError(
                f"{self.name}: the network cannot be run on a {height}x{width}x{channels} image: {_reason(error)}"
            ) from error
        return traced, found[-1]


def _reason(error: Exception) -> str:
    """Give what a layer said in one line, without what Keras says around it: which layer was called, and with what."""
    found = CALLED.search(str(error))
    return first_line(Exception(" ".join(found[1].split()))) if found else first_line(error)


def _filled(other: OtherInput, picture: Any) -> Any:
    """A batch for an input that is the picture once more, or that has one value for all images."""
    if other.same:
        return picture
    value = other.constant
    if value is None:
        value = np.zeros([size or 1 for size in other.shape], other.dtype)
    count = picture.shape[0] or tf.shape(picture)[0]
    return tf.repeat(tf.constant(value)[None], count, axis=0)
