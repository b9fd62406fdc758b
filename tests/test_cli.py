"""The command line as a stranger meets it, most of it on a fake engine in this process."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import keras
import numpy as np
import pytest
from conftest import DATA, SAMPLES, Invoke, Runner, jpeg
from PIL import Image, ImageFont

from gradcam_cli import __version__
from gradcam_cli.cli.observer import ConsoleObserver
from gradcam_cli.errors import EnvironmentStop
from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.methods import METHODS
from gradcam_cli.results.sidecar import schema_text
from gradcam_cli.settings import METHOD_CHOICES, PREPROCESS_CHOICES


def tree(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_a_folder(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    result = invoke("explain", "photos", "-o", "out")
    assert result.stdout == ""
    assert "3 images: 3 ok" in result.stderr
    names = [f"{name}{end}" for name in ("a.jpg", "b.jpg", "sub/a.jpg") for end in (".json", ".overlay.jpg")]
    assert tree(tmp_path / "out") == sorted([*names, "run.json"])
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    counts = {"asked": 3, "done": 3, "failed": 0, "left": 0, "total": 3, "ok": 3, "flat": 0, "error": 0, "before": 0}
    assert run["counts"] == counts
    assert run["interrupted"] is False
    assert run["options"]["method"] == "gradcam++"


def test_the_output_inside_the_input_is_never_read(invoke: Invoke, photos: Path) -> None:
    for _ in range(2):
        invoke("explain", "photos", "-o", "photos/out")
        assert len(tree(photos / "out")) == 7
    for _ in range(2):
        invoke("explain", "photos/sub", "-o", "photos/sub")
        assert tree(photos / "sub") == ["a.jpg", "a.jpg.json", "a.jpg.overlay.jpg", "run.json"]


def test_one_bad_image(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    (photos / "b.jpg").write_bytes(b"")
    result = invoke("explain", "photos", "-o", "out", "-q", code=1)
    assert result.stderr == "'b.jpg': empty: the file is empty\n"
    record = json.loads((tmp_path / "out/b.jpg.json").read_text())
    assert (record["status"], record["reason"]) == ("error", "empty")
    assert not (tmp_path / "out/b.jpg.overlay.jpg").exists()


def test_records_a_line(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    result = invoke("explain", "photos", "--jsonl", "-", "-q")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [r["input"]["path"] for r in records] == ["a.jpg", "b.jpg", "sub/a.jpg"]
    for record in records:
        jsonschema.validate(record, json.loads(schema_text()))
        assert record["classes"][0]["overlay"] is None
    invoke("explain", "photos", "-o", "out", "--jsonl", "all.jsonl", "-q")
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == json.loads((tmp_path / "out/a.jpg.json").read_text())


def test_a_pipe_through(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("explain", "-", "-o", "-", "-q", stdin=jpeg(33, 22))
    assert Image.open(io.BytesIO(result.stdout_bytes)).size == (33, 22)
    assert tree(tmp_path) == []
    assert invoke("explain", "-", "-o", "-", "-q", stdin=b"no picture", code=1).stdout_bytes == b""
    invoke("explain", "-", "-o", "out", stdin=jpeg())
    assert tree(tmp_path / "out") == ["run.json", "stdin.json", "stdin.overlay.jpg"]


def test_lists(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    invoke("explain", "--files-from", "-", "-0", "-o", "out", stdin=b"photos/a.jpg\0./photos/sub/a.jpg\0")
    assert "photos/a.jpg.json" in tree(tmp_path / "out")
    assert "photos/sub/a.jpg.json" in tree(tmp_path / "out")
    (tmp_path / "list").write_text("photos/b.jpg\nphotos/gone.jpg\n")
    invoke("explain", "--files-from", "list", "-o", "out2", code=1)
    assert json.loads((tmp_path / "out2/photos/gone.jpg.json").read_text())["reason"] == "vanished"


def test_boxes_and_mask(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    invoke("explain", "photos", "-o", "out", "--boxes", "0.5", "--draw-boxes", "--mask", "otsu")
    record = json.loads((tmp_path / "out/a.jpg.json").read_text())
    jsonschema.validate(record, json.loads(schema_text()))
    (entry,) = record["classes"]
    assert entry["boxes"][0].keys() == {"x0", "y0", "x1", "y1", "share"}
    options = json.loads((tmp_path / "out/run.json").read_text())["options"]
    assert options["boxes"] == 0.5
    assert options["overlay"]["mask"] == "otsu"
    assert invoke("explain", "photos", "--boxes", "otsu", "--jsonl", "-", "-q").stdout.count('"share"') >= 3


@pytest.mark.parametrize("value", ["0", "1", "1.5", "-0.5", "nan", "inf", "half", "", "Otsu"])
def test_a_threshold_lies_between_0_and_1(invoke: Invoke, photos: Path, value: str) -> None:
    for option in ("--boxes", "--mask"):
        result = invoke("explain", "photos", "-o", "out", f"{option}={value}", code=2)
        assert "neither a number between 0 and 1 nor otsu" in result.stderr


def test_boxes_are_drawn_only_where_they_are_looked_for(invoke: Invoke, photos: Path) -> None:
    result = invoke("explain", "photos", "-o", "out", "--draw-boxes", code=2)
    assert "--boxes otsu" in result.stderr
    for options in (["--draw-boxes", "--boxes", "0.5"], ["--mask", "0.5"], ["--caption"], ["--layout", "triptych"]):
        result = invoke("explain", "photos", "--jsonl", "-", *options, code=2)
        assert f"{options[0]} changes overlays, but no overlay is written" in result.stderr


def test_a_figure_on_the_command_line(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "font.ttf").write_bytes(ImageFont.load_default(10).font_bytes)  # type: ignore[union-attr]
    invoke("explain", "photos", "-o", "out", "--layout", "triptych", "--caption", "--colorbar", "--font", "font.ttf")
    overlay = json.loads((tmp_path / "out/run.json").read_text())["options"]["overlay"]
    assert (overlay["layout"], overlay["caption"], overlay["colorbar"]) == ("triptych", True, True)
    assert overlay["font"] == "font.ttf"
    assert "needs --caption" in invoke("explain", "photos", "-o", "out", "--font", "font.ttf", code=2).stderr
    assert invoke("verify", "out").exit_code == 0


def test_limit_dry_run_and_no_recursive(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    result = invoke("explain", "photos", "-o", "out", "--dry-run", "--limit", "2")
    assert result.stdout == "photos/a.jpg\tout/a.jpg.json\nphotos/b.jpg\tout/b.jpg.json\n"
    assert not (tmp_path / "out").exists()
    invoke("explain", "photos", "-o", "out", "--no-recursive")
    assert len(tree(tmp_path / "out")) == 5
    invoke("explain", "photos", "-o", "one", "--limit", "1")
    assert len(tree(tmp_path / "one")) == 3


def test_classes_and_maps(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    invoke("explain", "photos/a.jpg", "-o", "out", "--class", "class 3", "--class", "n00000001", "--save-maps")
    assert tree(tmp_path / "out") == [
        "a.jpg.1.map.npy",
        "a.jpg.1.overlay.jpg",
        "a.jpg.3.map.npy",
        "a.jpg.3.overlay.jpg",
        "a.jpg.json",
        "run.json",
    ]
    invoke("explain", "photos/a.jpg", "-o", "one", "--save-maps")
    assert tree(tmp_path / "one") == ["a.jpg.json", "a.jpg.map.npy", "a.jpg.overlay.jpg", "run.json"]


def test_pictures_may_be_decoded_in_processes_of_their_own(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    (photos / "b.jpg").write_bytes(b"no picture")
    same, apart = (
        invoke("explain", "photos", "-o", out, "--jsonl", "-", *option, code=1).stdout
        for out, option in (("same", []), ("apart", ["--isolate-decoder"]))
    )
    assert same == apart
    for path in tree(tmp_path / "same"):
        if path != "run.json":
            assert (tmp_path / "same" / path).read_bytes() == (tmp_path / "apart" / path).read_bytes()


def unpainted(sidecar: Path) -> dict[str, Any]:
    """What a sidecar says, but for what the looks of the overlay change."""
    record = json.loads(sidecar.read_text())
    return {k: v for k, v in record.items() if k not in {"model", "files", "options_sha256"}}


def test_overlay_options_reach_the_overlay(invoke: Invoke, photos: Path, tmp_path: Path) -> None:
    invoke("explain", "photos/a.jpg", "-o", "plain")
    before = (tmp_path / "plain/a.jpg.overlay.jpg").read_bytes()
    for option in (["--alpha", "0.9"], ["--colormap", "viridis"], ["--quality", "30"], ["--max-side", "8"]):
        invoke("explain", "photos/a.jpg", "-o", "other", *option)
        assert (tmp_path / "other/a.jpg.overlay.jpg").read_bytes() != before, option
        assert unpainted(tmp_path / "other/a.jpg.json") == unpainted(tmp_path / "plain/a.jpg.json")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["nosuch", "-o", "x"], "nosuch: there is no such file"),
        (["-o", "x"], "There is no INPUT"),
        (["photos"], "No output is given"),
        (["photos", "-o", "-"], "there are 3 inputs"),
        (["photos/a.jpg", "-o", "-", "--top-k", "2"], "several classes"),
        (["photos/a.jpg", "-o", "-", "--jsonl", "-"], "cannot take both"),
        (["-", "--files-from", "-", "-o", "x"], "cannot be both"),
        (["photos", "-0", "-o", "x"], "--files-from"),
        (["photos", "--jsonl", "-", "--save-maps"], "needs -o FOLDER"),
        (["photos", "-o", "x", "--top-k", "0"], "explains no class"),
        (["photos", "-o", "photos/a.jpg"], "cannot be written"),
        (["photos", "photos/sub", "-o", "x"], "would both be written"),
        (["empty", "-o", "x"], "nothing to do"),
        (["photos", "-o", "x", "--method", "gradcam+++"], "gradcam++"),
        (["photos", "-o", "x", "--alpha", "2"], "--alpha"),
        (["photos", "-o", "x", "--alpha", "nan"], "not a finite number"),
        (["photos", "-o", "x", "--smooth", "2", "--noise", "nan"], "not a finite number"),
        (["photos", "-o", "x", "--noise", "0.1"], "--smooth N"),
        (["photos", "-o", "x", "--smooth", "3", "--noise", "0"], "--noise"),
        (["photos", "-o", "x", "--max-channels", "9"], "--method scorecam"),
        (["photos", "-o", "x", "--scorecam-masks", "minmax"], "--method scorecam"),
        (["photos", "-o", "x", "--layers", "a"], "at least two"),
        (["photos", "-o", "x", "--layers", "a", "--layers", "a"], "each of them once"),
        (["photos", "-o", "x", "--layers", "a", "--layers", "b", "--layer", "c"], "Use only one of them"),
        (["photos", "-o", "x", "--method", "eigencam", "--score", "probability"], "does not differentiate"),
        (["photos", "-o", "x", "--input-size", "big"], "not a size"),
        (["--files-from", "nolist", "-o", "x"], "the list cannot be read"),
    ],
)
def test_usage_errors_are_two_and_say_why(
    invoke: Invoke, photos: Path, tmp_path: Path, args: list[str], says: str
) -> None:
    (tmp_path / "empty").mkdir()
    result = invoke("explain", *args, code=2, stdin=b"")
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_ctrl_c_ends_with_130_and_what_was_finished(
    invoke: Invoke, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ConsoleObserver.record

    def interrupted(self: ConsoleObserver, record: Any, *, before: bool) -> None:
        real(self, record, before=before)
        if record["input"]["path"] == "b.jpg":
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ConsoleObserver, "record", interrupted)
    result = invoke("explain", "photos", "-o", "out", code=130)
    assert "Interrupted" in result.stderr
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["interrupted"] is True
    # The third may be written before the run ends; then it is counted.
    assert run["counts"]["total"] == len(list((tmp_path / "out").rglob("*.jpg.json"))) >= 2
    for file in (tmp_path / "out").rglob("*"):
        assert ".tmp" not in file.name
        if file.suffix == ".json":
            json.loads(file.read_text())


def test_a_full_disk_ends_with_4(invoke: Invoke, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise EnvironmentStop("out/a.jpg.json: No space left on device.")

    monkeypatch.setattr("gradcam_cli.results.output.OutputFolder.write_image", full)
    assert "No space left" in invoke("explain", "photos", "-o", "out", code=4).stderr


def test_schema_and_models(invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(invoke("schema").stdout))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    rows = json.loads(invoke("models", "--json").stdout)
    assert {row["name"] for row in rows if row["weights_at_hand"]} == {"efficientnetlite0"}
    assert [row["name"] for row in rows if row["default"]] == ["resnet50"]
    assert {"width": 299, "height": 299} in [row["input_size"] for row in rows if row["name"] == "inceptionv3"]
    table = invoke("models").stdout
    assert all(row["name"] in table for row in rows)


def test_methods(invoke: Invoke) -> None:
    rows = json.loads(invoke("methods", "--json").stdout)
    assert [row["name"] for row in rows] == list(METHODS)
    assert [row["name"] for row in rows if row["default"]] == ["gradcam++"]
    assert [row["name"] for row in rows if row["head"] != "any"] == ["cam"]
    lines = invoke("methods").stdout.splitlines()
    assert len(lines) == 1 + len(METHODS)
    for row, line in zip(rows, lines[1:], strict=True):
        assert all(row[key] in line for key in ("name", "line", "cost", "head"))


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], {"score": "logit", "derivatives": "exact"}),
        (["--score", "probability"], {"score": "probability", "derivatives": "approximation"}),
        (["--smooth", "2"], {"score": "logit", "smooth": 2, "noise": 0.15, "derivatives": "exact"}),
        (
            ["--smooth", "2", "--noise", "0.3", "--flip"],
            {"score": "logit", "smooth": 2, "noise": 0.3, "flip": True, "derivatives": "exact"},
        ),
        (["--method", "scorecam"], {"name": "scorecam", "max_channels": 128, "scorecam_masks": "max"}),
        (
            ["--method", "scorecam", "--max-channels", "3", "--scorecam-masks", "minmax"],
            {"name": "scorecam", "max_channels": 3, "scorecam_masks": "minmax"},
        ),
        (["--method", "eigencam", "--flip"], {"name": "eigencam", "flip": True}),
    ],
)
def test_the_sidecar_has_the_methods_options(invoke: Invoke, photos: Path, args: list[str], says: Any) -> None:
    invoke("explain", "photos/a.jpg", "-o", "out", *args)
    record = json.loads(Path("out/a.jpg.json").read_text())
    jsonschema.validate(record, json.loads(schema_text()))
    unused = "score classes_sampled max_channels scorecam_masks smooth noise layers derivatives"
    nothing = dict.fromkeys(unused.split())
    assert record["method"] == {"name": "gradcam++", "flip": False, **nothing, **says}


def test_the_choices_are_the_registries() -> None:
    assert tuple(METHODS) == METHOD_CHOICES
    assert ("auto", *PREPROCESSINGS) == PREPROCESS_CHOICES


def test_help_and_version_are_instant(run: Runner) -> None:
    assert run("--version").expect(0).out.decode().strip() == f"gradcam-cli, version {__version__}"
    assert b"explain" in run("--help").expect(0).out
    assert b"Examples:" in run("explain", "-h").expect(0).out


def test_nosuch_is_refused_before_tensorflow(run: Runner) -> None:
    done = run("explain", "nosuch", "-o", "x", env={"PYTHONPROFILEIMPORTTIME": "1"}).expect(2)
    assert "nosuch" in done.err
    assert "tensorflow" not in done.err
    assert "keras" not in done.err


def test_a_cv2_that_cannot_be_imported_says_what_to_install(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    search = os.pathsep.join([str(tmp_path / "broken"), str(Path(__file__).parents[1])])
    model = DATA / "onnx" / "pooled.onnx"
    done = run("explain", SAMPLES, "-o", "x", "--model", model, env={"PYTHONPATH": search}).expect(4)
    assert "libGL.so.1" in done.err
    assert "opencv-python-headless" in done.err
    assert "Traceback" not in done.err


def test_weights_that_cannot_be_had(run: Runner, tmp_path: Path) -> None:
    """The default model with no weights on the machine and no network: a way out, not a traceback."""
    offline = {"KERAS_HOME": str(tmp_path / "keras"), "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    done = run("explain", SAMPLES, "-o", "x", env=offline).expect(3)
    assert "--weights" in done.err
    assert "efficientnetlite0" in done.err
    assert "Traceback" not in done.err


def test_a_typo_in_the_model_or_its_layer(inside: Runner) -> None:
    assert "efficientnetlite0" in inside("explain", SAMPLES, "-o", "x", "--model", "efficientnetlite").expect(3).err
    done = inside("explain", SAMPLES, "-o", "x", "--model", "efficientnetlite0", "--layer", "top_activaton").expect(3)
    assert "top_activation" in done.err
    assert "Traceback" not in done.err


def test_the_cause_is_told_in_one_line_where_keras_says_more(inside: Runner, tmp_path: Path) -> None:
    """Keras writes the layer and its arguments around the cause; names may have line ends and control characters."""
    inputs = keras.layers.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, name="bad\nname\x07")(inputs))
    keras.Model(inputs, keras.layers.Dense(3, "softmax")(x)).save(tmp_path / "own.keras")
    args = ("explain", SAMPLES / "chelsea.jpg", "-o", "out", "--model", "own.keras", "--engine", "tensorflow")
    (line,) = inside(*args).expect(3).err.splitlines()
    assert line.startswith("Error: own.keras: the network cannot be run on a 16x16x3 image: 'bad name\\x07' is not")
    model = DATA / "onnx" / "pooled.onnx"
    refused = inside(*args[:4], "--model", model, "--layer", "no\nError: such").expect(3).err
    assert r"There is no layer 'no\nError: such'" in refused


def test_layers_of_a_named_model(inside: Runner) -> None:
    rows = json.loads(inside("layers", "resnet50", "--json").expect(0).out)
    (auto,) = [row for row in rows if row["auto"]]
    assert (auto["path"], auto["height"], auto["width"], auto["channels"]) == ("conv5_block3_out", 7, 7, 2048)
    table = inside("layers", "efficientnetlite0").expect(0).out.decode()
    assert "* top_activation" in table
    assert "block5c_add" in table


def test_a_model_of_ones_own(inside: Runner, tmp_path: Path) -> None:
    """Saved, listed, explained: labels found beside it, one of two outputs, likely classes only, guesses told."""
    inputs = keras.layers.Input((32, 32, 3))
    x = keras.layers.Conv2D(6, 3, activation="relu", name="maps")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = [keras.layers.Dense(n, activation="sigmoid", name=name)(x) for name, n in (("kind", 3), ("age", 2))]
    keras.Model(inputs, outputs).save(tmp_path / "own.keras")
    (tmp_path / "own.labels.json").write_text('["ant", "bee", "cow"]')
    args = ("explain", SAMPLES / "chelsea.jpg", "-o", "out", "--model", "own.keras")
    assert "--output: kind, age" in inside(*args).expect(3).err
    assert "3 labels" in inside(*args, "--output", "age").expect(3).err
    done = inside(*args, "--output", "kind", "--top-k", "3", "--min-score", "0", "--class", "cow").expect(0)
    assert "'unit' is a guess" in done.err
    record = json.loads((tmp_path / "out" / "chelsea.jpg.json").read_text())
    assert {c["label"] for c in record["classes"]} == {"ant", "bee", "cow"}
    assert record["model"]["preprocess_guessed"] is True
    assert record["model"]["name"] == "own.keras"
    rows = json.loads(inside("layers", "own.keras", "--output", "kind", "--json").expect(0).out)
    assert [(row["path"], row["calls"], row["note"]) for row in rows] == [("maps", 1, "chosen")]
    assert "does not accept 64x64" in inside(*args, "--input-size", "64").expect(3).err


def test_several_layers(inside: Runner, tmp_path: Path) -> None:
    """One run at two layers is the maximum of two runs at one each; a plan, which has one layer, is no way to it."""
    inputs = keras.layers.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="fine")(x)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="coarse")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x)).save(tmp_path / "own.keras")
    args = ("explain", SAMPLES / "chelsea.jpg", "--model", "own.keras", "--save-maps", "--method", "layercam", "-o")
    done = inside(*args, "both", "--layers", "coarse", "--layers", "fine").expect(0)
    assert "own.keras: fused with fine" in done.err
    record = json.loads((tmp_path / "both" / "chelsea.jpg.json").read_text())
    assert record["method"]["layers"] == ["coarse", "fine"]
    assert (record["model"]["layer"], record["model"]["engine"]) == ("coarse", "openvino")
    maps = {}
    for layer in ("coarse", "fine"):
        inside(*args, layer, "--layer", layer).expect(0)
        raw = np.load(tmp_path / layer / "chelsea.jpg.map.npy")
        maps[layer] = raw / raw.max()
    twice = cv2.resize(maps["coarse"], (32, 32), interpolation=cv2.INTER_LINEAR)
    fused = np.load(tmp_path / "both" / "chelsea.jpg.map.npy")
    np.testing.assert_allclose(fused, np.maximum(twice, maps["fine"]), rtol=1e-3, atol=1e-4)
    layers = ("--layers", "coarse", "--layers", "fine")
    inside(*args, "slow", *layers, "--engine", "tensorflow").expect(0)
    slow = np.load(tmp_path / "slow" / "chelsea.jpg.map.npy")
    np.testing.assert_allclose(fused, slow, rtol=1e-3, atol=1e-3 * slow.max())
    inside("compile", "own.keras", "-o", "own.plan").expect(0)
    plan = ("explain", SAMPLES / "chelsea.jpg", "--model", "own.plan", "-o", "none", *layers)
    assert "compiled for one layer" in inside(*plan).expect(3).err


def test_stderr_is_for_people_only(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes((DATA / "chelsea.png").read_bytes()[:5000])
    done = run(
        "explain", DATA / "chelsea.png", "bad.png", "-o", "out", "--model", "efficientnetlite0", "--fit", "crop"
    ).expect(1)
    lines = done.err.splitlines()
    assert len(lines) == 3, done.err
    assert lines[0] == "efficientnetlite0: layer top_activation (auto: the last 7x7 output before the logits)"
    assert lines[1].startswith("'bad.png': truncated_or_corrupt: ")
    assert lines[2].startswith("2 images: 1 ok, 1 failed")


@pytest.fixture(scope="module")
def cache_of_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first run that ends by a signal compiles the model with TensorFlow, the second one finds its plan."""
    return tmp_path_factory.mktemp("cache")


def started(args: list[str], cwd: Path, cache: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "gradcam_cli", *args]
    env = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    return subprocess.Popen(command, cwd=cwd, stderr=subprocess.PIPE, text=True, env=env)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_real_run(tmp_path: Path, cache_of_runs: Path, number: signal.Signals, code: int) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    first = folder / "000.png"
    first.write_bytes((DATA / "coffee.png").read_bytes())
    for i in range(1, 400):
        (folder / f"{i:03}.png").hardlink_to(first)
    process = started(["explain", "in", "-o", "out", "--model", "efficientnetlite0"], tmp_path, cache_of_runs)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "003.png.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert "Traceback" not in err
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["interrupted"] is True
    for file in (tmp_path / "out").iterdir():
        assert not file.name.endswith(".tmp")
        if file.suffix == ".json" and file.name != "run.json":
            overlay = json.loads(file.read_text())["classes"][0]["overlay"]
            with Image.open(file.parent / overlay) as image:
                image.load()
