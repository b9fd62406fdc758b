"""Two runs compared: the law of each figure, on literal maps and on runs of the fake engine."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import sources
from fakes import CARD, FakeEngine, OtherEngine, explained, job

from gradcam_cli.errors import UsageError
from gradcam_cli.imaging.geometry import CellLine, MapGeometry, Size
from gradcam_cli.report.change_measures import correlation, overlap, peak_shift, rank_correlation
from gradcam_cli.report.change_metrics import CHANGE_METRICS, change_limit, crossed, figures
from gradcam_cli.report.compare import Comparison, compare_runs, compare_sides, side_of
from gradcam_cli.report.image_state import GRID, state_of
from gradcam_cli.requests import ChangeLimit, Match
from gradcam_cli.results.run import Run
from gradcam_cli.results.sidecar import Record, to_json


def run_of(folder: Path, records: Sequence[Record] = ()) -> Run:
    """A run that was read back; of these records, where they are given."""
    for record in records:
        path = folder / f"{record['input']['path']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json(record))
    return Run(folder, {}, 0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("base")
    explained(root, sources(root, 3), FakeEngine())
    return run_of(root / "out")


def altered(records: Sequence[Record], number: int, **changes: Any) -> list[Record]:
    """The same records, with other fields in the first class of one of them."""
    copies: list[Record] = json.loads(json.dumps(records))
    copies[number]["classes"][0].update(changes)
    return copies


def heat(cells: Sequence[Sequence[int]]) -> Record:
    array = np.asarray(cells, np.uint8)
    text = base64.b64encode(array.tobytes()).decode()
    return {"height": array.shape[0], "width": array.shape[1], "uint8": text}


def compared(base: Run, tmp_path: Path, records: Sequence[Record], match: Match = "path") -> Comparison:
    return compare_runs(base, run_of(tmp_path / "new", records), match)


def paths(found: Sequence[Any]) -> list[str]:
    return [each.path for each in found]


# ---- two maps ----


def test_correlations_of_literal_maps() -> None:
    one = np.array([0.0, 1.0, 2.0, 3.0])
    assert correlation(one, 2 * one + 5) == pytest.approx(1)
    assert correlation(one, -one) == pytest.approx(-1)
    # x = (-1, 0, 1), y = (0, 0, 3) less their mean 1: 3 / sqrt(2 * 6).
    assert correlation(np.array([0.0, 1, 2]), np.array([0.0, 0, 3])) == pytest.approx(3 / 12**0.5)
    assert rank_correlation(one, np.exp(one)) == pytest.approx(1)
    assert correlation(one, np.exp(one)) < 0.95


def test_a_map_that_lost_its_heat_has_nothing_in_common_with_what_it_was() -> None:
    none, some = np.zeros(4), np.array([0.0, 0.0, 0.5, 1.0])
    for measure in (correlation, rank_correlation, overlap):
        assert measure(some, none) == 0
        assert measure(none, some) == 0
        assert measure(none, none) == 1
        assert measure(some, some) == pytest.approx(1)


def test_overlap_is_that_of_the_hottest_fifth() -> None:
    def hot(*cells: int) -> Any:
        found = np.full(10, 0.1)
        found[list(cells)] = [1.0, 0.9][: len(cells)]
        return found

    assert overlap(hot(0, 1), hot(0, 1)) == 1
    assert overlap(hot(0, 1), hot(2, 3)) == 0
    assert overlap(hot(0, 1), hot(1, 2)) == pytest.approx(1 / 3)


def test_a_peak_moves_in_per_cent_of_the_diagonal() -> None:
    assert peak_shift((0, 0), Size(30, 40), (3, 4), Size(30, 40)) == pytest.approx(10)
    assert peak_shift((7, 7), Size(30, 40), (7, 7), Size(30, 40)) == 0
    # The same place of a photograph of twice the size: pixel 7 of 30 has its centre at a quarter, as does 14.5 of 60.
    assert peak_shift((7, 7), Size(30, 30), (14, 14), Size(60, 60)) < 1.2


# ---- runs ----


def test_a_run_against_itself_has_no_changes(base: Run) -> None:
    found = compare_runs(base, base)
    assert len(found.images) == 3
    for change in found.images:
        assert (change.correlation, change.rank_correlation, change.overlap) == pytest.approx((1, 1, 1))
        assert (change.probability_change, change.peak_shift, change.area_change) == (0, 0, 0)
        assert change.same_class
        assert not any((change.class_changed, change.input_changed, change.flat_now))
    assert not any((found.added, found.removed, found.failed_now, found.failed_before, found.remarks))
    below = {name: value for name, value in figures(found).items() if name.endswith("-below")}
    others = {name: value for name, value in figures(found).items() if name not in below}
    assert set(below.values()) == {1.0}
    assert {name for name, value in others.items() if value} == set()
    assert others.pop("worst-value-change") is None


def test_a_map_shifted_by_a_cell_moves_its_peak_by_that(base: Run, tmp_path: Path) -> None:
    records = list(base.records())
    size = records[0]["input"]
    assert (size["width"], size["height"]) == (30, 24)
    left = altered(records, 0, heat=heat([[0, 0, 0, 0], [0, 255, 0, 0], [0] * 4, [0] * 4]), peak={"x": 11, "y": 8})
    right = altered(records, 0, heat=heat([[0, 0, 0, 0], [0, 0, 255, 0], [0] * 4, [0] * 4]), peak={"x": 18, "y": 8})
    found = compare_runs(run_of(tmp_path / "left", left), run_of(tmp_path / "right", right))
    change = found.images[0]
    assert change.path == "000.jpg"
    assert change.peak_shift == pytest.approx(100 * 7 / (30**2 + 24**2) ** 0.5)
    # Two equal tents of which half overlaps.
    assert change.correlation == pytest.approx(0.1, abs=0.1)
    assert change.overlap == pytest.approx(0.33, abs=0.1)
    assert not change.class_changed
    assert paths(found.images)[1:] == ["001.jpg", "002.jpg"]


def test_one_changed_kernel_changes_classes_and_maps(base: Run, tmp_path: Path) -> None:
    items = sources(tmp_path, 3)
    (tmp_path / "other").mkdir()
    new = explained(tmp_path / "other", items, OtherEngine())
    found = compare_runs(base, run_of(tmp_path / "other" / "out"))
    before = {record["input"]["path"]: record["classes"][0] for record in base.records()}
    after = {record["input"]["path"]: record["classes"][0] for record in new}
    changed = {path for path in before if before[path]["index"] != after[path]["index"]}
    assert {change.path for change in found.images if change.class_changed} == changed
    assert figures(found)["class-changes"] == len(changed) > 0
    for change in found.images:
        difference = after[change.path]["probability"] - before[change.path]["probability"]
        assert change.probability_change == pytest.approx(difference)
        assert change.same_class == (change.path not in changed)


def test_maps_are_compared_for_the_class_of_the_base_where_both_explain_it(tmp_path: Path) -> None:
    items = sources(tmp_path, 2)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    explained(tmp_path / "one", items, FakeEngine(top_k=1))
    explained(tmp_path / "two", items, FakeEngine(top_k=5), replace(job(), several_targets=True))
    new = list(run_of(tmp_path / "two" / "out").records())
    for record in new:
        # The second class becomes the best one.
        record["classes"][1]["probability"] = 1.0
    found = compare_runs(run_of(tmp_path / "one" / "out"), run_of(tmp_path / "three", new))
    assert all(change.class_changed and change.same_class for change in found.images)
    assert all(change.correlation == pytest.approx(1) for change in found.images)
    assert figures(found)["class-change-share"] == 1


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ({"wnid": "n1", "label": "cat", "index": 1}, {"wnid": "n1", "label": "tabby", "index": 2}, True),
        ({"wnid": "n1", "label": "crane", "index": 1}, {"wnid": "n2", "label": "crane", "index": 1}, False),
        ({"wnid": None, "label": "cat", "index": 1}, {"wnid": None, "label": "cat", "index": 2}, True),
        ({"wnid": None, "label": None, "index": 1}, {"wnid": "n1", "label": "cat", "index": 1}, True),
        ({"wnid": None, "label": None, "index": 1}, {"wnid": None, "label": None, "index": 2}, False),
    ],
)
def test_classes_of_two_models_are_the_same_by_id_name_or_number(
    base: Run, tmp_path: Path, before: Any, after: Any, same: bool
) -> None:
    records = list(base.records())
    one = run_of(tmp_path / "one", altered(records, 0, **before))
    found = compared(one, tmp_path, altered(records, 0, **after))
    change = next(each for each in found.images if each.path == "000.jpg")
    assert change.class_changed is not same
    assert change.same_class is same


def test_images_that_only_one_run_has_are_named(base: Run, tmp_path: Path) -> None:
    first, second, third = base.records()
    new_name = {**third, "input": {**third["input"], "path": "new.jpg"}}
    found = compared(base, tmp_path, [first, second, new_name])
    assert found.added == ("new.jpg",)
    assert found.removed == ("002.jpg",)
    assert paths(found.images) == ["000.jpg", "001.jpg"]
    found = compare_runs(base, run_of(tmp_path / "new"), "sha256")
    assert (found.added, found.removed) == ((), ())
    assert {(change.path, change.base_path) for change in found.images} >= {("new.jpg", "002.jpg")}


def test_equal_files_are_matched_one_by_one(base: Run, tmp_path: Path) -> None:
    first, *_ = base.records()
    copies = [{**first, "input": {**first["input"], "path": path}} for path in ("a.jpg", "b.jpg", "c.jpg")]
    found = compare_runs(run_of(tmp_path / "one", copies[:2]), run_of(tmp_path / "two", copies), "sha256")
    assert [(change.base_path, change.path) for change in found.images] == [("a.jpg", "a.jpg"), ("b.jpg", "b.jpg")]
    assert found.added == ("c.jpg",)


def failed(record: Record, path: str | None = None) -> Record:
    image = {**record["input"], "sha256": None, "width": None, "height": None, "path": path or record["input"]["path"]}
    return {**record, "input": image, "status": "error", "reason": "empty", "message": "it is empty", "classes": []}


def test_failures_are_named_and_never_compared(base: Run, tmp_path: Path) -> None:
    first, second, third = base.records()
    one = run_of(tmp_path / "one", [first, failed(second), failed(third)])
    found = compared(one, tmp_path, [failed(first), second, failed(third), failed(third, "more.jpg")])
    assert not found.images
    assert paths(found.failed_now) == ["000.jpg", "more.jpg"]
    assert paths(found.failed_before) == ["001.jpg"]
    assert paths(found.failed_both) == ["002.jpg"]
    assert found.added == ("more.jpg",)
    assert found.failed_now[0].reason == "empty"
    assert found.in_common == 3
    # Nothing was compared: no gate on what was compared may pass.
    limits = [ChangeLimit(name, 10.0) for name in ("class-changes", "worst-correlation-below", "inputs-changed")]
    assert len(crossed(found, limits)) == 3


def test_a_changed_file_is_named(base: Run, tmp_path: Path) -> None:
    records = list(base.records())
    records[1] = {**records[1], "input": {**records[1]["input"], "sha256": "f" * 64}}
    found = compared(base, tmp_path, records)
    assert [change.path for change in found.images if change.input_changed] == ["001.jpg"]
    assert figures(found)["inputs-changed"] == 1


def test_a_map_without_heat_now(base: Run, tmp_path: Path) -> None:
    records = altered(list(base.records()), 2, heat=heat([[0] * 4] * 4), peak=None, flat=True, area=0.0)
    found = compared(base, tmp_path, records)
    worst = found.images[0]
    assert worst.path == "002.jpg"
    assert worst.flat_now
    assert (worst.correlation, worst.overlap, worst.peak_shift) == (0, 0, None)
    assert figures(found)["flat-now"] == 1


def test_an_image_without_any_class_now(base: Run, tmp_path: Path) -> None:
    records = list(base.records())
    records[0] = {**records[0], "classes": []}
    worst = compared(base, tmp_path, records).images[0]
    assert (worst.path, worst.class_changed, worst.correlation, worst.new_best) == ("000.jpg", True, 0, None)
    assert worst.as_record()["new"] is None


def test_sidecars_without_maps_are_counted(base: Run, tmp_path: Path) -> None:
    records = list(base.records())
    del records[0]["classes"][0]["heat"]
    found = compared(base, tmp_path, records)
    assert "1 image without maps" in found.remarks[0]
    assert next(change for change in found.images if change.path == "000.jpg").correlation is None


def test_a_run_of_several_options_or_an_interrupted_one_is_told(base: Run, tmp_path: Path) -> None:
    records = list(base.records())
    records[0] = {**records[0], "options_sha256": "1" * 64}
    new = replace(run_of(tmp_path / "new", records), record={"interrupted": True})
    remarks = compare_runs(base, new).remarks
    assert len(remarks) == 2
    assert "interrupted" in remarks[0]
    assert "2 runs with different options" in remarks[1]


def test_what_no_model_saw_is_no_agreement(base: Run, tmp_path: Path) -> None:
    """Of a cropped panorama the ends are 0 in both maps; they must not make the maps alike."""
    first, *_ = base.records()
    wide = {
        **first,
        "input": {**first["input"], "width": 400, "height": 40},
        "model": {**first["model"], "fit": "crop", "geometry": None},
    }
    # Two maps that are opposite to each other where the model looked.
    one = altered([wide], 0, heat=heat([[0, 255], [0, 255]]))
    other = altered([wide], 0, heat=heat([[255, 0], [255, 0]]))
    found = compare_runs(run_of(tmp_path / "one", one), run_of(tmp_path / "two", other))
    assert found.images[0].correlation == pytest.approx(-1, abs=0.01)


def test_maps_of_other_grids_are_compared_in_pixels_of_the_photograph(base: Run, tmp_path: Path) -> None:
    """A ramp from left to right is the same on 4 and on 64 cells."""
    records = list(base.records())
    coarse = np.tile(np.linspace(32, 223, 4), (4, 1)).round()
    fine = np.tile(np.linspace(0, 255, 64), (64, 1)).round()
    one = altered(records, 0, heat=heat(coarse.tolist()))
    two = altered(records, 0, heat=heat(fine.tolist()))
    found = compare_runs(run_of(tmp_path / "one", one), run_of(tmp_path / "two", two))
    change = next(each for each in found.images if each.path == "000.jpg")
    assert change.correlation is not None
    assert change.correlation > 0.98


def test_the_map_of_a_record_lies_where_its_geometry_says(tmp_path: Path) -> None:
    """Cells over the left half of the input only: the right half of the photograph reads the last cell's value."""
    rows, columns = CellLine(1.0, 2.0, 0.0, 8.0), CellLine(0.5, 1.0, 0.0, 8.0)
    the_job = replace(job(), model=replace(CARD, geometry=MapGeometry(rows, columns)))
    (record,) = explained(tmp_path, sources(tmp_path, 1), FakeEngine(), the_job)
    (record,) = altered([record], 0, heat=heat([[0, 0, 0, 255]] * 4))
    state = state_of(record)
    assert state.best is not None
    found = state.map_of(state.best)
    assert found is not None
    values, seen = found
    assert seen.all()
    assert values[:, GRID // 2 :] == pytest.approx(1)
    assert values[:, : GRID // 4] == pytest.approx(0)


def test_a_damaged_record_is_refused_by_name(base: Run, tmp_path: Path) -> None:
    records = altered(list(base.records()), 1, heat={"height": 3, "width": 9, "uint8": "AAAA"})
    with pytest.raises(UsageError, match=r"001\.jpg: its record is incomplete"):
        compared(base, tmp_path, records)


def places_in(node: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places_in(value, (*place, key))


@pytest.mark.parametrize(
    "value", [None, -1, 0, 1e300, float("nan"), "x", "", [], {}, True, [1], {"x": 1}, "AAAA"], ids=repr
)
def test_any_field_of_a_record_may_be_wrong(base: Run, value: Any) -> None:
    """A record is compared, or refused as not whole; whatever it holds, a comparison is finite JSON."""
    record = next(base.records())
    record["model"]["geometry"] = {
        axis: {"offset": 1.0, "stride": 2.0, "seen_from": 0.0, "seen_to": 8.0} for axis in ("rows", "columns")
    }
    side = side_of([record], "base")
    refused = 0
    for place in places_in(record):
        if len(place) < 2 or place[0] in {"versions", "files"}:
            continue
        wrong = json.loads(json.dumps(record))
        parent = wrong
        for key in place[:-1]:
            parent = parent[key]
        parent[place[-1]] = value
        try:
            found = compare_sides(side, side_of([wrong], "new"))
        except UsageError as error:
            refused += "incomplete" in str(error)
            continue
        to_json(found.as_record())
        figures(found)
    assert refused > 5


def test_the_record_of_a_comparison_is_json_without_places(base: Run, tmp_path: Path) -> None:
    text = to_json(compared(base, tmp_path, list(base.records())).as_record())
    assert str(tmp_path) not in text
    assert text == to_json(compare_runs(base, base).as_record())


# ---- gates ----


@pytest.mark.parametrize("name", list(CHANGE_METRICS))
def test_a_limit_is_good_itself_and_crossed_beyond(base: Run, tmp_path: Path, name: str) -> None:
    first, second, third = altered(list(base.records()), 0, probability=0.01, heat=heat([[9, 0], [0, 1]]), index=4)
    changed = {**first["classes"][0], "label": None, "wnid": None, "value": 5.0, "peak": {"x": 0, "y": 0}, "area": 0.9}
    first = {**first, "classes": [changed], "input": {**first["input"], "sha256": "0" * 64}}
    second = altered([second], 0, peak=None, heat=heat([[0]]))[0]
    olds = altered(list(base.records()), 0, value=1.0)
    one = run_of(tmp_path / "one", [*olds, {**third, "input": {**third["input"], "path": "gone.jpg"}}])
    found = compared(one, tmp_path, [first, second, failed(third), failed(third, "more.jpg")])
    metric = CHANGE_METRICS[name]
    value = metric.measure(found).value
    assert value is not None
    assert (value < 1) if metric.is_bad_below else (value > 0)
    assert not crossed(found, [ChangeLimit(name, value)])
    beyond = -1e-9 if not metric.is_bad_below else 1e-9
    (line,) = crossed(found, [ChangeLimit(name, value + beyond)])
    assert line.startswith(f"{name} is ")
    assert not crossed(found, [ChangeLimit(name, value - beyond)])


def test_a_crossed_gate_names_the_images(base: Run, tmp_path: Path) -> None:
    found = compared(base, tmp_path, list(base.records())[:1])
    assert crossed(found, [ChangeLimit("removed", 0)]) == ["removed is 2, above 0: 001.jpg, 002.jpg"]


@pytest.mark.parametrize("text", ["", "class-changes", "class-changes=", "classes=1", "removed=x", "removed=nan"])
def test_a_gate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="`fail_over="):
        change_limit(text, "fail_over")
    assert change_limit("worst-peak-shift=2.5", "fail_over") == ChangeLimit("worst-peak-shift", 2.5)
