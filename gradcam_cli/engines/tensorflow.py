"""The TensorFlow engine: forward and as far back as the target layer, in one traced function of fixed shape."""

import threading
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gradcam_cli.cores import available_cores
from gradcam_cli.engines.protocol import NO_EXTRAS, Engine, Extras, Floats, Forward, Head, LayerInfo, TargetLayer
from gradcam_cli.engines.streams import streams_for
from gradcam_cli.errors import ModelError, first_line
from gradcam_cli.models.classifier import Classifier
from gradcam_cli.models.head import head_of
from gradcam_cli.models.layers import Target, choose_layer, explainable_layers
from gradcam_cli.models.trace import trace
from gradcam_cli.settings import Score, TargetSettings

# In float16 small gradients vanish (below 6e-8): they are taken of the score times this, and divided by it again.
FLOAT16_SCALE = 1024.0
# Pairs of image and channel that go through the head at once.
ABLATION_BATCH = 32
# In place of a class: the engine's own choice.
OWN_CHOICE = -1


class TensorFlowEngine:
    """Explains one classifier at one layer; implements `gradcam_cli.engines.protocol.Engine`.

    Only the path from the wanted logits to the target layer is differentiated: at the last layer of most networks that
    costs next to nothing beside the forward pass. Batches are padded to one fixed shape, so there is one trace.

    Raises:
        ModelError: there is no such layer or class, or the layer cannot be explained.
    """

    name = "tensorflow"

    def __init__(
        self,
        classifier: Classifier,
        layer: str,
        targets: TargetSettings,
        *,
        batch_size: int,
        gradients: bool = True,
        score: Score = "logit",
        streams: int = 1,
        others: tuple[Engine, ...] = (),
        frozen: bool = False,
    ) -> None:
        """Trace the network; `gradients=False` leaves them out for methods that have no use for them.

        `frozen` traces the weights as constants, which pays in long runs: see `Classifier.constants`.
        """
        self.others = others
        self.streams = streams
        self._tracing = threading.Lock()
        self.precision = ""
        self.batch_size = batch_size
        self.input_size = classifier.input_shape[:2]
        self.black = classifier.preprocessing.black(classifier.input_shape[2])
        self._classifier = classifier
        self._constants = classifier.constants() if frozen else nullcontext
        self._target: Target
        self.layer: TargetLayer
        self.head: Head
        self.target_count = 0

        def explain(inputs: Any, given: Any, *extras: Any) -> tuple[Any, ...]:
            with self._constants():
                feed = classifier.arranged(inputs, extras)
                run = trace(classifier.network, feed, classifier.output, hints=classifier.output_hints)
            self._target = choose_layer(run, layer, classifier.token_grid)
            self.layer = self._target.layer
            self.precision = self._target.call.output.dtype.name
            self.head = head_of(run, self._target)
            classifier.labels.check(classifier.name, self.head.class_count)
            asked = [classifier.labels.find(name, self.head.class_count) for name in targets.classes]
            logits = tf.cast(_both_sides(run.logits, self.head), tf.float32)
            told = run.read.probabilities
            ranked = _ranked(logits, told, self.head)
            chosen = _chosen_classes(ranked, min(targets.top_k, self.head.class_count), asked)
            self.target_count = int(chosen.shape[1])
            chosen = tf.ensure_shape(tf.where(given == OWN_CHOICE, chosen, given), chosen.shape)
            # A dense head's gradient is known without taking it.
            wanted = range(self.target_count) if gradients and self.head.weights is None else ()
            raw = self._target.call.output
            slopes = [self._gradient(_score(logits, chosen[:, t], self.head, score, told), raw) for t in wanted]
            stacked = tf.stack(slopes, axis=1) if slopes else tf.zeros(0)
            activations = tf.cast(self._target.layout.fold(raw), tf.float32)
            return raw, activations, logits, chosen, stacked, tf.zeros(0) if told is None else told

        self._with_gradients = gradients
        self._score = score
        given = tf.TensorSpec((batch_size, None), tf.int32)
        self._explain = classifier.traced(explain, batch_size, given, *self._extra_specs)

    @property
    def _extra_specs(self) -> list[Any]:
        """What the batches of the inputs look like whose value varies."""
        return [
            tf.TensorSpec((self.batch_size, *o.shape), o.dtype, name=f"extra_{o.place}")
            for o in self._classifier.varying
        ]

    def explain(self, inputs: Floats, targets: NDArray[np.intp] | None = None, extras: Extras = NO_EXTRAS) -> Forward:
        """Run up to `batch_size` inputs (N, H, W, channels) forward, and back as far as the target layer.

        Raises:
            MemoryError: the batch is too large for this machine.
            ModelError: the machine lacks an operation that the network needs.
        """
        count = len(inputs)
        tensor = tf.constant(self._padded(inputs))
        more = [tf.constant(self._padded(extras[other.name])) for other in self._classifier.varying]
        given = np.full((count, self.target_count), OWN_CHOICE) if targets is None else targets
        try:
            wanted = tf.constant(self._padded(given), tf.int32)
            raw, activations, logits, chosen, gradients, told = self._explain(tensor, wanted, *more)
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(first_line(error)) from error
        except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError) as error:
            raise ModelError(f"The network cannot be run on this machine: {_reason(error)}") from error
        # Views of TensorFlow's own memory: nothing is copied, and nobody writes.
        scores, classes = np.asarray(logits)[:count], np.asarray(chosen)[:count].astype(np.intp)
        slopes = None
        if self._with_gradients:
            dense = self.head.dense_score_gradients(self._score, scores, classes, self.layer)
            slopes = np.asarray(gradients)[:count] if dense is None else dense
        probabilities = np.asarray(told)[:count] if self.head.kind == "probabilities" else None
        known = np.asarray(activations)[:count]
        return Forward(inputs, known, scores, classes, slopes, ((tensor, *more), raw), extras, probabilities)

    def class_gradients(self, forward: Forward, classes: NDArray[np.intp]) -> Floats:
        """Give the gradient (N, h, w, K) of one more class (N,) for each image, through the head alone."""
        dense = self.head.dense_gradients(classes[:, None], self.layer)
        if dense is not None:
            return dense[:, 0]
        inputs, activations = forward.handle
        wanted = tf.constant(self._padded(classes), tf.int32)
        with self._tracing:
            # Two traces at once would hook each other's layers.
            head_gradient = self._head_gradient
        return np.asarray(head_gradient(activations, wanted, *inputs).numpy()[: len(classes)], np.float32)

    def ablation_drops(self, forward: Forward) -> Floats:
        """Give what each target's logit loses with each channel, through the head alone: (N, T, K)."""
        dense = self.head.dense_drops(forward.activations, forward.targets)
        if dense is not None:
            return dense
        inputs, raw = forward.handle
        with self._tracing:
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
        with self._tracing:
            derivatives = self._derivatives
        count, targets = forward.targets.shape
        channels = self.layer.channels
        pairs = np.stack(np.unravel_index(np.arange(count * targets * channels), (count, targets, channels)), axis=1)
        found = []
        for start in range(0, len(pairs), ABLATION_BATCH):
            part = pairs[start : start + ABLATION_BATCH]
            asked = np.stack([part[:, 0], part[:, 2], forward.targets[part[:, 0], part[:, 1]]], axis=1)
            full = tf.constant(np.resize(asked, (ABLATION_BATCH, 3)), tf.int32)
            found.append(derivatives(raw, full, *inputs).numpy()[:, : len(part)])
        both = np.concatenate(found, axis=1).reshape(2, count, targets, channels).astype(np.float32)
        return both[0], both[1]

    def _padded(self, rows: NDArray[Any]) -> NDArray[Any]:
        missing = self.batch_size - len(rows)
        return np.concatenate([rows, np.zeros_like(rows, shape=(missing, *rows.shape[1:]))]) if missing else rows

    @cached_property
    def _head_gradient(self) -> Any:
        """The gradient of any class's logit, from kept activations on."""

        def gradient(raw: Any, classes: Any, *inputs: Any) -> Any:
            return self._gradient(_score(self._head_logits(inputs, raw), classes, self.head, "logit"), raw)

        return self._traced_head(gradient, tf.TensorSpec((self.batch_size,), tf.int32))

    @cached_property
    def _ablated_logits(self) -> Any:
        """The logits (P, C) of pairs (P, 2) of an image and a channel that it has to do without."""

        def logits(raw: Any, pairs: Any, *inputs: Any) -> Any:
            images, channels = pairs[:, 0], pairs[:, 1]
            ablated = self._target.layout.without(tf.gather(raw, images), channels)
            return self._head_logits([tf.gather(tensor, images) for tensor in inputs], ablated)

        return self._traced_head(logits, tf.TensorSpec((ABLATION_BATCH, 2), tf.int32))

    @cached_property
    def _derivatives(self) -> Any:
        """Second and third derivative (2, P), for rows (P, 3) of an image, a channel and a class.

        What is added to all cells of a channel is added to its mean, so that these are derivatives by one number a row.
        """

        def derivatives(raw: Any, rows: Any, *inputs: Any) -> Any:
            images, channels, classes = rows[:, 0], rows[:, 1], rows[:, 2]
            step = tf.zeros(ABLATION_BATCH, tf.float32)
            moved = self._target.layout.shifted(tf.gather(raw, images), channels, step)
            logits = self._head_logits([tf.gather(tensor, images) for tensor in inputs], moved)
            slope = tf.gather(logits, classes, axis=1, batch_dims=1)
            orders = []
            for _ in range(3):
                (found,) = tf.gradients(slope, [step])
                slope = tf.zeros_like(step) if found is None else found
                orders.append(slope)
            return tf.stack(orders[1:])

        return self._traced_head(derivatives, tf.TensorSpec((ABLATION_BATCH, 3), tf.int32))

    def _traced_head(self, function: Any, *more: Any) -> Any:
        """Trace a function of what the target layer gave for a batch, more, and the inputs of that batch."""
        picture = tf.TensorSpec((self.batch_size, *self._classifier.input_shape), tf.float32)
        output = self._target.call.output
        signature = [tf.TensorSpec(output.shape, output.dtype), *more, picture, *self._extra_specs]
        return tf.function(function, input_signature=signature, autograph=False).get_concrete_function()

    def _head_logits(self, inputs: Sequence[Any], raw: Any) -> Any:
        """The network from the target layer on: its output is replaced, so nothing before it is left to compute."""
        target, classifier = self._target.call, self._classifier

        def substitute(path: str, index: int, output: Any) -> Any:
            return raw if (path, index) == (target.path, target.index) else output

        with self._constants():
            feed = classifier.arranged(inputs[0], inputs[1:])
            run = trace(classifier.network, feed, classifier.output, substitute, classifier.output_hints)
        return tf.cast(_both_sides(run.logits, self.head), tf.float32)

    def _gradient(self, score: Any, raw: Any) -> Any:
        """The gradient of a score (N,), one of each row, folded to a map."""
        if raw.dtype != tf.float16:
            return self._scaled_gradient(score, raw, 1.0)
        scaled = self._scaled_gradient(score, raw, FLOAT16_SCALE)
        # Where the score is multiplied by large weights, it is the scaled gradient that float16 cannot hold.
        finite = tf.reduce_all(tf.math.is_finite(scaled), axis=(1, 2, 3), keepdims=True)
        return tf.where(finite, scaled, self._scaled_gradient(score, raw, 1.0))

    def _scaled_gradient(self, score: Any, raw: Any, scale: float) -> Any:
        (gradient,) = tf.gradients(tf.reduce_sum(score) * scale, [raw])
        if gradient is None:
            raise ModelError(
                f"Layer '{self.layer.path}': no gradient arrives there from the output. An operation between them, "
                "such as argmax or rounding, cannot be differentiated. Save the model without it, or choose a layer "
                "behind it with --layer."
            )
        return tf.cast(self._target.layout.fold(gradient), tf.float32) / scale


def _reason(error: Exception) -> str:
    """Give what an error of a graph says, without the lines about where in the graph it was."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    useful = [
        line for line in said if not line.startswith(("Graph execution error", "Detected at node", "<stack", "[["))
    ]
    reason = useful[0] if useful else first_line(error)
    if "NHWC" in reason or "NCHW" in reason:
        reason += " Set TF_ENABLE_ONEDNN_OPTS=1 in the environment: more channels-first operations run then on a CPU."
    return reason


def configure_threads(batches: int) -> int:
    """Share the cores between passes that run at the same time, and give their number; before a model is loaded.

    One pass on all cores makes them wait for each other at every layer, and longer where other threads decode and
    paint. Several passes side by side, each on its own cores, measured 1.2 times faster on two.
    """
    if tf.config.list_physical_devices("GPU"):
        return 1
    streams = streams_for(batches)
    # Once TensorFlow has begun, as under a test runner, its threads are what they are.
    with suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(available_cores() // streams)
        tf.config.threading.set_inter_op_parallelism_threads(streams)
    return streams


def _both_sides(logits: Any, head: Head) -> Any:
    """One sigmoid unit is two classes: class 1 has the logit S, class 0 has -S."""
    return tf.concat([-logits, logits], axis=1) if head.kind == "binary" else logits


def _ranked(logits: Any, probabilities: Any, head: Head) -> Any:
    """What the first classes are the largest of; values are no candidates, and keep their order."""
    if head.kind == "value":
        return tf.zeros_like(logits) - tf.range(head.class_count, dtype=tf.float32)
    return logits if probabilities is None else probabilities


def _score(logits: Any, classes: Any, head: Head, score: Score, probabilities: Any = None) -> Any:
    """What is differentiated, for one class a row: its logit, or what has the derivatives of its probability.

    The slopes of the probability with respect to the logits are those of `Head.probability_slopes`, for its reasons.
    """
    logit = tf.gather(logits, classes, axis=1, batch_dims=1)
    if score == "logit":
        return logit
    if probabilities is not None:
        return tf.gather(probabilities, classes, axis=1, batch_dims=1)
    if head.kind in {"sigmoid", "binary"}:
        return tf.stop_gradient(tf.sigmoid(logit) * tf.sigmoid(-logit)) * logit
    probabilities = tf.nn.softmax(logits)
    others = probabilities * (1 - tf.one_hot(classes, head.class_count))
    own = tf.gather(probabilities, classes, axis=1, batch_dims=1)
    slopes = own[:, None] * (tf.one_hot(classes, head.class_count) * tf.reduce_sum(others, 1, keepdims=True) - others)
    return tf.reduce_sum(tf.stop_gradient(slopes) * logits, axis=1)


def _chosen_classes(logits: Any, top_k: int, asked: list[int]) -> Any:
    """The most probable classes, then the ones asked for: (N, T)."""
    top = tf.math.top_k(logits, top_k).indices
    same = tf.constant(asked, tf.int32, shape=(1, len(asked)))
    return tf.concat([top, tf.tile(same, (logits.shape[0], 1))], axis=1)


def list_layers(classifier: Classifier) -> list[LayerInfo]:
    """List the layers of a network that can be explained, in its own order.

    Raises:
        ModelError: the network is no image classifier.
    """
    found: list[LayerInfo] = []

    def survey(inputs: Any) -> Any:
        run = trace(classifier.network, classifier.arranged(inputs), classifier.output)
        found.extend(explainable_layers(run, classifier.token_grid))
        return inputs

    classifier.traced(survey, 1)
    return found
