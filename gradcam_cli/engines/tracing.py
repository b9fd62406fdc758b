"""From a classifier and a layer to one traced function: forward, and back from the scores to the target layer."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from gradcam_cli.engines.protocol import Head, LayerInfo
from gradcam_cli.errors import ModelError
from gradcam_cli.models.classifier import Classifier, WeightScope
from gradcam_cli.models.head import head_of
from gradcam_cli.models.layers import Target, choose_layer, explainable_layers
from gradcam_cli.models.trace import Trace
from gradcam_cli.settings import Score, TargetSettings

# In float16 small gradients vanish (below 6e-8): they are taken of the score times this, and divided by it again.
FLOAT16_SCALE = 1024.0
# In place of a class: the network's own choice.
OWN_CHOICE = -1


@dataclass(frozen=True)
class PassSettings:
    """What one pass computes, for batches of `batch_size` images.

    `gradients=False` leaves the gradients out, for methods that have no use for them. `score` is what is
    differentiated. `frozen` traces the weights as constants, which pays in long runs: see `Classifier.constants`.
    """

    targets: TargetSettings
    batch_size: int
    gradients: bool = True
    score: Score = "logit"
    frozen: bool = False


@dataclass(frozen=True, eq=False)
class LayerRun:
    """One symbolic run of a network: its trace, the target layer in it, and the head that follows the layer."""

    trace: Trace
    target: Target
    head: Head


@dataclass(frozen=True, eq=False)
class TracedModel:
    """A classifier that was traced once to explain one layer.

    `function` takes inputs (N, H, W, channels), classes (N, T) with `OWN_CHOICE` where the network chooses, and the
    batches of the further inputs. It gives the layer's raw output, activations (N, h, w, K), logits (N, C), classes
    (N, T), gradients (N, T, h, w, K) or none, and probabilities (N, C) or none. `weights` makes a scope in which the
    network is traced with the same weights as in `function`.
    """

    classifier: Classifier
    settings: PassSettings
    target: Target
    head: Head
    target_count: int
    precision: str
    function: Any
    weights: WeightScope

    @property
    def extra_specs(self) -> list[Any]:
        """What the batches of the inputs look like whose value varies."""
        return extra_specs(self.classifier, self.settings.batch_size)


def trace_model(
    classifier: Classifier, layer: str, settings: PassSettings, weights: WeightScope | None = None
) -> TracedModel:
    """Trace a classifier to explain one layer; `weights` makes a scope in which it has others than its own.

    Only the path from the wanted scores to the target layer is differentiated: at the last layer of most networks that
    costs next to nothing beside the forward pass.

    Raises:
        ModelError: there is no such layer or class, or the layer cannot be explained.
    """
    scope = weights or (classifier.constants() if settings.frozen else nullcontext)

    def explain(inputs: Any, given: Any, *extras: Any) -> tuple[tuple[Any, ...], tuple[LayerRun, int]]:
        with scope():
            run = run_at(classifier, layer, inputs, extras)
        head, raw = run.head, run.target.call.output
        classifier.labels.check(classifier.name, head.class_count)
        asked = [classifier.labels.find(name, head.class_count) for name in settings.targets.classes]
        logits = tf.cast(both_sides(run.trace.logits, head), tf.float32)
        told = run.trace.read.probabilities
        ranked = _ranked(logits, told, head)
        chosen = _chosen_classes(ranked, min(settings.targets.top_k, head.class_count), asked)
        target_count = int(chosen.shape[1])
        chosen = tf.ensure_shape(tf.where(given == OWN_CHOICE, chosen, given), chosen.shape)
        # A dense head's gradient is known without taking it.
        wanted = range(target_count) if settings.gradients and head.weights is None else ()
        slopes = [gradient(score_of(logits, chosen[:, t], head, settings.score, told), raw, run.target) for t in wanted]
        stacked = tf.stack(slopes, axis=1) if slopes else tf.zeros(0)
        activations = tf.cast(run.target.layout.fold(raw), tf.float32)
        outputs = (raw, activations, logits, chosen, stacked, tf.zeros(0) if told is None else told)
        return outputs, (run, target_count)

    given = tf.TensorSpec((settings.batch_size, None), tf.int32)
    specs = extra_specs(classifier, settings.batch_size)
    function, (run, target_count) = classifier.traced(explain, settings.batch_size, given, *specs)
    return TracedModel(
        classifier=classifier,
        settings=settings,
        target=run.target,
        head=run.head,
        target_count=target_count,
        precision=run.target.call.output.dtype.name,
        function=function,
        weights=scope,
    )


def trace_scores(traced: TracedModel) -> Any:
    """Trace the network of a traced model once more, without gradients.

    Returns a function of inputs (N, H, W, channels) and the batches of the further inputs, which gives logits (N, C)
    and probabilities (N, C) or none.
    """

    def scores(inputs: Any, *extras: Any) -> tuple[tuple[Any, Any], None]:
        with traced.weights():
            run = traced.classifier.run(inputs, extras)
        told = run.read.probabilities
        logits = tf.cast(both_sides(run.logits, traced.head), tf.float32)
        return (logits, tf.zeros(0) if told is None else told), None

    return traced.classifier.traced(scores, traced.settings.batch_size, *traced.extra_specs)[0]


def run_at(classifier: Classifier, layer: str, inputs: Any, extras: Sequence[Any] = ()) -> LayerRun:
    """Run a network symbolically, inside a function that is being traced, and find the layer and its head.

    Raises:
        ModelError: there is no such layer, or its output is not a map that the logits depend on.
    """
    run = classifier.run(inputs, extras)
    target = choose_layer(run, layer, classifier.token_grid)
    return LayerRun(run, target, head_of(run, target))


def list_layers(classifier: Classifier) -> list[LayerInfo]:
    """List the layers of a network that can be explained, in its own order.

    Raises:
        ModelError: the network is not an image classifier.
    """

    def survey(inputs: Any) -> tuple[Any, list[LayerInfo]]:
        return inputs, explainable_layers(classifier.run(inputs), classifier.token_grid)

    return classifier.traced(survey, 1)[1]


def extra_specs(classifier: Classifier, batch_size: int) -> list[Any]:
    """Describe the batches of the inputs whose value varies."""
    return [tf.TensorSpec((batch_size, *o.shape), o.dtype, name=f"extra_{o.place}") for o in classifier.varying]


def both_sides(logits: Any, head: Head) -> Any:
    """One sigmoid unit is two classes: class 1 has the logit S, class 0 has -S."""
    return tf.concat([-logits, logits], axis=1) if head.kind == "binary" else logits


def _ranked(logits: Any, probabilities: Any, head: Head) -> Any:
    """What the first classes are the largest of; values are no candidates, and keep their order."""
    if head.kind == "value":
        return tf.zeros_like(logits) - tf.range(head.class_count, dtype=tf.float32)
    return logits if probabilities is None else probabilities


def _chosen_classes(logits: Any, top_k: int, asked: list[int]) -> Any:
    """The most probable classes, then the ones asked for: (N, T)."""
    top = tf.math.top_k(logits, top_k).indices
    same = tf.constant(asked, tf.int32, shape=(1, len(asked)))
    return tf.concat([top, tf.tile(same, (logits.shape[0], 1))], axis=1)


def score_of(logits: Any, classes: Any, head: Head, score: Score, probabilities: Any = None) -> Any:
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


def gradient(score: Any, raw: Any, target: Target) -> Any:
    """The gradient (N, h, w, K) of a score (N,), one of each row, with respect to the layer's output `raw`.

    Raises:
        ModelError: no gradient arrives at the layer.
    """
    if raw.dtype != tf.float16:
        return _scaled_gradient(score, raw, target, 1.0)
    scaled = _scaled_gradient(score, raw, target, FLOAT16_SCALE)
    # Where the score is multiplied by large weights, it is the scaled gradient that float16 cannot hold.
    finite = tf.reduce_all(tf.math.is_finite(scaled), axis=(1, 2, 3), keepdims=True)
    return tf.where(finite, scaled, _scaled_gradient(score, raw, target, 1.0))


def _scaled_gradient(score: Any, raw: Any, target: Target, scale: float) -> Any:
    (found,) = tf.gradients(tf.reduce_sum(score) * scale, [raw])
    if found is None:
        raise ModelError(
            f"Layer '{target.layer.path}': no gradient reaches this layer. An operation between it and "
            "the output, such as argmax or rounding, cannot be differentiated. Save the "
            "model without this operation, or choose a layer after it with `layer`."
        )
    return tf.cast(target.layout.fold(found), tf.float32) / scale
