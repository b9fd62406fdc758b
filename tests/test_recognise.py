"""What a model file is, by its content: every suffix, parts that lie beside each other, and files of other programs."""

import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from keras.src.legacy.saving import legacy_h5_format

from gradcam_cli.errors import ModelError
from gradcam_cli.models.loading import load_classifier
from gradcam_cli.models.parts import parts_of
from gradcam_cli.models.recognise import kind_of
from gradcam_cli.models.request import locate_model
from gradcam_cli.models.safety import preflight_subprocess
from gradcam_cli.settings import ModelSettings


class Trained(keras.Model):  # type: ignore[misc]
    """With a `train_step` of its own, as people have it."""


@keras.saving.register_keras_serializable(package="mine")
class Registered(keras.Model):  # type: ignore[misc]
    pass


class Stack(keras.Sequential):  # type: ignore[misc]
    pass


X = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)


@pytest.fixture(autouse=True)
def _preflight_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check in this process: other tests hold the other one."""

    def check(kind: str, path: Path, *, descriptors: Any = (), architecture: Path | None = None, own: Any = ()) -> None:
        del descriptors, own
        preflight_subprocess.CHECKS[kind](*([architecture] if architecture else []), path)

    monkeypatch.setattr(preflight_subprocess, "check_in_subprocess", check)


def network(wrapper: Any = keras.Model) -> Any:
    keras.utils.set_random_seed(1)
    picture = keras.Input((32, 32, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(picture)))
    return wrapper(picture, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def own_loss(y: Any, p: Any) -> Any:
    return keras.ops.mean((y - p) ** 2)


def loaded(path: Path, weights: Path | None = None) -> Any:
    request = locate_model(ModelSettings(model=str(path), weights=weights), lambda *_: None)
    return load_classifier(request)


def agrees(path: Path, made: Any, weights: Path | None = None) -> tuple[str, ...]:
    found = loaded(path, weights)
    assert np.abs(found.network.predict(X, verbose=0) - made.predict(X, verbose=0)).max() < 1e-6
    return tuple(found.notes)


@pytest.mark.parametrize("suffix", [".model", ".hdf5", "", ".keras", ".bin"])
@pytest.mark.parametrize("saved", [".h5", ".keras"])
def test_any_suffix(tmp_path: Path, saved: str, suffix: str) -> None:
    made = network()
    made.save(tmp_path / f"x{saved}")
    (tmp_path / f"x{saved}").replace(tmp_path / f"m{suffix}")
    agrees(tmp_path / f"m{suffix}", made)


def save_legacy(made: Any, path: Path) -> None:
    """As Keras 2 does in save_weights('w.h5')."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, made)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("given", ["architecture", "weights", "both"])
def test_an_architecture_and_weights(tmp_path: Path, new: bool, given: str) -> None:
    made = network()
    architecture, weights = tmp_path / "net.json", tmp_path / ("net.weights.h5" if new else "net_weights.h5")
    architecture.write_text(made.to_json())
    (tmp_path / "labels.json").write_text('["a", "b", "c"]')
    made.save_weights(weights) if new else save_legacy(made, weights)
    if given == "both":
        assert not any("same folder" in note for note in agrees(architecture, made, weights) if "labels" not in note)
        return
    notes = agrees(architecture if given == "architecture" else weights, made)
    assert any((weights if given == "architecture" else architecture).name in note for note in notes)


def test_an_unpacked_archive(tmp_path: Path) -> None:
    made = network()
    made.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        archive.extractall(tmp_path / "folder")
    agrees(tmp_path / "folder", made)


def test_parts_are_checked_as_a_whole_model_is(tmp_path: Path) -> None:
    made = network()
    made.save_weights(tmp_path / "m.weights.h5")
    config = json.loads(made.to_json())
    config["config"]["layers"][1]["class_name"] = "Lambda"
    (tmp_path / "m.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="Lambda"):
        loaded(tmp_path / "m.json")
    other = keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(9, 3), layers.GlobalAveragePooling2D()])
    (tmp_path / "m.json").write_text(other.to_json())
    with pytest.raises(ModelError, match="do not fit"):
        loaded(tmp_path / "m.json")


@pytest.mark.parametrize(
    ("architecture", "weights"),
    [
        ("c10.json", "c10.weights.h5"),
        ("c10.json", "c10.h5"),
        ("c10.json", "c10_weights.h5"),
        ("model.json", "weights.h5"),
        ("model.json", "best_weights.h5"),
        ("face_model_structure.json", "face_model_weights.h5"),
        ("Model-arch.json", "checkpoint.hdf5"),
    ],
)
def test_weights_among_others_are_found_by_name_and_by_shape(tmp_path: Path, architecture: str, weights: str) -> None:
    made = network()
    (tmp_path / architecture).write_text(made.to_json())
    made.save_weights(tmp_path / "a.weights.h5")
    other = keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(9, 3), layers.GlobalAveragePooling2D()])
    other.save_weights(tmp_path / "other.weights.h5")
    made.save(tmp_path / "whole.h5")
    (tmp_path / "a.weights.h5").rename(tmp_path / weights)
    (tmp_path / "whole.h5").rename(tmp_path / f"{Path(architecture).stem}_whole.h5")
    found = parts_of(tmp_path / architecture, None)
    assert found.weights == tmp_path / weights
    assert weights in str(found.note)
    assert f"{Path(architecture).stem}_whole.h5" in str(found.note)


def test_a_whole_model_is_not_the_weights_of_an_architecture(tmp_path: Path) -> None:
    made = network()
    (tmp_path / "model.json").write_text(made.to_json())
    made.save(tmp_path / "model.h5")
    with pytest.raises(ModelError, match=r"Complete models in the same folder: .*model\.h5"):
        parts_of(tmp_path / "model.json", None)
    made.save_weights(tmp_path / "x.weights.h5")
    made.save_weights(tmp_path / "y.weights.h5")
    with pytest.raises(ModelError, match=r"`weights=FILE`; found: .*x\.weights\.h5, .*y\.weights"):
        parts_of(tmp_path / "model.json", None)


def test_which_of_several_is_asked(tmp_path: Path) -> None:
    made = network()
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(made.to_json())
    made.save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(ModelError, match=r"a\.json.*b\.json"):
        loaded(tmp_path / "w.weights.h5")
    for name in ("a.json", "b.json"):
        (tmp_path / name).unlink()
    with pytest.raises(ModelError, match="has only weights"):
        loaded(tmp_path / "w.weights.h5")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("wrapper", [Trained, Registered])
def test_a_class_round_a_graph_is_its_graph(tmp_path: Path, wrapper: Any, suffix: str) -> None:
    made = network(wrapper)
    made.compile("adam", own_loss)
    made.save(tmp_path / f"m{suffix}")
    notes = agrees(tmp_path / f"m{suffix}", made)
    assert any(wrapper.__name__ in note for note in notes)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_such_classes_of_stacks_and_inside_of_models(tmp_path: Path, suffix: str) -> None:
    keras.utils.set_random_seed(2)
    stack = Stack([keras.Input((32, 32, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(2)])
    stack.save(tmp_path / f"s{suffix}")
    agrees(tmp_path / f"s{suffix}", stack)
    picture, inside = keras.Input((32, 32, 3)), keras.Input((32, 32, 3))
    inner = Trained(inside, layers.Conv2D(5, 3, activation="relu")(inside))
    outer = keras.Model(picture, layers.Dense(2)(layers.GlobalAveragePooling2D()(inner(picture))))
    outer.save(tmp_path / f"n{suffix}")
    agrees(tmp_path / f"n{suffix}", outer)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("m.keras", b"", "the file is empty"),
        ("m.tflite", b"\x1c\0\0\0TFL3" + bytes(40), "TensorFlow Lite"),
        ("m.h5", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("m.h5", b"<!DOCTYPE html><html>", "web page"),
        ("m.pkl", pickle.dumps([1]), "pickle"),
        ("m.pth", pickle.dumps([1], protocol=2), "PyTorch"),
        ("m.joblib", b"\x80\x04\x95abc", "pickle"),
        ("m.pb", b"\x0a\x20\x0a\x05input", "frozen TensorFlow graph"),
        ("model.ckpt.index", bytes(40) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", "checkpoint"),
        ("model.ckpt.data-00000-of-00001", bytes(40), "checkpoint"),
        ("checkpoint", b'model_checkpoint_path: "model.ckpt"', "checkpoint"),
        ("model.json", b'{"format": "layers-model", "modelTopology": {}}', "tensorflowjs_converter"),
        ("model.json", b'{"a": 1}', "not the architecture"),
        ("model.json", b'{"a": ', "not valid JSON"),
        ("m.gz", b"\x1f\x8b\x08", "gzip"),
        ("m.xyz", b"what is this", "kind of this file is unknown"),
    ],
)
def test_files_of_other_programs_are_named(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=told) as error:
        kind_of(tmp_path / name)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "the folder is empty"),
        (["saved_model.pb"], "without Keras layers"),
        (["saved_model.pb", "keras_metadata.pb"], "tf_keras.models.load_model"),
        (["checkpoint", "c.index"], "checkpoint"),
        (["photo.jpg"], "a folder without a model"),
    ],
)
def test_folders(tmp_path: Path, names: list[str], told: str) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ModelError, match=told):
        kind_of(tmp_path)


@pytest.mark.parametrize(
    ("members", "told"),
    [
        (["archive/data.pkl"], "PyTorch"),
        (["keras_model.h5", "labels.txt"], "Unpack it"),
        (["a.npy"], "npz"),
    ],
)
def test_archives(tmp_path: Path, members: list[str], told: str) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        for member in members:
            archive.writestr(member, "x")
    with pytest.raises(ModelError, match=told):
        kind_of(tmp_path / "m.zip")


def test_a_folder_with_one_model_names_it(tmp_path: Path) -> None:
    network().save(tmp_path / "m.keras")
    shutil.copy(tmp_path / "m.keras", tmp_path / "copy.model")
    with pytest.raises(ModelError, match=r"copy\.model.*m\.keras"):
        kind_of(tmp_path)
