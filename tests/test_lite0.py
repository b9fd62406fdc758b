"""EfficientNet-Lite0 with its real weights, against maps and logits that another framework made."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DATA, SAMPLES, Runner
from nets import crops, engine_at, lite0

from gradcam_cli.engines.protocol import Forward
from gradcam_cli.engines.tensorflow import TensorFlowEngine
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.eigen import principal_projection
from gradcam_cli.methods.method_runner import raw_maps
from gradcam_cli.settings import TargetSettings

# The tolerances of the last layer, and of a middle one, where a gate of a ReLU6 can flip by the last bit.
TOLERANCE = {"top_activation": 1e-4, "block5c_add": 2e-2}
CORRELATION = {"top_activation": 0.999999, "block5c_add": 0.999}
REFERENCES = {
    "gradcam": "GradCAM",
    "gradcam++": "exact_official",
    "gradcam++-paper": "exact_paper",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "xgradcam": "XGradCAM",
}
EIGEN_REFERENCES = {"eigencam": "EigenCAM", "eigengradcam": "EigenGradCAM"}


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    with np.load(DATA / "lite0_samples.npz") as file:
        return dict(file)


@cache
def run_at(layer: str) -> tuple[TensorFlowEngine, Forward]:
    engine = engine_at(lite0(), layer, TargetSettings(top_k=2), batch_size=5)
    return engine, engine.explain(crops())


def test_logits(reference: dict[str, Any]) -> None:
    _, forward = run_at("auto")
    assert np.abs(forward.logits - reference["logits"]).max() < 1e-3
    assert np.array_equal(forward.targets, np.argsort(-reference["logits"], axis=1)[:, :2])


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("method", REFERENCES)
@pytest.mark.parametrize("layer", TOLERANCE)
def test_maps(reference: dict[str, Any], layer: str, method: str, rank: int) -> None:
    engine, forward = run_at(layer)
    maps = raw_maps(METHODS[method], engine, forward).maps[:, rank]
    expected = reference[f"{layer}/{REFERENCES[method]}{'/second' if rank else ''}"]
    for ours, theirs in zip(maps, expected, strict=True):
        assert np.abs(ours - theirs).max() <= TOLERANCE[layer] * theirs.max()
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > CORRELATION[layer]


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("method", EIGEN_REFERENCES)
@pytest.mark.parametrize("layer", TOLERANCE)
def test_principal_components(reference: dict[str, Any], layer: str, method: str, rank: int) -> None:
    """The other program leaves the sign to chance: its map is the positive part of ours, or of ours turned round."""
    _, forward = run_at(layer)
    assert forward.gradients is not None
    values = forward.activations * (forward.gradients[:, rank] if method == "eigengradcam" else 1)
    expected = reference[f"{layer}/{EIGEN_REFERENCES[method]}{'/second' if rank else ''}"]
    for ours, theirs in zip(principal_projection(values), expected, strict=True):
        nearest = min(np.abs(np.maximum(sign * ours, 0) - theirs).max() for sign in (1, -1))
        assert nearest <= TOLERANCE[layer] * theirs.max()


def test_the_reference_can_tell_right_from_nearly_right(reference: dict[str, Any]) -> None:
    """The widely used formula with its epsilon must fail where ours passes."""
    engine, forward = run_at("block5c_add")
    ours = raw_maps(METHODS["gradcam++"], engine, forward).maps[:, 0]
    theirs = reference["block5c_add/GradCAMPlusPlus"]
    assert any(np.corrcoef(a.ravel(), b.ravel())[0, 1] < 0.9 for a, b in zip(ours, theirs, strict=True))


def test_dense_head_laws_hold_on_the_real_network() -> None:
    engine, forward = run_at("auto")
    assert engine.head.weights is not None
    gradcam, cam = (raw_maps(METHODS[name], engine, forward).maps for name in ("gradcam", "cam"))
    np.testing.assert_allclose(cam, 49 * gradcam, rtol=1e-4, atol=1e-4)
    weights = np.maximum(engine.head.weights[:, forward.targets[:, 0]], 0) / 49
    clipped = np.einsum("nhwk,kn->nhw", forward.activations, weights)
    np.testing.assert_allclose(
        raw_maps(METHODS["gradcam++"], engine, forward).maps[:, 0], clipped, rtol=1e-4, atol=1e-5
    )


def test_softmax_on_the_real_network_agrees_between_its_two_ways() -> None:
    """The three moments against the sampled gradients: nearly the same map where the sample holds the probability."""
    engine, forward = run_at("auto")
    quick = raw_maps(METHODS["gradcam++-softmax"], engine, forward).maps[:, 0]
    sampler = engine_at(lite0(), "auto", TargetSettings(top_k=1), batch_size=5, gradients=False)
    sampler = TensorFlowEngine(replace(sampler.traced, head=type(sampler.head)("softmax", 1000, None)))
    slow = raw_maps(METHODS["gradcam++-softmax"], sampler, sampler.explain(crops()))
    assert slow.classes_sampled is not None
    assert (slow.classes_sampled > 1).all()
    ranked = -np.sort(-sampler.head.probabilities(forward.logits), axis=1)
    sure = [i for i in range(5) if ranked[i, : slow.classes_sampled[i]].sum() > 0.99]
    assert len(sure) >= 2
    for i in sure:
        assert np.corrcoef(quick[i].ravel(), slow.maps[i, 0].ravel())[0, 1] > 0.999


def test_the_program_on_a_picture_of_the_networks_size(
    inside: Runner, tmp_path: Path, reference: dict[str, Any]
) -> None:
    inside(
        "explain", DATA / "chelsea.png", DATA / "coffee.png", "-o", "out", "--model", "EfficientNetLite0",
        "--fit", "crop", "--layer", "block5c_add", "--save-maps", "--method", "gradcam",
    ).expect(0)  # fmt: skip
    names = [Path(str(name)).stem for name in reference["files"]]
    for name in ("chelsea", "coffee"):
        record = json.loads((tmp_path / "out" / f"{name}.png.json").read_text())
        i = names.index(name)
        (found,) = record["classes"]
        assert found["index"] == reference["logits"][i].argmax()
        assert found["logit"] == pytest.approx(reference["logits"][i].max(), abs=1e-3)
        expected = reference["block5c_add/GradCAM"][i]
        saved = np.load(tmp_path / "out" / found["map"])
        assert saved.dtype == np.float32
        assert np.abs(saved - expected).max() <= 2e-2 * expected.max()


def test_the_samples_are_seen_as_what_they_are(inside: Runner, tmp_path: Path) -> None:
    done = inside("explain", SAMPLES, "-o", "out", "--model", "efficientnetlite0").expect(0)
    assert done.out == b""
    assert "top_activation" in done.err
    labels = {}
    for sidecar in (tmp_path / "out").glob("*.jpg.json"):
        labels[sidecar.name.split(".")[0]] = json.loads(sidecar.read_text())["classes"][0]["label"]
    assert "cat" in labels["chelsea"] or labels["chelsea"] == "tabby"
    assert labels["coffee"] == "espresso"
    assert labels["camera"] == "tripod"


def test_the_map_follows_the_class(inside: Runner, tmp_path: Path) -> None:
    """On the collage the heat of a cat lies left, that of an espresso right."""
    inside(
        "explain", SAMPLES / "cat_and_coffee.jpg", "-o", "out", "--model", "efficientnetlite0",
        "--class", "tabby", "--class", "n07920052", "--save-maps",
    ).expect(0)  # fmt: skip
    record = json.loads((tmp_path / "out" / "cat_and_coffee.jpg.json").read_text())
    shares = {}
    for found in record["classes"]:
        heat = np.load(tmp_path / "out" / found["map"])
        shares[found["label"]] = heat[:, 4:].sum() / (heat[:, :3].sum() + heat[:, 4:].sum())
    assert shares["tabby"] < 0.4
    assert shares["espresso"] > 0.6
