"""The TensorFlow engine: runs a traced model, and its head alone from kept activations on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gradcam_cli.cores import available_cores
from gradcam_cli.engines.devices import HasGpu, gpu_usable
from gradcam_cli.engines.protocol import NO_EXTRAS, Engine, Extras, Floats, Forward, Head, TargetLayer, probabilities_of
from gradcam_cli.engines.streams import streams_for
from gradcam_cli.engines.tracing import OWN_CHOICE, TracedModel, both_sides, gradient, score_of, trace_scores
from gradcam_cli.errors import ModelError, first_line
from gradcam_cli.models.linearity import is_averaged

# Pairs of image and channel that go through the head at once.
ABLATION_BATCH = 32
# As many rows where the head is given means instead of maps: they are small.
MEANS_BATCH = 256


class TensorFlowEngine:
    """Explains one traced model; implements `gradcam_cli.engines.protocol.Engine`.

    Batches are padded to one fixed shape, so that the model is traced once. What goes through the head alone is traced
    when it is first asked for.
    """

    name = "tensorflow"

    def __init__(
        self, traced: TracedModel, *, streams: int = 1, others: tuple[Engine, ...] = (), reason: str = ""
    ) -> None:
        """Take a traced model, the number of passes at the same time, and the engines of further layers.

        `reason` says why a preferred engine does not run it.
        """
        self.traced = traced
        self.reason = reason
        self.streams = streams
        self.others = others

    @property
    def precision(self) -> str:
        """Floating-point format of the target layer's output."""
        return self.traced.precision

    @property
    def batch_size(self) -> int:
        """Images a pass takes at the most."""
        return self.traced.settings.batch_size

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        height, width, _ = self.traced.classifier.input_shape
        return height, width

    @property
    def black(self) -> Floats:
        """What a black pixel is in the network's input: (channels,)."""
        classifier = self.traced.classifier
        return classifier.preprocessing.black(classifier.input_shape[2])

    @property
    def layer(self) -> TargetLayer:
        """The layer whose activations it gives."""
        return self.traced.target.layer

    @property
    def head(self) -> Head:
        """From logits to probabilities."""
        return self.traced.head

    @property
    def target_count(self) -> int:
        """Target classes each image gets: T."""
        return self.traced.target_count

    def explain(self, inputs: Floats, targets: NDArray[np.intp] | None = None, extras: Extras = NO_EXTRAS) -> Forward:
        """Run up to `batch_size` inputs (N, H, W, channels) forward, and back as far as the target layer.

        Raises:
            MemoryError: the batch is too large for this machine.
            ModelError: the machine lacks an operation that the network needs.
        """
        count = len(inputs)
        tensor = tf.constant(self._padded(inputs))
        more = [tf.constant(self._padded(extras[other.name])) for other in self.traced.classifier.varying]
        given = np.full((count, self.target_count), OWN_CHOICE) if targets is None else targets
        with _known_errors():
            wanted = tf.constant(self._padded(given), tf.int32)
            raw, activations, logits, chosen, gradients, told = self.traced.function(tensor, wanted, *more)
        # Views of TensorFlow's own memory: nothing is copied, and nobody writes.
        scores, classes = np.asarray(logits)[:count], np.asarray(chosen)[:count].astype(np.intp)
        slopes = None
        if self.traced.settings.gradients:
            dense = self.head.dense_score_gradients(self.traced.settings.score, scores, classes, self.layer)
            slopes = np.asarray(gradients)[:count] if dense is None else dense
        probabilities = np.asarray(told)[:count] if self.head.kind == "probabilities" else None
        known = np.asarray(activations)[:count]
        return Forward(inputs, known, scores, classes, slopes, ((tensor, *more), raw), extras, probabilities)

    def probabilities(self, inputs: Floats, extras: Extras = NO_EXTRAS) -> Floats:
        """Run up to `batch_size` inputs (N, H, W, channels) forward only, and give the probabilities (N, C).

        Where `explain` would take gradients, a function without them is traced when it is first needed.

        Raises:
            MemoryError: the batch is too large for this machine.
            ModelError: the machine lacks an operation that the network needs.
        """
        if not self.traced.settings.gradients or self.head.weights is not None:
            return probabilities_of(self.head, self.explain(inputs, extras=extras))
        with self.traced.classifier.tracing:
            scores = self._scores
        more = [tf.constant(self._padded(extras[other.name])) for other in self.traced.classifier.varying]
        with _known_errors():
            logits, told = (np.asarray(each) for each in scores(tf.constant(self._padded(inputs)), *more))
        found = told if self.head.kind == "probabilities" else self.head.probabilities(logits)
        return found[: len(inputs)]

    def class_gradients(self, forward: Forward, classes: NDArray[np.intp]) -> Floats:
        """Give the gradient (N, h, w, K) of one more class (N,) for each image, through the head alone."""
        dense = self.head.dense_gradients(classes[:, None], self.layer)
        if dense is not None:
            return dense[:, 0]
        inputs, activations = forward.handle
        wanted = tf.constant(self._padded(classes), tf.int32)
        with self.traced.classifier.tracing:
            head_gradient = self._head_gradient
        return np.asarray(head_gradient(activations, wanted, *inputs).numpy()[: len(classes)], np.float32)

    def ablation_drops(self, forward: Forward) -> Floats:
        """Give what each target's logit loses with each channel, through the head alone: (N, T, K)."""
        dense = self.head.dense_drops(forward.activations, forward.targets)
        if dense is not None:
            return dense
        inputs, raw = forward.handle
        with self.traced.classifier.tracing:
            ablated_logits = self._ablated_logits
        # Channel -1 is none: the whole score comes out of the same computation as those it is compared with.
        count, channels = len(forward.targets), self.layer.channels
        pairs = np.stack(np.divmod(np.arange(count * (channels + 1)), channels + 1), axis=1) - [0, 1]
        scores = []
        for start in range(0, len(pairs), ABLATION_BATCH):
            part = pairs[start : start + ABLATION_BATCH]
            full = np.resize(part, (ABLATION_BATCH, 2))
            logits = ablated_logits(raw, tf.constant(full, tf.int32), *inputs).numpy()[: len(part)]
            scores.append(np.take_along_axis(logits, forward.targets[part[:, 0]], axis=1))
        by_channel = np.concatenate(scores).reshape(count, channels + 1, -1).transpose(0, 2, 1)
        return np.asarray(by_channel[:, :, :1] - by_channel[:, :, 1:], np.float32)

    def pooled_derivatives(self, forward: Forward) -> tuple[Floats, Floats]:
        """Give the second and third derivative of each target's logit by each channel's mean: twice (N, T, K)."""
        inputs, raw = forward.handle
        with self.traced.classifier.tracing:
            derivatives = self._derivatives
        size = self._derivative_rows
        count, targets = forward.targets.shape
        channels = self.layer.channels
        pairs = np.stack(np.unravel_index(np.arange(count * targets * channels), (count, targets, channels)), axis=1)
        found = []
        for start in range(0, len(pairs), size):
            part = pairs[start : start + size]
            asked = np.stack([part[:, 0], part[:, 2], forward.targets[part[:, 0], part[:, 1]]], axis=1)
            full = tf.constant(np.resize(asked, (size, 3)), tf.int32)
            found.append(derivatives(raw, full, *inputs).numpy()[:, : len(part)])
        both = np.concatenate(found, axis=1).reshape(2, count, targets, channels).astype(np.float32)
        return both[0], both[1]

    def _padded(self, rows: NDArray[Any]) -> NDArray[Any]:
        missing = self.batch_size - len(rows)
        return np.concatenate([rows, np.zeros_like(rows, shape=(missing, *rows.shape[1:]))]) if missing else rows

    @cached_property
    def _scores(self) -> Any:
        """Logits and probabilities without gradients."""
        return trace_scores(self.traced)

    @cached_property
    def _head_gradient(self) -> Any:
        """The gradient of any class's logit, from kept activations on."""

        def head_gradient(raw: Any, classes: Any, *inputs: Any) -> Any:
            score = score_of(self._head_logits(inputs, raw), classes, self.head, "logit")
            return gradient(score, raw, self.traced.target)

        return self._traced_head(head_gradient, tf.TensorSpec((self.batch_size,), tf.int32))

    @cached_property
    def _ablated_logits(self) -> Any:
        """The logits (P, C) of pairs (P, 2) of an image and a channel that it has to do without."""

        def logits(raw: Any, pairs: Any, *inputs: Any) -> Any:
            images, channels = pairs[:, 0], pairs[:, 1]
            ablated = self.traced.target.layout.without(tf.gather(raw, images), channels)
            return self._head_logits([tf.gather(tensor, images) for tensor in inputs], ablated)

        return self._traced_head(logits, tf.TensorSpec((ABLATION_BATCH, 2), tf.int32))

    @cached_property
    def _takes_means(self) -> bool:
        """Whether the head, which sees the means alone, takes them as a map of one cell."""
        return is_averaged(self.traced.target.call.output, self.traced.target.layout)

    @property
    def _derivative_rows(self) -> int:
        return MEANS_BATCH if self._takes_means else ABLATION_BATCH

    @cached_property
    def _derivatives(self) -> Any:
        """Second and third derivative (2, P), for rows (P, 3) of an image, a channel and a class.

        What is added to all cells of a channel is added to its mean, so that these are derivatives by one number a row.
        """
        layout, size = self.traced.target.layout, self._derivative_rows

        def derivatives(raw: Any, rows: Any, *inputs: Any) -> Any:
            images, channels, classes = rows[:, 0], rows[:, 1], rows[:, 2]
            step = tf.zeros(size, tf.float32)
            seen = layout.averaged(raw) if self._takes_means else raw
            moved = layout.shifted(tf.gather(seen, images), channels, step)
            logits = self._head_logits([tf.gather(tensor, images) for tensor in inputs], moved)
            slope = tf.gather(logits, classes, axis=1, batch_dims=1)
            orders = []
            for _ in range(3):
                (found,) = tf.gradients(slope, [step])
                slope = tf.zeros_like(step) if found is None else found
                orders.append(slope)
            return tf.stack(orders[1:])

        return self._traced_head(derivatives, tf.TensorSpec((size, 3), tf.int32))

    def _traced_head(self, function: Any, *more: Any) -> Any:
        """Trace a function of what the target layer gave for a batch, more, and the inputs of that batch."""
        traced = self.traced
        picture = tf.TensorSpec((self.batch_size, *traced.classifier.input_shape), tf.float32)
        output = traced.target.call.output
        signature = [tf.TensorSpec(output.shape, output.dtype), *more, picture, *traced.extra_specs]
        return tf.function(function, input_signature=signature, autograph=False).get_concrete_function()

    def _head_logits(self, inputs: Sequence[Any], raw: Any) -> Any:
        """The network from the target layer on: its output is replaced, so nothing before it is left to compute."""
        target = self.traced.target.call

        def substitute(path: str, index: int, output: Any) -> Any:
            return raw if (path, index) == (target.path, target.index) else output

        with self.traced.weights():
            run = self.traced.classifier.run(inputs[0], inputs[1:], substitute)
        return tf.cast(both_sides(run.logits, self.head), tf.float32)


@contextmanager
def _known_errors() -> Iterator[None]:
    """Say of a pass that failed whether the batch was too large or the machine lacks an operation."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError(first_line(error)) from error
    except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError) as error:
        raise ModelError(f"The network cannot run on this machine: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Give what an error of a graph says, without the lines about where in the graph it was."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    useful = [
        line for line in said if not line.startswith(("Graph execution error", "Detected at node", "<stack", "[["))
    ]
    reason = useful[0] if useful else first_line(error)
    if "NHWC" in reason or "NCHW" in reason:
        reason += (
            " Set TF_ENABLE_ONEDNN_OPTS=1 in the environment: then more channels-first operations can run on a CPU."
        )
    return reason


def configure_threads(batches: int, has_gpu: HasGpu = gpu_usable) -> int:
    """Share the cores between passes that run at the same time, and give their number; before a model is loaded.

    One pass on all cores makes them wait for each other at every layer, and longer where other threads decode and
    paint. Several passes side by side, each on its own cores, measured 1.2 times faster on two. A GPU takes one pass at
    a time: several would only need its memory several times.
    """
    if has_gpu():
        return 1
    streams = streams_for(batches)
    # Once TensorFlow has begun, as under a test runner, its threads are what they are.
    with suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(available_cores() // streams)
        tf.config.threading.set_inter_op_parallelism_threads(streams)
    return streams
