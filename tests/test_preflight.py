"""Hostile and broken model files: every one is refused before Keras sees it, and none of them touches a file."""

import io
import json
import os
import stat
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import SAMPLES, Runner
from keras import layers

from gradcam_cli.cli import program
from gradcam_cli.errors import ModelError
from gradcam_cli.models.request import locate_model
from gradcam_cli.models.safety.preflight import check_model_file
from gradcam_cli.models.safety.preflight_subprocess import check_in_subprocess
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
    "os.system as a layer": (put("convolution", class_name="system", module="os"), r"(class|function) os\.system"),
    "subprocess as an initializer": (
        inside("scores", kernel_initializer={"class_name": "Popen", "module": "subprocess", "config": {}}),
        r"(class|function) subprocess\.Popen",
    ),
    "os.system as a function": (inside("scores", activation=function("system", "os")), r"(class|function) os\.system"),
    "a download as a function": (
        inside("scores", activation=function("get_file", "keras.utils")),
        r"(class|function) keras\.utils\.get_file",
    ),
    "loading as a function": (
        inside("scores", activation=function("load_model", "keras.models")),
        r"(class|function) keras\.models\.load_model",
    ),
    "a module whose name only begins like Keras's": (
        put("convolution", module="keras.layers_of_mine"),
        r"(class|function) keras\.layers_of_mine",
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
    "a billion units": (inside("scores", units=10**9), "declares 4,000,000,000 weights"),
    "a million filters": (inside("convolution", filters=10**6), r"27,000,000 weights \(3 x 3 x 3 x 1,000,000\)"),
    "an enormous input": (inside("picture", batch_shape=[None, 10**6, 10**6, 3]), "declares an input"),
    "a dense layer over a large picture": (
        lambda config: (
            layer(config, "picture")["config"].update(batch_shape=[None, 16000, 16000, 3]),
            layer(config, "convolution").update(class_name="Flatten"),
        )[0],
        r"layer 'scores' declares 1,536,000,000 weights \(768,000,000 x 2\)",
    ),
    "a nested compiled loss": (
        put("convolution", compile_config={"loss": function("system", "posix")}),
        r"(class|function) posix\.system",
    ),
    "a nested compiled metric": (
        put("convolution", compile_config={"metrics": [[{"class_name": "__lambda__", "config": {"value": "4wEA"}}]]}),
        "layer 'convolution' is a __lambda__",
    ),
    "a pickled lambda as initializer": (
        inside("scores", bias_initializer={"class_name": "__lambda__", "config": {"value": ["4wEAAAA="]}}),
        "layer 'scores' is a __lambda__",
    ),
    "a Lambda inside of a wrapper": (
        put(
            "convolution",
            class_name="TimeDistributed",
            config={"name": "outer", "layer": {"class_name": "Lambda", "config": {"name": "inner"}}},
        ),
        "layer 'inner' is a Lambda",
    ),
    "a Lambda deep inside": (
        inside("scores", activation=[[[[{"a": {"b": [{"class_name": "Lambda", "config": {}}]}}]]]]),
        "layer 'scores' is a Lambda",
    ),
    "a TFSMLayer by its private module": (
        put("convolution", class_name="TFSMLayer", module="keras.src.export.tfsm_layer"),
        "is a TFSMLayer",
    ),
    "a class with a path for its name": (
        put("convolution", module="keras", class_name="utils.get_file"),
        r"(class|function) keras\.utils\.get_file",
    ),
    "a function with a path for its name": (
        inside("scores", activation=function("utils.get_file", "keras")),
        r"(class|function) keras\.utils\.get_file",
    ),
    "a function in place of a class": (
        put("convolution", module="keras.models", class_name="load_model"),
        r"(class|function) keras\.models\.load_model",
    ),
    "a whole application as a function": (
        inside("scores", activation=function("ResNet50", "keras.applications")),
        r"(class|function) keras\.applications\.ResNet50",
    ),
    "a change of configuration": (
        inside("scores", activation=function("enable_unsafe_deserialization", "keras.config")),
        r"(class|function) keras\.config",
    ),
    "a built-in of Python's by its path": (
        inside("scores", activation=function("os.system", "builtins")),
        r"(class|function) builtins\.os\.system",
    ),
    "a class whose name is none": (put("convolution", class_name=["Lambda"]), "has no class name"),
    "a module whose name is none": (put("convolution", module={"os": 1}), "has no class name"),
    "a package that sounds like Keras's": (put("convolution", registered_name="keras_x>A"), "class keras_x>A"),
    "a vocabulary file of a tokenizer": (
        put("convolution", class_name="TextVectorization", config={"name": "text", "vocabulary": "words.txt"}),
        "layer 'text' reads its vocabulary from the file 'words.txt'",
    ),
    "a number of units that is no integer": (inside("scores", units=1e12), "declares 4,000,000,000,000 weights"),
    "an attention of many heads": (
        put("scores", class_name="MultiHeadAttention", config={"name": "heads", "num_heads": 4096, "key_dim": 4096}),
        r"layer 'heads' declares 67,108,864 weights \(4 x 4,096 x 4,096\)",
    ),
    "an enormous kernel": (inside("convolution", kernel_size=[100_000, 100_000]), "declares 120,000,000,000 weights"),
    "a large kernel of many filters": (
        inside("convolution", kernel_size=[1000, 1000], filters=4096),
        "layer 'convolution' declares 12,288,000,000 weights",
    ),
    "a layer built for an enormous input": (
        put("scores", build_config={"input_shape": [None, 10**12]}),
        "layer 'scores' declares 2,000,000,000,000 weights",
    ),
    "a thousand large layers": (
        lambda config: config["config"]["layers"].extend(
            {"class_name": "Dense", "config": {"name": f"d{i}", "units": 4096}} for i in range(1000)
        ),
        "layer 'd999' declares 16,777,216 weights",
    ),
}


def test_the_corpus_is_large_enough() -> None:
    assert len(HOSTILE) >= 40


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
def test_code_in_a_real_lambda_never_runs(inside: Runner, tmp_path: Path, suffix: str) -> None:
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
        done = inside(*command).expect(3)
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
    refused(path, "outside the model")


def added(whole: Path, path: Path, member: zipfile.ZipInfo | str, data: bytes = b"x") -> Path:
    edited(whole, path, lambda _: None)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")  # a second member of the same name
        archive.writestr(member, data)
    return path


def test_odd_members(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    refused(added(whole, path, "config.json", b"{}"), "'config.json' occurs 2 times")
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    refused(added(whole, path, link, b"/etc/passwd"), "is a symbolic link")
    check_model_file(added(whole, path, "notes.txt"))
    data = added(whole, path, "assets/secret").read_bytes()
    central = data.rindex(b"PK\x01\x02")
    path.write_bytes(data[: central + 8] + b"\x01" + data[central + 9 :])
    refused(path, "'assets/secret' is encrypted")
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(1001):
            archive.writestr(str(number), "")
    refused(path, "1,001 members")


def test_weights_that_are_pickled_objects(whole: Path, tmp_path: Path) -> None:
    """Keras would read .npz, too; its objects are pickles, and nothing of ours writes it."""
    objects = io.BytesIO()
    np.savez(objects, x=np.array([{"a": 1}], object))
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(whole / "m.keras") as source, zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", source.read("config.json"))
        archive.writestr("model.weights.npz", objects.getvalue())
    refused(path, r"no model\.weights\.h5")


def flooded(path: Path, name: str, megabytes: int) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w", force_zip64=True) as file:
        for _ in range(megabytes):
            file.write(bytes(2**20))


def many_small(path: Path) -> None:
    """Each member alone may claim as much; together they would fill a disk."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(8):
            archive.writestr(f"assets/{number}", bytes(15 * 2**20))


def values(path: Path) -> None:
    """Thirty megabytes of text that become seven hundred of empty lists."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", '{"a": [' + "[]," * 10_000_000 + "0]}")


BOMBS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a config of zeros": (
        lambda path: flooded(path, "config.json", 256),
        "declares 268,435,456 bytes",
    ),
    "metadata of zeros": (lambda path: flooded(path, "metadata.json", 100), "declares"),
    "weights of zeros": (lambda path: flooded(path, "model.weights.h5", 100), "declares"),
    "many members": (many_small, "its members declare"),
    "a config of empty lists": (values, "more than 2,000,000 values"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_cost_neither_time_nor_memory(tmp_path: Path, name: str) -> None:
    make, message = BOMBS[name]
    make(tmp_path / "m.keras")
    code = (
        "import resource, sys, time\nfrom pathlib import Path\n"
        "from gradcam_cli.errors import ModelError\nfrom gradcam_cli.models.safety.preflight import check_model_file\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\nstarted = time.process_time()\n"
        "try:\n    check_model_file(Path(sys.argv[1]))\nexcept ModelError as error:\n    print(error)\n"
        "print(time.process_time() - started)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.keras")], capture_output=True, text=True, check=True
    )
    told, seconds, megabytes = done.stdout.splitlines()
    assert message in told
    assert float(seconds) < 2
    assert float(megabytes) < 100


def test_a_config_that_is_too_large_or_too_deep(tmp_path: Path) -> None:
    for text, message in (('"' + os.urandom(17_000_000).hex() + '"', "larger than"), ("[" * 100_000, "not JSON")):
        path = tmp_path / "m.keras"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", text)
        refused(path, message)


def test_a_config_of_any_depth_that_is_json(whole: Path, tmp_path: Path) -> None:
    nested: Any = {"class_name": "Lambda", "config": {}}
    for _ in range(300):
        nested = {"config": [nested]}
    for suffix in (".keras", ".h5"):
        refused(edited(whole, tmp_path / f"m{suffix}", inside("scores", activation=nested)), "is a Lambda")


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


HOSTILE_HDF5: dict[str, tuple[Callable[[Any], Any], str]] = {
    "an external link": (lambda f: f.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")), "link to another"),
    "a soft link": (lambda f: f.__setitem__("x", h5py.SoftLink("/nowhere")), "link to another"),
    "values in another file": (
        lambda f: f.create_dataset("x", (4,), "f4", external=[("/etc/passwd", 0, 16)]),
        "in another file",
    ),
    "a virtual dataset": (virtual, "in another file"),
    "a tensor of one value in name only": (
        lambda f: f.create_dataset("x", (10**5, 10**5), "f4", chunks=(100, 100), fillvalue=1),
        "declares",
    ),
    "many tensors that are not there": (
        lambda f: [f.create_dataset(f"x{i}", (2**20, 3), "f4", chunks=(100, 3)) for i in range(20)],
        "its weights declare",
    ),
    "a tensor that is not there": (
        lambda f: f.create_dataset("x", (10**6, 10**6), "f4", chunks=(100, 100)),
        "declares",
    ),
}


@pytest.mark.parametrize("make", [hdf5, archived])
@pytest.mark.parametrize("name", HOSTILE_HDF5)
def test_hostile_weights(whole: Path, tmp_path: Path, name: str, make: Any) -> None:
    change, message = HOSTILE_HDF5[name]
    path = make(tmp_path / ("m.h5" if make is hdf5 else "m.keras"), whole, change)
    refused(path, message)
    with pytest.raises(ModelError, match=message):
        locate_model(ModelSettings(model="resnet50", weights=path), lambda *_: None)


def test_an_enormous_attribute(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["model_config"] = np.zeros(40_000_000, "S1")
    refused(path, "its model_config is larger than")


def test_a_group_inside_itself_ends(whole: Path, tmp_path: Path) -> None:
    check_model_file(hdf5(tmp_path / "m.h5", whole, cycle))


def test_broken_and_misnamed_files_each_have_their_own_message(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    data = (whole / "m.keras").read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(path, "truncated or damaged")
    path.write_bytes((whole / "m.h5").read_bytes())
    check_model_file(path)
    path.write_bytes(b"")
    refused(path, "the file is empty")
    path.write_bytes(b"something else")
    refused(path, "kind of this file is unknown")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    refused(path, "no config.json")
    path = tmp_path / "m.h5"
    path.write_bytes((whole / "m.keras").read_bytes())
    check_model_file(path)
    path.write_bytes((whole / "m.h5").read_bytes()[:3000])
    refused(path, "truncated or damaged")
    small().save_weights(tmp_path / "only.weights.h5")
    refused(tmp_path / "only.weights.h5", "has only weights")


def test_every_truncation_of_a_model_is_told(whole: Path, tmp_path: Path) -> None:
    """No cut may pass the preflight, or end in anything but a ModelError."""
    for name in ("m.keras", "m.h5"):
        data = (whole / name).read_bytes()
        path = tmp_path / name
        for length in np.linspace(0, len(data) - 1, 60).astype(int):
            path.write_bytes(data[:length])
            with pytest.raises(ModelError):
                check_model_file(path)


def test_what_is_no_model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its own message, and exit code 3 long before a picture is read."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "fifo.keras")
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "empty.h5").touch()
    (tmp_path / "loop.keras").symlink_to("loop.keras")
    expected = {
        "fifo.keras": "not a regular file",
        "/dev/zero": "not a regular file",
        "folder.keras": "the folder is empty",
        "empty.h5": "the file is empty",
        "loop.keras": "no such model file",
        "gone.keras": "no such model file",
        "https://example.org/m.keras": "must be a local file",
        "hf://someone/model": "must be a local file",
        "file:///etc/passwd": "must be a local file",
    }
    for model, message in expected.items():
        done = CliRunner().invoke(program, ["explain", str(SAMPLES), "-o", "out", "--model", model])
        assert done.exit_code == 3, (model, done.stderr)
        assert message in done.stderr, model
    assert not list(tmp_path.glob("out/*"))


def test_a_refusal_is_quick_and_imports_no_keras(whole: Path, tmp_path: Path) -> None:
    for suffix in (".keras", ".h5"):
        path = edited(whole, tmp_path / f"hostile{suffix}", put("convolution", class_name="Lambda"))
        command = ["explain", str(SAMPLES), "-o", str(tmp_path / "out"), "--model", str(path)]
        code = (
            "import sys\nfrom gradcam_cli.cli import program\n"
            f"try:\n    program({command!r})\n"
            "except SystemExit as error:\n    assert error.code == 3, error.code\n"
            "print(' '.join(sys.modules))"
        )
        before = os.times().children_user
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert "is a Lambda" in done.stderr
        assert not {"keras", "tensorflow", "openvino"} & set(done.stdout.split())
        assert os.times().children_user - before < 2


def test_a_file_on_which_hdf5_never_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("gradcam_cli.models.safety.preflight_subprocess.SECONDS", 0.01)
    with pytest.raises(ModelError, match="was not read after"):
        check_in_subprocess("model", tmp_path / "m.h5")


def test_a_file_that_kills_hdf5(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -SEGV $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(killed))
    with pytest.raises(ModelError, match="crashes"):
        check_in_subprocess("model", tmp_path / "m.h5")


def test_the_check_in_the_subprocess_says_the_same(whole: Path, tmp_path: Path) -> None:
    check_in_subprocess("model", whole / "m.keras")
    check_in_subprocess("weights", whole / "m.h5")
    path = tmp_path / os.fsdecode(b"b\xff d\n.keras")
    path.write_bytes(b"something else")
    with pytest.raises(ModelError) as apart:
        check_in_subprocess("model", path)
    with pytest.raises(ModelError) as here:
        check_model_file(path)
    assert str(apart.value) == str(here.value)


def test_code_of_training_never_runs(whole: Path, tmp_path: Path) -> None:
    """What the model was compiled with passes, because it is never loaded."""
    code = {"class_name": "__lambda__", "config": {"value": ["no such code"]}}
    path = edited(whole, tmp_path / "m.keras", lambda config: config.update(compile_config={"loss": code}))
    check_model_file(path)
    assert not keras.models.load_model(path, compile=False, safe_mode=True).compiled


def test_another_hash_is_refused(inside: Runner, whole: Path, tmp_path: Path) -> None:
    done = inside("explain", SAMPLES, "-o", "x", "--model", whole / "m.keras", "--model-sha256", "0" * 64).expect(3)
    assert "not the requested one" in done.err
    assert not list(tmp_path.glob("x/*"))
