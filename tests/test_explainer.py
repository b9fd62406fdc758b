"""The library: pictures of all kinds in, explanations out, the same as the command line writes."""

import doctest
import importlib
import io
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import keras
import numpy as np
import pytest
from conftest import ROOT, SAMPLES, Runner, jpeg, picture
from fakes import CLASSES, FakeEngine, FakeEngines
from PIL import Image

import gradcam_cli
from gradcam_cli import (
    Explainer,
    ExplainRequest,
    ImageError,
    ModelError,
    RunObserver,
    RunSettings,
    UsageError,
    explain_folder,
    read_run,
)
from gradcam_cli.results.sidecar import Record, schema_text, to_json


@pytest.fixture
def explainer() -> Explainer:
    return Explainer("fake.keras", engines=FakeEngines(), batch_size=4)


def png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_package_is_light_and_has_all_its_names() -> None:
    code = (
        "import sys\nbefore = set(sys.modules)\nimport gradcam_cli\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new & {'numpy', 'tensorflow', 'keras', 'cv2', 'PIL', 'click'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"
    for name in gradcam_cli.__all__:
        assert "Example:" in getattr(gradcam_cli, name).__doc__, name
    assert set(gradcam_cli.__all__) <= set(dir(gradcam_cli))
    with pytest.raises(AttributeError, match="nothing"):
        _ = gradcam_cli.nothing


def test_all_forms_of_one_picture_give_one_map(explainer: Explainer, tmp_path: Path) -> None:
    pixels = picture(40, 30)
    path = tmp_path / "a.png"
    path.write_bytes(png(pixels))
    forms = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), pixels, Image.fromarray(pixels)]
    forms += [np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]), pixels[:, ::-1][:, ::-1]]
    found = list(explainer.explain(forms))
    assert len(found) == len(forms)
    for explanation in found:
        assert np.array_equal(explanation.best.map, found[0].best.map)
        assert (explanation.input["width"], explanation.input["height"]) == (40, 30)
    names = [explanation.input["path"] for explanation in found]
    assert names == ["a.png", "a.png", "picture-2", "picture-3", "picture-4", "picture-5", "picture-6", "picture-7"]


def test_grey_is_three_equal_channels_and_opacity_lies_on_white(explainer: Explainer) -> None:
    grey = picture()[..., 0]
    one, three = explainer.explain([grey, np.dstack([grey] * 3)])
    assert np.array_equal(one.best.map, three.best.map)
    clear = np.zeros((20, 20, 4), np.uint8)
    white = np.full((20, 20, 3), 255, np.uint8)
    one, three = explainer.explain([clear, white])
    assert np.array_equal(one.best.map, three.best.map)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LA", "RGBA"])
def test_pil_images_of_other_modes(explainer: Explainer, mode: str) -> None:
    image = Image.fromarray(picture()).convert(mode)
    converted = image.convert("RGBA" if mode in {"LA", "RGBA"} else "RGB")
    one, other = explainer.explain([image, converted])
    assert np.array_equal(one.best.map, other.best.map)


def test_a_pil_image_is_turned_upright(explainer: Explainer) -> None:
    image = Image.fromarray(picture(40, 30))
    exif = image.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif, quality=95)
    opened = explainer.explain_one(Image.open(io.BytesIO(buffer.getvalue())))
    assert (opened.input["width"], opened.input["height"]) == (30, 40)
    assert np.allclose(opened.best.map, explainer.explain_one(buffer.getvalue()).best.map, atol=0.02)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.zeros((8, 8, 3), np.float32), "0 to 1. Convert: (a * 255)"),
        (np.full((8, 8, 3), -1.0), "-1 to 1. Convert: ((a + 1) * 127.5)"),
        (np.full((8, 8, 3), 200.0), "0 to 255. Convert: a.round()"),
        (np.full((8, 8, 3), -120.0), "before preprocessing"),
        (np.zeros((8, 8, 3), np.uint16), "(a >> 8)"),
        (np.zeros((8, 8), bool), "* 255"),
        (np.zeros((3, 8, 8), np.uint8), "transpose(1, 2, 0)"),
        (np.zeros((2, 8, 8, 3), np.uint8), "a list of its images"),
        (np.zeros((8, 8, 2), np.uint8), "(8, 8, 2)"),
        (np.zeros((0, 8, 3), np.uint8), "(0, 8, 3)"),
        (Image.new("F", (8, 8)), "mode F"),
        (12, "a path, bytes"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_way_out(explainer: Explainer, wrong: Any, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        explainer.explain_one(wrong)
    assert says in str(refused.value)
    assert "--" not in str(refused.value)


def test_a_bad_picture_has_an_error_and_shifts_nothing(explainer: Explainer, tmp_path: Path) -> None:
    good = [jpeg(seed=i) for i in range(6)]
    mixed = [good[0], b"junk", good[1], tmp_path / "gone.jpg", b"", *good[2:]]
    found = list(explainer.explain(mixed))
    assert [bool(each.error) for each in found] == [False, True, False, True, True, *[False] * 4]
    alone = [explainer.explain_one(data).best.map for data in good]
    for one, other in zip((each for each in found if not each.error), alone, strict=True):
        assert np.allclose(one.best.map, other, rtol=1e-5)
    assert found[1].error is not None
    assert found[1].error.reason == "not_an_image"
    assert found[1].to_dict()["status"] == "error"
    assert found[1].classes == ()
    assert found[1]._repr_png_() is None
    with pytest.raises(ImageError):
        _ = found[1].best
    assert "not_an_image" in repr(found[1])


def test_numbers_that_are_none_are_an_error() -> None:
    class Sick(FakeEngine):
        def __post_init__(self) -> None:
            super().__post_init__()
            self.nan_above = -2.0

    found = Explainer("fake.keras", engines=FakeEngines(Sick)).explain_one(picture())
    assert found.error is not None
    assert found.error.reason == "not_finite"


def test_pictures_are_taken_lazily(explainer: Explainer) -> None:
    taken = []

    def endless() -> Any:
        while True:
            taken.append(1)
            yield picture()

    found = explainer.explain(endless())
    next(found)
    found.close()  # type: ignore[attr-defined]  # it is a generator
    assert len(taken) < 100


def test_classes_and_top_k(explainer: Explainer) -> None:
    one = explainer.explain_one(picture(), top_k=3)
    assert [each.index for each in one.classes] == sorted(
        range(CLASSES), key=lambda c: -{e.index: e.logit for e in explainer.explain_one(picture(), top_k=5).classes}[c]
    )[:3]
    assert one.best is one.classes[0]
    named = explainer.explain_one(picture(), classes=["class 3", 1])
    assert [each.index for each in named.classes] == [3, 1]
    assert named.classes[0].label == "class 3"
    assert named.classes[0].wnid == "n00000003"
    with pytest.raises(UsageError, match="`top_k=0`"):
        explainer.explain_one(picture(), top_k=0)
    with pytest.raises(ModelError, match="class 99"):
        explainer.explain_one(picture(), classes=["class 99"])


def test_heat_peak_area_boxes_and_overlay(explainer: Explainer) -> None:
    best = explainer.explain_one(picture(64, 48)).best
    assert best.map.shape == (4, 4)
    assert best.heat.shape == (48, 64)
    assert best.heat.dtype == np.float32
    assert 0.9 < best.heat.max() <= 1
    assert best.peak is not None
    x, y = best.peak
    assert best.heat[y, x] == best.heat.max()
    assert best.area == np.mean(best.heat >= 0.5)
    (region, *_) = best.boxes(0.5)
    assert best.heat[region.box.top : region.box.bottom, region.box.left : region.box.right].max() >= 0.5
    overlay = best.overlay(alpha=0)
    assert np.array_equal(overlay, picture(64, 48))
    assert best.overlay(colormap="viridis").shape == (48, 64, 3)


def test_the_attributes(explainer: Explainer) -> None:
    with explainer as same:
        assert (same.layer, same.input_size, same.class_count) == ("last", (8, 8), CLASSES)
        assert same.labels == tuple(f"class {i}" for i in range(CLASSES))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"methid": "gradcam"}, "Did you mean `method`"),
        ({"method": "gradkam"}, "`method=gradkam`"),
        ({"fit": "stretch"}, "`fit=stretch`: choose from auto, squash"),
        ({"preprocess": "imagenet"}, "`preprocess=imagenet`: choose from auto, caffe"),
        ({"method": "eigencam", "score": "probability"}, "score"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options: Any, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        Explainer("fake.keras", **options)
    assert says in str(refused.value)


def test_the_record_and_the_files_are_those_of_a_run(explainer: Explainer, tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(jpeg(50, 40))
    run = explain_folder(path, tmp_path / "run", model="fake.keras", batch_size=4, engines=FakeEngines())
    assert (run.exit_status, run.counts["done"]) == (0, 1)
    explanation = explainer.explain_one(path)
    jsonschema.validate(explanation.to_dict(), json.loads(schema_text()))
    assert to_json(explanation.to_dict()) == (tmp_path / "run/cat.jpg.json").read_text()
    explanation.save(tmp_path / "saved")
    for name in ("cat.jpg.json", "cat.jpg.overlay.jpg"):
        assert (tmp_path / "saved" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def own_cam(activations: Any, gradients: Any) -> Any:
    """Grad-CAM, as a user writes it."""
    return np.einsum("nk,nhwk->nhw", gradients.mean(axis=(1, 2)), activations)


def test_a_function_is_a_method() -> None:
    mine = Explainer("fake.keras", method=own_cam, engines=FakeEngines())
    theirs = Explainer("fake.keras", method="gradcam", engines=FakeEngines())
    one, other = mine.explain_one(picture()), theirs.explain_one(picture())
    assert np.allclose(one.best.map, other.best.map, rtol=1e-5)
    assert one.to_dict()["method"]["name"] == f"{__name__}.own_cam"
    again = pickle.loads(pickle.dumps(mine)).explain_one(picture())
    assert np.array_equal(again.best.map, one.best.map)

    def wrong(activations: Any, gradients: Any) -> Any:
        return activations

    with pytest.raises(UsageError, match=r"maps \(N, h, w\)"):
        Explainer("fake.keras", method=wrong, engines=FakeEngines()).explain_one(picture())


class Heard(RunObserver):
    def __init__(self) -> None:
        self.records: list[tuple[Record, bool]] = []
        self.ended: list[bool] = []

    def record(self, record: Record, *, before: bool) -> None:
        self.records.append((record, before))

    def finished(self, tally: Any, *, interrupted: bool) -> None:
        assert tally.total == len(self.records)
        self.ended.append(interrupted)


def test_a_folder_is_explained_resumed_and_read_back(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(5):
        (photos / f"{i}.jpg").write_bytes(jpeg(seed=i))
    (photos / "bad.jpg").write_bytes(b"no picture")
    heard, engines = Heard(), FakeEngines()
    run = explain_folder(photos, tmp_path / "out", observer=heard, engines=engines, top_k=2)
    assert run.exit_status == 1
    assert run.counts["failed"] == 1
    records = list(run.records())
    assert [record["input"]["path"] for record in records] == sorted(r["input"]["path"] for r, _ in heard.records)
    assert heard.ended == [False]
    again = Heard()
    second = explain_folder([photos], tmp_path / "out", observer=again, engines=engines, top_k=2)
    assert second.counts["before"] == 5
    assert [before for _, before in again.records].count(True) == 5
    back = read_run(tmp_path / "out")
    assert back.counts == second.counts
    assert back.record["options"]["top_k"] == 2
    assert list(back.records()) == records
    with pytest.raises(UsageError, match=r"run\.json"):
        read_run(photos)
    with pytest.raises(UsageError, match="nothing to do"):
        explain_folder(tmp_path / "out", tmp_path / "other", engines=engines)
    with pytest.raises(UsageError, match="`foo`"):
        explain_folder(photos, tmp_path / "out", engines=engines, foo=1)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="`resume=again`"):
        explain_folder(photos, tmp_path / "out", engines=engines, resume="again")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="`method=gradkam`"):
        explain_folder(ExplainRequest(run=RunSettings(method="gradkam")))


def test_an_observer_may_end_a_run(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / f"{i}.jpg").write_bytes(jpeg(seed=i))

    class Ending(Heard):
        def record(self, record: Record, *, before: bool) -> None:
            super().record(record, before=before)
            if len(self.records) == 2:
                raise KeyboardInterrupt

    ending = Ending()
    with pytest.raises(KeyboardInterrupt):
        explain_folder(tmp_path, tmp_path / "out", observer=ending, engines=FakeEngines())
    assert ending.ended == [True]
    assert read_run(tmp_path / "out").record["interrupted"] is True


def network(units: int = 3) -> keras.Model:
    keras.utils.set_random_seed(5)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="last")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(units, activation="softmax")(x), name="mine")


def test_a_model_in_memory_is_explained_and_never_changed(tmp_path: Path) -> None:
    model = network()
    model.compile("sgd", "sparse_categorical_crossentropy")
    pictures = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    before, predicted = [w.numpy().copy() for w in model.weights], model.predict(pictures, verbose=0)
    explainer = Explainer(model, labels=["ant", "bee", "cow"], method="gradcam")
    found = list(explainer.explain(list(pictures)))
    for explanation, row in zip(found, predicted, strict=True):
        assert explanation.best.index == row.argmax()
        assert explanation.best.probability == pytest.approx(row.max(), rel=1e-5)
        assert explanation.best.label == ("ant", "bee", "cow")[int(row.argmax())]
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.weights, strict=True))
    assert np.array_equal(model.predict(pictures, verbose=0), predicted)
    assert not any("call" in vars(layer) for layer in model.layers)
    # The file of the same model has the same maps.
    model.save(tmp_path / "mine.keras")
    saved = Explainer(tmp_path / "mine.keras", engine="tensorflow", method="gradcam").explain_one(pictures[0])
    assert np.array_equal(saved.best.map, found[0].best.map)
    assert (found[0].to_dict()["model"]["name"], saved.to_dict()["model"]["name"]) == ("mine", "mine.keras")
    # Training goes on, and so do the explanations.
    model.fit(pictures, np.zeros(8), epochs=1, verbose=0)
    trained = explainer.explain_one(pictures[0])
    assert trained.best.probability == pytest.approx(model.predict(pictures[:1], verbose=0).max(), rel=1e-5)
    assert trained.to_dict()["model"]["sha256"] != found[0].to_dict()["model"]["sha256"]
    again = pickle.loads(pickle.dumps(explainer)).explain_one(pictures[0])
    assert np.array_equal(again.best.map, trained.best.map)


def test_a_folder_by_a_model_in_memory_and_a_function(tmp_path: Path) -> None:
    model = network()
    model.save(tmp_path / "mine.keras")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(jpeg(48, 48))
    runs = [
        explain_folder(tmp_path / "photos", tmp_path / "memory", model=model, method=own_cam),
        explain_folder(
            tmp_path / "photos", tmp_path / "file", model=tmp_path / "mine.keras", method="gradcam", engine="tensorflow"
        ),
    ]
    one, other = (next(run.records()) for run in runs)
    assert one["classes"][0]["heat"] == other["classes"][0]["heat"]
    assert (one["model"]["name"], one["method"]["name"]) == ("mine", f"{__name__}.own_cam")


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ModelError, match="built keras"):
        Explainer(12).explain_one(picture())
    with pytest.raises(ModelError, match="not built"):
        Explainer(keras.Sequential([keras.layers.Dense(2)])).explain_one(picture())


def test_lite0_by_library_command_and_pickle(inside: Runner, tmp_path: Path) -> None:
    """The same record and overlay by the command, by the library, and by a pickled explainer in another process."""
    photo = SAMPLES / "chelsea.jpg"
    inside("explain", photo, "-o", "out", "--model", "efficientnetlite0").expect(0)
    explainer = Explainer("efficientnetlite0")
    explanation = explainer.explain_one(photo)
    assert to_json(explanation.to_dict()) == (tmp_path / "out/chelsea.jpg.json").read_text()
    explanation.save(tmp_path / "saved")
    overlay = (tmp_path / "out/chelsea.jpg.overlay.jpg").read_bytes()
    assert (tmp_path / "saved/chelsea.jpg.overlay.jpg").read_bytes() == overlay
    (tmp_path / "explainer.pickle").write_bytes(pickle.dumps(explainer))
    code = (
        "import pickle, sys\nfrom gradcam_cli.results.sidecar import to_json\n"
        "explainer = pickle.loads(open('explainer.pickle', 'rb').read())\n"
        f"sys.stdout.write(to_json(explainer.explain_one({str(photo)!r}).to_dict()))"
    )
    env = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=env
    )
    assert done.stdout == to_json(explanation.to_dict())


def test_the_example_trains_explains_and_saves(tmp_path: Path) -> None:
    script = ROOT / "docs/examples/train_and_explain.py"
    command = [sys.executable, str(script), str(tmp_path / "out")]
    env = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert "probability" in done.stdout
    assert len(list((tmp_path / "out").glob("*.json"))) == 4
    assert len(list((tmp_path / "out").glob("*.overlay.jpg"))) == 8


@pytest.mark.parametrize("name", ["errors", "settings"])
def test_the_examples_of_docstrings_are_true(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"gradcam_cli.{name}"))
    assert found.attempted > 5
    assert found.failed == 0
