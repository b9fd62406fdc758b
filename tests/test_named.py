"""The table of named models against the installed Keras, and what a name or a file of weights leads to."""

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from gradcam_cli.errors import ModelError
from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.models.loading import load_classifier
from gradcam_cli.models.named import LITE0, NAMED_MODELS, NamedModel, WeightsFile, find_named
from gradcam_cli.models.request import locate_model
from gradcam_cli.models.safety.held_file import hash_file
from gradcam_cli.settings import ModelSettings

APPLICATIONS = [model for model in NAMED_MODELS.values() if model.name != LITE0]


class Asked(Exception):
    """Keras asked for a file; nothing is downloaded."""


def test_every_architecture_of_keras_has_its_name() -> None:
    builders = {name for name in dir(keras.applications) if name[0].isupper()}
    assert {model.builder for model in APPLICATIONS} == builders
    assert all(name == name.lower() for name in NAMED_MODELS)


@pytest.mark.parametrize("model", APPLICATIONS, ids=lambda m: m.name)
def test_weights_and_sizes_are_those_of_keras(model: NamedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    utilities = keras.src.applications.imagenet_utils
    real = utilities.obtain_input_shape

    def obtain_input_shape(*args: Any, **options: Any) -> Any:
        asked["size"] = options["default_size"]
        return real(*args, **options)

    def get_file(fname: str, origin: str, cache_subdir: str, file_hash: str | None = None) -> None:
        asked.update(file=WeightsFile(fname, origin, file_hash), folder=cache_subdir)
        raise Asked

    monkeypatch.setattr(utilities, "obtain_input_shape", obtain_input_shape)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    # Names and shapes are enough to get there: the numbers themselves are left out.
    with keras.StatelessScope(initialize_variables=False), pytest.raises(Asked):
        getattr(keras.applications, model.builder)()
    # Keras keeps what was not initialised, and the end of any later scope would initialise it.
    keras.utils.clear_session()
    # MobileNetV3 leaves its size open, and has weights of 224 only.
    assert {"size": 224, **asked} == {"file": model.weights, "folder": "models", "size": model.size}


@pytest.mark.parametrize("model", APPLICATIONS, ids=lambda m: m.name)
def test_preprocessing_is_that_of_keras(model: NamedModel) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), dtype=np.uint8)
    module = sys.modules[getattr(keras.applications, model.builder).__module__]
    theirs = np.asarray(module.preprocess_input(pixels.astype(np.float32)))
    ours = np.stack([PREPROCESSINGS[model.preprocess](picture) for picture in pixels])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


def test_names_whatever_their_case_and_with_suggestions() -> None:
    assert find_named("ResNet50").builder == "ResNet50"
    with pytest.raises(ModelError, match="resnet50"):
        find_named("resnet5O")
    with pytest.raises(ModelError, match="gradcam-cli models"):
        find_named("zzz")


def silent(*_: Any) -> Any:
    pytest.fail("nothing is to be downloaded")


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A small architecture with random weights, saved in every way, and its answer to one picture."""
    folder = tmp_path_factory.mktemp("weights")
    keras.utils.set_random_seed(5)
    network = keras.applications.MobileNetV2(weights=None)
    network.save_weights(folder / "m.weights.h5")
    network.save(folder / "m.keras")
    network.save(folder / "m.h5")
    return folder, network


@pytest.mark.parametrize("file", ["m.weights.h5", "m.keras", "m.h5"])
def test_local_weights_in_all_three_formats(seeded: tuple[Path, Any], file: str) -> None:
    folder, network = seeded
    settings = ModelSettings(model="mobilenetv2", weights=folder / file)
    made = load_classifier(locate_model(settings, silent))
    x = np.random.default_rng(1).normal(size=(1, 224, 224, 3)).astype(np.float32)
    np.testing.assert_allclose(made.network(x).numpy(), network(x).numpy(), rtol=1e-5, atol=1e-8)
    assert made.sha256 == hash_file(folder / file).sha256
    assert made.preprocessing.name == "tf"
    assert made.labels.get(0) is not None


@pytest.mark.parametrize("file", ["m.keras", "m.h5"])
def test_a_whole_model_from_a_file(seeded: tuple[Path, Any], file: str) -> None:
    folder, network = seeded
    made = load_classifier(locate_model(ModelSettings(model=str(folder / file)), silent))
    x = np.random.default_rng(1).normal(size=(1, 224, 224, 3)).astype(np.float32)
    np.testing.assert_allclose(made.network(x).numpy(), network(x).numpy(), rtol=1e-5, atol=1e-8)
    assert made.name == file
    assert made.input_shape == (224, 224, 3)


def test_weights_that_do_not_fit(seeded: tuple[Path, Any]) -> None:
    folder, _ = seeded
    for file in ("m.weights.h5", "m.h5", "m.keras"):
        settings = ModelSettings(model="efficientnetlite0", weights=folder / file)
        with pytest.raises(ModelError, match="do not fit"):
            load_classifier(locate_model(settings, silent))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ModelSettings(weights=Path("nosuch.h5")), "no such weights file"),
        (ModelSettings(weights=Path("weights.bin")), "no such weights file"),
        (ModelSettings(model="nosuch.keras"), "no such model file"),
        (ModelSettings(model="m.keras", weights=Path("w.h5")), "no such model file"),
        (ModelSettings(model=str(Path(__file__))), "kind of this file is unknown"),
        (ModelSettings(model=str(Path(__file__).parent)), "a folder"),
        (ModelSettings(model="hf://someone/model"), "must be a local file"),
        (ModelSettings(model="https://example.org/m.keras"), "must be a local file"),
    ],
)
def test_what_is_refused_before_keras_is_imported(settings: ModelSettings, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        locate_model(settings, silent)


def stem(network: Any, x: Any) -> Any:
    """What the first convolution makes of a picture: random weights let little of it through to the end."""
    return keras.Model(network.input, network.get_layer("stem_conv").output)(x).numpy()


def test_efficientnet_gets_its_extra_scaling_with_imagenets_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras builds EfficientNet with one more Rescaling for ImageNet's weights; so must we, by the file's hash."""
    keras.utils.set_random_seed(6)
    path = tmp_path / "b0.h5"
    plain = keras.applications.EfficientNetB0(weights=None)
    normalization = next(layer for layer in plain.layers if isinstance(layer, keras.layers.Normalization))
    normalization.set_weights([np.array([0.4] * 3), np.array([0.2] * 3), np.array(0)])
    normalization.finalize_state()
    plain.save(path)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_args, **_options: str(path))
    theirs = keras.applications.EfficientNetB0(weights="imagenet")
    request = locate_model(ModelSettings(model="efficientnetb0", weights=path), silent)
    x = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype(np.float32)
    as_it_is = stem(load_classifier(request).network, x)
    np.testing.assert_allclose(as_it_is, stem(plain, x), rtol=1e-4, atol=1e-6)
    monkeypatch.setattr("gradcam_cli.models.loading.is_imagenet_file", lambda *_: True)
    scaled = stem(load_classifier(request).network, x)
    np.testing.assert_allclose(scaled, stem(theirs, x), rtol=1e-4, atol=1e-6)
    assert np.abs(scaled - as_it_is).max() > 0.1
