"""What is differentiated: probabilities against finite differences, Keras's own gradient, and certainty."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import SIDE, classifier, engine_at, flatten_dense, gap_dense

from gradcam_cli.engines.compiling import compile_plan
from gradcam_cli.engines.openvino import OpenVinoEngine, PassOptions
from gradcam_cli.engines.protocol import Head, TargetLayer
from gradcam_cli.errors import UsageError
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.method_runner import check_options
from gradcam_cli.settings import MethodOptions, TargetSettings

KINDS: Any = ("softmax", "linear", "sigmoid", "binary")


@pytest.mark.parametrize("kind", KINDS)
def test_slopes_equal_central_differences(kind: Any) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (3, 4))
    if kind == "binary":
        logits = np.stack([-logits[:, 0], logits[:, 0]], axis=1)
    count = logits.shape[1]
    classes = np.array([[0, 1], [1, 0], [1, 1]])
    head = Head(kind, count)

    def probability(scores: Any, c: int) -> float:
        if kind in {"sigmoid", "binary"}:
            return float(1 / (1 + np.exp(-scores[c])))
        return float(np.exp(scores[c]) / np.exp(scores).sum())

    slopes = head.probability_slopes(logits.astype(np.float32), classes)
    for image, rank, m in np.ndindex(3, 2, count):
        step = np.eye(count)[m] * 1e-5
        c = int(classes[image, rank])
        difference = probability(logits[image] + step, c) - probability(logits[image] - step, c)
        assert slopes[image, rank, m] == pytest.approx(difference / 2e-5, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_a_certain_class_still_has_its_slope(kind: Any) -> None:
    """In float32 its probability is 1 and 1 - Y is 0; the slope is that of exp(-40)."""
    slopes = Head(kind, 2).probability_slopes(np.array([[40.0, 0.0]], np.float32), np.array([[0]]))
    assert slopes[0, 0, 0] == pytest.approx(np.exp(-40), rel=1e-5)
    assert slopes[0, 0, 1] == pytest.approx(-np.exp(-40) if kind == "softmax" else 0, rel=1e-5)


def inputs() -> Any:
    return np.random.default_rng(0).normal(size=(3, SIDE, SIDE, 3)).astype(np.float32)


def taped(network: Any, layer: str, targets: Any) -> Any:
    """Differentiate what the model itself gives, with Keras's own tools."""
    before = keras.Model(network.input, network.get_layer(layer).output)
    after = keras.Model(network.get_layer(layer).output, network.output)
    activations = before(inputs())
    found = []
    for rank in range(targets.shape[1]):
        with tf.GradientTape() as tape:
            tape.watch(activations)
            score = tf.gather(after(activations), targets[:, rank], axis=1, batch_dims=1)
        found.append(tape.gradient(score, activations).numpy())
    return np.stack(found, axis=1)


@pytest.mark.parametrize(
    ("build", "layer", "options"),
    [
        (gap_dense, "last", {}),
        (gap_dense, "pool", {}),
        (gap_dense, "last", {"activation": "sigmoid"}),
        (gap_dense, "pool", {"activation": "sigmoid"}),
        (flatten_dense, "second", {}),
    ],
)
def test_gradients_are_those_of_what_the_model_gives(build: Any, layer: str, options: Any) -> None:
    network = build(**options)
    # Far from certain, so that a plain gradient in float32 is one to compare with.
    head = network.get_layer("head")
    head.set_weights([head.get_weights()[0] / 4, head.get_weights()[1]])
    made = engine_at(
        classifier(network), layer, TargetSettings(top_k=3), batch_size=4, gradients=True, score="probability"
    )
    forward = made.explain(inputs())
    assert forward.gradients is not None
    expected = taped(network, layer, forward.targets)
    np.testing.assert_allclose(forward.gradients, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    if layer:
        plan = OpenVinoEngine(
            compile_plan(made.traced.classifier, layer), TargetSettings(top_k=3), PassOptions(3, score="probability"),
        ).explain(inputs())  # fmt: skip
        assert plan.gradients is not None
        np.testing.assert_allclose(plan.gradients, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_one_sigmoid_units_two_probabilities_have_opposite_slopes() -> None:
    made = engine_at(
        classifier(gap_dense(1, "sigmoid")), "pool", TargetSettings(top_k=2), batch_size=3, score="probability"
    )
    gradients = made.explain(inputs()).gradients
    assert gradients is not None
    assert np.abs(gradients).max() > 0
    np.testing.assert_allclose(gradients[:, 0], -gradients[:, 1], rtol=1e-5)


def test_a_certain_prediction_of_any_head_has_a_gradient() -> None:
    """Both ways agree where the probability is 1 to the last bit of float32."""
    network = gap_dense()
    head = network.get_layer("head")
    kernel, bias = head.get_weights()
    head.set_weights([kernel * 1e-3, bias + np.array([0, 30, 0, 0, 0])])
    made = engine_at(classifier(network), "last", TargetSettings(), batch_size=3, score="probability")
    dense = made.explain(inputs()).gradients
    area = SIDE**2 // 4
    rest = made.head.probability_slopes(made.explain(inputs()).logits, np.ones((3, 1), np.intp))
    expected = rest[:, 0] @ head.get_weights()[0].T / area
    assert dense is not None
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(dense[:, 0, 0, 0], expected, rtol=1e-4)
    earlier = engine_at(classifier(network), "pool", TargetSettings(), batch_size=3, score="probability")
    found = earlier.explain(inputs()).gradients
    logit = engine_at(classifier(network), "pool", TargetSettings(("0",), 5), batch_size=3).explain(inputs())
    assert found is not None
    assert logit.gradients is not None
    by_class = np.stack([logit.gradients[i, np.argsort(logit.targets[i, :5])] for i in range(3)])
    by_hand = np.einsum("nc,nchwk->nhwk", rest[:, 0], by_class)
    np.testing.assert_allclose(found[:, 0], by_hand, rtol=1e-3, atol=1e-4 * np.abs(by_hand).max())


@pytest.mark.parametrize("name", METHODS)
def test_only_methods_that_take_a_gradient_have_a_choice(name: str) -> None:
    check_options(METHODS[name], MethodOptions())
    probability = MethodOptions(score="probability")
    if name in {"cam", "eigencam", "scorecam", "ablationcam", "gradcam++-softmax"}:
        with pytest.raises(UsageError, match=f"{name.replace('+', '.')}` does not differentiate one score"):
            check_options(METHODS[name], probability)
    else:
        check_options(METHODS[name], probability)


def test_the_closed_form_is_a_view_over_the_cells() -> None:
    head = Head("softmax", 3, np.array([[1.0, 0.0, -1.0]], np.float32))
    layer = TargetLayer("a", "b", 2, 2, 1)
    gradients = head.dense_score_gradients("probability", np.zeros((1, 3), np.float32), np.array([[0]]), layer)
    assert gradients is not None
    # Y = 1/3 each: 1/3 * (1 - mean of the weights, which is 0), over 4 cells.
    np.testing.assert_allclose(gradients, np.full((1, 1, 2, 2, 1), 1 / 12), rtol=1e-6)
