"""Models that PyTorch exported: their layers, places, scores and heads, against PyTorch's own figures."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DATA, SAMPLES, Runner

from gradcam_cli.engines.exchange.compiling import compile_exchange
from gradcam_cli.engines.exchange.network import Network, open_network
from gradcam_cli.engines.openvino import OpenVinoEngine, PassOptions
from gradcam_cli.engines.plan import Plan
from gradcam_cli.engines.runtime import openvino
from gradcam_cli.errors import ModelError, UsageError
from gradcam_cli.imaging.geometry import CellLine, MapGeometry
from gradcam_cli.models.request import locate_model
from gradcam_cli.settings import ModelSettings, TargetSettings

ONNX = DATA / "onnx"
BOTH = ["", "_dynamo"]
op = openvino.opset15


def network(name: str | Path, **settings: Any) -> Network:
    path = name if isinstance(name, Path) else ONNX / f"{name}.onnx"
    return open_network(locate_model(ModelSettings(model=str(path), **settings), lambda *_: None))


def plan(name: str | Path, layer: str = "auto", **settings: Any) -> Plan:
    path = name if isinstance(name, Path) else ONNX / f"{name}.onnx"
    return compile_exchange(locate_model(ModelSettings(model=str(path), layer=layer, **settings), lambda *_: None))


def engine(made: Plan, batch_size: int = 2, top_k: int = 1, classes: tuple[str, ...] = ()) -> OpenVinoEngine:
    targets = TargetSettings(classes, top_k)
    return OpenVinoEngine(made, targets, PassOptions(batch_size))


def pixels(reference: Any) -> Any:
    """Give PyTorch's input (N, channels, H, W) as the engine takes it."""
    return np.ascontiguousarray(reference["x"].transpose(0, 2, 3, 1))


def as_map(array: Any) -> Any:
    return array.transpose(0, 2, 3, 1)


@pytest.mark.parametrize("exporter", BOTH)
def test_layers_are_called_as_the_modules_of_pytorch(exporter: str) -> None:
    found = network(f"pooled{exporter}")
    listed = {each.path: each for each in found.list_layers()}
    assert listed["stem.2"].size == "12x16x8"
    assert listed["last.1"].size == "6x8x12"
    assert [path for path, each in listed.items() if each.auto] == ["last.1"]
    assert found.layers.choose("last").layer.path == "last.1"
    assert found.layers.choose("block").layer.path == "block.3"
    assert found.layers.choose("stem").layer.reason == "asked for as 'stem'"
    with pytest.raises(ModelError, match=r"no layer 'last\.9'.*Did you mean last"):
        found.layers.choose("last.9")
    with pytest.raises(ModelError, match="no layer 'head'"):
        found.layers.choose("head")


def test_names_of_nodes_and_tensors_are_taken_too() -> None:
    layers = network("pooled").layers
    for name in ("/last/last.1/Clip", "/last/last.1/Clip_output_0", "last.1", "last"):
        assert layers.choose(name).layer.path == "last.1"
    assert layers.choose("/Add").layer.path == "/Add"


@pytest.mark.parametrize("exporter", BOTH)
def test_a_transformer_is_explained_by_what_its_last_attention_reads(exporter: str) -> None:
    chosen = network(f"vit{exporter}").layers.choose("auto")
    assert chosen.layer.path == "blocks.1.norm1"
    assert (chosen.layer.height, chosen.layer.width, chosen.layer.channels) == (4, 5, 16)
    assert chosen.layout.prefix == 1, "the class token is no part of the map"
    assert chosen.layer.geometry == MapGeometry(CellLine(4.0, 8.0, 0.0, 32.0), CellLine(4.0, 8.0, 0.0, 40.0))


@pytest.mark.parametrize("exporter", BOTH)
def test_activations_and_logits_are_those_of_pytorch(exporter: str) -> None:
    reference = np.load(ONNX / "pooled.npz")
    for layer in ("last", "auto"):
        found = engine(plan(f"pooled{exporter}", layer)).explain(pixels(reference))
        wanted = as_map(reference["a_last"])
        assert np.abs(found.activations - wanted).max() <= 1e-5 * np.abs(wanted).max()
        assert np.abs(found.logits - reference["logits"]).max() <= 1e-5 * np.abs(reference["logits"]).max()


@pytest.mark.parametrize("exporter", BOTH)
def test_gradients_of_a_pooled_head_are_those_of_autograd(exporter: str) -> None:
    reference = np.load(ONNX / "pooled.npz")
    classes = reference["classes"][:, None]
    found = engine(plan(f"pooled{exporter}")).explain(pixels(reference), classes)
    assert found.gradients is not None
    wanted = as_map(reference["g_last"])
    assert np.abs(found.gradients[:, 0] - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_a_softmax_at_the_end_is_stepped_over() -> None:
    found = network("flat")
    assert (found.scores.kind, found.scores.assumed) == ("softmax", False)
    assert found.scores.logits.get_node().get_type_name() == "Add"
    assert network("pooled").scores.assumed
    assert network("pooled", output_kind="sigmoid-logits").scores.kind == "sigmoid"


def saved(tmp_path: Path, result: Any, *inputs: Any) -> Path:
    """Keep a network in OpenVINO's format."""
    path = tmp_path / "own.xml"
    openvino.save_model(openvino.Model([result], list(inputs)), path, compress_to_fp16=False)
    return path


def conv(tensor: Any, channels: int, out: int, stride: int = 2) -> Any:
    kernel = np.random.default_rng(out).standard_normal((out, channels, 3, 3)).astype(np.float32)
    return op.convolution(tensor, kernel, [stride] * 2, [1, 1], [1, 1], [1, 1])


def pooled_head(tensor: Any, classes: int) -> Any:
    mean = op.reduce_mean(tensor, np.asarray([2, 3]), keep_dims=False)
    kernel = np.random.default_rng(0).standard_normal((tensor.output(0).get_shape()[1], classes)).astype(np.float32)
    return op.matmul(mean, kernel, transpose_a=False, transpose_b=False)


def test_a_network_of_openvino_with_channels_last(tmp_path: Path) -> None:
    given = op.parameter([1, 16, 20, 3], np.float32, "picture")
    features = op.relu(conv(op.transpose(given, np.asarray([0, 3, 1, 2])), 3, 4))
    features.set_friendly_name("features")
    path = saved(tmp_path, op.sigmoid(pooled_head(features, 1)), given)
    found = network(path)
    assert (found.picture.shape, found.picture.channels_first) == ((16, 20, 3), False)
    assert found.scores.kind == "binary"
    made = plan(path)
    assert (made.layer.path, made.layer.height, made.layer.width) == ("features", 8, 10)
    x = np.random.default_rng(1).random((3, 16, 20, 3), np.float32)
    forward = engine(made, 3).explain(x)
    assert forward.logits.shape == (3, 2)
    assert np.array_equal(forward.logits[:, 0], -forward.logits[:, 1])
    given_back = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    probability = np.concatenate([given_back([each[None]])[0] for each in x])
    np.testing.assert_allclose(engine(made, 3).probabilities(x)[:, 1:], probability, atol=1e-6)


@pytest.mark.parametrize(
    ("mean", "scale", "wanted"),
    [
        ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375], "none"),
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], "unit"),
        ([127.5] * 3, [127.5] * 3, "none"),
        ([0.5] * 3, [0.5] * 3, "unit"),
        ([0.0] * 3, [255.0] * 3, "none"),
    ],
)
def test_a_normalisation_inside_of_the_network_is_recognised(
    tmp_path: Path, mean: list[float], scale: list[float], wanted: str
) -> None:
    given = op.parameter([1, 3, 16, 16], np.float32, "picture")
    mean_, scale_ = (np.asarray(v, np.float32).reshape(1, 3, 1, 1) for v in (mean, scale))
    scaled = op.divide(op.subtract(given, mean_), scale_)
    path = saved(tmp_path, pooled_head(op.relu(conv(scaled, 3, 4)), 1000), given)
    numbers = network(path).numbers
    assert (numbers.preprocessing.name, numbers.guessed) == (wanted, False)


def test_preprocessing_is_guessed_and_said(tmp_path: Path) -> None:
    given = op.parameter([1, 3, 16, 16], np.float32, "picture")
    path = saved(tmp_path, pooled_head(op.relu(conv(given, 3, 4)), 1000), given)
    found = network(path)
    assert (found.numbers.preprocessing.name, found.numbers.guessed) == ("torch", True)
    assert "1000 classes" in found.numbers.reason
    assert found.labels.entries[281].name == "tabby"
    assert any("taken for ImageNet's" in note for note in found.notes)
    asked = network(path, preprocess="tf").numbers
    assert (asked.preprocessing.name, asked.guessed) == ("tf", False)
    other = network("pooled").numbers
    assert (other.preprocessing.name, other.guessed) == ("unit", True)


def test_an_open_size_is_224_or_what_was_asked_for(tmp_path: Path) -> None:
    given = op.parameter([-1, 3, -1, -1], np.float32, "picture")
    features = op.relu(conv(given, 3, 4))
    mean = op.reduce_mean(features, np.asarray([2, 3]), keep_dims=False)
    scores = op.matmul(mean, np.ones((4, 2), np.float32), transpose_a=False, transpose_b=False)
    path = saved(tmp_path, scores, given)
    found = network(path)
    assert found.picture.shape == (224, 224, 3)
    assert "224 was taken" in found.warnings[0]
    larger = plan(path, input_size=(64, 96))
    assert (larger.input_shape, larger.warnings) == ((64, 96, 3), ())
    with pytest.raises(ModelError, match="it cannot take 64x96"):
        network("pooled", input_size=(64, 96))


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"output_name": "nosuch"}, ModelError, "there is no output 'nosuch'. There are: scores"),
        ({"inputs": (("age", "3"),)}, UsageError, "one input, the picture"),
        ({"image_input": "all"}, UsageError, "one input, the picture"),
        ({"sha256": "0" * 64}, ModelError, "not the one asked for"),
        ({"weights": Path("w.h5")}, ModelError, "brings its own"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        network("pooled", **settings)


def test_a_file_that_openvino_cannot_read_is_told(tmp_path: Path) -> None:
    data = (ONNX / "pooled.onnx").read_bytes().replace(b"Sigmoid", b"Sigmund")
    (tmp_path / "odd.onnx").write_bytes(data)
    with pytest.raises(ModelError, match=r"OpenVINO cannot read this network .*Sigmund"):
        network(tmp_path / "odd.onnx")


def test_weights_beside_the_file_count_too(tmp_path: Path) -> None:
    """The plan of a model is another one where only the file of its weights differs."""
    given = op.parameter([1, 3, 16, 16], np.float32, "picture")
    path = saved(tmp_path, pooled_head(op.relu(conv(given, 3, 4)), 3), given)
    settings = ModelSettings(model=str(path))
    before = locate_model(settings, lambda *_: None).depends()
    weights = path.with_suffix(".bin")
    data = bytearray(weights.read_bytes())
    data[100] ^= 1
    weights.write_bytes(data)
    after = locate_model(settings, lambda *_: None).depends()
    assert before["sha256"] == after["sha256"]
    assert before != after


@pytest.fixture
def without_keras(tmp_path: Path) -> dict[str, str]:
    """An environment in which neither TensorFlow nor Keras nor h5py nor the package onnx can be imported."""
    folder = tmp_path / "without"
    folder.mkdir()
    for name in ("tensorflow", "keras", "h5py", "onnx"):
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} is not here')")
    import os

    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")}


def test_the_command_line_needs_neither_keras_nor_tensorflow(
    run: Runner, tmp_path: Path, without_keras: dict[str, str]
) -> None:
    shutil.copy(ONNX / "pooled.onnx", tmp_path / "net.onnx")
    (tmp_path / "net.labels.json").write_text('["ant", "bee", "cow", "dog", "elk"]')
    listed = json.loads(run("layers", "net.onnx", "--json", env=without_keras).expect(0).out)
    assert [each["path"] for each in listed if each["auto"]] == ["last.1"]
    args = ("explain", SAMPLES / "chelsea.jpg", "--model", "net.onnx", "--top-k", "2")
    first = run(*args, "-o", "first", env=without_keras).expect(0).err
    assert "'unit' is a guess" in first
    run(*args, "-o", "second", env=without_keras).expect(0)
    run("compile", "net.onnx", "-o", "net.plan", env=without_keras).expect(0)
    run(*args[:2], "--model", "net.plan", "--top-k", "2", "-o", "third", env=without_keras).expect(0)
    records = [json.loads((tmp_path / n / "chelsea.jpg.json").read_text()) for n in ("first", "second", "third")]
    assert records[0] == records[1]
    assert records[0]["classes"] == records[2]["classes"]
    assert records[0]["model"]["engine"] == "openvino"
    assert records[0]["classes"][0]["label"] in {"ant", "bee", "cow", "dog", "elk"}
    refused = run(*args, "-o", "out", "--engine", "tensorflow", env=without_keras).expect(3).err
    assert "for the engine openvino" in refused


def one_picture_only(tmp_path: Path) -> Path:
    """A network whose reshape has the batch of 1 in it, as many exporters write it."""
    given = op.parameter([1, 3, 16, 16], np.float32, "picture")
    features = op.relu(conv(given, 3, 4))
    flat = op.reshape(features, np.asarray([1, 256]), special_zero=False)
    kernel = np.random.default_rng(0).standard_normal((256, 3)).astype(np.float32)
    return saved(tmp_path, op.matmul(flat, kernel, transpose_a=False, transpose_b=False), given)
