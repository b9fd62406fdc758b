"""A whole evaluation as a library call: one load of the model, events in order, and what is measured."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import jpeg
from keras import layers
from nets import SIDE, convolutions

from gradcam_cli.engines.selection import Engines, ModelEngines, load_model
from gradcam_cli.errors import UsageError
from gradcam_cli.evaluation.observer import StudyObserver
from gradcam_cli.evaluation.run import run_evaluate
from gradcam_cli.models.classifier import Classifier
from gradcam_cli.models.request import ModelRequest
from gradcam_cli.requests import EvaluateRequest, Gate, StudySettings
from gradcam_cli.runs.job import Unexplained
from gradcam_cli.runs.observer import OpenedModel
from gradcam_cli.runs.study_engines import StudyEngines
from gradcam_cli.settings import EngineSettings, InputSettings, ModelSettings


@dataclass
class CountingEngines(Engines):
    """The engines of real models, with the models that were loaded."""

    loaded: list[Classifier] = field(default_factory=list)

    def of_model(self, request: ModelRequest, choice: EngineSettings) -> ModelEngines:
        return ModelEngines(request, choice, load=self._load)

    def _load(self, request: ModelRequest) -> Classifier:
        self.loaded.append(load_model(request))
        return self.loaded[-1]


class Recorder(StudyObserver):
    """Keeps the events of an evaluation."""

    def __init__(self) -> None:
        self.layers: list[str] = []
        self.failures: list[str] = []
        self.asked = 0
        self.done = 0

    def opened(self, model: OpenedModel) -> None:
        self.layers.append(model.card.layer)

    def measuring(self, passes: int) -> None:
        assert self.layers
        self.asked += passes

    def extended(self, passes: int) -> None:
        self.asked += passes

    def advanced(self, passes: int) -> None:
        self.done += passes

    def failed(self, image: Unexplained) -> None:
        self.failures.append(image.source.relative)


def network() -> Any:
    """A network whose input size is open, and which is sure of two classes of these pictures."""
    keras.utils.set_random_seed(16)
    inputs = layers.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(convolutions(inputs))
    large = keras.initializers.RandomNormal(stddev=300.0)
    return keras.Model(inputs, layers.Dense(4, activation="softmax", name="head", kernel_initializer=large)(x))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("evaluation")
    (root / "photos").mkdir()
    for i in range(5):
        (root / "photos" / f"{i}.jpg").write_bytes(jpeg(30, 20, seed=i))
    (root / "photos" / "5.jpg").write_bytes(b"no picture")
    network().save(root / "open.keras")
    return root


def request(folder: Path, **settings: Any) -> EvaluateRequest:
    return EvaluateRequest(
        inputs=InputSettings(paths=(str(folder / "photos"),)),
        model=ModelSettings(model=str(folder / "open.keras"), input_size=(SIDE, SIDE), preprocess="tf"),
        study=StudySettings(methods=("gradcam",), metrics=("drop", "sanity"), grid=(1, 2)),
        engine=EngineSettings(engine="tensorflow"),
        batch_size=2,
        **settings,
    )


def test_one_load_for_two_layers_collages_and_the_sanity_check(folder: Path) -> None:
    engines, observer = CountingEngines(), Recorder()

    def opened(request: EvaluateRequest, images: int, observer: Any) -> StudyEngines:
        return StudyEngines(request, images, observer, engines)

    gates = (Gate("average_drop", 100), Gate("grid", 1.1, "gradcam"))
    found = run_evaluate(request(folder, layers=("auto", "first"), gates=gates), observer, open_engines=opened)
    (loaded,) = engines.loaded
    assert all(np.array_equal(a, b) for a, b in zip(loaded.network.get_weights(), network().get_weights(), strict=True))
    assert observer.layers == found.summary.layers() == ["last", "first"]
    assert observer.failures == ["5.jpg"]
    assert observer.asked == observer.done > 0
    for line in found.summary.lines.values():
        assert line.images == 5
        assert {stage.back_to for stage in line.stages} == {"head", "second", "first"}
        assert line.figures["grid"].count > 0
    assert len(found.crossed) == 2, "the gate of the collages, at both layers"
    assert found.exit_status == 5


def test_two_names_of_one_layer_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="`layer=last` is last, which is already one of the layers"):
        run_evaluate(request(folder, layers=("auto", "last")))
