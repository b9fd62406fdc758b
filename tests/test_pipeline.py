"""The whole job on a fake engine: order, batches, failures, files and records."""

import io
import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import jpeg, sources
from fakes import FakeEngine, explained, job
from PIL import Image

import gradcam_cli.runs.preparing as preparing_module
from gradcam_cli.engines.streams import even_batch_size
from gradcam_cli.errors import EnvironmentStop
from gradcam_cli.imaging.geometry import Size, apply_fit, plan_fit
from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.inputs.sources import Source
from gradcam_cli.results.output import Names
from gradcam_cli.results.sidecar import Record
from gradcam_cli.runs.job import Fitted
from gradcam_cli.runs.pipeline import explain_sources, through
from gradcam_cli.runs.preparing import prepare, shown_size
from gradcam_cli.settings import FitMode, OverlaySettings


def comparable(record: Record) -> Record:
    """A record with scores rounded to what float32 arithmetic in batches of different sizes agrees on."""
    classes = [
        c | {key: pytest.approx(c[key], rel=1e-4) for key in ("logit", "probability")} for c in record["classes"]
    ]
    return record | {"classes": classes}


def test_every_image_gets_its_overlay_its_sidecar_and_its_place_in_line(tmp_path: Path) -> None:
    engine = FakeEngine(batch_size=4)
    records = explained(tmp_path, sources(tmp_path, 10), engine)
    assert [r["input"]["path"] for r in records] == [f"{i:03}.jpg" for i in range(10)]
    assert [r["input"]["width"] for r in records] == list(range(30, 40))
    assert engine.calls == [4, 4, 2]
    for i, record in enumerate(records):
        with Image.open(tmp_path / "out" / record["classes"][0]["overlay"]) as overlay:
            assert overlay.size == (30 + i, 24)
        assert json.loads((tmp_path / "out" / f"{i:03}.jpg.json").read_text()) == record


@pytest.mark.parametrize("size", [1, 3, 16])
def test_the_batch_size_changes_nothing(tmp_path: Path, size: int) -> None:
    items = sources(tmp_path, 7)
    one = explained(tmp_path, items, FakeEngine(batch_size=1))
    many = explained(tmp_path, items, FakeEngine(batch_size=size))
    assert [comparable(r) for r in one] == many


@pytest.mark.parametrize("streams", [2, 5])
def test_passes_side_by_side_change_nothing(tmp_path: Path, streams: int) -> None:
    items = sources(tmp_path, 11)
    one = explained(tmp_path, items, FakeEngine(batch_size=2))
    many = explained(tmp_path, items, FakeEngine(batch_size=2, streams=streams))
    assert [comparable(r) for r in one] == many


@pytest.mark.parametrize(
    ("images", "wanted", "streams", "size"),
    [
        (1, 16, 1, 1),
        (5, 16, 1, 5),
        (3, 16, 2, 2),
        (200, 16, 2, 10),
        (32, 16, 2, 16),
        (1000, 16, 2, 10),
        (7, 1, 2, 1),
        (100, 16, 1, 10),
    ],
)
def test_batches_come_out_even(images: int, wanted: int, streams: int, size: int) -> None:
    found = even_batch_size(images, wanted, streams)
    assert found == size
    assert found <= wanted


def test_order_of_inputs_changes_nothing(tmp_path: Path) -> None:
    items = sources(tmp_path, 5)
    forward = explained(tmp_path, items, FakeEngine())
    backward = explained(tmp_path, items[::-1], FakeEngine())
    assert [comparable(r) for r in forward] == backward[::-1]


def test_bad_images_shift_nobody(tmp_path: Path) -> None:
    items = sources(tmp_path, 9)
    alone = explained(tmp_path, items, FakeEngine())
    for i in (0, 4, 5, 8):
        Path(items[i].path).write_bytes(jpeg()[:-100])
    Path(items[2].path).unlink()
    engine = FakeEngine(batch_size=4)
    mixed = explained(tmp_path, items, engine)
    assert [r["reason"] for r in mixed] == [
        "truncated_or_corrupt",
        None,
        "vanished",
        None,
        "truncated_or_corrupt",
        "truncated_or_corrupt",
        None,
        None,
        "truncated_or_corrupt",
    ]
    for i in (1, 3, 6, 7):
        assert comparable(alone[i]) == mixed[i]
    assert engine.calls == [4]
    assert not mixed[0]["classes"]
    assert mixed[2]["input"]["sha256"] is None


def test_only_failures_never_meet_the_engine(tmp_path: Path) -> None:
    engine = FakeEngine(batch_size=2)
    gone = [Source(f"{i}.jpg", str(tmp_path / f"{i}.jpg")) for i in range(20)]
    assert {r["reason"] for r in explained(tmp_path, gone, engine)} == {"vanished"}
    assert engine.calls == []


def test_scores_that_are_no_numbers_are_that_images_failure(tmp_path: Path) -> None:
    items = sources(tmp_path, 3)
    white = io.BytesIO()
    Image.new("RGB", (30, 30), "white").save(white, "PNG")
    Path(items[1].path).write_bytes(white.getvalue())
    records = explained(tmp_path, items, FakeEngine(nan_above=0.99))
    assert [r["status"] for r in records] == ["ok", "error", "ok"]
    assert records[1]["reason"] == "not_finite"


def test_several_classes_each_have_their_overlay_once(tmp_path: Path) -> None:
    engine = FakeEngine(targets=(0, 1, 2, 3, 4), top_k=1)
    many = replace(job(save_maps=True), several_targets=True)
    (record,) = explained(tmp_path, sources(tmp_path, 1), engine, many)
    indices = [c["index"] for c in record["classes"]]
    assert sorted(indices) == [0, 1, 2, 3, 4]
    assert record["classes"][0]["probability"] == max(c["probability"] for c in record["classes"])
    for c in record["classes"]:
        assert c["overlay"] == f"000.jpg.{c['index']}.overlay.jpg"
        assert (tmp_path / "out" / c["overlay"]).is_file()
        assert np.load(tmp_path / "out" / c["map"]).shape == (4, 4)
        assert c["label"] == f"class {c['index']}"
    assert sum(c["probability"] for c in record["classes"]) == pytest.approx(1, rel=1e-5)


def test_saved_maps_are_the_methods_own(tmp_path: Path) -> None:
    engine = FakeEngine()
    (record,) = explained(tmp_path, sources(tmp_path, 1), engine, job(save_maps=True, method="cam"))
    raw = np.load(tmp_path / "out" / record["classes"][0]["map"])
    pixels = np.asarray(Image.open(tmp_path / "000.jpg"), np.uint8)
    fit = plan_fit(Size(30, 24), Size(8, 8), "squash")
    forward = engine.explain(PREPROCESSINGS["tf"](apply_fit(pixels, fit))[None])
    column = engine.kernel[:, record["classes"][0]["index"]]
    np.testing.assert_allclose(raw, np.maximum(forward.activations[0] @ column, 0), atol=1e-5)
    peak = np.unravel_index(raw.argmax(), raw.shape)
    cell = (record["classes"][0]["peak"]["y"] * 4 // 24, record["classes"][0]["peak"]["x"] * 4 // 30)
    assert cell == peak


def test_only_classes_likely_enough_are_explained_and_all_that_were_asked_for(tmp_path: Path) -> None:
    (item,) = sources(tmp_path, 1)
    (all_five,) = explained(tmp_path, [item], FakeEngine(top_k=5))
    by_class = {c["index"]: c["probability"] for c in all_five["classes"]}
    assert sum(by_class.values()) == pytest.approx(1, rel=1e-5)
    ranked = sorted(by_class, key=lambda index: -by_class[index])
    limit = (by_class[ranked[1]] + by_class[ranked[2]]) / 2
    (likely,) = explained(tmp_path, [item], FakeEngine(top_k=5), job(min_score=limit))
    assert [c["index"] for c in likely["classes"]] == ranked[:2]
    asked = replace(job(min_score=limit), asked_classes=1)
    (record,) = explained(tmp_path, [item], FakeEngine(top_k=3, targets=(ranked[4],)), asked)
    assert [c["index"] for c in record["classes"]] == [*ranked[:2], ranked[4]]
    (none,) = explained(tmp_path, [item], FakeEngine(top_k=5), job(min_score=1.0))
    assert (none["status"], none["classes"]) == ("ok", [])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_network_gets_the_channels_it_has(tmp_path: Path, channels: int) -> None:
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[..., :] = (200, 100, 50, 64)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    fitted = prepare(Source("a.png", str(tmp_path / "a.png")), replace(job(), channels=channels), Size(4, 4))
    assert isinstance(fitted, Fitted)
    assert fitted.inputs.shape == (4, 4, channels)
    pixel = ((fitted.inputs[0, 0] + 1) * 127.5).round().tolist()
    on_white = [round(255 + (c - 255) * 64 / 255) for c in (200, 100, 50)]
    grey = round(0.299 * on_white[0] + 0.587 * on_white[1] + 0.114 * on_white[2])
    # Four channels get the colours as they are stored, and their opacity.
    assert pixel == {1: [grey], 3: on_white, 4: [200, 100, 50, 64]}[channels]
    assert fitted.pixels is not None
    assert fitted.pixels[0, 0].tolist() == on_white


def test_flat_is_told(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.kernel[:] = -1
    (record,) = explained(tmp_path, sources(tmp_path, 1), engine)
    assert record["status"] == "flat"
    assert record["classes"][0]["flat"]
    assert record["classes"][0]["peak"] is None
    assert record["classes"][0]["area"] == 0


def test_smaller_overlays_and_large_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = sources(tmp_path, 2)
    small = job(overlay=OverlaySettings(max_side=10))
    kept = explained(tmp_path, items, FakeEngine(), small)
    overlays = [(tmp_path / "out" / r["classes"][0]["overlay"]).read_bytes() for r in kept]
    assert Image.open(io.BytesIO(overlays[0])).size == (10, 8)
    assert kept[0]["input"]["width"] == 30
    # The same files when the pixels are not kept but decoded a second time.
    monkeypatch.setattr(preparing_module, "PIXELS_KEPT", 1)
    assert explained(tmp_path, items, FakeEngine(), small) == kept
    assert [(tmp_path / "out" / r["classes"][0]["overlay"]).read_bytes() for r in kept] == overlays


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_a_reduced_jpeg_gives_nearly_the_same_input_and_the_same_places(tmp_path: Path, fit: FitMode) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(jpeg(1203, 805, seed=3))
    source, target = Source("large.jpg", str(path)), Size(64, 64)
    whole, reduced = (
        prepare(source, job(fit=fit, overlay=OverlaySettings(max_side=side)), target) for side in (1203, 300)
    )
    assert isinstance(whole, Fitted)
    assert isinstance(reduced, Fitted)
    assert (whole.card.reduction, reduced.card.reduction) == (1, 2)
    assert reduced.card.size == whole.card.size == Size(1203, 805)
    assert reduced.fit == whole.fit
    assert np.abs(reduced.inputs - whole.inputs).mean() < 0.01


def test_shown_size() -> None:
    assert shown_size(Size(400, 200), None) == Size(400, 200)
    assert shown_size(Size(400, 200), 100) == Size(100, 50)
    assert shown_size(Size(65501, 2), 1000) == Size(1000, 1)


def test_an_overlay_that_no_jpeg_can_hold(tmp_path: Path) -> None:
    wide = tmp_path / "wide.png"
    Image.new("RGB", (65501, 2)).save(wide)
    (record,) = explained(tmp_path, [Source("wide.png", str(wide))], FakeEngine())
    assert record["reason"] == "overlay_too_large"
    assert "`max_side`" in record["message"]


class Blocked:
    """A sink that takes nothing until it is told, and counts what waits for it."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def write_image(self, names: Names, files: Any, record: Any) -> None:
        self.gate.wait(30)


def test_reading_ahead_is_bounded(tmp_path: Path) -> None:
    """While nothing can be written, only so many images are read; an endless folder would not fill the memory."""
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg())
    taken = 0

    def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            if taken == 200:
                sink.gate.set()
            yield Source("a.jpg", str(path))

    sink = Blocked()
    records = explain_sources(endless(), job(), FakeEngine(batch_size=4), sink)
    opener = threading.Timer(0.5, sink.gate.set)
    opener.start()
    next(records)
    assert taken < 100
    records.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_no_pass_begins_after_the_end_of_an_interrupted_run(tmp_path: Path, workers: int) -> None:
    """Whatever is computed in `through`, its batches end with the next pass once nobody wants any more results."""
    engine = FakeEngine(batch_size=1, streams=workers)
    begun, passes = threading.Event(), []

    def long_work(batch: list[Any], ending: Any) -> list[Any]:
        if batch[0].source.relative == "000.jpg":
            return batch
        for _ in range(2000):
            begun.set()
            passes.append(1)
            ending.explain(np.stack([image.inputs for image in batch]))
            time.sleep(0.01)
        return batch

    results = through(sources(tmp_path, 4), job(), engine, (8, 8), long_work)
    next(results)
    begun.wait(10)
    started = time.monotonic()
    results.close()
    assert time.monotonic() - started < 2
    assert len(passes) < 500


def test_a_full_disk_ends_the_run(tmp_path: Path) -> None:
    class Full:
        def write_image(self, names: Names, files: Any, record: Any) -> None:
            raise EnvironmentStop("No space left on device")

    with pytest.raises(EnvironmentStop):
        list(explain_sources(sources(tmp_path, 3), job(), FakeEngine(), Full()))


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    items = sources(tmp_path, 4)
    snapshots = []
    for _ in range(2):
        explained(tmp_path, items, FakeEngine())
        snapshots.append({p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()})
    assert snapshots[0] == snapshots[1]
    assert len(snapshots[0]) == 8


def test_boxes_are_recorded_where_they_are_asked_for(tmp_path: Path) -> None:
    items = sources(tmp_path, 3)
    for record in explained(tmp_path, items, FakeEngine()):
        assert record["classes"][0]["boxes"] is None
    for record in explained(tmp_path, items, FakeEngine(), job(boxes=0.5)):
        (entry,) = record["classes"]
        first = entry["boxes"][0]
        assert sum(box["share"] for box in entry["boxes"]) <= 1
        assert any(
            box["x0"] <= entry["peak"]["x"] < box["x1"] and box["y0"] <= entry["peak"]["y"] < box["y1"]
            for box in entry["boxes"]
        )
        assert first["x1"] <= record["input"]["width"]
        assert first["y1"] <= record["input"]["height"]


def test_a_flat_map_has_no_boxes(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.kernel[:] = -1
    drawn = OverlaySettings(draw_boxes=True, mask="otsu")
    (record,) = explained(tmp_path, sources(tmp_path, 1), engine, job(boxes="otsu", overlay=drawn))
    assert record["classes"][0]["boxes"] == []


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_boxes_do_not_depend_on_the_overlays_size(tmp_path: Path, fit: str) -> None:
    items = sources(tmp_path, 2)
    full = explained(tmp_path, items, FakeEngine(), job(boxes="otsu", fit=fit))
    drawn = OverlaySettings(max_side=12, draw_boxes=True, mask=0.5)
    small = explained(tmp_path, items, FakeEngine(), job(boxes="otsu", fit=fit, overlay=drawn))
    assert [r["classes"][0]["boxes"] for r in small] == [r["classes"][0]["boxes"] for r in full]
    with Image.open(tmp_path / "out" / small[0]["classes"][0]["overlay"]) as overlay:
        assert overlay.size == (12, 10)


def test_mask_and_boxes_change_the_overlay_alone(tmp_path: Path) -> None:
    items = sources(tmp_path, 1)
    overlays = []
    for style in (OverlaySettings(), OverlaySettings(mask=0.5), OverlaySettings(draw_boxes=True)):
        (record,) = explained(tmp_path, items, FakeEngine(), job(boxes=0.5, overlay=style))
        overlays.append((tmp_path / "out" / record["classes"][0]["overlay"]).read_bytes())
    assert len(set(overlays)) == 3
