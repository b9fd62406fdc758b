"""Heads that are not piecewise linear: told apart by their operations, and differentiated exactly where they pool."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from nets import classifier, engine_at

from gradcam_cli.engines.tensorflow import TensorFlowEngine
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.gradcam_plus_plus import gradcam_plus_plus_paper
from gradcam_cli.methods.method_runner import raw_maps
from gradcam_cli.models.layout import Layout
from gradcam_cli.models.linearity import is_averaged
from gradcam_cli.settings import TargetSettings

SIDE, K, CLASSES = 6, 4, 3


def hidden(activation: Any) -> Any:
    return layers.Dense(5, activation, kernel_initializer=keras.initializers.RandomNormal(stddev=2.0, seed=3))


def head(*steps: Any) -> Any:
    """A network of one convolution and these layers behind it."""
    keras.utils.set_random_seed(4)
    inputs = layers.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(K, 3, activation="relu", name="last")(inputs)
    for step in steps:
        x = step(x)
    last = layers.Dense(CLASSES, name="logits", kernel_initializer=keras.initializers.RandomNormal(stddev=2.0, seed=5))
    return keras.Model(inputs, layers.Softmax()(last(x)))


def engine(model: Any) -> TensorFlowEngine:
    return engine_at(classifier(model, side=SIDE), "last", TargetSettings(top_k=2), batch_size=2)


def pictures() -> Any:
    return np.random.default_rng(1).normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)


GAP, FLAT = layers.GlobalAveragePooling2D, layers.Flatten
HEADS = {
    "relu": ([GAP, lambda: hidden("relu")], "piecewise"),
    "max pooling": ([lambda: layers.MaxPooling2D(2), FLAT, lambda: hidden("leaky_relu")], "piecewise"),
    "relu6 and convolution": ([lambda: layers.Conv2D(3, 3, activation="relu6"), GAP], "piecewise"),
    "batch normalisation": ([layers.BatchNormalization, layers.ReLU, GAP], "piecewise"),
    "global max": ([layers.GlobalMaxPooling2D, lambda: hidden("relu")], "piecewise"),
    "swish": ([GAP, lambda: hidden("swish")], "pooled"),
    "tanh": ([GAP, lambda: hidden("tanh")], "pooled"),
    "gelu": ([GAP, lambda: hidden("gelu")], "pooled"),
    "sigmoid": ([GAP, lambda: hidden("sigmoid"), lambda: hidden("relu")], "pooled"),
    "a window over all cells": ([lambda: layers.AveragePooling2D(4), FLAT, lambda: hidden("swish")], "pooled"),
    "kept axes": ([lambda: GAP(keepdims=True), FLAT, lambda: hidden("swish")], "pooled"),
    "softmax": ([GAP, lambda: hidden("softmax")], "pooled"),
    "layer normalisation": ([GAP, layers.LayerNormalization], "pooled"),
    "swish before pooling": ([lambda: layers.Conv2D(3, 3, activation="swish"), GAP], "smooth"),
    "tanh behind flatten": ([FLAT, lambda: hidden("tanh")], "smooth"),
}


@pytest.mark.parametrize("name", HEADS)
def test_operations_tell_what_kind_of_head_it_is(name: str) -> None:
    steps, kind = HEADS[name]
    assert engine(head(*(step() for step in steps))).head.linearity == kind


def by_brute_force(model: Any, activations: Any, target: int) -> Any:
    """`gradcam++-paper` of one image, from the derivatives of exp(S) by each element of A alone, in float64.

    Each element is moved by itself along a line, and the derivatives are nested automatic ones.
    """
    keras.backend.set_floatx("float64")
    try:
        after = keras.models.clone_model(keras.Model(model.get_layer("last").output, model.get_layer("logits").output))
        after.set_weights([w.astype(np.float64) for layer in model.layers[2:] for w in layer.get_weights()])
    finally:
        keras.backend.set_floatx("float32")
    a = tf.constant(activations.astype(np.float64))
    count = int(np.prod(a.shape))
    step = tf.Variable(tf.zeros(count, tf.float64))
    with tf.GradientTape() as t3:
        with tf.GradientTape() as t2:
            with tf.GradientTape() as t1:
                moved = a[None] + tf.reshape(tf.eye(count, dtype=tf.float64), (count, *a.shape)) * tf.reshape(
                    step, (count, 1, 1, 1)
                )
                y = tf.exp(after(moved)[:, target])
            first = t1.gradient(y, step)
        second = t2.gradient(first, step)
    third = t3.gradient(second, step)
    d1, d2, d3 = (np.asarray(d).reshape(a.shape) for d in (first, second, third))
    mass = np.maximum(np.asarray(a), 0).sum(axis=(0, 1))
    alpha = d2 / (2 * d2 + mass * d3)
    slopes = d1 / np.asarray(y).reshape(a.shape)
    return np.maximum(np.asarray(a) @ (alpha * np.maximum(slopes, 0)).sum(axis=(0, 1)), 0)


@pytest.mark.parametrize("name", [name for name, (_, kind) in HEADS.items() if kind == "pooled"])
def test_a_smooth_head_that_pools_has_the_derivatives_of_the_paper(name: str) -> None:
    model = head(*(step() for step in HEADS[name][0]))
    made = engine(model)
    forward = made.explain(pictures())
    maps = raw_maps(METHODS["gradcam++-paper"], made, forward).maps
    for image, rank in np.ndindex(2, 2):
        expected = by_brute_force(model, forward.activations[image], int(forward.targets[image, rank]))
        np.testing.assert_allclose(maps[image, rank], expected, rtol=2e-3, atol=2e-3 * max(expected.max(), 1e-12))


def test_without_them_the_closed_form_is_another_map() -> None:
    """So that the comparison above can fail."""
    model = head(GAP(), hidden("swish"))
    made = engine(model)
    forward = made.explain(pictures())
    assert forward.gradients is not None
    found = gradcam_plus_plus_paper(forward.activations, forward.gradients[:, 0])
    exact = raw_maps(METHODS["gradcam++-paper"], made, forward).maps[:, 0]
    assert np.abs(found - exact).max() > 1e-2 * exact.max()


def test_what_the_sidecar_says_of_each_method() -> None:
    paper, normalised, softmax = (METHODS[f"gradcam++{name}"] for name in ("-paper", "", "-softmax"))
    assert all(method.is_exact("piecewise", "logit") for method in METHODS.values())
    assert paper.is_exact("pooled", "logit")
    assert normalised.is_exact("pooled", "logit")
    assert not softmax.is_exact("pooled", "logit")
    assert not any(method.is_exact("smooth", "logit") for method in (paper, normalised, softmax))
    assert not normalised.is_exact("piecewise", "probability")
    assert METHODS["gradcam"].is_exact("smooth", "probability")


def test_only_a_head_of_a_fixed_window_needs_whole_maps() -> None:
    """The others are given a map of one cell, which is several times as fast."""
    for name, means in (("swish", True), ("kept axes", True), ("a window over all cells", False)):
        made = engine(head(*(step() for step in HEADS[name][0])))
        output, layout = made.traced.target.call.output, made.traced.target.layout
        assert is_averaged(output, layout) is means
    raw = np.arange(16, dtype=np.float32).reshape(1, 2, 2, 4)
    assert np.array_equal(Layout("channels_last", 2, 2, 4, (1, 2, 3)).averaged(raw), [[[[6, 7, 8, 9]]]])
    assert np.array_equal(
        Layout("channels_first", 2, 2, 4, (2, 3, 1)).averaged(raw.transpose(0, 3, 1, 2)).numpy().ravel(), [6, 7, 8, 9]
    )
