"""Models that PyTorch exported: their layers, places, scores and heads, against PyTorch's own figures."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import SAMPLES, Invoke, Runner
from exported import BOTH, LAYERS, ONNX, network, plan

from gradcam_cli.cli import program
from gradcam_cli.engines.openvino import OpenVinoEngine, PassOptions
from gradcam_cli.engines.plan import Plan, read_plan, write_plan
from gradcam_cli.engines.runtime import openvino
from gradcam_cli.engines.self_check import checked
from gradcam_cli.errors import ModelError, UsageError
from gradcam_cli.imaging.geometry import CellLine, MapGeometry
from gradcam_cli.models.request import locate_model
from gradcam_cli.settings import ModelSettings, TargetSettings

op = openvino.opset15


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """These files are harmless: no process of its own reads them first."""
    monkeypatch.setattr("gradcam_cli.engines.exchange.reading_subprocess.check_reading", lambda *_: None)


def engine(made: Plan, batch_size: int = 2, top_k: int = 1, classes: tuple[str, ...] = ()) -> OpenVinoEngine:
    targets = TargetSettings(classes, top_k)
    return OpenVinoEngine(made, targets, PassOptions(batch_size))


def pixels(reference: Any) -> Any:
    """Give PyTorch's input (N, channels, H, W) as the engine takes it."""
    return np.ascontiguousarray(reference["x"].transpose(0, 2, 3, 1))


def as_map(array: Any) -> Any:
    """Lay a tensor of PyTorch out as (N, h, w, K): tokens are a class token and those of 4x5 patches."""
    if array.ndim == 3:
        return array[:, 1:].reshape(len(array), 4, 5, -1)
    return array.transpose(0, 2, 3, 1)


def agree(found: Any, wanted: Any) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("exporter", BOTH)
def test_layers_are_called_as_the_modules_of_pytorch(exporter: str) -> None:
    found = network(f"pooled{exporter}")
    listed = {each.path: each for each in found.list_layers()}
    assert listed["stem.2"].size == "12x16x8"
    assert listed["last.1"].size == "6x8x12"
    assert [path for path, each in listed.items() if each.auto] == ["last.1"]
    assert found.layers.choose("last").layer.path == "last.1"
    assert found.layers.choose("block").layer.path == "block.3"
    assert found.layers.choose("stem").layer.reason == "requested as 'stem'"
    with pytest.raises(ModelError, match=r"no layer 'last\.9'.*Did you mean last"):
        found.layers.choose("last.9")
    with pytest.raises(ModelError, match="no layer 'head'"):
        found.layers.choose("head")


def test_names_of_nodes_and_tensors_are_taken_too() -> None:
    layers = network("pooled").layers
    for name in ("/last/last.1/Clip", "/last/last.1/Clip_output_0", "last.1", "last"):
        assert layers.choose(name).layer.path == "last.1"
    assert layers.choose("/Add").layer.path == "/Add"


@pytest.mark.parametrize("exporter", [*BOTH, "_ir"])
def test_a_transformer_is_explained_by_what_its_last_attention_reads(exporter: str) -> None:
    chosen = network(f"vit{exporter}").layers.choose("auto")
    assert chosen.layer.path == "blocks.1.norm1"
    assert (chosen.layer.height, chosen.layer.width, chosen.layer.channels) == (4, 5, 16)
    assert chosen.layout.prefix == 1, "the class token is no part of the map"
    assert chosen.layer.geometry == MapGeometry(CellLine(4.0, 8.0, 0.0, 32.0), CellLine(4.0, 8.0, 0.0, 40.0))


def test_modules_keep_their_names_where_openvino_has_fused_their_nodes() -> None:
    """A layer normalisation becomes one node without the name of a module, and a convolution a product and a sum."""
    layers = network("vit_ir").layers
    paths = {layers.path(each) for each in layers.all}
    norms = {f"blocks.{block}.norm{place}" for block in (0, 1) for place in (1, 2)}
    assert norms | {"patches", "blocks.1", "norm"} <= paths
    assert not any("WithoutBiases" in each.name for each in layers.all)
    fused = str(layers.choose("norm").tensor.get_node().get_friendly_name())
    assert fused.startswith("MVN_")
    assert layers.choose(fused).layer.path == "norm"


@pytest.mark.parametrize(
    ("name", "layer"),
    [(f"{name}{form}", layer) for name, names in LAYERS.items() for layer in names for form in [*BOTH, "_ir"]],
)
def test_activations_logits_and_gradients_are_those_of_autograd(name: str, layer: str) -> None:
    reference = np.load(ONNX / f"{name.split('_', maxsplit=1)[0]}.npz")
    made = plan(name, layer)
    found = engine(made).explain(pixels(reference), reference["classes"][:, None])
    assert found.gradients is not None
    assert (made.head_weights is not None) == (layer == "last"), "the closed form is for one dense layer alone"
    agree(found.logits, reference["logits"])
    agree(found.activations, as_map(reference[f"a_{layer}"]))
    agree(found.gradients[:, 0], as_map(reference[f"g_{layer}"]))


def test_a_plan_is_checked_by_differences_and_comes_back(tmp_path: Path) -> None:
    made = plan("vit")
    assert made.check is not None
    assert made.check.correlation > 0.999
    assert plan("pooled").check is None, "the closed form needs none"
    write_plan(made, tmp_path / "vit.plan")
    again = read_plan(tmp_path / "vit.plan")
    x = pixels(np.load(ONNX / "vit.npz"))
    np.testing.assert_array_equal(engine(made).explain(x).gradients, engine(again).explain(x).gradients)


def test_a_gradient_is_checked_by_a_step_that_suits_its_network(tmp_path: Path) -> None:
    """A score `sum(w f^e)`, e = 1000 and f next to 1, is curved: only the change by a short step is nearly linear."""
    given = op.parameter([1, 3, 16, 16], np.float32, "picture")
    small = op.multiply(op.tanh(conv(given, 3, 4)), np.float32(0.001))
    features = op.add(small, np.float32(1))
    features.set_friendly_name("features")
    steep = op.power(features, np.float32(1000))
    made = plan(saved(tmp_path, pooled_head(steep, 3), given), "features")
    assert made.check is not None
    assert made.check.correlation > 0.999
    assert abs(made.check.ratio - 1) < 0.03


def test_how_the_scores_depend_on_the_layer_is_read() -> None:
    kinds = {name: plan(name).linearity for name in ("pooled", "flat", "vit")}
    assert kinds == {"pooled": "piecewise", "flat": "smooth", "vit": "smooth"}


def without_a_rule(tmp_path: Path) -> Path:
    """A network with an operation behind its map that has no derivative."""
    given = op.parameter([1, 3, 16, 16], np.float32, "picture")
    features = op.relu(conv(given, 3, 4))
    features.set_friendly_name("features")
    rounded = op.round(op.multiply(features, np.float32(3)), "half_to_even")
    return saved(tmp_path, pooled_head(rounded, 3), given)


def test_a_gradient_that_cannot_be_built_is_told_and_other_methods_work(invoke: Invoke, tmp_path: Path) -> None:
    path = without_a_rule(tmp_path)
    with pytest.raises(ModelError, match=r"Round.*another layer.*without gradients"):
        plan(path, "features")
    args = ("explain", str(SAMPLES / "chelsea.jpg"), "-o", "out", "--model", str(path), "--layer", "features")
    for method in ("eigencam", "scorecam"):
        done = CliRunner().invoke(program, [*args, "--method", method], catch_exceptions=False)
        assert done.exit_code == 0, done.stderr
    done = CliRunner().invoke(program, [*args, "--method", "gradcam"], catch_exceptions=False)
    assert done.exit_code == 3
    assert "--method eigencam" in done.stderr


def test_a_wrong_gradient_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def halved(made: Any) -> Any:
        return checked(np.ones((2, 3), np.float32), np.full((2, 3), 0.5, np.float32))

    monkeypatch.setattr("gradcam_cli.engines.exchange.compiling.checked_by_differences", halved)
    with pytest.raises(ModelError, match="two computations of its gradient differ"):
        plan("flat")


def test_a_network_for_one_picture_runs_one_at_a_time(tmp_path: Path) -> None:
    path = one_picture_only(tmp_path)
    made = engine(plan(path), batch_size=5)
    assert made.batch_size == 1
    x = np.random.default_rng(1).random((1, 16, 16, 3), np.float32)
    whole = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    agree(made.explain(x).logits, whole([x.transpose(0, 3, 1, 2)])[0])


def test_a_network_exported_for_one_picture_takes_more_where_it_can(tmp_path: Path) -> None:
    given = op.parameter([1, 3, 16, 16], np.float32, "picture")
    path = saved(tmp_path, pooled_head(op.relu(conv(given, 3, 4)), 3), given)
    assert engine(plan(path), batch_size=5).batch_size == 5


def test_a_network_that_mixes_its_pictures_runs_as_it_was_exported(tmp_path: Path) -> None:
    """A normalisation over the batch changes with what else is in it."""
    given = op.parameter([2, 3, 16, 16], np.float32, "picture")
    features = op.relu(conv(given, 3, 4))
    centred = op.subtract(features, op.reduce_mean(features, np.asarray([0]), keep_dims=True))
    path = saved(tmp_path, pooled_head(op.relu(centred), 3), given)
    assert engine(plan(path), batch_size=5).batch_size == 2


def one_picture_only(tmp_path: Path) -> Path:
    """A network with a constant beside its features that is there for one picture."""
    given = op.parameter([1, 3, 16, 16], np.float32, "picture")
    beside = np.random.default_rng(2).standard_normal((1, 2, 8, 8)).astype(np.float32)
    together = op.concat([op.relu(conv(given, 3, 4)), op.constant(beside)], 1)
    return saved(tmp_path, pooled_head(op.relu(together), 3), given)


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
    assert any("assumed to be those of ImageNet" in note for note in found.notes)
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
    assert "224 is used" in found.warnings[0]
    larger = plan(path, input_size=(64, 96))
    assert (larger.input_shape, larger.warnings) == ((64, 96, 3), ())
    with pytest.raises(ModelError, match="it does not accept 64x96"):
        network("pooled", input_size=(64, 96))


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"output_name": "nosuch"}, ModelError, "there is no output 'nosuch'. There are: scores"),
        ({"inputs": (("age", "3"),)}, UsageError, "one input, the image"),
        ({"image_input": "all"}, UsageError, "one input, the image"),
        ({"sha256": "0" * 64}, ModelError, "not the requested one"),
        ({"weights": Path("w.h5")}, ModelError, "contains its weights"),
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
    assert "needs --engine openvino" in refused


def test_layers_are_compared_without_keras(run: Runner, tmp_path: Path, without_keras: dict[str, str]) -> None:
    args = ("evaluate", SAMPLES / "chelsea.jpg", SAMPLES / "coffee.jpg", "--model", ONNX / "pooled.onnx")
    methods = ("--method", "gradcam++", "--method", "ablationcam")
    done = run(*args, *methods, "--layer", "block", "--layer", "stem", "-o", "out", env=without_keras).expect(0)
    assert done.err.count("is a guess") == 1
    rows = [json.loads(line) for line in (tmp_path / "out" / "evaluation.jsonl").read_text().splitlines()]
    assert {row["layer"] for row in rows} == {"block.3", "stem.2"}
    figures = json.loads((tmp_path / "out" / "evaluation.json").read_text())["results"]
    assert [each["metrics"]["average_drop"]["count"] for each in figures] == [2] * 4
    refused = run(*args, "--metrics", "drop,sanity", env=without_keras).expect(3)
    assert "Remove it from --metrics" in refused.err
    assert "images/s" not in refused.err


def test_the_preprocessing_is_checked_by_predictions(
    run: Runner, tmp_path: Path, without_keras: dict[str, str]
) -> None:
    shutil.copy(ONNX / "pooled.onnx", tmp_path / "net.onnx")
    done = run("check-preprocess", "net.onnx", SAMPLES, "--json", env=without_keras).expect(0)
    report = json.loads(done.out)
    assert (report["preprocess"], report["certain"], report["images"]) == ("unit", False, 6)
    assert "not certain, possibly --preprocess unit" in done.err


def test_padding_and_strides_place_the_cells(tmp_path: Path) -> None:
    """A kernel of 3 with padding 1 and stride 2: the first cell looks at pixel 0, the next one at pixel 2."""
    given = op.parameter([1, 3, 16, 20], np.float32, "picture")
    path = saved(tmp_path, pooled_head(op.relu(conv(given, 3, 4)), 3), given)
    geometry = network(path).layers.choose("auto").layer.geometry
    assert geometry == MapGeometry(CellLine(0.5, 2.0, 0.0, 16.0), CellLine(0.5, 2.0, 0.0, 20.0))


def test_the_closed_form_is_for_linear_heads_alone(tmp_path: Path) -> None:
    """Far from its bend a ReLU looks linear, and is not."""
    given = op.parameter([1, 3, 16, 16], np.float32, "picture")
    scores = op.add(pooled_head(op.relu(conv(given, 3, 4)), 3), np.float32(1000))
    assert plan(saved(tmp_path, scores, given)).head_weights is not None
    given = op.parameter([1, 3, 16, 16], np.float32, "picture")
    scores = op.add(pooled_head(op.relu(conv(given, 3, 4)), 3), np.float32(1000))
    assert plan(saved(tmp_path, op.relu(scores), given)).head_weights is None


def test_a_layout_beside_another_way_to_the_logits_is_no_layer(tmp_path: Path) -> None:
    """The gradient behind the transpose alone is half of that behind the features, and cannot be told from it."""
    given = op.parameter([1, 3, 16, 20], np.float32, "picture")
    features = op.relu(conv(given, 3, 4))
    features.set_friendly_name("features")
    laid = op.transpose(features, np.asarray([0, 2, 3, 1]))
    laid.set_friendly_name("laid")
    kernel = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
    one = op.reduce_mean(op.relu(op.matmul(laid, kernel, False, False)), np.asarray([1, 2]), keep_dims=False)
    path = saved(tmp_path, op.add(one, pooled_head(features, 3)), given)
    with pytest.raises(ModelError, match=r"only rearranges the output of 'features'.*`layer=features`"):
        plan(path, "laid")
    made = plan(path, "features")
    assert made.check is not None
    assert made.check.correlation > 0.999
