"""Models of several inputs: the map is the one that a gradient tape gives, and every image has its own values."""

import csv
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SAMPLES, Runner
from keras import layers
from PIL import Image

SIDE = 32
NAMES = sorted(path.name for path in Path(SAMPLES).iterdir() if path.suffix in {".png", ".jpg"})[:4]
PICTURES = [Path(SAMPLES) / name for name in NAMES]
AGES = {name: 0.3 * i - 0.5 for i, name in enumerate(NAMES)}


def metadata_model(container: str) -> tuple[Any, Any]:
    """A picture and three numbers; gives the model, and one from the same inputs to the map and the logits."""
    keras.utils.set_random_seed(3)
    picture, meta = keras.Input((SIDE, SIDE, 3), name="picture"), keras.Input((3,), name="meta")
    shown = layers.Conv2D(6, 3, activation="relu", name="shown")(layers.Rescaling(1 / 255)(picture))
    features = layers.Concatenate()([layers.GlobalAveragePooling2D()(shown), meta])
    hidden = layers.Dense(8, activation="tanh")(features)
    logits = layers.Dense(4, name="logits")(hidden)
    inputs = {"dict": {"meta": meta, "picture": picture}, "list": [meta, picture], "tuple": (picture, meta)}[container]
    return keras.Model(inputs, layers.Softmax()(logits)), keras.Model([picture, meta], [shown, logits])


def siamese_model() -> tuple[Any, Any]:
    """Two pictures through one backbone; gives the model, and one to both maps and the logits."""
    keras.utils.set_random_seed(4)
    first, second = (keras.Input((SIDE, SIDE, 3), name=name) for name in ("first", "second"))
    inside = keras.Input((SIDE, SIDE, 3))
    backbone = keras.Model(inside, layers.Conv2D(5, 5, activation="relu", name="shown")(inside), name="backbone")
    scaled = layers.Rescaling(1 / 255)
    maps = [backbone(scaled(each)) for each in (first, second)]
    pooled = [layers.GlobalAveragePooling2D()(each) for each in maps]
    difference = layers.Subtract()(pooled)
    logits = layers.Dense(3)(layers.Concatenate()([layers.Multiply()([difference, difference]), pooled[0]]))
    return keras.Model([first, second], layers.Softmax()(logits)), keras.Model([first, second], [*maps, logits])


def squashed(name: str) -> np.ndarray:
    """A picture as the command lays it into the input, by its own library functions for pixels alone."""
    from gradcam_cli.imaging.geometry import Size, apply_fit, plan_fit

    with Image.open(Path(SAMPLES) / name) as file:
        pixels = np.asarray(file.convert("RGB"))
    return apply_fit(pixels, plan_fit(Size(pixels.shape[1], pixels.shape[0]), Size(SIDE, SIDE), "squash")).astype("f")


def gradcam(parts: Any, feed: list[np.ndarray], which: int = 0) -> tuple[int, np.ndarray]:
    """Grad-CAM of the predicted class at one of the maps that the model of parts gives."""
    with tf.GradientTape() as tape:
        *maps, logits = parts([x[None] for x in feed])
        best = int(np.argmax(logits[0]))
        score = logits[0, best]
    gradient = tape.gradient(score, maps[which])
    heat = np.einsum("hwk,k->hw", maps[which][0], np.asarray(gradient).mean(axis=(0, 1, 2)))
    return best, np.maximum(heat, 0)


def table(path: Path, rows: dict[str, list[Any]], *columns: str) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *columns])
        writer.writerows([name, *values] for name, values in rows.items())
    return path


def check(folder: Path, name: str, best: int, expected: np.ndarray) -> None:
    record = json.loads((folder / f"{name}.json").read_text())
    assert record["status"] == ("ok" if expected.any() else "flat"), record["message"]
    assert record["classes"][0]["index"] == best
    found = np.load(folder / f"{name}.map.npy")
    assert np.abs(found - expected).max() <= 1e-5 * expected.max() + 1e-12


PLAIN = ("--method", "gradcam", "--save-maps", "--preprocess", "none", "--no-cache")


@pytest.mark.parametrize("container", ["dict", "list", "tuple"])
def test_numbers_by_a_table(inside: Runner, tmp_path: Path, container: str) -> None:
    model, parts = metadata_model(container)
    model.save(tmp_path / "m.keras")
    rows = {name: [AGES[name], -1, 2] for name in NAMES[1:]}
    sheet = table(tmp_path / "t.csv", rows, "age", "a", "b")
    done = inside(
        "explain", *PICTURES, "-o", tmp_path / "o", "--model", tmp_path / "m.keras", *PLAIN,
        "--input", f"meta={sheet}:age,a,b", "--batch-size", "2",
    ).expect(1)  # fmt: skip
    assert "no_input_value" in done.err
    for name in NAMES[1:]:
        check(tmp_path / "o", name, *gradcam(parts, [squashed(name), np.asarray(rows[name], "f")]))
    assert any(np.load(tmp_path / "o" / f"{name}.map.npy").any() for name in NAMES[1:])
    assert json.loads((tmp_path / "o" / f"{NAMES[0]}.json").read_text())["reason"] == "no_input_value"


@pytest.mark.parametrize("value", ["0.5,-1,2", "v.npy"])
def test_a_constant(inside: Runner, tmp_path: Path, value: str) -> None:
    model, parts = metadata_model("list")
    model.save(tmp_path / "m.h5")
    np.save(tmp_path / "v.npy", np.asarray([0.5, -1, 2]))
    text = str(tmp_path / value) if value.endswith("npy") else value
    arguments = ("explain", *PICTURES, "-o", tmp_path / "o", "--model", tmp_path / "m.h5", *PLAIN)
    inside(*arguments, "--input", f"meta={text}").expect(0)
    for name in NAMES:
        check(tmp_path / "o", name, *gradcam(parts, [squashed(name), np.asarray([0.5, -1, 2], "f")]))
    record = json.loads((tmp_path / "o" / f"{NAMES[0]}.json").read_text())
    assert record["model"]["inputs"][0]["name"] == "meta"
    again = inside(*arguments, "--input", f"meta={text}").expect(0)
    assert f"{len(NAMES)} were there" in again.err or "before" in again.err
    before = (tmp_path / "o" / f"{NAMES[0]}.map.npy").read_bytes()
    inside(*arguments, "--input", "meta=7").expect(0)
    assert (tmp_path / "o" / f"{NAMES[0]}.map.npy").read_bytes() != before


@pytest.mark.parametrize("which", ["first", "second"])
def test_a_partner_by_pairs(inside: Runner, tmp_path: Path, which: str) -> None:
    model, parts = siamese_model()
    model.save(tmp_path / "m.keras")
    partners = dict(zip(NAMES, NAMES[1:] + NAMES[:1], strict=True))
    rows: dict[str, list[Any]] = {k: [str((Path(SAMPLES) / v).resolve())] for k, v in partners.items()}
    sheet = table(tmp_path / "pairs.csv", rows, "partner")
    done = inside(
        "explain", *PICTURES, "-o", tmp_path / "o", "--model", tmp_path / "m.keras", *PLAIN,
        "--pairs", sheet, "--image-input", which, "--batch-size", "3",
    ).expect(0)  # fmt: skip
    assert f"called for the input '{which}'" in done.err
    for name, partner in partners.items():
        pair = [squashed(name), squashed(partner)]
        expected = gradcam(parts, pair) if which == "first" else gradcam(parts, pair[::-1], 1)
        check(tmp_path / "o", name, *expected)


def test_the_same_picture_in_all_inputs(inside: Runner, tmp_path: Path) -> None:
    model, parts = siamese_model()
    model.save(tmp_path / "m.keras")
    arguments = ("explain", *PICTURES, "-o", tmp_path / "o", "--model", tmp_path / "m.keras", *PLAIN)
    inside(*arguments, "--image-input", "all").expect(0)
    for name in NAMES:
        found = np.load(tmp_path / "o" / f"{name}.map.npy")
        either = [gradcam(parts, [squashed(name)] * 2, which)[1] for which in (0, 1)]
        assert min(np.abs(found - expected).max() for expected in either) <= 1e-5 * max(map(np.max, either))


def test_what_is_missing_is_named(inside: Runner, tmp_path: Path) -> None:
    metadata_model("list")[0].save(tmp_path / "m.keras")
    siamese_model()[0].save(tmp_path / "s.keras")
    explain = ("explain", *PICTURES, "-o", tmp_path / "o", "--no-cache", "--model")
    assert "'meta' (3 float32)" in inside(*explain, tmp_path / "m.keras").expect(3).err
    assert "--image-input" in inside(*explain, tmp_path / "s.keras").expect(3).err
    assert "no additional input 'mta'" in inside(*explain, tmp_path / "m.keras", "--input", "mta=1").expect(2).err
    assert "takes 3 float32" in inside(*explain, tmp_path / "m.keras", "--input", "meta=1,2").expect(2).err
    assert b"shown" in inside("layers", tmp_path / "m.keras").expect(0).out


@pytest.mark.parametrize("method", ["scorecam", "ablationcam", "gradcam++-softmax"])
def test_methods_of_many_passes_keep_the_values(inside: Runner, tmp_path: Path, method: str) -> None:
    """A batch of images with values of their own gives what each image gives alone with its values as constants."""
    metadata_model("list")[0].save(tmp_path / "m.keras")
    sheet = table(tmp_path / "t.csv", {name: [AGES[name]] * 3 for name in NAMES}, "a", "b", "c")
    plain = (*PLAIN[2:], "--method", method, "--smooth", "2", "--flip", "--model", tmp_path / "m.keras")
    inside("explain", *PICTURES, "-o", tmp_path / "o", *plain, "--input", f"meta={sheet}:a,b,c").expect(0)
    for name in NAMES[:2]:
        value = ("--input", f"meta={AGES[name]!r}")
        inside("explain", Path(SAMPLES) / name, "-o", tmp_path / "p", *plain, *value).expect(0)
        expected = np.load(tmp_path / "p" / f"{name}.map.npy")
        assert expected.any()
        assert np.allclose(np.load(tmp_path / "o" / f"{name}.map.npy"), expected, rtol=1e-4, atol=1e-6)


def test_a_study(inside: Runner, tmp_path: Path) -> None:
    metadata_model("list")[0].save(tmp_path / "m.keras")
    sheet = table(tmp_path / "t.csv", {name: [AGES[name]] * 3 for name in NAMES}, "a", "b", "c")
    inside(
        "evaluate", *PICTURES, "--model", tmp_path / "m.keras", "--no-cache", "--input", f"meta={sheet}:a,b,c",
        "--metrics", "all", "--steps", "3",
    ).expect(0)  # fmt: skip
