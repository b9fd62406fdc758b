"""Methods of the user's own: what they are given, what is made of their maps, and what they are told."""

import json
import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import sources
from fakes import FakeEngine, explained, job

from gradcam_cli.errors import MethodError, UsageError
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.custom import custom_method
from gradcam_cli.methods.method_runner import check_method, check_options, explain_inputs, raw_maps
from gradcam_cli.settings import MethodOptions


def inputs(count: int = 3) -> Any:
    return np.random.default_rng(0).normal(size=(count, 8, 8, 3)).astype(np.float32)


def mean_of_products(activations: Any, gradients: Any) -> Any:
    return (activations * gradients).mean(axis=3)


def maps_of(function: Any, engine: FakeEngine | None = None) -> Any:
    engine = engine or FakeEngine(top_k=2)
    return raw_maps(custom_method(function), engine, engine.explain(inputs())).maps


def test_a_function_of_activations_and_gradients_is_a_method() -> None:
    engine = FakeEngine(top_k=2)
    method = custom_method(mean_of_products)
    check_method(method, engine)
    check_options(method, MethodOptions(score="probability"))
    forward, raw = explain_inputs(method, engine, inputs())
    # The mean over K channels is HiResCAM divided by K.
    expected = raw_maps(METHODS["hirescam"], engine, forward).maps / 6
    np.testing.assert_allclose(raw.maps, expected, rtol=1e-5, atol=1e-7)
    assert raw.maps.max() > 0


def test_it_is_given_one_class_at_a_time_and_may_not_write() -> None:
    seen = []

    def look(activations: Any, gradients: Any) -> Any:
        seen.append((activations.shape, gradients.shape, activations.dtype, gradients.dtype))
        activations[0] = 0

    with pytest.raises(MethodError, match="ValueError: assignment destination is read-only"):
        maps_of(look)
    assert seen == [((3, 4, 4, 6), (3, 4, 4, 6), np.float32, np.float32)]


def test_what_is_negative_becomes_0_and_numbers_become_float32() -> None:
    one, minus_one, double = np.ones((3, 4, 4), np.int64), np.full((3, 4, 4), -1), np.full((3, 4, 4), 0.5)
    for given, value in ((one, 1), (minus_one, 0), (double, 0.5), ((double > 0).tolist(), 1)):
        found = maps_of(lambda a, g, given=given: given)
        assert found.dtype == np.float32
        assert (found == value).all()
    assert minus_one[0, 0, 0] == -1, "the function's own array is left as it is"


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_map_that_is_not_finite_fails_its_image_alone(tmp_path: Path, value: float) -> None:
    def second_is_sick(activations: Any, gradients: Any) -> Any:
        maps = activations.sum(axis=3).astype(np.float64)
        maps[1, 2, 2] = value
        return maps

    method = custom_method(second_is_sick, "sick")
    the_job = replace(job(method="sick"), methods={"sick": method}, overlays=False)
    records = explained(tmp_path, sources(tmp_path, 3), FakeEngine(), the_job)
    assert [record["status"] for record in records] == ["ok", "error", "ok"]
    assert records[1]["reason"] == "not_finite"


def test_activations_that_are_not_finite_are_kept_from_it() -> None:
    engine = FakeEngine()
    forward = engine.explain(inputs())
    forward.activations[1, 0, 0, 0] = np.nan
    given = []

    def keep(activations: Any, gradients: Any) -> Any:
        given.append(activations)
        return activations.sum(axis=3)

    maps = raw_maps(custom_method(keep), engine, forward).maps
    assert not given[0][1].any()
    assert np.isfinite(maps).all(axis=(1, 2, 3)).tolist() == [True, False, True]


def test_a_method_that_fails_is_named() -> None:
    def divide(activations: Any, gradients: Any) -> Any:
        raise ZeroDivisionError("division by zero\nand more")

    with pytest.raises(MethodError, match=r"The method mine failed: ZeroDivisionError: division by zero$") as caught:
        raw_maps(custom_method(divide, "mine"), FakeEngine(), FakeEngine().explain(inputs()))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, r"returned an array of shape \(\)"),
        (
            np.zeros((4, 4)),
            r"returned an array of shape \(4, 4\). It must return maps \(N, h, w\) of shape \(3, 4, 4\)",
        ),
        (np.zeros((3, 4, 5)), r"of shape \(3, 4, 5\). It must return maps \(N, h, w\) of shape \(3, 4, 4\)"),
        (np.zeros((3, 4, 4, 6)), r"of shape \(3, 4, 4, 6\)"),
        (np.zeros((3, 4, 4), complex), "returned an array of complex128. It must return real numbers"),
        (np.full((3, 4, 4), "hot"), "returned an array of <U3"),
        ([[1], [1, 2]], "failed: ValueError"),
    ],
    ids=str,
)
def test_what_are_no_maps_is_refused(given: Any, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        maps_of(lambda a, g: given)


def test_memory_that_runs_out_is_not_the_methods_fault() -> None:
    def greedy(activations: Any, gradients: Any) -> Any:
        raise MemoryError

    with pytest.raises(MemoryError):
        maps_of(greedy)


class Scaled:
    def __call__(self, activations: Any, gradients: Any) -> Any:
        return activations.sum(axis=3)


def test_names() -> None:
    assert custom_method(mean_of_products).name == "test_custom_method.mean_of_products"
    assert custom_method(Scaled()).name == "test_custom_method.Scaled"
    assert custom_method(partial(mean_of_products)).name == "functools.partial"
    assert custom_method(mean_of_products, "mine").name == "mine"
    with pytest.raises(UsageError, match="'gradcam' is a method of this package"):
        custom_method(mean_of_products, "gradcam")


def test_it_can_be_sent_to_another_process() -> None:
    method = pickle.loads(pickle.dumps(custom_method(mean_of_products)))
    engine = FakeEngine()
    forward = engine.explain(inputs())
    np.testing.assert_array_equal(raw_maps(method, engine, forward).maps, maps_of(mean_of_products, FakeEngine()))


def test_the_sidecar_has_its_name(tmp_path: Path) -> None:
    method = custom_method(mean_of_products)
    the_job = replace(job(method=method.name), methods={method.name: method})
    explained(tmp_path, sources(tmp_path, 1), FakeEngine(), the_job)
    card = json.loads((tmp_path / "out" / "000.jpg.json").read_text())["method"]
    assert card["name"] == "test_custom_method.mean_of_products"
    assert card["score"] == "logit"
    assert card["derivatives"] is None
