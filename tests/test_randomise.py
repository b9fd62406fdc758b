"""Networks that forget: which layers have weights, in which order, and what becomes of them."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from nets import SIDE, classifier, convolutions, flatten_dense, gap_dense

from gradcam_cli.engines.randomised import randomised_engines
from gradcam_cli.errors import ModelError
from gradcam_cli.models.randomise import permute, weighted_layers


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
    before = [np.sort(w.ravel()) for w in network.get_weights()]
    kernel = np.array(network.get_layer("head").kernel)
    rng = np.random.default_rng(0)
    for layer in weighted_layers(classifier(network)):
        permute(layer, rng)
    for old, new in zip(before, network.get_weights(), strict=True):
        assert np.array_equal(old, np.sort(new.ravel()))
    assert not np.allclose(kernel, network.get_layer("head").kernel)


def test_no_weights_at_all() -> None:
    inputs = layers.Input((SIDE, SIDE, 3))
    network = keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(inputs)))
    with pytest.raises(ModelError, match="no weights"):
        weighted_layers(classifier(network))


@pytest.mark.parametrize("build", [gap_dense, flatten_dense])
def test_stages_forget_more_and_more(build: Any) -> None:
    network = build()
    original = network.get_weights()
    inputs = np.random.default_rng(0).normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)
    seen = []
    for done, of, path, engine in randomised_engines(classifier(network), "last", batch_size=2, streams=1):
        changed = sum(not np.array_equal(a, b) for a, b in zip(original, network.get_weights(), strict=True) if a.any())
        forward = engine.explain(inputs, np.zeros((2, 1), np.intp))
        probabilities = engine.head.probabilities(forward.logits)
        assert np.allclose(probabilities, network(inputs), atol=1e-5)
        seen.append((done, of, path, changed))
    count = len(weighted_layers(classifier(network)))
    assert seen[0][:3] == (1, count, "head")
    assert seen[-1][:3] == (count, count, "first")
    assert [row[3] for row in seen] == [row[0] for row in seen]
    if engine.head.weights is not None:
        assert np.array_equal(engine.head.weights, network.get_layer("head").kernel)
