"""Files that real old versions of Keras wrote load, and predict what those versions predicted.

`tests/zoo/make_zoo.py` wrote the archives, each with the Python environment of its version.
"""

import io
import json
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from conftest import DATA
from keras import layers

from gradcam_cli.errors import ModelError
from gradcam_cli.models.legacy.loading import load_network
from gradcam_cli.models.safety.preflight import check_model_file

ZOO = DATA / "zoo"
MIXED_PRECISION = 3e-3
# No layer of Keras 3 computes what these did.
REFUSED = {
    "tf115/resized.h5": "pixel alignment",
    "keras224/upsampled.h5": "UpSampling2D of Keras 2.2.4",
    "tf23/random_crop.h5": "RandomCrop of Keras 2.4.0",
}


# TensorFlow cannot run it on every processor.
THEANO = "theano224/channels_first.h5"


@cache
def members(archive: str) -> dict[str, bytes]:
    with tarfile.open(ZOO / f"{archive}.tar.xz") as opened:
        files = ((name, opened.extractfile(name)) for name in opened.getnames())
        return {name: file.read() for name, file in files if file is not None}


def models() -> list[str]:
    archives = sorted(path.name.split(".")[0] for path in ZOO.glob("*.tar.xz"))
    found = [f"{archive}/{name}" for archive in archives for name in members(archive)]
    return [which for which in found if which.endswith((".h5", ".keras")) and which != THEANO]


def written(which: str, folder: Path) -> Path:
    archive, name = which.split("/")
    path = folder / name
    path.write_bytes(members(archive)[name])
    return path


def predicted(which: str) -> tuple[Any, Any]:
    """The input, and what the version that wrote the file made of it."""
    archive, name = which.split("/")
    known = np.load(io.BytesIO(members(archive)["predictions.npz"]))
    stem = name.split(".")[0]
    x = known["x"].astype("float32") / 64
    return (x.transpose(0, 3, 1, 2) if stem == "channels_first" else x), known[stem]


def test_a_subclass_of_sequential_of_keras_2_0_loads_by_its_list_of_layers(tmp_path: Path) -> None:
    which = "keras206/sequential.h5"
    path = written(which, tmp_path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        assert config["class_name"] == "Sequential"
        assert isinstance(config["config"], list)
        file.attrs["model_config"] = json.dumps({**config, "class_name": "PetNet"})
    check_model_file(path)
    x, wanted = predicted(which)
    np.testing.assert_allclose(load_network(path)(x, training=False), wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("which", models())
def test_an_old_file_predicts_what_its_version_predicted(which: str, tmp_path: Path) -> None:
    path = written(which, tmp_path)
    if which in REFUSED:
        with pytest.raises(ModelError, match=REFUSED[which]):
            check_model_file(path)
        return
    check_model_file(path)
    network = load_network(path)
    x, wanted = predicted(which)
    tolerance = MIXED_PRECISION if "mixed_precision" in which else 2e-6
    np.testing.assert_allclose(network(x, training=False), wanted, rtol=1e-5, atol=tolerance)


def test_kernels_of_theano_are_flipped(tmp_path: Path) -> None:
    path = written(THEANO, tmp_path)
    check_model_file(path)
    network = load_network(path)
    x, wanted = predicted(THEANO)
    same = keras.Sequential(
        [
            layers.Input((16, 16, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Permute((3, 1, 2)),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    same.set_weights(network.get_weights())
    np.testing.assert_allclose(same(x.transpose(0, 2, 3, 1)), wanted, rtol=1e-5, atol=2e-6)


def test_padding_of_theano_that_tensorflow_does_otherwise_is_refused(tmp_path: Path) -> None:
    path = written(THEANO, tmp_path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        first = (config["config"] if isinstance(config["config"], list) else config["config"]["layers"])[0]
        first["config"].update(padding="same", strides=[2, 2])
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(ModelError, match=r"trained with Theano, and the layer '.*' has padding"):
        load_network(path)
