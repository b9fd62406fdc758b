"""One model behind several engines: loaded once, explained at several layers, at another size, and randomised."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from nets import SIDE, classifier, convolutions, gap_dense

from gradcam_cli.engines.cache import cached_path, cached_plan
from gradcam_cli.engines.plan import read_plan
from gradcam_cli.engines.selection import ModelEngines, load_model
from gradcam_cli.engines.work import Work
from gradcam_cli.errors import DamagedPlanError, ModelError
from gradcam_cli.methods import METHODS
from gradcam_cli.models.classifier import Classifier
from gradcam_cli.models.loading import load_classifier
from gradcam_cli.models.request import ModelRequest, locate_model
from gradcam_cli.models.resizing import at_size
from gradcam_cli.settings import EngineName, EngineSettings, MethodOptions, ModelSettings, TargetSettings

WORK = Work(TargetSettings(), (METHODS["gradcam"],), MethodOptions(), image_count=4, batch_size=2)


@dataclass
class CountedLoads:
    """Loads models, and keeps them."""

    loaded: list[Classifier] = field(default_factory=list)

    def __call__(self, request: ModelRequest) -> Classifier:
        self.loaded.append(load_model(request))
        return self.loaded[-1]


def located(model: Path | str, **settings: Any) -> ModelRequest:
    return locate_model(ModelSettings(model=str(model), **settings), lambda *_: None)


def any_size() -> Any:
    """A network whose input size is open."""
    keras.utils.set_random_seed(5)
    inputs = layers.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(convolutions(inputs))
    return keras.Model(inputs, layers.Dense(4, activation="softmax", name="head")(x))


@pytest.mark.parametrize("engine", ["auto", "tensorflow"])
def test_a_model_is_loaded_once_for_all_engines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: EngineName
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    any_size().save(tmp_path / "open.keras")
    loads = CountedLoads()
    request = located(tmp_path / "open.keras", input_size=(SIDE, SIDE))
    models = ModelEngines(request, EngineSettings(engine=engine), load=loads)
    last, first = (models.open(WORK, layer)[0] for layer in ("auto", "first"))
    assert [made.layer.path for made in (last, first)] == ["last", "first"]
    larger = models.open_larger(WORK, "auto", (SIDE, 2 * SIDE))
    assert (larger.input_size, larger.layer.path) == ((SIDE, 2 * SIDE), "last")
    stages = list(models.open_randomised(WORK, "first", 2))
    assert [stage.engine.layer.path for stage in stages] == ["first"] * 3
    (loaded,) = loads.loaded
    twin = any_size()
    assert all(np.array_equal(a, b) for a, b in zip(loaded.network.get_weights(), twin.get_weights(), strict=True))
    x = np.random.default_rng(0).normal(size=(2, SIDE, 2 * SIDE, 3)).astype(np.float32)
    probabilities = larger.head.probabilities(larger.explain(x).logits)
    np.testing.assert_allclose(probabilities, twin(x), rtol=1e-4, atol=1e-5)


def test_a_kept_plan_with_damaged_weights_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    gap_dense().save(tmp_path / "small.keras")
    request, loads = located(tmp_path / "small.keras"), CountedLoads()
    ModelEngines(request, EngineSettings(), load=loads).open(WORK)
    path = cached_path(request)
    whole = read_plan(path).weight_bytes()
    data = path.read_bytes()
    at = data.index(whole)
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    kept = cached_plan(request)
    assert kept is not None
    with pytest.raises(DamagedPlanError, match="weights"):
        kept.weight_bytes()
    assert ModelEngines(request, EngineSettings(), load=loads).open(WORK)[0].name == "openvino"
    assert len(loads.loaded) == 2
    assert read_plan(path).weight_bytes() == whole


def test_a_kept_plan_needs_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    gap_dense().save(tmp_path / "small.keras")
    request, loads = located(tmp_path / "small.keras"), CountedLoads()
    for _ in range(2):
        assert ModelEngines(request, EngineSettings(), load=loads).open(WORK)[0].name == "openvino"
    assert len(loads.loaded) == 1


def test_a_file_of_one_size_stays_at_it(tmp_path: Path) -> None:
    gap_dense().save(tmp_path / "small.keras")
    models = ModelEngines(located(tmp_path / "small.keras"), EngineSettings(engine="tensorflow"))
    with pytest.raises(ModelError, match=f"its input is {SIDE}x{SIDE}; it does not accept {SIDE}x{2 * SIDE}"):
        models.open_larger(WORK, "auto", (SIDE, 2 * SIDE))


def test_a_named_model_is_built_larger_with_the_weights_that_are_loaded() -> None:
    small = located("efficientnetlite0", input_size=(64, 64))
    wide = located("efficientnetlite0", input_size=(64, 128))
    resized, loaded = at_size(load_classifier(small), small, (64, 128)), load_classifier(wide)
    assert resized.input_shape == loaded.input_shape == (64, 128, 3)
    assert all(
        np.array_equal(a, b) for a, b in zip(resized.network.get_weights(), loaded.network.get_weights(), strict=True)
    )


def test_weights_for_each_cell_of_a_map_are_for_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """As VGG16 has them: Flatten and a dense layer."""

    def flat(width: int) -> Any:
        inputs = layers.Input((SIDE, width, 3))
        return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(convolutions(inputs))))

    request = located("efficientnetlite0")
    monkeypatch.setattr("gradcam_cli.models.resizing.build_named", lambda *_: flat(2 * SIDE))
    with pytest.raises(ModelError, match=f"its weights are for {SIDE}x{SIDE} images"):
        at_size(classifier(flat(SIDE)), request, (SIDE, 2 * SIDE))
