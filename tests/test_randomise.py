"""Networks that forget: which layers have weights, in which order, and what becomes of them."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from nets import SIDE, classifier, convolutions, engine_at, flatten_dense, gap_dense

from gradcam_cli.engines.randomised import randomised_engines
from gradcam_cli.engines.tracing import PassSettings
from gradcam_cli.errors import ModelError
from gradcam_cli.models.randomise import permuted, weighted_layers
from gradcam_cli.settings import TargetSettings


def paths(network: Any) -> list[str]:
    return [layer.path for layer in weighted_layers(classifier(network))]


def test_from_the_head_to_the_input() -> None:
    assert paths(gap_dense()) == ["head", "second", "first"]
    assert paths(gap_dense(activation=None)) == ["head", "second", "first"]
    assert paths(flatten_dense()) == ["head", "hidden", "second", "first"]


def nested() -> Any:
    keras.utils.set_random_seed(3)
    inputs = layers.Input((SIDE, SIDE, 3))
    backbone = keras.Model(inputs, convolutions(inputs), name="backbone")
    outer = layers.Input((SIDE, SIDE, 3))
    x = layers.BatchNormalization(name="norm")(backbone(outer))
    x = layers.GlobalAveragePooling2D()(x)
    aside = layers.Dense(2, name="aside")(x)
    return keras.Model(outer, {"main": layers.Dense(4, name="head")(x), "other": aside})


def test_a_nested_model_is_walked_and_what_leads_elsewhere_left_alone() -> None:
    found = weighted_layers(classifier(nested(), output="main"))
    assert [layer.path for layer in found] == ["head", "norm", "backbone/second", "backbone/first"]
    weights = [id(w) for layer in found for w in layer.weights]
    assert len(weights) == len(set(weights)) == 2 + 4 + 2 + 2


def test_attention_is_one_layer() -> None:
    inputs = layers.Input((SIDE, SIDE, 3))
    x = layers.Reshape((-1, 8))(convolutions(inputs))
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.GlobalAveragePooling1D()(x)
    found = weighted_layers(classifier(keras.Model(inputs, layers.Dense(3, name="head")(x))))
    assert [layer.path for layer in found][:2] == ["head", "attention"]
    assert len(found[1].weights) == 8


def test_permuting_keeps_every_number_and_moves_them() -> None:
    network = gap_dense()
    before = network.get_weights()
    rng = np.random.default_rng(0)
    stand_ins = [pair for layer in weighted_layers(classifier(network)) for pair in permuted(layer, rng)]
    assert {id(own) for own, _ in stand_ins} == {id(weight) for weight in network.weights}
    for own, other in stand_ins:
        assert np.array_equal(np.sort(np.ravel(own)), np.sort(np.ravel(other)))
        if own.path == "head/kernel":
            assert not np.allclose(own, other)
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))


def test_no_weights_at_all() -> None:
    inputs = layers.Input((SIDE, SIDE, 3))
    network = keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(inputs)))
    with pytest.raises(ModelError, match="no weights"):
        weighted_layers(classifier(network))


@pytest.mark.parametrize("build", [gap_dense, flatten_dense])
def test_stages_randomise_more_and_more_and_leave_the_network_as_it_is(build: Any) -> None:
    network, twin = build(), build()
    original = network.get_weights()
    made = classifier(network)
    inputs = np.random.default_rng(0).normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)
    settings = PassSettings(TargetSettings(), batch_size=2)
    rng = np.random.default_rng(0)
    left = weighted_layers(classifier(twin))
    count, seen = len(left), []
    for stage in randomised_engines(made, "last", settings, streams=1):
        # The twin is randomised in place, by the same numbers.
        for layer in left[: stage.layers - (count - len(left))]:
            for own, other in permuted(layer, rng):
                own.assign(other)
        left = left[-(count - stage.layers) :] if stage.layers < count else []
        forward = stage.engine.explain(inputs, np.zeros((2, 1), np.intp))
        probabilities = stage.engine.head.probabilities(forward.logits)
        np.testing.assert_allclose(probabilities, twin(inputs), atol=1e-5)
        expected = engine_at(classifier(twin), "last", TargetSettings(), batch_size=2)
        taken = expected.explain(inputs, np.zeros((2, 1), np.intp))
        assert forward.gradients is not None
        assert taken.gradients is not None
        assert np.array_equal(forward.gradients, taken.gradients)
        classes = np.ones(2, np.intp)
        assert np.array_equal(stage.engine.class_gradients(forward, classes), expected.class_gradients(taken, classes))
        if expected.head.weights is not None:
            assert stage.engine.head.weights is not None
            assert np.array_equal(stage.engine.head.weights, twin.get_layer("head").kernel)
        seen.append((stage.layers, stage.of, stage.back_to))
        assert all(np.array_equal(a, b) for a, b in zip(original, network.get_weights(), strict=True))
    assert seen[0] == (1, count, "head")
    assert seen[-1] == (count, count, "first")
