"""The TensorFlow engine on small models: logits, gradients, heads, batches, and a model left as it was."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from nets import SIDE, classifier, convolutions, engine_at, flatten_dense, gap_dense

from gradcam_cli.engines.protocol import probabilities_of
from gradcam_cli.engines.tensorflow import TensorFlowEngine
from gradcam_cli.engines.tracing import list_layers
from gradcam_cli.errors import ModelError
from gradcam_cli.labels.class_labels import Label, Labels
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.method_runner import check_method, raw_maps
from gradcam_cli.settings import TargetSettings


def inputs(count: int = 3, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(count, SIDE, SIDE, 3)).astype(np.float32)


def engine(network: Any, layer: str = "auto", **options: Any) -> TensorFlowEngine:
    targets = TargetSettings(options.pop("classes", ()), options.pop("top_k", 1))
    return engine_at(classifier(network, options.pop("labels", None)), layer, targets, batch_size=4, **options)


def test_logits_are_those_before_the_softmax() -> None:
    network = gap_dense()
    twin = keras.Model(network.input, network.get_layer("gap").output)
    kernel, bias = network.get_layer("head").get_weights()
    x = inputs()
    forward = engine(network).explain(x)
    np.testing.assert_allclose(forward.logits, twin(x).numpy() @ kernel + bias, rtol=1e-4, atol=1e-5)
    probabilities = engine(network).head.probabilities(forward.logits)
    np.testing.assert_allclose(probabilities, network(x).numpy(), rtol=1e-4, atol=1e-6)


def test_the_model_is_left_as_it_was() -> None:
    network = gap_dense()
    x = inputs()
    before = network(x).numpy()
    config = network.get_config()
    engine(network).explain(x)
    engine(network, "first").class_gradients(engine(network, "first").explain(x), np.zeros(3, np.intp))
    assert all("call" not in layer.__dict__ for layer in network.layers)
    assert network.get_config() == config
    assert np.array_equal(network(x).numpy(), before)


def test_the_hooks_come_off_when_tracing_fails() -> None:
    network = gap_dense()
    with pytest.raises(ModelError):
        engine(network, "nosuch")
    assert all("call" not in layer.__dict__ for layer in network.layers)


def float64(build: Any) -> Any:
    """Build a model that computes in float64."""
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        return build()
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("layer", ["first", "pool", "last"])
def test_gradients_equal_central_differences_in_float64(layer: str) -> None:
    """Nudge single activations of the layer and watch the logit, with the rest of the network applied by hand."""
    network = float64(flatten_dense)
    x = inputs(1)
    forward = engine(network, layer, classes=("3",), top_k=0).explain(x)
    position = [item.name for item in network.layers].index(layer)
    rest = network.layers[position + 1 :]

    def logit(activations: Any) -> float:
        value = tf.constant(activations, tf.float64)
        for item in rest[:-1]:
            value = item(value)
        kernel, bias = rest[-1].get_weights()
        return float((value.numpy() @ kernel + bias)[0, 3])

    a = forward.activations.astype(np.float64)
    assert forward.gradients is not None
    rng = np.random.default_rng(1)
    compared = 0
    while compared < 30:
        i, j, k = (int(rng.integers(size)) for size in a.shape[1:])
        step = np.zeros_like(a)
        step[0, i, j, k] = 1e-6
        left, right = logit(a) - logit(a - step), logit(a + step) - logit(a)
        if left != pytest.approx(right, rel=1e-3, abs=1e-12):
            continue  # on a kink of the pooling there is no derivative
        compared += 1
        assert forward.gradients[0, 0, i, j, k] == pytest.approx((left + right) / 2e-6, rel=1e-4, abs=1e-6)


def test_a_dense_head_is_recognised_with_its_weights() -> None:
    network = gap_dense()
    found = engine(network).head
    assert found.kind == "softmax"
    assert found.weights is not None
    np.testing.assert_array_equal(found.weights, network.get_layer("head").get_weights()[0])
    forward = engine(network, classes=("2",), top_k=0).explain(inputs())
    assert forward.gradients is not None
    area = (SIDE // 2) ** 2
    expected = np.broadcast_to(found.weights[:, 2] / area, forward.gradients[:, 0].shape)
    np.testing.assert_allclose(forward.gradients[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("layer", ["first", "pool", "second"])
def test_an_earlier_layer_has_no_dense_head(layer: str) -> None:
    assert engine(gap_dense(), layer).head.weights is None


@pytest.mark.parametrize("kind", ["max", "relu", "two"])
def test_heads_that_only_look_dense_are_not_taken_for_it(kind: str) -> None:
    keras.utils.set_random_seed(3)
    x = layers.Input((SIDE, SIDE, 3))
    pooled = (layers.GlobalMaxPooling2D() if kind == "max" else layers.GlobalAveragePooling2D())(convolutions(x))
    if kind == "two":
        pooled = layers.Dense(7)(pooled)
    scores = layers.Dense(4, activation="relu" if kind == "relu" else None)(pooled)
    network = keras.Model(x, layers.Activation("softmax")(scores))
    assert engine(network).head.weights is None


def test_a_layer_reshaped_before_the_pooling_has_no_dense_head() -> None:
    """Its channels are not those that the head's weights are for."""
    x = layers.Input((SIDE, SIDE, 3))
    other = layers.Reshape((16, 16, 2), name="other")(convolutions(x))
    network = keras.Model(x, layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(other)))
    made = engine(network)
    # The rows and columns of a reshaped output are not those of the picture, so it is no map.
    assert made.layer.path == "last"
    assert made.head.weights is None


def test_a_pointwise_convolution_behind_the_pooling_is_a_dense_head() -> None:
    keras.utils.set_random_seed(4)
    x = layers.Input((SIDE, SIDE, 3))
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(convolutions(x))
    scores = layers.Reshape((4,))(layers.Conv2D(4, 1)(pooled))
    network = keras.Model(x, layers.Activation("softmax")(scores))
    made = engine(network)
    assert made.layer.path == "last"
    assert made.head.weights is not None
    assert made.head.weights.shape == (8, 4)


@pytest.mark.parametrize(("units", "activation", "kind"), [(3, "sigmoid", "sigmoid"), (3, None, "linear")])
def test_other_heads(units: int, activation: str | None, kind: str) -> None:
    network = gap_dense(units, activation)
    made = engine(network, top_k=3)
    forward = made.explain(inputs())
    assert made.head.kind == kind
    expected = network(inputs()).numpy()
    scores = made.head.probabilities(forward.logits) if activation else forward.logits
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)
    assert (np.sort(forward.targets, axis=1) == [0, 1, 2]).all()


def test_one_sigmoid_unit_is_two_classes() -> None:
    network = gap_dense(1, "sigmoid")
    made = engine(network, top_k=2)
    x = inputs()
    forward = made.explain(x)
    p = network(x).numpy()[:, 0]
    assert made.head.kind == "binary"
    assert made.head.class_count == 2
    np.testing.assert_allclose(made.head.probabilities(forward.logits), np.stack([1 - p, p], axis=1), atol=1e-6)
    assert np.array_equal(forward.targets[:, 0], (p >= 0.5).astype(int))
    assert forward.gradients is not None
    np.testing.assert_allclose(forward.gradients[:, 0], -forward.gradients[:, 1])


def test_a_batch_is_its_images() -> None:
    made = engine(flatten_dense(), top_k=2)
    x = inputs(4)
    together = made.explain(x)
    for i in range(4):
        alone = made.explain(x[i : i + 1])
        assert alone.logits.shape == (1, 5)
        np.testing.assert_allclose(alone.logits[0], together.logits[i], rtol=1e-4, atol=1e-6)
        assert alone.gradients is not None
        assert together.gradients is not None
        np.testing.assert_allclose(alone.gradients[0], together.gradients[i], rtol=1e-3, atol=1e-6)
        assert np.array_equal(alone.targets[0], together.targets[i])


def test_through_the_head_alone_is_the_same_gradient() -> None:
    for layer in ("first", "second", "last"):
        made = engine(flatten_dense(), layer, top_k=2)
        forward = made.explain(inputs())
        assert forward.gradients is not None
        again = made.class_gradients(forward, forward.targets[:, 1])
        np.testing.assert_allclose(again, forward.gradients[:, 1], rtol=1e-5, atol=1e-7)


def test_predicted_and_asked_for() -> None:
    labels = Labels(tuple(Label(name) for name in ("ant", "bee", "cow", "dog", "elk")))
    made = engine(gap_dense(), classes=("cow", "4"), top_k=1, labels=labels)
    forward = made.explain(inputs())
    assert made.target_count == 3
    assert (forward.targets[:, 1:] == [2, 4]).all()
    assert np.array_equal(forward.targets[:, 0], forward.logits.argmax(axis=1))
    with pytest.raises(ModelError, match="dog"):
        engine(gap_dense(), classes=("doge",), labels=labels)


def test_logits_of_two_hundred_stay_finite() -> None:
    network = gap_dense()
    kernel, bias = network.get_layer("head").get_weights()
    forward = engine(network).explain(inputs())
    grown = 200 / np.abs(forward.logits).max()
    network.get_layer("head").set_weights([kernel * grown, bias])
    for name, method in METHODS.items():
        made = engine(network, top_k=5)
        forward = made.explain(inputs())
        assert np.abs(forward.logits).max() == pytest.approx(200, rel=1e-3)
        assert np.isfinite(raw_maps(method, made, forward).maps).all(), name


def test_softmax_of_any_head_agrees_with_the_dense_shortcut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradcam_cli.methods.softmax.ENOUGH_PROBABILITY", 2.0)
    network = gap_dense()
    made = engine(network, top_k=5)
    forward = made.explain(inputs())
    quick = raw_maps(METHODS["gradcam++-softmax"], made, forward)
    assert quick.classes_sampled is None
    kind, count = made.head.kind, made.head.class_count
    made = TensorFlowEngine(replace(made.traced, head=type(made.head)(kind, count, None)))
    slow = raw_maps(METHODS["gradcam++-softmax"], made, forward)
    assert slow.classes_sampled is not None
    assert (slow.classes_sampled == 5).all()
    np.testing.assert_allclose(slow.maps, quick.maps, rtol=1e-3, atol=1e-5 * quick.maps.max())


def test_only_as_many_classes_are_sampled_as_hold_the_probability() -> None:
    made = engine(flatten_dense(), gradients=False)
    forward = made.explain(inputs())
    sampled = raw_maps(METHODS["gradcam++-softmax"], made, forward).classes_sampled
    assert sampled is not None
    for i, count in enumerate(sampled):
        ranked = -np.sort(-made.head.probabilities(forward.logits)[i])
        assert ranked[:count].sum() >= 0.9999
        assert ranked[: count - 1].sum() < 0.9999


def test_cam_needs_its_head() -> None:
    check_method(METHODS["cam"], engine(gap_dense()))
    with pytest.raises(ModelError, match="`method=gradcam` works"):
        check_method(METHODS["cam"], engine(flatten_dense()))


def test_layers_are_listed_with_autos_choice() -> None:
    rows = list_layers(classifier(gap_dense()))
    assert [(row.path, row.type, row.height, row.width, row.channels) for row in rows] == [
        ("first", "Conv2D", 16, 16, 6),
        ("pool", "MaxPooling2D", 8, 8, 6),
        ("second", "Conv2D", 8, 8, 8),
        ("last", "Activation", 8, 8, 8),
    ]
    assert [row.path for row in rows if row.auto] == ["last"]


@pytest.mark.parametrize(
    ("layer", "message"),
    [("secnod", "second"), ("head", "not a map"), ("gap", "not a map"), ("activation_49", "no layer")],
)
def test_layers_that_cannot_be_explained(layer: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        engine(gap_dense(), layer)


def test_a_branch_that_leads_nowhere_is_not_chosen() -> None:
    x = layers.Input((SIDE, SIDE, 3))
    last = convolutions(x)
    dead = layers.Conv2D(2, 3, name="dead")(last)
    outputs = layers.Dense(3)(layers.GlobalAveragePooling2D()(last))
    network = keras.Model(x, [outputs, dead])

    class First(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def call(self, value: Any) -> Any:
            return self.inner(value)[0]

    made = engine(First())
    assert made.layer.path == "functional/last" or made.layer.path.endswith("/last")
    with pytest.raises(ModelError, match="do not depend"):
        engine(First(), "dead")


def test_a_network_without_maps() -> None:
    network = keras.Sequential([layers.Input((SIDE, SIDE, 3)), layers.Flatten(), layers.Dense(3)])
    with pytest.raises(ModelError, match="cannot explain it"):
        engine(network)


@pytest.mark.parametrize("build", [gap_dense, flatten_dense])
def test_weights_as_constants_give_the_same_scores_and_gradients(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = build(), inputs()
    before = [variable.numpy() for variable in network.variables]
    plain, frozen = (engine(network, "first", frozen=long) for long in (False, True))
    assert len(frozen.traced.function.captured_inputs) < len(plain.traced.function.captured_inputs)
    a, b = plain.explain(x), frozen.explain(x)
    np.testing.assert_allclose(b.logits, a.logits, rtol=1e-5, atol=1e-5)
    assert a.gradients is not None
    assert b.gradients is not None
    np.testing.assert_allclose(b.gradients, a.gradients, atol=1e-5 * np.abs(a.gradients).max())
    classes = np.zeros(3, np.intp)
    slopes = plain.class_gradients(a, classes)
    np.testing.assert_allclose(frozen.class_gradients(b, classes), slopes, atol=1e-5 * np.abs(slopes).max())
    assert all(
        np.array_equal(variable.numpy(), value) for variable, value in zip(network.variables, before, strict=True)
    )
    # A network too large for one graph keeps its variables.
    monkeypatch.setattr("gradcam_cli.models.classifier.LARGEST_GRAPH", 0)
    kept = engine(network, "first", frozen=True)
    assert len(kept.traced.function.captured_inputs) == len(plain.traced.function.captured_inputs)


@pytest.mark.parametrize("head", ["dense", "flat", "one sigmoid"])
@pytest.mark.parametrize("gradients", [True, False])
def test_probabilities_are_those_of_a_pass_with_gradients(head: str, gradients: bool) -> None:
    network = {"dense": gap_dense, "flat": flatten_dense, "one sigmoid": lambda: gap_dense(1, "sigmoid")}[head]()
    made = engine(network, "first", gradients=gradients)
    x = inputs(3)
    found = made.probabilities(x)
    np.testing.assert_allclose(found, probabilities_of(made.head, made.explain(x)), rtol=1e-5, atol=1e-6)
    assert len(found) == 3
