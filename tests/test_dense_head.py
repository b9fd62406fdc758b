"""The closed form of a dense head: claimed only where it equals the automatic gradient."""

# Each model is made of new layers.
# ruff: noqa: PLW0108

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from keras import layers, ops
from nets import classifier, engine_at

from gradcam_cli.settings import TargetSettings

K = 4

# Each takes the target's output (N, 7, 7, K) or what a step before gave.
POOLINGS: dict[str, Any] = {
    "gap": lambda x: layers.GlobalAveragePooling2D()(x),
    "gap keepdims": lambda x: layers.GlobalAveragePooling2D(keepdims=True)(x),
    "mean": lambda x: ops.mean(x, axis=(1, 2)),
    "average": lambda x: layers.Flatten()(layers.AveragePooling2D(x.shape[1])(x)),
    "max": lambda x: layers.GlobalMaxPooling2D()(x),
    "mean of the wrong axes": lambda x: ops.mean(x, axis=(2, 3)),
    "half": lambda x: layers.Flatten()(layers.AveragePooling2D(3)(x)),
    "sum": lambda x: ops.sum(x, axis=(1, 2)) / 49.0,
    "twice": lambda x: layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalAveragePooling2D()(x)]),
    "cropped": lambda x: layers.GlobalAveragePooling2D()(layers.Cropping2D(1)(x)),
    "padded": lambda x: layers.GlobalAveragePooling2D()(layers.ZeroPadding2D(1)(x)),
    "squared": lambda x: layers.GlobalAveragePooling2D()(x * x),
}
BETWEEN: dict[str, Any] = {
    "nothing": lambda x: x,
    "dropout": lambda x: layers.Dropout(0.5)(x),
    "flatten": lambda x: layers.Flatten()(x),
    "folded": lambda x: layers.Reshape((2, -1))(layers.Flatten()(x)),
    "permuted": lambda x: layers.Flatten()(layers.Permute((2, 1))(layers.Reshape((2, -1))(layers.Flatten()(x)))),
    "there and back": lambda x: layers.Flatten()(layers.Reshape((2, -1))(layers.Flatten()(x))),
    "as a picture": lambda x: layers.Reshape((1, 1, -1))(layers.Flatten()(x)),
    "relu": lambda x: layers.ReLU()(x - 0.1),
    "normalised": lambda x: layers.BatchNormalization()(x),
    "scaled": lambda x: x * 3.0,
    "reversed": lambda x: ops.flip(x, axis=-1),
}
ENDS: dict[str, Any] = {
    "dense": lambda x: layers.Dense(3)(x),
    "without bias": lambda x: layers.Dense(3, use_bias=False)(x),
    "softmax": lambda x: layers.Dense(3, activation="softmax")(x),
    "softmax twice": lambda x: layers.Softmax()(layers.Dense(3, activation="softmax")(x)),
    "softmax after": lambda x: layers.Activation("softmax", dtype="float32")(layers.Dense(3)(x)),
    "sigmoid": lambda x: layers.Dense(1, activation="sigmoid")(x),
    "relu": lambda x: layers.Softmax()(layers.Dense(3, activation="relu")(x)),
    "temperature": lambda x: ops.softmax(layers.Dense(3)(x) / 2.5),
    "two": lambda x: layers.Dense(3)(layers.Dense(5)(x)),
    "branches": lambda x: layers.Concatenate()([layers.Dense(1, activation="sigmoid")(x) for _ in range(3)]),
    "sum of two": lambda x: layers.Add()([layers.Dense(3)(x), layers.Dense(3)(x)]),
    "offset": lambda x: layers.Softmax()(layers.Dense(3)(x) + np.array([1.0, 2.0, 3.0], np.float32)),
    "own bias": lambda x: layers.Add()([layers.Dense(3)(x), ops.mean(x, axis=-1, keepdims=True)]),
    "convolution": lambda x: layers.Flatten()(layers.Conv2D(3, 1)(layers.Reshape((1, 1, -1))(layers.Flatten()(x)))),
    "grouped": lambda x: layers.Flatten()(
        layers.Conv2D(4, 1, groups=2)(layers.Reshape((1, 1, -1))(layers.Flatten()(x)))
    ),
    "float16": lambda x: layers.Activation("softmax", dtype="float32")(layers.Dense(3, dtype="mixed_float16")(x)),
}


def build(pooling: str, between: str, end: str) -> Any:
    keras.utils.set_random_seed(5)
    inputs = layers.Input((9, 9, 3))
    x = layers.Conv2D(K, 3, activation="relu", name="last")(inputs)
    for step in (POOLINGS[pooling], BETWEEN[between], ENDS[end]):
        x = step(x)
    return keras.Model(inputs, x if len(x.shape) == 2 else layers.Flatten()(x))


def compare(model: Any) -> bool:
    """Compare the closed form, where it is claimed, with the gradient that the engine takes through the head."""
    side = model.input_shape[1]
    made = engine_at(classifier(model, side=side), "last", TargetSettings(top_k=2), batch_size=2)
    x = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype(np.float32)
    forward = made.explain(x)
    claimed = made.head.weights is not None
    if claimed:
        inputs, raw = forward.handle
        for rank in range(2):
            classes = forward.targets[:, rank]
            taken = made._head_gradient(raw, tf.constant(classes, tf.int32), *inputs).numpy()
            assert forward.gradients is not None
            scale = np.abs(taken).max()
            half = made.precision == "float16" or any("float16" in str(layer.compute_dtype) for layer in model.layers)
            np.testing.assert_allclose(forward.gradients[:, rank], taken, atol=(1e-2 if half else 1e-5) * scale)
    return claimed


@settings(max_examples=3, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(list(POOLINGS)), st.sampled_from(list(BETWEEN)), st.sampled_from(list(ENDS)))
@example("gap", "folded", "dense")
@example("gap", "permuted", "dense")
@example("gap", "nothing", "softmax twice")
@example("gap", "reversed", "softmax")
@example("twice", "nothing", "dense")
@example("gap keepdims", "nothing", "own bias")
def test_the_claim_equals_the_gradient_or_is_not_made(pooling: str, between: str, end: str) -> None:
    try:
        model = build(pooling, between, end)
    except ValueError:
        # These steps do not fit together.
        return
    compare(model)


@pytest.mark.parametrize(
    ("pooling", "between", "end", "claimed"),
    [
        ("gap", "dropout", "softmax", True),
        ("gap keepdims", "flatten", "dense", True),
        ("average", "nothing", "softmax", True),
        ("mean", "there and back", "sigmoid", True),
        ("gap", "as a picture", "convolution", True),
        ("gap", "nothing", "branches", True),
        ("gap", "nothing", "offset", True),
        ("gap", "nothing", "float16", True),
        ("gap", "nothing", "softmax twice", False),
        ("gap", "permuted", "dense", False),
        ("gap", "nothing", "relu", False),
        ("gap", "nothing", "temperature", False),
        ("gap", "normalised", "dense", False),
        ("max", "nothing", "dense", False),
        ("padded", "nothing", "dense", False),
        ("squared", "nothing", "dense", False),
    ],
)
def test_what_is_claimed(pooling: str, between: str, end: str, claimed: bool) -> None:
    assert compare(build(pooling, between, end)) == claimed


def test_a_head_of_frozen_weights_is_the_same() -> None:
    model = build("gap", "nothing", "softmax")
    plain, frozen = (
        engine_at(classifier(model, side=9), "last", TargetSettings(), batch_size=2, frozen=f) for f in (False, True)
    )
    assert plain.head.weights is not None
    np.testing.assert_array_equal(plain.head.weights, frozen.head.weights)
    np.testing.assert_array_equal(plain.head.weights, model.layers[-1].get_weights()[0])
