"""Layers and functions that are not Keras's: refused by name and in one form, whatever the format and the version."""

import json
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import pytest
from keras import layers

from gradcam_cli.errors import ModelError
from gradcam_cli.models.legacy.loading import load_network
from gradcam_cli.models.safety.preflight import check_model_file


class Swish2(layers.Layer):  # type: ignore[misc]
    """A layer that nobody registered."""

    def call(self, inputs: object) -> object:
        return inputs


def my_act(inputs: object) -> object:
    """An activation that nobody registered."""
    return inputs


def my_start(shape: object, dtype: object = None) -> object:
    """An initializer that nobody registered."""
    del dtype
    return keras.ops.zeros(shape)


def my_rule(weights: object) -> object:
    """A regularizer and constraint that nobody registered."""
    return 0 * keras.ops.sum(weights)


PLACES: dict[str, tuple[Callable[[], layers.Layer], str]] = {
    "layer": (lambda: Swish2(name="odd"), "is of the class Swish2"),
    "activation": (lambda: layers.Conv2D(2, 3, activation=my_act, name="odd"), "uses the function my_act"),
    "initializer": (
        lambda: layers.Conv2D(2, 3, kernel_initializer=my_start, name="odd"),
        "uses the function my_start",
    ),
    "regularizer": (
        lambda: layers.Conv2D(2, 3, kernel_regularizer=my_rule, name="odd"),
        "uses the function my_rule",
    ),
}


def refusal(path: Path) -> str:
    try:
        check_model_file(path)
        load_network(path)
    except ModelError as error:
        return str(error)
    pytest.fail("it was loaded")


def checked_form(message: str, path: Path, told: str) -> None:
    assert message.startswith(f"{path}: layer 'odd' {told}, which is not part of Keras,")
    assert "`custom_objects=FILE.py` `trust_code=True`" in message
    assert "decorat" not in message


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("place", PLACES)
def test_what_is_not_registered_is_named(tmp_path: Path, place: str, suffix: str) -> None:
    make, told = PLACES[place]
    made = keras.Sequential([keras.Input((8, 8, 3)), make(), layers.Flatten(), layers.Dense(2)])
    path = tmp_path / f"m{suffix}"
    made.save(path)
    # A .keras file names the module of a class, too.
    checked_form(refusal(path).replace(f"{__name__}.", ""), path, told)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("class_name", ["Swish2", "Mine>Swish2"])
def test_files_of_keras_2_get_the_same_words(tmp_path: Path, class_name: str, depth: int) -> None:
    odd = {"class_name": class_name, "config": {"name": "odd", "trainable": True}}
    first = {"class_name": "Flatten", "config": {"name": "f", "batch_input_shape": [None, 8, 8, 3]}}
    config = {"name": "s", "layers": [first, odd]}
    for level in range(depth):
        model = {"class_name": "Sequential", "config": config}
        config = {"name": f"s{level}", "layers": [model]}
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(model), "2.3.1"
        file.create_dataset("model_weights/d", data=[0.0])
    checked_form(refusal(path), path, f"is of the class {class_name}")


@pytest.mark.parametrize("version", ["2.2.4-tf", "2.15.0", "3.5.0"])
@pytest.mark.parametrize("class_name", ["KerasLayer", "Hub>KerasLayer"])
def test_a_layer_of_tensorflow_hub_gets_a_way_out(tmp_path: Path, class_name: str, version: str) -> None:
    hub = {"class_name": class_name, "config": {"name": "hub", "batch_input_shape": [None, 8, 8, 3], "handle": "x"}}
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        model = {"class_name": "Sequential", "config": {"name": "s", "layers": [hub]}}
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(model), version
        file.create_dataset("model_weights/d", data=[0.0])
    assert "layer 'hub' is a KerasLayer of TensorFlow Hub" in refusal(path)
    assert "keras.applications" in refusal(path)


@pytest.mark.parametrize("nested", [False, True], ids=["whole model", "layer"])
def test_a_class_of_keras_hub_says_what_to_install(
    tmp_path: Path, nested: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    network = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2)])
    path = tmp_path / "m.keras"
    network.save(path)
    module = "keras_hub.src.models.vit.vit_layers"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    foreign = config["config"]["layers"][1] if nested else config
    foreign.update(module=module, class_name="ViTPatches", registered_name="keras_hub>ViTPatches")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (members | {"config.json": json.dumps(config).encode()}).items():
            archive.writestr(name, data)
    assert re.search(r"has a ViTPatches of keras_hub, which is not installed.*pip install keras-hub", refusal(path))
