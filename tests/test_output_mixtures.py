"""Outputs that are mixtures of probabilities by constant matrices, and outputs of unusual shapes, told as predicted."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from gradcam_cli.models.output_bounds import ANY, bounds
from gradcam_cli.models.output_kind import SOFTMAX_OF_ONE, OutputHints, read_output

THIRDS = np.array([0.2, 0.3, 0.5], np.float32)


def stack(given: Any, axis: int = -1) -> Any:
    return ops.stack([ops.softmax(given), ops.softmax(-given), ops.softmax(given * 2)], axis=axis)


BETWEEN_0_AND_1: dict[str, Callable[[Any], Any]] = {
    "matrix product": lambda x: ops.matmul(stack(x), THIRDS[:, None])[:, :, 0],
    "product from the left": lambda x: ops.matmul(THIRDS[None, None], stack(x, axis=1))[:, 0],
    "einsum": lambda x: ops.einsum("nck,k->nc", stack(x), THIRDS),
    "tensordot": lambda x: ops.tensordot(stack(x), THIRDS, axes=[[2], [0]]),
    "sum of products": lambda x: ops.sum(stack(x) * THIRDS, axis=-1),
    "sharpened": lambda x: ops.softmax(x) ** 2 / ops.sum(ops.softmax(x) ** 2, axis=-1, keepdims=True),
    "permutation": lambda x: ops.matmul(ops.softmax(x), np.eye(3, dtype=np.float32)[[1, 2, 0]]),
    "masked": lambda x: ops.softmax(x) * np.array([1, 1, 0], np.float32),
    "smoothed": lambda x: ops.softmax(x) * 0.9 + np.array([0.1, 0, 0], np.float32),
    "padded": lambda x: ops.pad(ops.softmax(x), [[0, 0], [0, 1]]),
    "groups": lambda x: ops.matmul(ops.softmax(x), np.array([[1, 0], [1, 0], [0, 1]], np.float32)),
    "transposed": lambda x: tf.matmul(ops.sigmoid(x), np.full((2, 3), 1 / 3, np.float32), transpose_b=True),
}
NOT: dict[str, Callable[[Any], Any]] = {
    "weights of 2": lambda x: ops.matmul(stack(x), 2 * THIRDS[:, None])[:, :, 0],
    "a negative weight": lambda x: ops.einsum("nck,k->nc", stack(x), np.array([1.5, -0.2, -0.3], np.float32)),
    "groups of sigmoids": lambda x: ops.matmul(ops.sigmoid(x), np.array([[1, 0], [1, 0], [0, 1]], np.float32)),
    "a power of any number": lambda x: x**3,
    "mixed logits": lambda x: ops.matmul(x, np.eye(3, dtype=np.float32)),
    "one weight for all": lambda x: ops.sum(stack(x) * np.ones((1, 1, 1), np.float32), axis=-1),
    "over the wrong axis": lambda x: ops.sum(stack(x) * THIRDS, axis=1),
}


def traced(function: Callable[[Any], Any]) -> Any:
    spec = tf.TensorSpec((4, 3), tf.float32)
    return tf.function(function, autograph=False).get_concrete_function(spec).outputs[0]


@pytest.mark.parametrize("name", BETWEEN_0_AND_1)
def test_what_mixes_probabilities_lies_between_0_and_1(name: str) -> None:
    low, high = bounds(traced(BETWEEN_0_AND_1[name]))
    assert (low, high) == pytest.approx((0, 1), abs=1e-6)
    given = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32) * 5
    found = np.asarray(BETWEEN_0_AND_1[name](tf.constant(given)))
    assert ((found >= 0) & (found <= 1 + 1e-6)).all()


@pytest.mark.parametrize("name", NOT)
def test_what_does_not_mix_them_may_be_anything(name: str) -> None:
    assert bounds(traced(NOT[name])) == ANY


def read(end: Any, classes: int) -> tuple[Any, Any, Any]:
    """What is read of an end on three numbers, the probabilities that it tells, and what Keras predicts."""
    keras.utils.set_random_seed(2)
    inputs = layers.Input((3,))
    model = keras.Model(inputs, end(inputs))
    found: list[Any] = []

    def run(x: Any) -> Any:
        output = model(x, training=False)
        found.append(read_output(output, classes, OutputHints()))
        return output, found[0].scores if found[0].probabilities is None else found[0].probabilities

    given = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    predicted, told = tf.function(run, autograph=False)(tf.constant(given))
    return found[0], told.numpy(), predicted.numpy()


@pytest.mark.parametrize(
    ("end", "classes"),
    [
        (lambda x: ops.matmul(stack(layers.Dense(3)(x)), THIRDS[:, None])[:, :, 0], 3),
        (lambda x: layers.Reshape((3, 1))(stack_mean(layers.Dense(3)(x))), 3),
    ],
)
def test_a_mixture_is_told_as_it_is_predicted(end: Any, classes: int) -> None:
    output, told, predicted = read(end, classes)
    assert (output.kind, output.assumed) == ("probabilities", False)
    np.testing.assert_allclose(told, predicted.reshape(4, classes), rtol=1e-5)


def stack_mean(x: Any) -> Any:
    return layers.Average()([ops.softmax(x), ops.softmax(-x)])


@pytest.mark.filterwarnings("ignore:.*softmax over axis")
@pytest.mark.parametrize("shape", [(1,), (1, 1), (3, 1)])
def test_a_softmax_of_one_number_is_named(shape: tuple[int, ...]) -> None:
    count = int(np.prod(shape))
    output, told, _ = read(lambda x: layers.Softmax()(layers.Reshape(shape)(layers.Dense(count)(x))), count)
    assert SOFTMAX_OF_ONE in output.reason
    assert told.shape[0] == 4
