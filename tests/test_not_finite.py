"""NaN and inf are never a picture: the image is told, its neighbours are explained, whatever the method."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Runner, sources
from fakes import CHANNELS, CLASSES, FakeEngine, explained, job
from PIL import Image

from gradcam_cli.engines.protocol import NO_EXTRAS, Floats, Forward, Head
from gradcam_cli.evaluation.images import Measured, Study, measure
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.method_runner import raw_maps
from gradcam_cli.requests import StudySettings

SICK = 1


@dataclass
class SickEngine(FakeEngine):
    """The second picture that it is given has numbers that are none, in one place."""

    place: str = ""
    any_head: bool = False
    patient: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.any_head:
            self.head = Head("softmax", CLASSES)

    def explain(self, inputs: Floats, targets: Any = None, extras: Any = NO_EXTRAS) -> Forward:
        found = super().explain(inputs, targets)
        if self.patient is None:
            self.patient = inputs[SICK]
        # A masked picture is another one, and sound.
        sick = (inputs == self.patient).all(axis=(1, 2, 3))
        logits, activations, gradients = (np.array(a) for a in (found.logits, found.activations, found.gradients))
        if self.place == "activations":
            activations[sick, 0, 0, 2] = np.nan
        if self.place == "activations inf":
            activations[sick, 0, 0, 2] = np.inf
        if self.place in {"gradients", "all"}:
            gradients[sick, ..., : CHANNELS - 2] = np.nan
        if self.place == "logit":
            logits[sick, found.targets[sick, 0]] = np.inf
        if self.place == "another logit":
            logits[sick, (found.targets[sick, 0] + 1) % CLASSES] = np.inf
        return replace(found, logits=logits, activations=activations, gradients=gradients)

    def class_gradients(self, forward: Forward, classes: Any) -> Floats:
        gradients = np.array(super().class_gradients(forward, classes))
        if self.place == "gradients":
            gradients[SICK:2, ..., : CHANNELS - 2] = np.nan
        return gradients

    def ablation_drops(self, forward: Forward) -> Floats:
        drops = np.array(super().ablation_drops(forward))
        if self.place == "gradients":
            drops[SICK:2, :, 0] = np.nan
        return drops


@pytest.mark.parametrize("place", ["activations", "activations inf", "gradients", "logit", "another logit"])
@pytest.mark.parametrize("name", METHODS)
def test_no_method_draws_it(tmp_path: Path, name: str, place: str) -> None:
    if place == "gradients" and name in {"eigencam", "scorecam", "cam"}:
        pytest.skip("takes no gradient")
    engine = SickEngine(place=place, any_head=name not in {"cam", "ablationcam"})
    records = explained(tmp_path, sources(tmp_path, 3), engine, replace(job(method=name), overlays=False))
    assert [r["status"] for r in records] == ["ok", "error", "ok"]
    assert records[SICK]["reason"] == "not_finite"
    left = {path.name for path in (tmp_path / "out").iterdir() if path.name.startswith("001")}
    assert left == {"001.jpg.json"}


@pytest.mark.parametrize("name", ["gradcam++", "eigencam", "gradcam++-softmax"])
def test_what_is_not_finite_leaves_the_maps_of_the_others_as_they_are(name: str) -> None:
    inputs = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    engine = SickEngine(place="activations")
    maps = raw_maps(METHODS[name], engine, engine.explain(inputs)).maps
    sound = raw_maps(METHODS[name], FakeEngine(), FakeEngine().explain(inputs)).maps
    assert np.isnan(maps[SICK]).all()
    np.testing.assert_allclose(np.delete(maps, SICK, 0), np.delete(sound, SICK, 0), rtol=1e-4, atol=1e-7)


def test_sigmoids_of_other_classes_do_not_matter(tmp_path: Path) -> None:
    engine = SickEngine(place="another logit")
    engine.head = Head("sigmoid", CLASSES, engine.kernel)
    assert [r["status"] for r in explained(tmp_path, sources(tmp_path, 4), engine)] == ["ok"] * 4


@pytest.mark.parametrize("place", ["activations", "gradients", "another logit"])
def test_an_evaluation_goes_on_without_it(tmp_path: Path, place: str) -> None:
    methods = ("gradcam", "gradcam++", "eigengradcam")
    study = Study(StudySettings(methods, ("drop", "adcc", "deletion"), steps=3), job())
    found = list(measure(sources(tmp_path, 4), study, SickEngine(place=place)))
    assert [isinstance(result, Measured) for result in found] == [True, False, True, True]
    assert getattr(found[SICK], "error").reason == "not_finite"  # noqa: B009 - one of two types


def overflowing(path: Path) -> None:
    """A network of float16 in which one class overflows on bright pictures."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(29)
    small = keras.initializers.RandomUniform(0, 0.2)
    inputs = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 255.0)(inputs)
    for name in ("first", "last"):
        x = layers.Conv2D(16, 3, activation="relu", kernel_initializer=small, name=name, dtype="float16")(x)
    x = layers.GlobalAveragePooling2D(dtype="float16")(x)
    x = layers.Dense(16, activation="relu", kernel_initializer="ones", dtype="float16")(x)
    dense = layers.Dense(3, dtype="float16")
    network = keras.Model(inputs, layers.Activation("softmax", dtype="float32")(dense(x)))
    kernel = np.full((16, 3), 0.1)
    kernel[:, 1] = 40.0
    dense.set_weights([kernel, np.zeros(3)])
    network.save(path)


def test_a_class_that_nobody_asked_for_overflows(inside: Runner, tmp_path: Path) -> None:
    overflowing(tmp_path / "model.keras")
    (tmp_path / "photos").mkdir()
    for number, level in enumerate((20, 30, 250, 40)):
        Image.fromarray(np.full((32, 32, 3), level, np.uint8)).save(tmp_path / "photos" / f"{number}.png")
    # The gradient of class 1 fits into float16, but not 1024 times that gradient.
    asked = ("--class", "0", "--class", "1")
    done = inside("explain", "photos", "-o", "out", "--model", "model.keras", *asked, "--engine", "tensorflow")
    done.expect(1)
    assert "Traceback" not in done.err
    records = [json.loads((tmp_path / "out" / f"{number}.png.json").read_text()) for number in range(4)]
    assert [record["status"] == "error" for record in records] == [False, False, True, False]
    assert records[2]["reason"] == "not_finite"
