"""The OpenVINO engine, compiled plans, and the cache that makes the second one-liner quick."""

import errno
import json
import os
import shutil
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from conftest import SAMPLES, Runner
from nets import SIDE, classifier, crops, engine_at, flatten_dense, gap_dense, lite0

from gradcam_cli.engines import cache, plan_choice
from gradcam_cli.engines.compiling import NotCompilableError, NotCompiledHereError, compile_plan
from gradcam_cli.engines.devices import gpu_possible
from gradcam_cli.engines.openvino import OpenVinoEngine, PassOptions
from gradcam_cli.engines.plan import Plan, read_plan, write_plan
from gradcam_cli.engines.runtime import openvino
from gradcam_cli.engines.selection import ModelEngines
from gradcam_cli.engines.streams import MOST_STREAMS, streams_for
from gradcam_cli.engines.work import Work
from gradcam_cli.errors import ModelError
from gradcam_cli.labels.class_labels import Label, Labels
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.method_runner import raw_maps
from gradcam_cli.models.request import ModelRequest, locate_model
from gradcam_cli.settings import EngineSettings, MethodOptions, ModelSettings, Precision, TargetSettings


def opened(plan: Plan, top_k: int = 1, classes: tuple[str, ...] = (), precision: Precision = "float32") -> Any:
    return OpenVinoEngine(plan, TargetSettings(classes, top_k), PassOptions(5, 2, precision))


@pytest.fixture(scope="module")
def lite0_plan() -> Plan:
    return compile_plan(lite0(), "auto")


@pytest.mark.parametrize("method", METHODS)
def test_engines_agree_in_float32(lite0_plan: Plan, method: str) -> None:
    theirs = engine_at(lite0(), "auto", TargetSettings(top_k=2), batch_size=5)
    ours = opened(lite0_plan, top_k=2)
    assert ours.layer == theirs.layer
    a, b = ours.explain(crops()), theirs.explain(crops())
    assert np.abs(a.logits - b.logits).max() < 1e-3
    assert np.array_equal(a.targets, b.targets)
    options = MethodOptions(max_channels=10)
    found, expected = (raw_maps(METHODS[method], made, f, options).maps for made, f in ((ours, a), (theirs, b)))
    for x, y in zip(found, expected, strict=True):
        # Alpha of the softmax has poles, near which the last bit counts.
        tolerance = 1e-2 if method == "gradcam++-softmax" else 1e-4
        assert np.abs(x - y).max() <= tolerance * y.max()


def test_bfloat16_is_near_float32(lite0_plan: Plan) -> None:
    exact, short = (opened(lite0_plan, precision=precision) for precision in ("float32", "bfloat16"))
    a, b = exact.explain(crops()), short.explain(crops())
    assert np.array_equal(a.targets, b.targets)
    for x, y in zip(
        raw_maps(METHODS["gradcam++"], exact, a).maps, raw_maps(METHODS["gradcam++"], short, b).maps, strict=True
    ):
        assert np.corrcoef(x.ravel(), y.ravel())[0, 1] > 0.995


@pytest.mark.parametrize(("units", "activation"), [(5, "softmax"), (3, "sigmoid"), (3, None), (1, "sigmoid")])
def test_all_dense_heads(units: int, activation: str | None) -> None:
    labels = Labels(tuple(Label(f"class {i}") for i in range(max(units, 2))))
    made = classifier(gap_dense(units, activation), labels)
    ours = opened(compile_plan(made, "auto"), top_k=2, classes=("class 0",))
    theirs = engine_at(made, "auto", TargetSettings(("class 0",), 2), batch_size=5)
    x = np.random.default_rng(0).normal(size=(3, SIDE, SIDE, 3)).astype(np.float32)
    a, b = ours.explain(x), theirs.explain(x)
    assert ours.head.kind == theirs.head.kind
    assert np.array_equal(a.targets, b.targets)
    np.testing.assert_allclose(a.logits, b.logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(a.activations, b.activations, rtol=1e-4, atol=1e-5)
    assert b.gradients is not None
    np.testing.assert_allclose(a.gradients, b.gradients, rtol=1e-4, atol=1e-7)
    last = a.targets[:, -1]
    np.testing.assert_allclose(ours.class_gradients(a, last), theirs.class_gradients(b, last), rtol=1e-4, atol=1e-7)


def test_a_picture_the_network_cannot_take_is_told_as_such() -> None:
    made = replace(classifier(flatten_dense()), input_shape=(20, 20, 3))
    with pytest.raises(ModelError, match="cannot be run on a 20x20x3 image"):
        compile_plan(made, "auto")


def unknown_operation() -> Any:
    """A network with an operation behind its last map that has no rule here."""
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2DTranspose(4, 3)(keras.layers.Conv2D(4, 3, name="last")(inputs))
    return keras.Model(inputs, keras.layers.Dense(3, "softmax")(keras.layers.GlobalAveragePooling2D()(x)))


def test_what_has_no_rule_stays_with_tensorflow() -> None:
    with pytest.raises(NotCompilableError, match=r"operation ConvolutionBackpropData .*`engine=tensorflow`"):
        compile_plan(classifier(unknown_operation()), "last")
    with pytest.raises(ModelError, match="no layer"):
        compile_plan(classifier(gap_dense()), "nosuch")


@pytest.mark.parametrize("fault", ["no temporary folder", "a file that OpenVINO cannot write"])
def test_a_full_disk_says_nothing_about_the_model(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device") if "folder" in fault else RuntimeError("Can't write")

    if "folder" in fault:
        monkeypatch.setattr(tempfile, "TemporaryDirectory", fail)
    else:
        monkeypatch.setattr(openvino, "save_model", fail)
        with pytest.raises(NotCompilableError) as caught:
            compile_plan(classifier(gap_dense()), "auto")
        assert caught.value.lasting
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(NotCompiledHereError) as caught:
        compile_plan(classifier(gap_dense()), "auto")
    assert not caught.value.lasting


@pytest.fixture
def plan() -> Plan:
    labels = Labels(tuple(Label(f"class {i}", f"n{i}") for i in range(5)))
    return compile_plan(classifier(gap_dense(), labels), "auto")


def test_a_plan_comes_back_as_it_was(plan: Plan, tmp_path: Path) -> None:
    write_plan(plan, tmp_path / "m.plan")
    again = read_plan(tmp_path / "m.plan")
    assert again.head_weights is not None
    assert plan.head_weights is not None
    assert np.array_equal(again.head_weights, plan.head_weights)
    for name in ("name", "input_shape", "preprocessing", "labels", "layer", "head_kind", "network", "weights"):
        assert getattr(again, name) == getattr(plan, name), name
    assert [p.name for p in tmp_path.iterdir()] == ["m.plan"]


def test_a_damaged_plan_is_refused(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "m.plan"
    write_plan(plan, path)
    data = path.read_bytes()
    for cut in (0, 10, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(ModelError, match="Compile the model again"):
            read_plan(path)
    for member, change in (("network.bin", b"!"), ("head.npy", b"!")):
        path.write_bytes(data)
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        members[member] = members[member][:-1] + change
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        with pytest.raises(ModelError, match="damaged"):
            read_plan(path)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRequest:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return locate_model(ModelSettings(model="efficientnetlite0"), lambda *_: None)


def test_the_cache_finds_what_it_kept_and_nothing_else(
    kept: ModelRequest, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache.cached_plan(kept) is None
    cache.keep_plan(kept, plan)
    found = cache.cached_plan(kept)
    assert found is not None
    assert found.name == plan.name
    for other in (
        replace(kept, settings=replace(kept.settings, layer="block5c_add")),
        replace(kept, settings=replace(kept.settings, input_size=(96, 96))),
        replace(kept, settings=replace(kept.settings, preprocess="tf")),
        replace(kept, labels=Labels((Label("a"),))),
        replace(kept, sha256="0" * 64),
    ):
        assert cache.cached_plan(other) is None
    monkeypatch.setattr(cache, "installed_version", lambda _name: "another")
    assert cache.cached_plan(kept) is None


def test_a_damaged_plan_in_the_cache_is_made_anew(kept: ModelRequest, plan: Plan) -> None:
    cache.keep_plan(kept, plan)
    path = cache.cached_path(kept)
    path.write_bytes(path.read_bytes()[:-100])
    assert cache.cached_plan(kept) is None
    assert not path.exists()


def test_a_cache_that_cannot_be_written_stops_nobody(
    kept: ModelRequest, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    cache.keep_plan(kept, plan)
    assert cache.cached_plan(kept) is None


def test_what_cannot_be_compiled_is_tried_once(kept: ModelRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier(unknown_operation())
    kept = replace(kept, settings=replace(kept.settings, layer="last"))
    tried = []

    def counted(*args: Any) -> Plan:
        tried.append(args)
        return compile_plan(*args)

    monkeypatch.setattr("gradcam_cli.engines.compiling.compile_plan", counted)
    auto = EngineSettings()
    first, again = (plan_choice.compiled([kept], model, auto) for _ in range(2))
    assert first == again
    assert first.plans == ()
    assert first.reason.startswith("Layer 'last': There is no gradient for the operation ConvolutionBackpropData")
    assert "engine=" not in first.reason
    assert len(tried) == 1
    with pytest.raises(NotCompilableError):
        plan_choice.compiled([kept], model, EngineSettings(engine="openvino"))
    assert "ConvolutionBackpropData" in plan_choice.compiled([kept], model, EngineSettings(cache=False)).reason
    assert len(tried) == 3


@pytest.mark.parametrize(
    ("files", "platform", "possible"),
    [
        (["nvidia0", "nvidiactl"], "linux", True),
        (["kfd"], "linux", True),
        (["dxg"], "linux", True),
        (["nvidiactl", "dri", "null"], "linux", False),
        (["nvidia0"], "win32", False),
        (["nvidia0"], "darwin", False),
    ],
)
def test_where_a_gpu_can_exist(tmp_path: Path, files: list[str], platform: str, possible: bool) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert gpu_possible(platform, tmp_path) is possible


def test_the_plugin_of_a_mac(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("gradcam_cli.engines.devices.installed_version", lambda _name: "1.2.0")
    assert gpu_possible("darwin", tmp_path)


SMALL_WORK = Work(TargetSettings(), (METHODS["gradcam"],), MethodOptions(), image_count=100, batch_size=2)


def test_auto_prefers_a_gpu_to_a_kept_plan(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every combination of what was asked for, with a GPU and without one; a plan is kept from the start."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    gap_dense().save(tmp_path / "small.keras")
    request = locate_model(ModelSettings(model=str(tmp_path / "small.keras")), lambda *_: None)
    cache.keep_plan(request, plan)

    def chosen(choice: EngineSettings, *, gpu: bool) -> Any:
        return ModelEngines(request, choice, has_gpu=lambda: gpu).open(SMALL_WORK)[0]

    assert chosen(EngineSettings(), gpu=False).name == "openvino"
    assert chosen(EngineSettings(), gpu=True).name == "tensorflow"
    assert chosen(EngineSettings(), gpu=True).streams == 1, "a GPU takes one pass at a time"
    assert chosen(EngineSettings(engine="openvino"), gpu=True).name == "openvino"
    assert chosen(EngineSettings(precision="bfloat16"), gpu=True).name == "openvino"


def test_a_gpu_is_not_asked_about_where_it_decides_nothing(plan: Plan, kept: ModelRequest) -> None:
    def fail() -> bool:
        raise AssertionError

    cache.keep_plan(kept, plan)
    assert ModelEngines(kept, EngineSettings(engine="openvino"), has_gpu=fail).open(SMALL_WORK)[0].name == "openvino"


def test_the_preflight_of_a_file_whose_plan_is_kept_waits_until_keras_loads_it(
    kept: ModelRequest, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.keras"
    gap_dense().save(path)
    checked = []
    monkeypatch.setattr(
        "gradcam_cli.models.safety.preflight_subprocess.check_in_subprocess", lambda *args, **_: checked.append(args)
    )
    settings = ModelSettings(model=str(path))
    request = locate_model(settings, lambda *_: None, may_wait=cache.has_plan)
    assert len(checked) == 1
    cache.keep_plan(request, plan)
    locate_model(settings, lambda *_: None, may_wait=cache.has_plan)
    assert len(checked) == 1
    path.write_bytes(path.read_bytes() + b" ")
    locate_model(settings, lambda *_: None, may_wait=cache.has_plan)
    assert len(checked) == 2


def test_streams() -> None:
    assert streams_for(1) == 1
    assert 1 <= streams_for(1000) <= MOST_STREAMS


@pytest.fixture
def without_keras(tmp_path: Path) -> dict[str, str]:
    """An environment in which neither TensorFlow nor Keras nor h5py can be imported."""
    folder = tmp_path / "without"
    folder.mkdir()
    for name in ("tensorflow", "keras", "h5py"):
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} is not here')")
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")}


def test_the_second_one_liner_needs_no_tensorflow(
    run: Runner, inside: Runner, tmp_path: Path, without_keras: dict[str, str]
) -> None:
    args = ("explain", SAMPLES / "chelsea.jpg", "--model", "efficientnetlite0", "-o")
    assert (
        "is not here. To install everything that models need: pip install ."
        in run(*args, "none", env=without_keras).expect(4).err
    )
    inside(*args, "first").expect(0)
    run(*args, "second", env=without_keras).expect(0)
    first, second = (json.loads((tmp_path / n / "chelsea.jpg.json").read_text()) for n in ("first", "second"))
    assert first == second
    assert first["model"]["engine"] == "openvino"
    listed = inside("cache", "list").expect(0).out.decode().splitlines()
    assert len(listed) == 2
    assert listed[1].split()[:6:2] == ["plan", "MB", "efficientnetlite0"]
    assert json.loads(inside("cache", "list", "--json").expect(0).out)[0]["layer"] == "top_activation"
    assert "0 plans removed" in inside("cache", "clear", "--older-than", "1").expect(0).err
    assert inside("cache", "path").expect(0).out.decode().strip() == str(tmp_path / "cache" / "gradcam-cli" / "plans")
    assert "1 plan removed" in inside("cache", "clear").expect(0).err
    inside(*args, "third", "--no-cache").expect(0)
    assert len(inside("cache", "list").expect(0).out.splitlines()) == 1, "the header alone"


def test_packaged_weights_are_compared_too(inside: Runner) -> None:
    args = ("explain", SAMPLES / "chelsea.jpg", "-o", "out", "--model", "efficientnetlite0", "--model-sha256")
    digest = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    assert "not the requested one" in inside(*args, "0" * 64).expect(3).err
    inside(*args, digest).expect(0)
    assert "not the requested one" in inside(*args, "0" * 64).expect(3).err


def test_a_plan_as_one_file(run: Runner, inside: Runner, tmp_path: Path, without_keras: dict[str, str]) -> None:
    gap_dense().save(tmp_path / "own.keras")
    (tmp_path / "own.labels.json").write_text('["ant", "bee", "cow", "dog", "elk"]')
    inside("compile", "own.keras", "-o", "own.plan", "--preprocess", "tf").expect(0)
    args = ("explain", SAMPLES, "-o", "out", "--model", "own.plan")
    run(*args, env=without_keras).expect(0)
    assert "all were done before" in run(*args, env=without_keras).expect(0).err
    record = json.loads((tmp_path / "out" / "chelsea.jpg.json").read_text())
    assert record["classes"][0]["label"] in {"ant", "bee", "cow", "dog", "elk"}
    assert record["model"]["engine"] == "openvino"
    assert record["model"]["preprocess"] == "tf"
    assert "compiled for the layer 'last'" in run(*args, "--layer", "first", env=without_keras).expect(3).err
    assert "compiled for 16x16" in run(*args, "--input-size", "32", env=without_keras).expect(3).err
    assert "needs --engine openvino" in run(*args, "--engine", "tensorflow", env=without_keras).expect(3).err
    assert "compiled for one layer" in run("layers", "own.plan", env=without_keras).expect(3).err
    assert ".plan" in inside("compile", "own.keras", "-o", "own.bin").expect(2).err


def test_which_engine_explains(inside: Runner, tmp_path: Path) -> None:
    flatten_dense().save(tmp_path / "flat.keras")
    args = ("explain", SAMPLES / "chelsea.jpg", "-o", "out", "--model", "flat.keras")

    def engine() -> Any:
        return json.loads((tmp_path / "out" / "chelsea.jpg.json").read_text())["model"]["engine"]

    inside(*args).expect(0)
    assert engine() == "openvino"
    assert "--precision bfloat16 needs a layer" in inside(*args, "--precision", "bfloat16").expect(3).err
    keras.utils.clear_session()
    unknown_operation().save(tmp_path / "unknown.keras")
    unknown = (*args[:-1], "unknown.keras", "--layer", "last")
    assert "ConvolutionBackpropData" not in inside(*unknown).expect(0).err
    assert engine() == "tensorflow"
    reason = "because OpenVINO cannot run the model: Layer 'last': There is no gradient for the operation"
    assert reason in inside(*unknown, "--overwrite", "-v").expect(0).err
    assert "--engine tensorflow" in inside(*unknown, "--engine", "openvino").expect(3).err
    refused = inside("compile", "unknown.keras", "--layer", "last", "-o", "unknown.plan").expect(3).err
    assert "ConvolutionBackpropData" in refused
    assert "--engine tensorflow" in refused
    assert "--engine tensorflow" in inside(*unknown, "--precision", "bfloat16").expect(3).err
    both = ("--engine", "tensorflow", "--precision", "bfloat16")
    assert "needs the engine openvino" in inside(*unknown, *both).expect(3).err
    keras.utils.clear_session()
    gap_dense().save(tmp_path / "gap.keras")
    args = (*args[:-1], "gap.keras")
    inside(*args, "--precision", "bfloat16").expect(0)
    assert engine() == "openvino"
    inside(*args, "--engine", "tensorflow").expect(0)
    assert engine() == "tensorflow"
