"""What a model's output is: probabilities as they are, logits before them, values; and what is differentiated."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import Runner, jpeg
from keras import layers, ops
from nets import SIDE, classifier, engine_at

from gradcam_cli.engines.compiling import NotCompilableError, compile_plan
from gradcam_cli.engines.openvino import OpenVinoEngine, PassOptions
from gradcam_cli.engines.protocol import Forward, Head, probabilities_of
from gradcam_cli.engines.tensorflow import TensorFlowEngine
from gradcam_cli.models.output_kind import OutputHints
from gradcam_cli.models.stored_loss import Loss, stored_loss
from gradcam_cli.settings import OutputKind, TargetSettings


def features() -> tuple[Any, Any]:
    inputs = layers.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(6, 3, activation="relu", name="last")(inputs)
    return inputs, x


def network(end: Any, seed: int = 3) -> Any:
    """Convolution and pooling, and an end that is made from the pooled features."""
    keras.utils.set_random_seed(seed)
    inputs, x = features()
    return keras.Model(inputs, end(layers.GlobalAveragePooling2D()(x)))


def dense(count: int, activation: str | None = None) -> Any:
    return layers.Dense(count, activation, kernel_initializer=keras.initializers.RandomNormal(stddev=3.0))


def pictures() -> Any:
    return np.random.default_rng(0).uniform(-1, 1, (3, SIDE, SIDE, 3)).astype(np.float32)


def opened(model: Any, loss: Loss | None = None, kind: OutputKind = "auto", **settings: Any) -> TensorFlowEngine:
    made = classifier(model)
    object.__setattr__(made, "output_hints", OutputHints(kind, loss))
    count = int(model.output_shape[-1])
    return engine_at(made, "last", TargetSettings(top_k=max(2, count)), batch_size=3, **settings)


def passed(model: Any, **settings: Any) -> tuple[Head, Forward, Any]:
    engine = opened(model, **settings)
    return engine.head, engine.explain(pictures()), model(pictures()).numpy()


def by_hand(x: Any) -> Any:
    raised = ops.exp(dense(3)(x))
    return raised / ops.sum(raised, axis=-1, keepdims=True)


def stable_by_hand(x: Any) -> Any:
    logits = dense(3)(x)
    raised = ops.exp(logits - ops.max(logits, axis=-1, keepdims=True))
    return raised / ops.sum(raised, axis=-1, keepdims=True)


def shares(x: Any) -> Any:
    positive = dense(3, "softplus")(x)
    return positive / (ops.sum(positive, axis=-1, keepdims=True) + 1e-7)


def middle_axis(x: Any) -> Any:
    return layers.Reshape((3,))(layers.Softmax(axis=1)(layers.Reshape((3, 1))(dense(3)(x))))


def beside(*counts: int, activation: str = "sigmoid") -> Any:
    return lambda x: layers.Concatenate()([dense(count, activation)(x) for count in counts])


def mean(count: int, activation: str) -> Any:
    return lambda x: layers.Average()([dense(count, activation)(x), dense(count, activation)(x)])


def both_sides(x: Any) -> Any:
    probability = dense(1, "sigmoid")(x)
    return layers.Concatenate()([1 - probability, probability])


def stacked(x: Any) -> Any:
    return ops.mean(ops.stack([dense(3, "softmax")(x) for _ in range(3)], axis=1), axis=1)


PROBABILITIES = {
    "softmax": (lambda x: layers.Softmax()(dense(3)(x)), "softmax"),
    "temperature": (lambda x: ops.softmax(dense(3)(x) / 2.5), "softmax"),
    "softmax over a middle axis": (middle_axis, "softmax"),
    "softmax twice": (lambda x: layers.Softmax()(dense(3, "softmax")(x)), "softmax"),
    "softmax by hand": (by_hand, "softmax"),
    "stable softmax by hand": (stable_by_hand, "softmax"),
    "one sigmoid": (lambda x: ops.sigmoid(dense(1)(x)), "binary"),
    "concatenated sigmoids": (beside(1, 1, 1), "sigmoid"),
    "nested concatenation": (lambda x: layers.Flatten()(layers.Reshape((3, 1))(beside(2, 1)(x))), "sigmoid"),
    "concatenated softmaxes": (beside(2, 3, activation="softmax"), "probabilities"),
    "mean of softmaxes": (mean(3, "softmax"), "probabilities"),
    "mean of three by stacking": (stacked, "probabilities"),
    "weighted softmaxes": (lambda x: dense(3, "softmax")(x) * 0.7 + dense(3, "softmax")(x) * 0.3, "probabilities"),
    "mean of sigmoids": (mean(1, "sigmoid"), "probabilities"),
    "hard sigmoids": (lambda x: layers.Activation("hard_sigmoid")(dense(3)(x)), "probabilities"),
    "one hard sigmoid": (lambda x: layers.Activation("hard_sigmoid")(dense(1)(x)), "probabilities"),
    "sparsemax": (lambda x: layers.Activation("sparsemax")(dense(3)(x)), "probabilities"),
    "clipped": (lambda x: ops.clip(dense(3, "softmax")(x), 1e-3, 0.999), "probabilities"),
    "the other side of a sigmoid": (lambda x: 1 - dense(3, "sigmoid")(x), "probabilities"),
    "both sides": (both_sides, "probabilities"),
    "a product": (lambda x: layers.Multiply()([dense(3, "sigmoid")(x), dense(1, "sigmoid")(x)]), "probabilities"),
    "shares of positive numbers": (shares, "probabilities"),
}


@pytest.mark.parametrize("name", PROBABILITIES)
def test_probabilities_are_told_as_they_are(name: str) -> None:
    end, kind = PROBABILITIES[name]
    head, forward, given = passed(network(end))
    assert head.kind == kind
    assert not head.assumed
    told = probabilities_of(head, forward)
    expected = np.concatenate([1 - given, given], axis=1) if given.shape[1] == 1 else given
    np.testing.assert_allclose(told, expected, rtol=2e-5, atol=1e-6)
    assert forward.gradients is not None
    assert np.isfinite(forward.gradients).all()
    assert np.abs(forward.gradients).max() > 0
    # The most probable classes come first.
    ranked = np.take_along_axis(told, forward.targets, axis=1)
    assert (np.diff(ranked, axis=1) <= 1e-6).all()


@pytest.mark.parametrize(
    ("end", "scale"),
    [
        (lambda x: layers.Rescaling(100.0)(dense(3, "softmax")(x)), 100),
        (lambda x: dense(3, "softmax")(x) / 0.01, 100),
        (lambda x: layers.Rescaling(100.0)(mean(3, "softmax")(x)), 100),
        (lambda x: layers.Rescaling(100.0)(dense(3, "hard_sigmoid")(x)), 100),
        (lambda x: dense(3, "softmax")(x) * 255.0, 255),
        (lambda x: dense(3, "sigmoid")(x) * 100.0, 100),
    ],
)
def test_per_cent_are_probabilities_times_a_hundred(end: Any, scale: float) -> None:
    head, forward, given = passed(network(end))
    np.testing.assert_allclose(probabilities_of(head, forward), given / scale, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("log", [ops.log_softmax, lambda y: ops.log(ops.softmax(y))])
def test_logarithms_of_a_softmax(log: Any) -> None:
    head, forward, given = passed(network(lambda x: log(dense(3)(x) / 4)))
    assert head.kind == "softmax"
    np.testing.assert_allclose(probabilities_of(head, forward), np.exp(given), rtol=2e-5)


def test_a_batch_of_one_is_read_alike() -> None:
    """Keras adds two tensors of one row by another operation."""
    model = network(mean(3, "softmax"))
    made = engine_at(classifier(model), "last", TargetSettings(top_k=3), batch_size=1)
    assert made.head.kind == "probabilities"
    told = made.explain(pictures()[:1]).probabilities
    assert told is not None
    np.testing.assert_allclose(told, model(pictures()[:1]), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(made.probabilities(pictures()[:1]), told, rtol=2e-5, atol=1e-6)


def slopes(model: Any, scores: Any) -> Any:
    """The gradient of scores that are made from the target layer's output, by Keras's own tools."""
    activations = keras.Model(model.input, model.get_layer("last").output)(pictures())
    with tf.GradientTape() as tape:
        tape.watch(activations)
        found = scores(tf.reduce_mean(activations, (1, 2)))
    return tape.gradient(found, activations).numpy()


def test_what_is_differentiated_of_several_branches() -> None:
    """Concatenated: each class's own logit. A mean: the mean of the branches' logits."""
    one, two = dense(3), dense(3)
    ensemble = network(lambda x: layers.Average()([layers.Softmax()(one(x)), layers.Softmax()(two(x))]))
    found = opened(ensemble).explain(pictures(), np.full((3, 3), 1))
    expected = slopes(ensemble, lambda z: (one(z)[:, 1] + two(z)[:, 1]) / 2)
    assert found.gradients is not None
    np.testing.assert_allclose(found.gradients[:, 0], expected, rtol=1e-4, atol=1e-7)
    several = [dense(1), dense(1)]
    labels = network(lambda x: layers.Concatenate()([layers.Activation("sigmoid")(d(x)) for d in several]))
    found = opened(labels).explain(pictures(), np.full((3, 2), 1))
    assert found.gradients is not None
    np.testing.assert_allclose(
        found.gradients[:, 0], slopes(labels, lambda z: several[1](z)[:, 0]), rtol=1e-4, atol=1e-7
    )


def test_a_probability_is_differentiated_where_it_is_asked_for() -> None:
    model = network(mean(3, "softmax"))
    after = keras.Model(model.get_layer("last").output, model.output)
    activations = keras.Model(model.input, model.get_layer("last").output)(pictures())
    with tf.GradientTape() as tape:
        tape.watch(activations)
        score = after(activations)[:, 2]
    found = opened(model, score="probability").explain(pictures(), np.full((3, 3), 2))
    assert found.gradients is not None
    np.testing.assert_allclose(found.gradients[:, 0], tape.gradient(score, activations), rtol=1e-3, atol=1e-6)


MSE, HINGE = Loss("mean_squared_error"), Loss("hinge")


@pytest.mark.parametrize(
    ("count", "activation", "loss", "kind"),
    [
        (1, None, MSE, "value"),
        (1, "relu", MSE, "value"),
        (1, "tanh", Loss("huber"), "value"),
        (1, "relu", None, "value"),
        (1, "tanh", None, "value"),
        (1, "softplus", None, "value"),
        (3, None, Loss("mean_absolute_error"), "value"),
        (1, None, Loss("binary_crossentropy", from_logits=True), "binary"),
        (3, None, Loss("binary_crossentropy", from_logits=True), "sigmoid"),
        (3, None, Loss("sparse_categorical_crossentropy", from_logits=True), "linear"),
        (1, "sigmoid", MSE, "binary"),
        (3, "softmax", MSE, "softmax"),
        (3, None, HINGE, "score"),
        (1, "tanh", HINGE, "score"),
        (3, "tanh", None, "score"),
        (3, "relu", Loss("categorical_crossentropy"), "score"),
    ],
)
def test_the_stored_loss_tells_what_the_operations_do_not(
    count: int, activation: str | None, loss: Loss | None, kind: str
) -> None:
    head, forward, given = passed(network(dense(count, activation)), loss=loss)
    assert (head.kind, head.assumed) == (kind, False)
    assert head.has_probabilities == (kind not in {"value", "score"})
    if kind == "value":
        np.testing.assert_allclose(forward.logits, given, rtol=1e-5, atol=1e-6)
        assert forward.targets[0].tolist() == list(range(count))[: max(2, count)]


@pytest.mark.parametrize(("count", "kind"), [(1, "binary"), (3, "linear")])
@pytest.mark.parametrize("loss", [None, Loss("my_loss"), Loss("categorical_crossentropy")])
def test_where_nothing_tells_logits_are_assumed(count: int, kind: str, loss: Loss | None) -> None:
    head = opened(network(dense(count)), loss=loss, gradients=False).head
    assert (head.kind, head.assumed) == (kind, True)


@pytest.mark.parametrize(
    ("said", "count", "kind"),
    [
        ("value", 1, "value"),
        ("value", 3, "value"),
        ("softmax-logits", 3, "linear"),
        ("sigmoid-logits", 3, "sigmoid"),
        ("sigmoid-logits", 1, "binary"),
        ("probabilities", 3, "probabilities"),
    ],
)
def test_a_person_has_the_last_word(said: OutputKind, count: int, kind: str) -> None:
    head = opened(network(dense(count)), kind=said, loss=MSE, gradients=False).head
    assert (head.kind, head.assumed) == (kind, False)


def test_sigmoid_times_something_is_a_value() -> None:
    assert passed(network(lambda x: dense(1, "sigmoid")(x) * 116.0))[0].kind == "value"
    assert passed(network(lambda x: dense(1, "sigmoid")(x) * 100.0), loss=MSE)[0].kind == "value"


COMPILED = {
    "mse": Loss("mean_squared_error"),
    "mae": Loss("mean_absolute_error"),
    "MeanSquaredError": Loss("mean_squared_error"),
    "huber": Loss("huber"),
    "sparse_categorical_crossentropy": Loss("sparse_categorical_crossentropy"),
}


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_the_loss_is_read_from_the_file(tmp_path: Path, suffix: str) -> None:
    model = network(dense(1))
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    assert stored_loss(path, ["a"], None) is None
    for given, expected in [
        *COMPILED.items(),
        (keras.losses.BinaryCrossentropy(from_logits=True), Loss("binary_crossentropy", from_logits=True)),
        (keras.losses.MeanAbsoluteError(), Loss("mean_absolute_error")),
        (keras.losses.KLDivergence(), Loss("kl_divergence")),
    ]:
        model.compile("adam", given)
        model.save(path)
        assert stored_loss(path, ["a"], None) == expected
    assert stored_loss(tmp_path / "none.keras", ["a"], None) is None


def test_the_loss_of_one_output_of_several(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    inputs, x = features()
    pooled = layers.GlobalAveragePooling2D()(x)
    ends = {"kind": dense(3, "softmax")(pooled), "age": dense(1)(pooled)}
    model = keras.Model(inputs, ends)
    names = list(model.output_names)
    model.compile("adam", {"kind": keras.losses.CategoricalCrossentropy(), "age": "mae"})
    model.save(tmp_path / "model.keras")
    assert stored_loss(tmp_path / "model.keras", names, "age") == Loss("mean_absolute_error")
    assert stored_loss(tmp_path / "model.keras", names, "kind") == Loss("categorical_crossentropy")
    as_list = keras.Model(inputs, [ends["kind"], ends["age"]])
    as_list.compile("adam", ["categorical_crossentropy", "mse"])
    as_list.save(tmp_path / "list.keras")
    assert stored_loss(tmp_path / "list.keras", as_list.output_names, as_list.output_names[1]) == MSE


@pytest.mark.parametrize(
    ("end", "loss"),
    [
        (dense(1), MSE),
        (beside(1, 2), None),
        (lambda x: layers.Rescaling(100.0)(dense(3, "softmax")(x)), None),
    ],
)
def test_a_plan_reads_the_output_as_its_model_does(end: Any, loss: Loss | None) -> None:
    made = opened(network(end), loss=loss)
    plan = compile_plan(made.traced.classifier, "last")
    other = OpenVinoEngine(plan, TargetSettings(top_k=3), PassOptions(3))
    assert (other.head.kind, other.head.reason) == (made.head.kind, made.head.reason)
    mine, its = made.explain(pictures()), other.explain(pictures())
    assert np.array_equal(mine.targets, its.targets)
    np.testing.assert_allclose(mine.logits, its.logits, rtol=1e-3, atol=1e-4)
    if made.head.has_probabilities:
        np.testing.assert_allclose(
            made.head.probabilities(mine.logits), other.head.probabilities(its.logits), rtol=1e-3, atol=1e-5
        )


def test_there_is_no_plan_for_probabilities_that_do_not_follow_from_logits() -> None:
    with pytest.raises(NotCompilableError, match="do not follow"):
        compile_plan(classifier(network(dense(3, "hard_sigmoid"))), "last")


def test_the_sidecar_of_a_value(inside: Runner, tmp_path: Path) -> None:

    model = network(dense(1))
    model.layers[-1].bias.assign([41.0])
    model.compile("adam", "mae")
    model.save(tmp_path / "age.keras")
    (tmp_path / "a.jpg").write_bytes(jpeg())
    said = inside("explain", "a.jpg", "-o", "out", "--model", "age.keras", "--preprocess", "unit", "--min-score", "0.5")
    record = json.loads((tmp_path / "out" / "a.jpg.json").read_text())
    (entry,) = record["classes"]
    assert said.expect(0).err.count("the output is a value: trained with the loss mean_absolute_error") == 1
    assert "--min-score has no effect" in said.err
    assert (entry["index"], entry["probability"]) == (0, None)
    assert abs(entry["value"] - 41) < 5
    assert entry["value"] == entry["logit"]
    assert record["model"]["output_kind"] == "value"
    inside("verify", "out").expect(0)
    refused = inside("evaluate", "a.jpg", "--model", "age.keras", "--preprocess", "unit")
    assert "measures changes of a probability" in refused.expect(3).err
