"""A classifier: the network, its input, and the names of its classes."""

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

# A file in the Protobuf format has at most 2 GB.
LARGEST_GRAPH = 3 * 2**29
# In its error, Keras puts the message of the layer in bold, between the layer's name and its arguments.
CALLED = re.compile(r"Exception encountered when calling .*?\x1b\[1m(.*)\x1b\[0m\s*Arguments received by", re.DOTALL)

Found = TypeVar("Found")
# Makes a scope in which the network is traced with other weights, or with its own weights in another form.
WeightScope = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network with its input, preprocessing and labels.

    `input_shape` is (height, width, channels), also for a channels-first network. `output` names the explained output
    if there are several. `warnings` and `notes` are for the user: possible errors in the input, and facts that were
    found. `preprocess_scores` are the distances between the stored statistics of the training data and those of each
    preprocessing. `fit` is how the training images were fitted to the input. `picture_input` is the index and the name
    of the explained image's input; `other_inputs` are the remaining inputs. `tracing` is locked while the network is
    traced: a trace replaces methods of the layers, so two traces must not run at the same time.
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
        """Inputs whose value differs between images."""
        return tuple(other for other in self.other_inputs if other.varies)

    def check_inputs(self) -> None:
        """Check that every input has a value.

        Raises:
            ModelError: an input has no value. The message has the names and shapes of such inputs.
        """
        missing = missing_values(self.other_inputs)
        if missing:
            raise ModelError(f"{self.name}: {missing}.")

    def arranged(self, inputs: Any, extras: Sequence[Any] = ()) -> Any:
        """Arrange a batch (N, H, W, channels) for the network, together with the batches of varying inputs.

        Without `extras`, inputs that vary or have no value are zeros. This is valid only to read the network's
        structure.
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

        For `extras` see `arranged`, for `substitute` see `trace`.

        Raises:
            ModelError: the network's output is not one score for each class.
        """
        return trace(self.network, self.arranged(inputs, extras), self.output, substitute, self.output_hints)

    def constants(self) -> WeightScope:
        """Read the weights, and give a scope in which a traced network has them as constants.

        A graph without variables can be folded: batch normalisation is merged into the convolution before it, and
        constant parts are computed in advance. Measured: a pass of ResNet50 is 1.08 times as fast, and one of
        EfficientNet-Lite0 1.24 times. The first pass starts 1.8 s and 0.2 s later. Networks too large for one graph
        keep their variables.
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

        `function` gives the output tensors, and information that it found during the trace. This method gives the
        traced function and the information.

        Raises:
            ModelError: the network cannot be run on such images.
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
            # A network may fail for many reasons: an unsuitable input size, an operation that the platform does not
            # support.
            height, width, channels = self.input_shape
            raise ModelError(
                f"{self.name}: the network cannot be run on a {height}x{width}x{channels} image: {_reason(error)}"
            ) from error
        return traced, found[-1]


def _reason(error: Exception) -> str:
    """Give the message of the layer in one line, without the text of Keras about the called layer and its arguments."""
    found = CALLED.search(str(error))
    return first_line(Exception(" ".join(found[1].split()))) if found else first_line(error)


def _filled(other: OtherInput, picture: Any) -> Any:
    """Make a batch for an input that is the same image again, or that has one value for all images."""
    if other.same:
        return picture
    value = other.constant
    if value is None:
        value = np.zeros([size or 1 for size in other.shape], other.dtype)
    count = picture.shape[0] or tf.shape(picture)[0]
    return tf.repeat(tf.constant(value)[None], count, axis=0)
