"""Hostile and broken model files: every one is refused before Keras sees it, and none of them touches a file."""

import io
import json
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from conftest import SAMPLES, Runner
from keras import layers

from gradcam_cli.errors import ModelError
from gradcam_cli.models.preflight import check_model_file
from gradcam_cli.models.request import locate_model
from gradcam_cli.settings import ModelSettings

Config = dict[str, Any]


def small() -> Any:
    inputs = layers.Input((8, 8, 3), name="picture")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="convolution")(inputs))
    return keras.Model(inputs, layers.Dense(2, name="scores")(x))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for name in ("m.keras", "m.h5"):
        small().save(folder / name)
    return folder


def edited(whole: Path, target: Path, change: Callable[[Config], None]) -> Path:
    """A copy of the good model with its config changed, in the format of the target's name."""
    if target.suffix == ".h5":
        target.write_bytes((whole / "m.h5").read_bytes())
        with h5py.File(target, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            change(config)
            file.attrs["model_config"] = json.dumps(config)
        return target
    with zipfile.ZipFile(whole / "m.keras") as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            archive.writestr(name, data)
    return target


def layer(config: Config, name: str) -> Config:
    found = [item for item in config["config"]["layers"] if item["config"]["name"] == name]
    return found[0]  # type: ignore[no-any-return]


def put(name: str, **changes: Any) -> Callable[[Config], None]:
    """Overwrite keys of one layer's entry."""
    return lambda config: layer(config, name).update(changes)


def inside(name: str, **changes: Any) -> Callable[[Config], None]:
    """Overwrite keys of one layer's own config."""
    return lambda config: layer(config, name)["config"].update(changes)


def function(name: str, module: str) -> Config:
    return {"class_name": "function", "config": name, "module": module, "registered_name": name}


HOSTILE: dict[str, tuple[Callable[[Config], None], str]] = {
    "a Lambda": (put("convolution", class_name="Lambda"), "layer 'convolution' is a Lambda"),
    "a Lambda by its registered name": (put("convolution", registered_name="keras>Lambda"), "is a Lambda"),
    "a pickled lambda as activation": (
        inside("scores", activation={"class_name": "__lambda__", "config": {"value": ["4wEAAAA="]}}),
        "layer 'scores' is a __lambda__",
    ),
    "a TFSMLayer": (
        put("convolution", class_name="TFSMLayer", config={"name": "convolution", "filepath": "graph"}),
        "is a TFSMLayer",
    ),
    "a TFSMLayer as a function": (inside("scores", activation=function("TFSMLayer", "keras.layers")), "is a TFSMLayer"),
    "a TFSMLayer as a string": (inside("scores", activation="TFSMLayer"), "is a TFSMLayer"),
    "a torch module": (put("convolution", class_name="TorchModuleWrapper"), "is a TorchModuleWrapper"),
    "a JAX layer": (put("convolution", class_name="JaxLayer"), "is a JaxLayer"),
    "a Flax layer": (put("convolution", class_name="FlaxLayer"), "is a FlaxLayer"),
    "os.system as a layer": (put("convolution", class_name="system", module="os"), r"class os\.system"),
    "subprocess as an initializer": (
        inside("scores", kernel_initializer={"class_name": "Popen", "module": "subprocess", "config": {}}),
        r"class subprocess\.Popen",
    ),
    "os.system as a function": (inside("scores", activation=function("system", "os")), r"class os\.system"),
    "a download as a function": (
        inside("scores", activation=function("get_file", "keras.utils")),
        r"class keras\.utils\.get_file",
    ),
    "loading as a function": (
        inside("scores", activation=function("load_model", "keras.models")),
        r"class keras\.models\.load_model",
    ),
    "a module whose name only begins like Keras's": (
        put("convolution", module="keras.layers_of_mine"),
        r"class keras\.layers_of_mine",
    ),
    "a type of TensorFlow's": (
        inside("scores", spec={"class_name": "__typespec__", "module": "tensorflow.python.framework", "config": []}),
        "not part of Keras",
    ),
    "a class of somebody's": (put("convolution", registered_name="Mine>Attention"), "class Mine>Attention"),
    "a vocabulary file": (
        put("convolution", class_name="StringLookup", config={"name": "words", "vocabulary": "/etc/passwd"}),
        "layer 'words' reads its vocabulary from the file '/etc/passwd'",
    ),
    "a billion units": (inside("scores", units=10**9), "declares 1,000,000,000 units"),
    "a million filters": (inside("convolution", filters=10**6), "declares 1,000,000 units"),
    "an enormous input": (inside("picture", batch_shape=[None, 10**6, 10**6, 3]), "declares an input"),
    "a dense layer over a large picture": (
        lambda config: (
            layer(config, "picture")["config"].update(batch_shape=[None, 16000, 16000, 3]),
            layer(config, "convolution").update(class_name="Flatten"),
        )[0],
        "768,000,000 inputs meet",
    ),
    "a nested compiled loss": (
        put("convolution", compile_config={"loss": function("system", "posix")}),
        r"class posix\.system",
    ),
}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_configs(whole: Path, tmp_path: Path, name: str, suffix: str) -> None:
    change, message = HOSTILE[name]
    path = edited(whole, tmp_path / f"hostile{suffix}", change)
    with pytest.raises(ModelError, match=message) as caught:
        check_model_file(path)
    assert caught.value.exit_code == 3
    assert "hostile" in str(caught.value)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_the_unchanged_model_passes(whole: Path, tmp_path: Path, suffix: str) -> None:
    check_model_file(edited(whole, tmp_path / f"m{suffix}", lambda _: None))


def test_how_it_was_trained_does_not_matter(tmp_path: Path) -> None:
    """A loss of one's own is nobody's business here: it is never loaded."""

    def loss(truth: Any, prediction: Any) -> Any:
        return keras.ops.mean(truth - prediction)

    network = small()
    network.compile("adam", loss)
    network.save(tmp_path / "m.keras")
    check_model_file(tmp_path / "m.keras")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_a_real_lambda_never_runs(run: Runner, tmp_path: Path, suffix: str) -> None:
    victim = tmp_path / "victim"

    def attack(x: Any, path: str = str(victim)) -> Any:
        import pathlib as library

        library.Path(path).touch()
        return x

    inputs = layers.Input((8, 8, 3))
    x = layers.Lambda(attack, output_shape=(8, 8, 3))(inputs)
    network = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    network.save(tmp_path / f"attack{suffix}")
    victim.unlink(missing_ok=True)
    for command in (["layers", f"attack{suffix}"], ["explain", SAMPLES, "-o", "out", "--model", f"attack{suffix}"]):
        done = run(*command).expect(3)
        assert "Lambda" in done.err
        assert "Traceback" not in done.err
    assert not victim.exists()
    assert not list(tmp_path.glob("out/**/*.json"))


def refused(path: Path, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check_model_file(path)


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside", "..\\outside", "C:/outside"])
def test_members_that_would_be_written_elsewhere(whole: Path, tmp_path: Path, name: str) -> None:
    path = edited(whole, tmp_path / "m.keras", lambda _: None)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "x")
    refused(path, "outside of the model")


def test_a_config_of_zeros(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("config.json", "w") as member:
        for _ in range(200):
            member.write(bytes(2**20))
    started = time.monotonic()
    refused(path, "claims")
    assert time.monotonic() - started < 2


def test_a_config_that_is_too_large_or_too_deep(tmp_path: Path) -> None:
    for text, message in (('"' + os.urandom(34_000_000).hex() + '"', "larger than"), ("[" * 100_000, "not JSON")):
        path = tmp_path / "m.keras"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", text)
        refused(path, message)


def hdf5(path: Path, whole: Path, change: Callable[[Any], None]) -> Path:
    path.write_bytes((whole / "m.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def archived(path: Path, whole: Path, change: Callable[[Any], None]) -> Path:
    """The same change in the weights inside of a .keras file."""
    with zipfile.ZipFile(whole / "m.keras") as source, zipfile.ZipFile(path, "w") as archive:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith(".h5"):
                buffer = io.BytesIO(data)
                with h5py.File(buffer, "r+") as file:
                    change(file)
                data = buffer.getvalue()
            archive.writestr(name, data)
    return path


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file.create_virtual_dataset("stolen", layout)


def cycle(file: Any) -> None:
    file.create_group("a")["again"] = file["/"]


HOSTILE_HDF5: dict[str, tuple[Callable[[Any], None], str]] = {
    "an external link": (lambda f: f.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")), "link to another"),
    "a soft link": (lambda f: f.__setitem__("x", h5py.SoftLink("/nowhere")), "link to another"),
    "values in another file": (
        lambda f: f.create_dataset("x", (4,), "f4", external=[("/etc/passwd", 0, 16)]),
        "in another file",
    ),
    "a virtual dataset": (virtual, "in another file"),
    "a tensor that is not there": (lambda f: f.create_dataset("x", (10**6, 10**6), "f4", chunks=(100, 100)), "claims"),
}


@pytest.mark.parametrize("make", [hdf5, archived])
@pytest.mark.parametrize("name", HOSTILE_HDF5)
def test_hostile_weights(whole: Path, tmp_path: Path, name: str, make: Any) -> None:
    change, message = HOSTILE_HDF5[name]
    path = make(tmp_path / ("m.h5" if make is hdf5 else "m.keras"), whole, change)
    refused(path, message)
    with pytest.raises(ModelError, match=message):
        locate_model(ModelSettings(model="resnet50", weights=path), lambda *_: None)


def test_a_group_inside_itself_ends(whole: Path, tmp_path: Path) -> None:
    check_model_file(hdf5(tmp_path / "m.h5", whole, cycle))


def test_broken_and_misnamed_files_each_have_their_own_message(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    data = (whole / "m.keras").read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(path, "truncated or damaged")
    path.write_bytes((whole / "m.h5").read_bytes())
    refused(path, r"this is a \.h5 file. Rename it: m\.h5")
    path.write_bytes(b"")
    refused(path, "the file is empty")
    path.write_bytes(b"something else")
    refused(path, "no Keras model")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    refused(path, "no config.json")
    path = tmp_path / "m.h5"
    path.write_bytes((whole / "m.keras").read_bytes())
    refused(path, r"this is a \.keras file")
    path.write_bytes((whole / "m.h5").read_bytes()[:3000])
    refused(path, "truncated or damaged")
    small().save_weights(tmp_path / "only.weights.h5")
    refused(tmp_path / "only.weights.h5", "weights in it but no model")


def test_every_truncation_of_a_model_is_told(whole: Path, tmp_path: Path) -> None:
    """No cut may pass the preflight, or end in anything but a ModelError."""
    for name in ("m.keras", "m.h5"):
        data = (whole / name).read_bytes()
        path = tmp_path / name
        for length in np.linspace(0, len(data) - 1, 60).astype(int):
            path.write_bytes(data[:length])
            with pytest.raises(ModelError):
                check_model_file(path)


def test_another_hash_is_refused(run: Runner, whole: Path, tmp_path: Path) -> None:
    done = run("explain", SAMPLES, "-o", "x", "--model", whole / "m.keras", "--model-sha256", "0" * 64).expect(3)
    assert "not the one asked for" in done.err
    assert not list(tmp_path.glob("x/*"))
