"""Ablation-CAM: its arithmetic on paper, and what a channel is worth against a network that does without it."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from nets import SIDE, classifier, convolutions, engine_at, flatten_dense, gap_dense

from gradcam_cli.engines.tensorflow import ABLATION_BATCH, TensorFlowEngine
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.ablationcam import ablationcam
from gradcam_cli.methods.method_runner import raw_maps
from gradcam_cli.models.layout import Layout
from gradcam_cli.settings import TargetSettings

A = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])


def test_on_paper() -> None:
    # Of a score of 4 the first channel is worth 2 and the second -1: weights 0.5 and -0.25.
    found = ablationcam(A, np.array([[2.0, -1.0]]), np.array([4.0]))
    assert found.tolist() == [[[0.0, 0.5]]]


def test_a_negative_score_does_not_turn_the_map_round() -> None:
    drops = np.array([[2.0, -1.0]])
    assert ablationcam(A, drops, np.array([-4.0])).tolist() == [[[0.0, 0.5]]]
    # A score of 0 is no share of anything: the drops themselves are the weights.
    assert ablationcam(A, drops, np.array([0.0])).tolist() == [[[0.0, 2.0]]]


def residual() -> Any:
    """A target layer beside which the picture itself goes on to the head."""
    keras.utils.set_random_seed(5)
    inputs = layers.Input((SIDE, SIDE, 3))
    around = layers.Conv2D(8, 1, strides=2, name="around")(inputs)
    merged = layers.Add(name="merged")([convolutions(inputs), around])
    x = layers.Flatten()(layers.ReLU(name="after")(merged))
    return keras.Model(inputs, layers.Dense(5, activation="softmax", name="head")(x))


def engine(network: Any, layer: str, top_k: int = 2) -> TensorFlowEngine:
    targets = TargetSettings(top_k=top_k)
    return engine_at(classifier(network), layer, targets, batch_size=5, gradients=False)


def inputs(count: int = 5) -> Any:
    return np.random.default_rng(0).normal(size=(count, SIDE, SIDE, 3)).astype(np.float32)


def slow_drops(network: Any, layer: str, x: Any, targets: Any) -> Any:
    """Cut the network at the layer with Keras's own tools, and take one channel of one image away at a time."""
    before = keras.Model(network.input, network.get_layer(layer).output)
    last = network.get_layer("head")
    # A twin whose softmax is gone gives logits.
    plain = layers.Dense(last.units, name="plain")
    logits = plain(last.input)
    plain.set_weights(last.get_weights())
    after = keras.Model([network.get_layer(layer).output, network.input], logits)
    activations = before(x).numpy()
    out = np.zeros((*targets.shape, activations.shape[3]))
    for image in range(len(x)):
        picture = x[image : image + 1]
        whole = after([activations[image : image + 1], picture]).numpy()[0]
        for channel in range(activations.shape[3]):
            ablated = activations[image : image + 1].copy()
            ablated[..., channel] = 0
            left = after([ablated, picture]).numpy()[0]
            for rank, target in enumerate(targets[image]):
                out[image, rank, channel] = whole[target] - left[target]
    return out


@pytest.mark.parametrize(
    ("build", "layer"),
    [(gap_dense, "last"), (gap_dense, "pool"), (flatten_dense, "first"), (flatten_dense, "last"), (residual, "last")],
)
def test_drops_equal_a_network_without_the_channel(build: Any, layer: str) -> None:
    network = build()
    made = engine(network, layer)
    forward = made.explain(inputs())
    # More pairs of image and channel than go through the head at once, where it is not closed form.
    assert len(inputs()) * (made.layer.channels + 1) > ABLATION_BATCH
    drops = made.ablation_drops(forward)
    expected = slow_drops(network, layer, inputs(), forward.targets)
    np.testing.assert_allclose(drops, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    scores = np.take_along_axis(forward.logits, forward.targets, axis=1)
    maps = raw_maps(METHODS["ablationcam"], made, forward).maps
    for image, rank in np.ndindex(*forward.targets.shape):
        weights = expected[image, rank] / abs(scores[image, rank])
        by_hand = np.maximum((weights * forward.activations[image]).sum(axis=2), 0)
        np.testing.assert_allclose(maps[image, rank], by_hand, rtol=1e-3, atol=1e-4 * by_hand.max())


def test_only_the_head_is_run_again() -> None:
    """The pictures are no numbers any more, and nobody notices."""
    made = engine(flatten_dense(), "last")
    forward = made.explain(inputs())
    drops = made.ablation_drops(forward)
    pictures, raw = forward.handle
    blind = type(forward)(*(forward.inputs, forward.activations, forward.logits, forward.targets, None),
                          handle=([picture * np.nan for picture in pictures], raw))  # fmt: skip
    np.testing.assert_array_equal(made.ablation_drops(blind), drops)


def test_closed_form_equals_the_heads_own_run() -> None:
    made = engine(gap_dense(), "last")
    forward = made.explain(inputs())
    quick = made.ablation_drops(forward)
    made = TensorFlowEngine(replace(made.traced, head=type(made.head)(made.head.kind, made.head.class_count, None)))
    np.testing.assert_allclose(made.ablation_drops(forward), quick, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        (Layout("channels_last", 2, 3, 4, (1, 2, 3)), (3, 2, 3, 4)),
        (Layout("channels_first", 2, 3, 4, (2, 3, 1)), (3, 4, 2, 3)),
        (Layout("tokens", 2, 3, 4, (1, 2), prefix=2), (3, 8, 4)),
    ],
)
def test_a_channel_is_taken_away_in_any_layout(layout: Layout, shape: tuple[int, ...]) -> None:
    raw = tf.constant(np.random.default_rng(1).normal(size=shape), tf.float32)
    without = layout.without(raw, tf.constant([2, -1, 0]))
    expected = layout.fold(raw).numpy().copy()
    expected[0, ..., 2] = 0
    expected[2, ..., 0] = 0
    np.testing.assert_array_equal(layout.fold(without).numpy(), expected)
    if layout.kind == "tokens":
        np.testing.assert_array_equal(without[:, :2], raw[:, :2])
