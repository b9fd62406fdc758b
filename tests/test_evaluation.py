"""The comparison of methods on a fake engine: streams, figures, collages, the sanity check and the summary."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import jpeg, picture, sources
from fakes import CARD, EVERYTHING, HEAD, PAIR, FakeEngine, OtherEngine, study
from numpy.typing import NDArray
from PIL import Image

from gradcam_cli.engines.protocol import NO_EXTRAS, Extras, Floats, Forward
from gradcam_cli.evaluation.grid import Candidate, Cell, collage, collages, measure_grid, share_in_cell
from gradcam_cli.evaluation.ground_truth import TruthBox
from gradcam_cli.evaluation.images import Measured, Study, measure
from gradcam_cli.evaluation.maps import class_scores, over_input
from gradcam_cli.evaluation.measures import GROUPS, MEASURES
from gradcam_cli.evaluation.metrics import pearson
from gradcam_cli.evaluation.sanity import BaselineMaps, Change, Stage, measure_stage, rank_correlation
from gradcam_cli.evaluation.summary import Figure, StudySummary, evaluation_record
from gradcam_cli.imaging.heatmap import scale
from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.inputs.sources import Source
from gradcam_cli.methods import METHODS
from gradcam_cli.methods.method import Batch, Method, RawMaps
from gradcam_cli.requests import Gate
from gradcam_cli.runs.job import Unexplained


def measured(items: list[Source], the_study: Study, engine: FakeEngine) -> list[Measured]:
    found = list(measure(items, the_study, engine))
    assert all(isinstance(image, Measured) for image in found)
    return [image for image in found if isinstance(image, Measured)]


def figures(images: list[Measured]) -> list[dict[str, dict[str, float]]]:
    return [{name: result.figures for name, result in image.methods.items()} for image in images]


def approximately(found: list[dict[str, dict[str, float]]]) -> Any:
    return [{m: pytest.approx(f, rel=1e-3, abs=1e-4) for m, f in image.items()} for image in found]


def test_every_image_in_order_with_every_figure(tmp_path: Path) -> None:
    items = sources(tmp_path, 10)
    engine = FakeEngine(batch_size=4)
    images = measured(items, study(), engine)
    assert [image.source for image in images] == items
    names = {"average_drop", "increase", "win_rate", "complexity", "coherency", "adcc", "deletion", "insertion"}
    for image in images:
        for result in image.methods.values():
            assert result.figures.keys() == names
            for name, value in result.figures.items():
                assert 0 <= value <= (100 if MEASURES[name].percent else 1)


def test_passes_are_what_the_engine_was_asked_and_batches_are_full(tmp_path: Path) -> None:
    engine = FakeEngine(batch_size=4)
    images = measured(sources(tmp_path, 8), study(), engine)
    # The picture, two masked ones, all baseline, and three steps of two curves of two methods.
    assert [image.passes for image in images] == [1 + 2 + 1 + 2 * 2 * 3] * 8
    assert sum(engine.calls) == sum(image.passes for image in images)
    assert set(engine.calls) == {4}


@pytest.mark.parametrize(("size", "streams"), [(1, 1), (3, 2), (16, 3)])
def test_batches_and_streams_change_nothing(tmp_path: Path, size: int, streams: int) -> None:
    items = sources(tmp_path, 7)
    one = measured(items, study(), FakeEngine(batch_size=4))
    other = measured(items, study(), FakeEngine(batch_size=size, streams=streams))
    assert figures(other) == approximately(figures(one))


def test_a_bad_image_and_scores_that_are_no_numbers_touch_no_neighbour(tmp_path: Path) -> None:
    items = sources(tmp_path, 6)
    Path(items[2].path).write_bytes(b"no picture")
    Image.new("RGB", (20, 20), (255, 255, 255)).save(tmp_path / "004.jpg")
    good = [item for i, item in enumerate(items) if i not in {2, 4}]
    found = list(measure(items, study(), FakeEngine(batch_size=4, nan_above=0.9)))
    reasons = {i: image.error.reason for i, image in enumerate(found) if isinstance(image, Unexplained)}
    assert reasons == {2: "not_an_image", 4: "not_finite"}
    rest = [image for image in found if isinstance(image, Measured)]
    assert figures(rest) == approximately(figures(measured(good, study(), FakeEngine(batch_size=4))))


def test_figures_by_a_slow_program(tmp_path: Path) -> None:
    """Average drop, increase, coherency and complexity again, on pixels, one image at a time."""
    items = sources(tmp_path, 5)
    engine = FakeEngine(batch_size=1)
    for image in measured(items, study(), FakeEngine(batch_size=4)):
        with Image.open(image.source.path) as file:
            pixels = PREPROCESSINGS["tf"](fitted(np.asarray(file.convert("RGB"))))
        shades = pixels * 127.5 + 127.5
        forward = engine.explain(pixels[None])
        index = int(forward.logits.argmax())
        before = engine.head.probabilities(forward.logits)[0, index]
        assert image.index == index
        assert image.probability == pytest.approx(before, rel=1e-4)
        raw = np.maximum((forward.activations[0] * engine.kernel[:, index]).sum(axis=2), 0) / 16
        heat = bilinear(raw / raw.max(), 8)
        again = engine.explain(((shades * heat[:, :, None] - 127.5) / 127.5).astype(np.float32)[None])
        after = engine.head.probabilities(again.logits)[0, index]
        second = np.maximum((again.activations[0] * engine.kernel[:, index]).sum(axis=2), 0)
        found = image.methods["gradcam"].figures
        assert found["average_drop"] == pytest.approx(100 * max(0, before - after) / before, abs=1e-3)
        assert found["increase"] == (100 if after > before else 0)
        assert found["complexity"] == pytest.approx(heat.mean(), abs=1e-4)
        assert found["coherency"] == pytest.approx((1 + (pearson(raw, second) or -1)) / 2, abs=1e-3)


def fitted(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from gradcam_cli.imaging.geometry import Size, resize

    return resize(pixels, Size(8, 8))


def bilinear(cells: Floats, side: int) -> NDArray[np.float64]:
    """Between the centres of cells, pixel by pixel."""
    count = len(cells)
    result = np.zeros((side, side))
    for y in range(side):
        for x in range(side):
            v, u = (min(max((p + 0.5) * count / side - 0.5, 0), count - 1) for p in (y, x))
            top, left = min(int(v), count - 2), min(int(u), count - 2)
            dy, dx = v - top, u - left
            upper = cells[top, left] * (1 - dx) + cells[top, left + 1] * dx
            lower = cells[top + 1, left] * (1 - dx) + cells[top + 1, left + 1] * dx
            result[y, x] = upper * (1 - dy) + lower * dy
    return result


def test_heat_over_the_input() -> None:
    cells = np.random.default_rng(0).random((4, 4)).astype(np.float32)
    assert np.allclose(over_input(cells, (12, 12)), bilinear(cells, 12), atol=1e-6)


def test_scores_come_in_the_order_of_the_probes() -> None:
    engine, alone = FakeEngine(batch_size=4), FakeEngine(batch_size=1)
    inputs = np.random.default_rng(0).normal(size=(10, 8, 8, 3)).astype(np.float32)
    found = list(class_scores(engine, ((i % 5, x, NO_EXTRAS) for i, x in enumerate(inputs))))
    expected = [alone.head.probabilities(alone.explain(x[None]).logits)[0, i % 5] for i, x in enumerate(inputs)]
    assert found == pytest.approx(expected, rel=1e-5)
    assert engine.calls == [4, 4, 2]


@dataclass
class LightEngine(FakeEngine):
    """Its class 0 wants light in the left half of the picture, class 1 in the right; maps say where light is wanted."""

    def explain(self, inputs: Floats, targets: NDArray[np.intp] | None = None, extras: Extras = NO_EXTRAS) -> Forward:
        self.seen = [*getattr(self, "seen", []), *inputs]
        half = self.side // 2
        left, right = inputs[:, :, :half].mean((1, 2, 3)), inputs[:, :, half:].mean((1, 2, 3))
        logits = np.stack([4 * left, 4 * right, *[np.full(len(inputs), -8)] * 3], axis=1).astype(np.float32)
        self.calls.append(len(inputs))
        activations = np.ones((len(inputs), self.cells, self.cells, 6), np.float32)
        return Forward(inputs, activations, logits, np.zeros((len(inputs), 1), np.intp), activations[:, None] * 0)


def half_map(*, left: bool) -> Any:
    def maps(batch: Batch) -> RawMaps:
        n, height, width, _ = batch.activations.shape
        heat = np.zeros((n, 1, height, width), np.float32)
        heat[..., : width // 2] = left
        heat[..., width // 2 :] = not left
        return RawMaps(heat)

    return maps


@pytest.fixture
def halves(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(batch: Batch) -> RawMaps:
        return RawMaps(np.zeros((len(batch.activations), 1, *batch.activations.shape[1:3]), np.float32))

    for name, maps in (("right", half_map(left=True)), ("wrong", half_map(left=False)), ("flat", nothing)):
        monkeypatch.setitem(METHODS, name, Method(name, "a fake", maps, cost="1"))


@pytest.fixture
def bright(tmp_path: Path) -> Source:
    path = tmp_path / "bright.png"
    Image.new("RGB", (16, 16), (200, 200, 200)).save(path)
    return Source(path.name, str(path))


@pytest.mark.usefixtures("halves")
def test_a_perfect_map_beats_an_inverted_one(bright: Source) -> None:
    boxes = {"bright.png": (TruthBox(0, 0, 8, 16),)}
    the_study = study(("right", "wrong", "flat"), boxes=boxes, baseline="zero")
    (image,) = measured([bright], the_study, LightEngine(batch_size=4))
    right, wrong, flat = (image.methods[name].figures for name in ("right", "wrong", "flat"))
    for name in ("average_drop", "win_rate", "deletion", "insertion", "pointing", "energy"):
        assert MEASURES[name].is_worse(wrong[name], right[name]), name
    assert (right["pointing"], wrong["pointing"], flat["pointing"]) == (1, 0, 0)
    # Heat fades over one cell of 4 pixels at the border of the halves: an eighth of it is on the other side.
    assert right["energy"] == pytest.approx(15 / 16)
    assert flat["energy"] == flat["coherency"] == flat["complexity"] == flat["adcc"] == 0
    assert image.methods["flat"].flat
    assert image.wins["right", "wrong"] == 100 - image.wins["wrong", "right"] == 100


@pytest.mark.usefixtures("halves")
def test_curves_begin_and_end_with_the_picture_and_the_baseline(bright: Source) -> None:
    (image,) = measured([bright], study(("right", "wrong"), baseline="zero"), LightEngine(batch_size=4))
    for result in image.methods.values():
        deletion, insertion = result.curves["deletion"], result.curves["insertion"]
        assert len(deletion) == len(insertion) == 5
        assert deletion[0] == insertion[-1] == image.probability
        assert deletion[-1] == insertion[0]
    # Half of the light is gone after two of four steps, and it was the half that counts.
    wrong_first = image.methods["wrong"].curves["deletion"]
    assert wrong_first[2] > wrong_first[0]


@pytest.mark.usefixtures("halves")
def test_padding_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.new("RGB", (16, 8), (200, 200, 200)).save(path)
    engine = LightEngine(batch_size=4)
    (image,) = measured([Source(path.name, str(path))], study(("right",), fit="pad"), engine)
    padding = engine.seen[0][:2], engine.seen[0][6:]
    assert len(engine.seen) == image.passes
    for inputs in engine.seen:
        assert np.array_equal(inputs[:2], padding[0])
        assert np.array_equal(inputs[6:], padding[1])
    # Half of the picture is hot, whatever part of the input the picture is.
    assert image.methods["right"].figures["complexity"] == pytest.approx(0.5)


def test_boxes_are_in_pixels_of_the_picture_and_only_where_there_are_any(tmp_path: Path) -> None:
    items = sources(tmp_path, 2)
    boxes = {"001.jpg": (TruthBox(0, 0, 31, 24),)}
    first, second = measured(items, study(boxes=boxes, metrics=()), FakeEngine(batch_size=2))
    assert not first.methods["gradcam"].figures
    assert second.methods["gradcam"].figures == {"pointing": 1, "energy": pytest.approx(1)}


def candidates(classes: str) -> list[Candidate]:
    return [Candidate(Source(f"{i:03}.jpg", f"{i:03}.jpg"), int(c)) for i, c in enumerate(classes)]


def test_collages_hold_different_classes_and_each_picture_once() -> None:
    listed = candidates("0011223344567890")
    groups = collages(listed, 4)
    used = [candidate for group in groups for candidate in group]
    assert len(groups) == 4
    assert len(set(used)) == len(used) == 16
    assert all(len({candidate.index for candidate in group}) == 4 for group in groups)
    assert groups == collages(listed, 4)
    assert groups[0] != tuple(listed[:4])


def test_as_many_collages_as_can_be() -> None:
    assert len(collages(candidates("000111222333"), 4)) == 3
    assert len(collages(candidates("00000123456789"), 3)) == 4


def test_too_few_pictures_make_no_collage() -> None:
    assert collages(candidates("0001"), 4) == collages([], 4) == []


def test_a_collage_is_laid_out_in_rows() -> None:
    pictures = [np.full((2, 3, 1), i, np.float32) for i in range(6)]
    laid = collage(pictures, (2, 3))
    assert laid.shape == (4, 9, 1)
    assert laid[::2, ::3, 0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_share_in_a_cell() -> None:
    heat = np.zeros((4, 6), np.float32)
    heat[0, 0], heat[3, 2] = 3, 1
    shares = [[share_in_cell(heat, (2, 2), row, column) for column in range(2)] for row in range(2)]
    assert shares == [[0.75, 0], [0.25, 0]]
    assert share_in_cell(np.zeros((4, 6), np.float32), (2, 2), 0, 0) == 0
    assert share_in_cell(np.ones((4, 6), np.float32), (2, 3), 1, 2) == pytest.approx(1 / 6)


def grid_cells(tmp_path: Path, engine: FakeEngine, missing: int | None = None) -> list[Cell | Unexplained]:
    items = sources(tmp_path, 12)
    groups = collages([Candidate(item, i % 5) for i, item in enumerate(items)], 4)
    if missing is not None:
        Path(groups[missing][1].source.path).unlink()
    return list(measure_grid(groups, PAIR, (2, 2), study().job, engine))


@pytest.mark.parametrize("size", [1, 2, 8])
def test_each_cell_is_asked_for_its_own_class(tmp_path: Path, size: int) -> None:
    cells = grid_cells(tmp_path, FakeEngine(side=16, cells=8, batch_size=size))
    assert len(cells) == 3 * 4 * 2
    engine = FakeEngine(side=16, cells=8, batch_size=1)
    for cell in cells:
        assert isinstance(cell, Cell)
        group = [other for other in cells if isinstance(other, Cell) and other.collage == cell.collage]
        group = [other for other in group if other.method == "gradcam"]
        assert [(other.row, other.column) for other in group] == [(0, 0), (0, 1), (1, 0), (1, 1)]
        inputs = []
        for other in group:
            with Image.open(other.candidate.source.path) as file:
                inputs.append(PREPROCESSINGS["tf"](fitted(np.asarray(file.convert("RGB")))))
        forward = engine.explain(collage(inputs, (2, 2))[None])
        if cell.method == "gradcam":
            raw = np.maximum((forward.activations[0] * engine.kernel[:, cell.candidate.index]).sum(axis=2), 0)
            heat = bilinear(raw, 16)
            mine = heat[cell.row * 8 : cell.row * 8 + 8, cell.column * 8 : cell.column * 8 + 8].sum()
            assert cell.share == pytest.approx(mine / heat.sum() if raw.any() else 0, abs=1e-3)
            assert cell.flat == (not raw.any())


def test_a_picture_that_has_vanished_takes_its_collage_with_it(tmp_path: Path) -> None:
    cells = grid_cells(tmp_path, FakeEngine(side=16, cells=8, batch_size=4), missing=2)
    lost = [cell for cell in cells if isinstance(cell, Unexplained)]
    assert [cell.error.reason for cell in lost] == ["vanished"]
    assert {cell.collage for cell in cells if isinstance(cell, Cell)} == {0, 1}


def kept_of(items: list[Source]) -> list[BaselineMaps]:
    images = measured(items, study(), FakeEngine(batch_size=4))
    return [BaselineMaps(i.source, i.index, {name: r.raw for name, r in i.methods.items()}) for i in images]


def test_a_network_that_forgot_nothing_changes_no_map(tmp_path: Path) -> None:
    kept = kept_of(sources(tmp_path, 6))
    changes = list(measure_stage(kept, PAIR, HEAD, study().job, FakeEngine(batch_size=4)))
    assert [c.source for c in changes] == [k.source for k in kept for _ in PAIR]
    assert [c.correlation for c in changes] == pytest.approx([1] * 12)


def test_the_class_is_the_one_that_was_predicted_before(tmp_path: Path) -> None:
    kept = kept_of(sources(tmp_path, 6))
    engine = OtherEngine(batch_size=4)
    changes = list(measure_stage(kept, ("gradcam",), HEAD, study().job, engine))
    for change, image in zip(changes, kept, strict=True):
        with Image.open(image.source.path) as file:
            forward = engine.explain(PREPROCESSINGS["tf"](fitted(np.asarray(file.convert("RGB"))))[None])
        raw = np.maximum((forward.activations[0] * engine.kernel[:, image.index]).sum(axis=2), 0)
        assert change.correlation == pytest.approx(rank_correlation(image.maps["gradcam"], raw), abs=1e-3)


def test_an_image_whose_map_was_constant_says_nothing(tmp_path: Path) -> None:
    kept = [
        replace(image, maps={m: np.zeros((4, 4), np.float32) for m in PAIR}) for image in kept_of(sources(tmp_path, 2))
    ]
    assert not list(measure_stage(kept, PAIR, HEAD, study().job, FakeEngine()))


def test_a_map_that_became_flat_or_no_number_does_not_correlate() -> None:
    before = np.arange(4, dtype=np.float32).reshape(2, 2)
    assert rank_correlation(before, np.zeros((2, 2), np.float32)) == 0
    assert rank_correlation(before, np.full((2, 2), np.nan, np.float32)) == 0
    assert rank_correlation(before, before**3) == pytest.approx(1)


def test_a_running_mean_and_error() -> None:
    values = np.random.default_rng(0).normal(5, 2, 100)
    figure = Figure()
    assert figure.as_record() == {"mean": 0.0, "standard_error": None, "count": 0}
    for value in values:
        figure.add(value)
    assert figure.mean == pytest.approx(values.mean())
    assert figure.standard_error == pytest.approx(values.std(ddof=1) / 10)
    assert figure.count == 100


def summary_of(images: list[Measured]) -> StudySummary:
    summary = StudySummary(["last"], PAIR)
    for image in images:
        summary.add("last", image)
        summary.counts["ok"] += 1
    return summary


def test_a_summary_is_the_mean_of_its_images(tmp_path: Path) -> None:
    images = measured(sources(tmp_path, 7), study(), FakeEngine(batch_size=4))
    record = evaluation_record(summary_of(images), study().settings, [CARD], {"fake": "1"})
    assert [(r["layer"], r["method"], r["images"]) for r in record["results"]] == [("last", m, 7) for m in PAIR]
    for result in record["results"]:
        for name, figure in result["metrics"].items():
            values = [image.methods[result["method"]].figures[name] for image in images]
            assert figure["mean"] == pytest.approx(np.mean(values), abs=1e-5)
            assert figure["count"] == 7
        curves = [image.methods[result["method"]].curves["deletion"] for image in images]
        assert result["curves"]["deletion"] == pytest.approx(np.mean(curves, axis=0), abs=1e-5)
    wins = [r["wins"] for r in record["results"]]
    assert wins[0]["gradcam++"]["mean"] + wins[1]["gradcam"]["mean"] == pytest.approx(100)
    assert record["definitions"].keys() == record["results"][0]["metrics"].keys()


def gated(tmp_path: Path, name: str, limit: float, method: str | None = None) -> list[str]:
    images = measured(sources(tmp_path, 3), study(), FakeEngine(batch_size=4))
    return list(summary_of(images).crossed([Gate(name, limit, method)]))


def test_a_gate_is_crossed_on_the_worse_side(tmp_path: Path) -> None:
    assert not gated(tmp_path, "average_drop", 100)
    assert len(gated(tmp_path, "average_drop", -1)) == 2
    (line,) = gated(tmp_path, "average_drop", -1, "gradcam")
    assert line.startswith("gradcam at last: average-drop is ")
    assert line.endswith(", above -1")
    assert not gated(tmp_path, "insertion", 0)
    assert all(line.endswith(", below 1.1") for line in gated(tmp_path, "insertion", 1.1))
    assert gated(tmp_path, "grid", 0) == [f"{m} at last: grid was not measured on any image" for m in PAIR]


def changes(method: str, stage: Stage, *correlations: float) -> Iterator[Change]:
    return (Change(Source(str(i), str(i)), method, stage, c) for i, c in enumerate(correlations))


def test_a_method_that_does_not_react_is_called_out() -> None:
    summary = StudySummary(["last"], PAIR)
    for change in (
        *changes("gradcam", HEAD, 0.1, 0.95, 0.2),
        *changes("gradcam", EVERYTHING, 0, 0.1, 0),
        *changes("gradcam++", HEAD, 0.95, 0.95, 0.2),
        *changes("gradcam++", EVERYTHING, 0.92, 0.1, 0.99),
    ):
        summary.add_change("last", change)
    (line,) = summary.unchanged()
    assert line.startswith(
        "gradcam++ at last hardly changes when the weights of the last 9 of 9 layers, from the end back to stem,"
    )
    assert "0.920" in line
    first, second = summary.results()
    assert first["metrics"]["sanity_head"]["mean"] == pytest.approx(1.25 / 3, abs=1e-5)
    assert first["metrics"]["sanity_all"]["count"] == 3
    assert [stage["unchanged"] for stage in second["sanity"]] == [True, True]
    assert [stage["unchanged"] for stage in first["sanity"]] == [False, False]


def test_every_group_of_metrics_is_a_groups_of_some_measure() -> None:
    assert {*GROUPS, "grid", "boxes_csv"} == {measure.group for measure in MEASURES.values()}


def test_scaling_is_by_the_maximum_of_the_whole_map() -> None:
    raw = np.asarray([[0, 2], [4, 1]], np.float32)
    assert over_input(scale(raw), (4, 4)).max() == 1


def test_pictures_here_differ() -> None:
    assert not np.array_equal(picture(seed=0), picture(seed=1))
    assert jpeg(seed=0) != jpeg(seed=1)
