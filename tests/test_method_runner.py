"""Modifiers of every method: copies with noise, the mirror image, and several layers."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from fakes import FakeEngine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nets import SIDE, classifier, engine_at, flatten_dense, gap_dense

from gradcam_cli.engines.compiling import compile_plan
from gradcam_cli.engines.openvino import OpenVinoEngine, PassOptions
from gradcam_cli.engines.protocol import NO_EXTRAS, Floats, Forward
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.fusion import fuse_layers
from gradcam_cli.methods.method_runner import explain_inputs, raw_maps
from gradcam_cli.settings import MethodOptions, TargetSettings

GRADCAM = METHODS["gradcam"]


@dataclass
class Watched(FakeEngine):
    """Keeps what it was asked, and looks left more than right: its maps do not follow a mirror."""

    asked: list[tuple[Any, Any]] = field(default_factory=list)

    def explain(self, inputs: Floats, targets: Any = None, extras: Any = NO_EXTRAS) -> Forward:
        self.asked.append((inputs, targets))
        leaning = inputs * np.linspace(1, 0.5, inputs.shape[2], dtype=np.float32)[:, None]
        found = super().explain(leaning, targets, extras)
        return type(found)(inputs, found.activations, found.logits, found.targets, found.gradients)


def inputs(count: int = 3, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(count, 8, 8, 3)).astype(np.float32)


@pytest.mark.parametrize("name", METHODS)
def test_without_modifiers_there_is_one_pass_and_its_map(name: str) -> None:
    engine = Watched(top_k=2)
    forward, raw = explain_inputs(METHODS[name], engine, inputs())
    np.testing.assert_array_equal(raw.maps, raw_maps(METHODS[name], engine, forward).maps)
    assert engine.asked[0][1] is None
    if name != "scorecam":
        assert len(engine.asked) == 1


@pytest.mark.parametrize("name", METHODS)
def test_smooth_is_the_mean_over_copies_that_are_asked_about_the_same_classes(name: str) -> None:
    engine = Watched(batch_size=64, top_k=2)
    forward, raw = explain_inputs(METHODS[name], engine, inputs(), MethodOptions(smooth=5, noise=2.0))
    copies = [x for x, targets in engine.asked if targets is not None]
    assert len(copies) == 5
    assert all(np.array_equal(t, forward.targets) for _, t in engine.asked if t is not None)
    # With so much noise the copies would have been seen as something else.
    assert any((engine.explain(x).targets != forward.targets).any() for x in copies)
    maps = [raw_maps(METHODS[name], engine, engine.explain(x, forward.targets)).maps for x in copies]
    np.testing.assert_allclose(raw.maps, sum(maps) / 5, rtol=1e-5, atol=1e-7)


def test_noise_has_the_deviation_that_was_asked_for() -> None:
    engine = Watched(top_k=1)
    x = inputs(2) * np.array([1, 10], np.float32)[:, None, None, None]
    explain_inputs(GRADCAM, engine, x, MethodOptions(smooth=200, noise=0.15))
    noise = np.stack([copy - x for copy, targets in engine.asked if targets is not None])
    for image in range(2):
        expected = 0.15 * (x[image].max() - x[image].min())
        assert noise[:, image].std() == pytest.approx(expected, rel=0.02)
        assert abs(noise[:, image].mean()) < 0.02 * expected
    assert not np.array_equal(noise[0], noise[1])


def test_noise_is_an_images_own() -> None:
    """Neither its neighbours, nor its place, nor another run change it; another picture has another."""
    options = MethodOptions(smooth=3, flip=True)
    x = inputs(4)
    together = explain_inputs(GRADCAM, Watched(), x, options)[1].maps
    np.testing.assert_array_equal(explain_inputs(GRADCAM, Watched(), x, options)[1].maps, together)
    backward = explain_inputs(GRADCAM, Watched(), x[::-1], options)[1].maps
    np.testing.assert_allclose(backward[::-1], together, rtol=1e-5)
    for i in range(4):
        alone = explain_inputs(GRADCAM, Watched(), x[i : i + 1], options)[1].maps
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-5)
    engine = Watched()
    explain_inputs(GRADCAM, engine, np.zeros((1, 8, 8, 3), np.float32), options)
    assert not any(copy.any() for copy, _ in engine.asked)


@pytest.mark.parametrize("name", METHODS)
def test_flip_is_the_mean_with_the_mirror_images_map_mirrored_back(name: str) -> None:
    engine = Watched(batch_size=64, top_k=2)
    method = METHODS[name]
    forward, raw = explain_inputs(method, engine, inputs(), MethodOptions(flip=True))
    there = raw_maps(method, engine, forward).maps
    back = raw_maps(method, engine, engine.explain(inputs()[:, :, ::-1], forward.targets)).maps[..., ::-1]
    np.testing.assert_allclose(raw.maps, (there + back) / 2, rtol=1e-5, atol=1e-7)
    assert not np.allclose(there, back, rtol=1e-2)


def test_a_picture_and_its_mirror_image_have_mirrored_maps() -> None:
    x = inputs()
    options = MethodOptions(flip=True)
    engine = Watched(targets=(1, 4), top_k=0)
    there = explain_inputs(GRADCAM, engine, x, options)[1].maps
    back = explain_inputs(GRADCAM, engine, np.ascontiguousarray(x[:, :, ::-1]), options)[1].maps
    np.testing.assert_allclose(there, back[..., ::-1], rtol=1e-5)


def test_fusing_on_paper() -> None:
    fine = np.array([[[[0.0, 1.0, 2.0, 4.0]]]])
    coarse = np.array([[[[10.0, 0.0]]]])
    # Scaled: 0, 1/4, 1/2, 1 and, between the centres of two cells, 1, 3/4, 1/4, 0.
    assert fuse_layers([fine, coarse]).tolist() == [[[[1.0, 0.75, 0.5, 1.0]]]]
    assert fuse_layers([coarse * 0, fine]).tolist() == [[[[0.0, 0.25, 0.5, 1.0]]]]
    assert not fuse_layers([coarse * 0, fine * 0]).any()
    assert np.isnan(fuse_layers([coarse * np.nan, fine])).any()


maps = hnp.arrays(np.float32, (1, 2, 3, 4), elements=st.floats(0, 1e3, width=32))


@given(maps, maps)
def test_fused_maps_are_in_zero_to_one_and_the_order_of_layers_is_nothing(a: Any, b: Any) -> None:
    fused = fuse_layers([a, b])
    np.testing.assert_array_equal(fused, fuse_layers([b, a]))
    assert (fused >= 0).all()
    assert (fused <= 1).all()
    for target in range(2):
        assert fused[0, target].max() == (1 if a[0, target].any() or b[0, target].any() else 0)


def test_several_layers_are_asked_about_the_first_ones_classes() -> None:
    fine, coarse = Watched(cells=4, top_k=2), Watched(cells=2, top_k=2)
    fine.others = (coarse,)
    forward, raw = explain_inputs(GRADCAM, fine, inputs(), MethodOptions(flip=True))
    assert np.array_equal(coarse.asked[0][1], forward.targets)
    single = [explain_inputs(GRADCAM, Watched(cells=4, top_k=2), inputs(), MethodOptions(flip=True))[1].maps]
    mirrored = [coarse.explain(x, forward.targets) for x in (inputs(), inputs()[:, :, ::-1])]
    there, back = (raw_maps(GRADCAM, coarse, found).maps for found in mirrored)
    np.testing.assert_allclose(raw.maps, fuse_layers([single[0], (there + back[..., ::-1]) / 2]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("build", [gap_dense, flatten_dense])
def test_engines_answer_about_the_classes_they_are_given(build: Any) -> None:
    network = build()
    x = np.random.default_rng(0).normal(size=(3, SIDE, SIDE, 3)).astype(np.float32)
    wanted = np.array([[4, 0], [1, 1], [2, 3]])
    made = engine_at(classifier(network), "last", TargetSettings(top_k=2), batch_size=4)
    asked = made.explain(x, wanted)
    assert np.array_equal(asked.targets, wanted)
    assert asked.gradients is not None
    for rank in range(2):
        expected = made.class_gradients(asked, wanted[:, rank])
        np.testing.assert_allclose(asked.gradients[:, rank], expected, rtol=1e-4, atol=1e-7)
    own = made.explain(x)
    assert np.array_equal(own.targets, np.argsort(-own.logits, axis=1)[:, :2])
    if made.head.weights is not None:
        plan = compile_plan(made.traced.classifier, "last")
        other = OpenVinoEngine(plan, TargetSettings(top_k=2), PassOptions(3))
        found = other.explain(x, wanted)
        assert np.array_equal(found.targets, wanted)
        assert found.gradients is not None
        np.testing.assert_allclose(found.gradients, asked.gradients, rtol=1e-4, atol=1e-7)
