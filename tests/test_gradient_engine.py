"""Heads and layers without a closed form under OpenVINO: against TensorFlow, and cut in two at the target layer."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import DATA, SAMPLES, Runner
from keras import layers
from nets import SIDE, classifier, convolutions, crops, engine_at, flatten_dense, gap_dense, lite0

from gradcam_cli.engines import self_check
from gradcam_cli.engines.compiling import NotCompilableError, compile_plan
from gradcam_cli.engines.openvino import MOST_IN_NETWORK, OpenVinoEngine, PassOptions
from gradcam_cli.engines.plan import Plan, SelfCheck
from gradcam_cli.engines.protocol import Floats
from gradcam_cli.errors import ModelError
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.method_runner import raw_maps
from gradcam_cli.models.classifier import Classifier
from gradcam_cli.settings import MethodOptions, TargetSettings

BATCH = 3


def pictures(count: int = BATCH) -> Floats:
    return np.random.default_rng(0).normal(size=(count, SIDE, SIDE, 3)).astype(np.float32)


def beside() -> Any:
    """A shortcut leads around the target layer, and its map is scaled by numbers of the picture."""
    keras.utils.set_random_seed(3)
    inputs = layers.Input((SIDE, SIDE, 3))
    front = layers.Conv2D(6, 3, padding="same", activation="relu", name="front")(inputs)
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="last")(front)
    scale = layers.Dense(6, "sigmoid")(layers.GlobalAveragePooling2D()(front))
    x = layers.Multiply()([x, layers.Reshape((1, 1, 6))(scale)])
    x = layers.Add()([x, front])
    x = layers.Conv2D(5, 3, activation="swish", name="after")(x)
    return keras.Model(inputs, layers.Dense(4, "softmax")(layers.Flatten()(x)))


def channels_first_tail() -> Any:
    """The map is read in another order behind the target layer."""
    keras.utils.set_random_seed(4)
    inputs = layers.Input((SIDE, SIDE, 3))
    x = layers.Permute((3, 1, 2))(convolutions(inputs))
    return keras.Model(inputs, layers.Dense(4, "softmax")(layers.Dense(7, "gelu")(layers.Flatten()(x))))


def tokens() -> Any:
    """A small transformer with a class token: the map is a part of the tokens."""
    keras.utils.set_random_seed(5)
    inputs = layers.Input((SIDE, SIDE, 3))
    x = layers.Reshape((16, 8))(layers.Conv2D(8, 4, strides=4)(inputs))
    x = layers.ZeroPadding1D((1, 0))(x)
    for block in range(2):
        seen = layers.LayerNormalization(name=f"norm{block}")(x)
        x = layers.Add(name=f"sum{block}")([x, layers.MultiHeadAttention(2, 4)(seen, seen)])
        x = layers.Add(name=f"out{block}")([x, layers.Dense(8)(layers.Dense(16, "gelu")(x))])
    return keras.Model(inputs, layers.Dense(4, "softmax")(x[:, 0]))


def one_unit() -> Any:
    keras.utils.set_random_seed(6)
    inputs = layers.Input((SIDE, SIDE, 3))
    x = layers.Dense(6, "tanh")(layers.Flatten()(convolutions(inputs)))
    return keras.Model(inputs, layers.Dense(1, "sigmoid")(x))


NETS = {
    "flatten": (flatten_dense, "last"),
    "middle layer": (gap_dense, "first"),
    "beside": (beside, "last"),
    "another order": (channels_first_tail, "last"),
    "tokens": (tokens, "auto"),
    "one unit": (one_unit, "last"),
}


@cache
def made(name: str) -> tuple[Classifier, Plan]:
    build, layer = NETS[name]
    model = classifier(build())
    return model, compile_plan(model, layer)


def both(name: str, targets: TargetSettings, **options: Any) -> tuple[OpenVinoEngine, Any]:
    model, plan = made(name)
    theirs = engine_at(model, NETS[name][1], targets, batch_size=BATCH, **options)
    return OpenVinoEngine(plan, targets, PassOptions(BATCH, **options)), theirs


def close(found: Any, expected: Any, share: float = 1e-4) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=share * np.abs(expected).max())


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("name", NETS)
def test_engines_agree(name: str, score: Any) -> None:
    ours, theirs = both(name, TargetSettings(("1",), 2), score=score)
    assert ours.plan.head_weights is None
    assert ours.layer == theirs.layer
    assert ours.head.linearity == theirs.head.linearity
    # A batch that is not full is padded.
    x = pictures(2)
    a, b = ours.explain(x), theirs.explain(x)
    assert np.array_equal(a.targets, b.targets)
    close(a.logits, b.logits)
    close(a.activations, b.activations)
    assert a.gradients is not None
    close(a.gradients, b.gradients)
    assert np.abs(b.gradients).max() > 0
    given = np.array([[1, 0, 1], [0, 0, 1]])
    close(ours.explain(x, given).gradients, theirs.explain(x, given).gradients)
    np.testing.assert_allclose(ours.probabilities(x), theirs.probabilities(x), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_what_runs_through_the_head_alone_agrees(name: str) -> None:
    ours, theirs = both(name, TargetSettings(top_k=2), gradients=False)
    x = pictures(2)
    a, b = ours.explain(x), theirs.explain(x)
    assert a.gradients is None
    classes = np.array([1, 0])
    close(ours.class_gradients(a, classes), theirs.class_gradients(b, classes))
    close(ours.ablation_drops(a), theirs.ablation_drops(b))
    assert np.abs(ours.ablation_drops(a)).max() > 0


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if name != "cam"])
def test_methods_agree(method: str) -> None:
    options = MethodOptions(max_channels=4)
    ours, theirs = both("beside", TargetSettings(top_k=2), gradients=METHODS[method].differentiates)
    x = pictures()
    found, expected = (raw_maps(METHODS[method], e, e.explain(x), options).maps for e in (ours, theirs))
    close(found, expected, 1e-2 if method == "gradcam++-softmax" else 1e-3)


def test_many_targets_are_taken_one_after_the_other() -> None:
    labels = [str(i % 4) for i in range(MOST_IN_NETWORK)]
    for score in ("logit", "probability"):
        ours, theirs = both("beside", TargetSettings(tuple(labels), 1), score=score)
        assert ours.target_count == MOST_IN_NETWORK + 1
        x = pictures(2)
        close(ours.explain(x).gradients, theirs.explain(x).gradients)


def test_a_layer_of_a_photograph_sized_network_agrees() -> None:
    """EfficientNet-Lite0 at a middle layer, on photographs: what is left are ReLUs at their kinks."""
    plan = compile_plan(lite0(), "block5c_add")
    assert plan.check is not None
    assert plan.check.correlation > 0.999
    ours = OpenVinoEngine(plan, TargetSettings(), PassOptions(5))
    theirs = engine_at(lite0(), "block5c_add", TargetSettings(), batch_size=5)
    a, b = ours.explain(crops()), theirs.explain(crops())
    assert a.gradients is not None
    assert b.gradients is not None
    for found, expected in zip(a.gradients, b.gradients, strict=True):
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999
    golden = np.load(DATA / "lite0_samples.npz")["block5c_add/exact_official"]
    maps = raw_maps(METHODS["gradcam++"], ours, a).maps[:, 0]
    for found, expected in zip(maps, golden, strict=True):
        assert np.corrcoef(found.ravel(), np.maximum(expected, 0).ravel())[0, 1] > 0.999


def test_bfloat16_is_for_the_closed_form_alone() -> None:
    with pytest.raises(ModelError, match="`precision=bfloat16` needs a layer"):
        OpenVinoEngine(made("beside")[1], TargetSettings(), PassOptions(1, precision="bfloat16"))


@pytest.fixture
def float32_again() -> Iterator[None]:
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.usefixtures("float32_again")
@pytest.mark.parametrize(
    ("policy", "least"),
    [("mixed_float16", 0.99999), ("float16", 0.99999), ("mixed_bfloat16", 0.98), ("bfloat16", 0.98)],
)
def test_models_in_other_policies(policy: str, least: float) -> None:
    """TensorFlow explains them. OpenVINO does so by the closed form alone: a bfloat16 network flips ReLUs."""
    networks = {}
    for each in ("float32", policy):
        keras.config.set_dtype_policy(each)
        networks[each] = gap_dense()
        networks[each].set_weights(networks["float32"].get_weights())
    x, targets = pictures(2), np.array([[2], [2]])
    exact: dict[str, Any] = {}
    for layer in ("last", "first"):
        engines = [engine_at(classifier(made), layer, TargetSettings(), batch_size=2) for made in networks.values()]
        exact[layer], found = (np.ravel(np.asarray(each.explain(x, targets).gradients)) for each in engines)
        assert np.corrcoef(found, exact[layer])[0, 1] > least
    model = classifier(networks[policy])
    closed = OpenVinoEngine(compile_plan(model, "last"), TargetSettings(), PassOptions(2)).explain(x, targets)
    assert np.corrcoef(np.ravel(np.asarray(closed.gradients)), exact["last"])[0, 1] > 0.99999
    with pytest.raises(NotCompilableError, match=r"does not compute in float32.*`engine=tensorflow`"):
        compile_plan(model, "first")


def test_derivatives_of_smooth_heads_are_refused() -> None:
    inputs = layers.Input((SIDE, SIDE, 3))
    x = layers.Dense(5, "tanh")(layers.GlobalAveragePooling2D()(convolutions(inputs)))
    plan = compile_plan(classifier(keras.Model(inputs, layers.Dense(3, "softmax")(x))), "last")
    assert plan.head.linearity == "pooled"
    ours = OpenVinoEngine(plan, TargetSettings(), PassOptions(1))
    with pytest.raises(ModelError, match="need `engine=tensorflow`"):
        ours.pooled_derivatives(ours.explain(pictures(1)))


def test_a_check_finds_what_is_wrong() -> None:
    right = np.random.default_rng(1).normal(size=(2, 1, 3, 3, 4)).astype(np.float32)
    assert self_check.checked(right, right).correlation == pytest.approx(1)
    one_dead = right.copy()
    one_dead[1] = 0
    assert self_check.checked(one_dead, one_dead).ratio == pytest.approx(1)
    swapped = right.copy()
    swapped[0] = right[0][..., ::-1]
    nan = right.copy()
    nan[0, 0, 0, 0, 0] = np.nan
    for wrong in (-right, np.zeros_like(right), one_dead, 1.1 * right, swapped, nan):
        with pytest.raises(self_check.WrongGradientError):
            self_check.checked(wrong, right)
    with pytest.raises(self_check.WrongGradientError, match="0 everywhere"):
        self_check.checked(np.zeros_like(right), np.zeros_like(right))


@pytest.mark.parametrize("name", NETS)
def test_central_differences_confirm_a_right_gradient(name: str) -> None:
    check = self_check.checked_by_differences(made(name)[1])
    assert check.correlation > 0.9999
    assert abs(check.ratio - 1) < 0.01


def test_a_longer_step_is_tried_where_rounding_hides_the_effect_of_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = made("flatten")[1]
    monkeypatch.setattr(self_check, "STEPS", (1e-8,))
    with pytest.raises(self_check.WrongGradientError):
        self_check.checked_by_differences(plan)
    monkeypatch.setattr(self_check, "STEPS", (1e-8, 0.001))
    assert self_check.checked_by_differences(plan).correlation > 0.9999


def changed(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Let OpenVINO give another gradient."""
    explain = OpenVinoEngine.explain

    def wrong(self: OpenVinoEngine, *args: Any, **options: Any) -> Any:
        forward = explain(self, *args, **options)
        assert forward.gradients is not None
        return replace(forward, gradients=factor * forward.gradients)

    monkeypatch.setattr(OpenVinoEngine, "explain", wrong)


@pytest.mark.parametrize("factor", [-1.0, 0.0, 1.1])
def test_a_wrong_gradient_is_no_plan(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    model, plan = made("flatten")
    changed(monkeypatch, factor)
    with pytest.raises(NotCompilableError, match=r"gradient .*`engine=tensorflow`"):
        compile_plan(model, "last")
    with pytest.raises(self_check.WrongGradientError):
        self_check.checked_by_differences(plan)


def test_another_version_of_openvino_is_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = made("flatten")[1]
    assert plan.check is not None
    older = replace(plan, check=SelfCheck("2025.0", 1.0, 1.0))
    self_check.check_again(older)
    changed(monkeypatch, -1.0)
    self_check.check_again(plan)
    with pytest.raises(ModelError, match="Compile the model again"):
        self_check.check_again(older)


def test_both_engines_measure_the_same_at_several_layers(inside: Runner, tmp_path: Path) -> None:
    flatten_dense().save(tmp_path / "net.keras")
    methods = ("--method", "gradcam++", "--method", "ablationcam", "--metrics", "drop,deletion")
    figures = []
    for engine in ("openvino", "tensorflow"):
        inside(
            "evaluate", SAMPLES, *methods, "--model", "net.keras", "--layer", "last", "--layer", "first",
            "--engine", engine, "-o", engine,
        ).expect(0)  # fmt: skip
        results = json.loads((tmp_path / engine / "evaluation.json").read_text())["results"]
        assert [each["layer"] for each in results] == ["last", "last", "first", "first"]
        figures.append([each["metrics"][name]["mean"] for each in results for name in ("average_drop", "deletion")])
    ours, theirs = figures
    assert len(set(theirs)) > 4
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
