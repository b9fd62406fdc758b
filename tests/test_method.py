"""What every method is given: a pass of an engine, and NaN for the images whose numbers are not finite."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import FakeEngine

from gradcam_cli.engines.protocol import Head
from gradcam_cli.errors import ModelError
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.method import Batch, by_target, finite_maps
from gradcam_cli.methods.method_runner import check_method, raw_maps
from gradcam_cli.settings import MethodOptions


def total(activations: Any, factors: Any) -> Any:
    """A map of one cell: the sum over the channels, times a factor."""
    return activations.sum(axis=3) * factors[:, None, None]


def test_an_image_with_a_number_not_finite_has_no_map_and_its_neighbours_have_theirs() -> None:
    a = np.array([[[[1.0, 2.0]]], [[[3.0, 4.0]]], [[[5.0, 6.0]]]])
    assert finite_maps(total, a, np.array([1.0, 10.0, 100.0])).tolist() == [[[3.0]], [[70.0]], [[1100.0]]]
    for value in (np.nan, np.inf, -np.inf):
        found = finite_maps(total, a, np.array([1.0, value, 100.0]))
        assert found[0] == 3
        assert np.isnan(found[1])
        assert found[2] == 1100
        a_sick = a.copy()
        a_sick[2, 0, 0, 1] = value
        assert np.isnan(finite_maps(total, a_sick, np.ones(3))).ravel().tolist() == [False, False, True]
        assert a_sick[0, 0, 0, 0] == 1, "the engine's own arrays are left as they are"


def test_a_method_is_given_zeros_for_what_is_not_finite() -> None:
    given = []

    def keep(activations: Any) -> Any:
        given.append(activations)
        return activations[..., 0]

    finite_maps(keep, np.array([[[[1.0, np.nan]]], [[[3.0, 4.0]]]]))
    assert given[0].tolist() == [[[[0.0, 0.0]]], [[[3.0, 4.0]]]]


def test_arrays_are_given_target_by_target() -> None:
    first, second = np.arange(6).reshape(3, 2), np.arange(12).reshape(3, 2, 2)
    pairs = list(by_target(first, second))
    assert [pair[0].tolist() for pair in pairs] == [[0, 2, 4], [1, 3, 5]]
    assert pairs[1][1].tolist() == [[2, 3], [6, 7], [10, 11]]


def batch(engine: FakeEngine) -> Batch:
    inputs = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)
    return Batch(engine, engine.explain(inputs), MethodOptions())


def test_a_batch_gives_what_the_pass_gave() -> None:
    given = batch(FakeEngine(top_k=2))
    assert given.activations.shape == (3, 4, 4, 6)
    assert given.gradients.shape == (3, 2, 4, 4, 6)
    for image, rank in np.ndindex(3, 2):
        assert given.scores[image, rank] == given.forward.logits[image, given.forward.targets[image, rank]]


def test_maps_stand_in_the_order_of_the_targets() -> None:
    given = batch(FakeEngine(top_k=2))
    maps = given.maps(total, by_target(np.array([[1.0, 2.0]] * 3)))
    assert maps.shape == (3, 2, 4, 4)
    assert maps.dtype == np.float32
    np.testing.assert_array_equal(maps[:, 1], 2 * maps[:, 0])


def test_an_engine_without_gradients_is_told_of() -> None:
    given = batch(FakeEngine())
    without = replace(given, forward=replace(given.forward, gradients=None))
    with pytest.raises(ValueError, match="made without gradients"):
        without.gradients.sum()


def with_head(head: Head) -> FakeEngine:
    engine = FakeEngine()
    engine.head = head
    return engine


@pytest.mark.parametrize("name", METHODS)
def test_what_each_method_can_explain(name: str) -> None:
    dense, other, value = FakeEngine(), with_head(Head("softmax", 5)), with_head(Head("value", 5, reason="a number"))
    check_method(METHODS[name], dense)
    if name == "cam":
        with pytest.raises(
            ModelError, match=r"`method=cam` needs a target layer .* 'last' is not. `method=gradcam` works"
        ):
            check_method(METHODS[name], other)
    else:
        check_method(METHODS[name], other)
    if name == "gradcam++-softmax":
        with pytest.raises(ModelError, match=r"output is a number. `method=gradcam\+\+` works for any output"):
            check_method(METHODS[name], value)
    probability = MethodOptions(score="probability")
    with pytest.raises(ModelError, match="needs a probability, but this model's output is a number"):
        check_method(METHODS[name], value, probability)


def test_a_map_without_a_class_is_the_same_for_all_targets() -> None:
    given = batch(FakeEngine(top_k=3))
    maps = raw_maps(METHODS["eigencam"], given.engine, given.forward).maps
    assert maps.shape == (3, 3, 4, 4)
    np.testing.assert_array_equal(maps, np.repeat(maps[:, :1], 3, axis=1))


def test_what_the_program_has_to_know_of_each_method() -> None:
    gradients = {name for name, method in METHODS.items() if method.differentiates}
    plus_plus = {name for name, method in METHODS.items() if method.assumes_linearity}
    assert gradients == {
        "gradcam", "gradcam++", "gradcam++-paper", "layercam", "hirescam", "xgradcam", "eigengradcam",
    }  # fmt: skip
    assert plus_plus == {"gradcam++", "gradcam++-paper", "gradcam++-softmax"}
    assert {name for name, method in METHODS.items() if method.masks_inputs} == {"scorecam"}
    assert {name for name, method in METHODS.items() if method.head != "any"} == {"cam"}
