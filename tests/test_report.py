"""The report of a run, without a browser: its analysis, its data, its links, and what it never replaces."""

import json
import os
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import jpeg
from fakes import FakeEngines
from numpy.typing import NDArray
from reports import class_record, data_of, failure, sidecar, spot, write_run, write_run_of_a_figure

from gradcam_cli.cli import program
from gradcam_cli.errors import UsageError
from gradcam_cli.imaging.geometry import CellLine, Fit, MapGeometry, Size, map_to_source, plan_fit
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.report import report
from gradcam_cli.report.analysis import Flag, flag_of
from gradcam_cli.report.charts import histogram
from gradcam_cli.report.clusters import cluster
from gradcam_cli.report.entries import GRID, entry_of, placement_of
from gradcam_cli.report.image_state import fit_of
from gradcam_cli.report.ordering import peak_distance
from gradcam_cli.report.page import embedded_json
from gradcam_cli.report.places import place_of
from gradcam_cli.requests import REPORT_SORTS, ReportRequest, ReportSort
from gradcam_cli.results.verification import verify_folder
from gradcam_cli.settings import FIT_MODES, FitMode, Layout, Limits, OverlaySettings

# Pages of these tests are files.
write_report: Callable[[ReportRequest], Any] = report.write_report
HOSTILE = "<img src=x onerror=alert(1)>.jpg"


def cells(*hot: tuple[int, int]) -> NDArray[np.float32]:
    grid = np.zeros((GRID, GRID), np.float32)
    for row, column in hot:
        grid[row, column] = 1
    return grid


def around(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A map with its heat near the middle."""
    row, column = rng.integers(2, 5, 2)
    heat = rng.integers(0, 20, (7, 7)).astype(np.uint8)
    heat[row - 1 : row + 2, column - 1 : column + 2] = 150
    heat[row, column] = 255
    return heat


def planted(count: int = 12) -> list[dict[str, Any]]:
    """Three classes whose heat is near the middle; that of the boats is on a watermark, in nine of twelve."""
    rng = np.random.default_rng(1)
    records = []
    for index, label in enumerate(["boat", "cat", "dog"]):
        for i in range(count):
            marked = label == "boat" and i % 4
            heat = spot(6, 0) if marked else around(rng)
            records.append(sidecar(f"{label}{i:02}.jpg", [class_record(label, heat, index)]))
    return records


@pytest.mark.parametrize(
    ("hot", "place"),
    [
        ([(0, 0)], "top left"),
        ([(15, 15), (12, 14)], "bottom right"),
        ([(15, 2), (15, 13), (14, 7)], "bottom"),
        ([(1, 0), (8, 1), (14, 0)], "left"),
        ([(0, 0), (0, 15), (15, 0), (15, 15)], "border"),
        ([(8, 8)], None),
        ([(0, 0), (8, 8), (9, 9)], None),
        ([], None),
    ],
)
def test_the_place_of_heat(hot: list[tuple[int, int]], place: str | None) -> None:
    assert place_of(cells(*hot)) == place


def test_even_heat_has_no_place() -> None:
    assert place_of(np.ones((GRID, GRID), np.float32)) is None


def test_a_watermark_flags_its_class_and_no_other(tmp_path: Path) -> None:
    written = write_report(ReportRequest(write_run(tmp_path, planted())))
    data = data_of(written.path)
    flags = {each["label"]: each["flag"] for each in data["classes"]}
    assert flags == {"boat": {"place": "bottom left", "count": 9, "mean": False}, "cat": None, "dog": None}
    assert data["classes"][0]["label"] == "boat"
    assert written.flagged == 1


def test_the_images_farthest_from_the_mean_are_those_without_the_watermark(tmp_path: Path) -> None:
    data = data_of(write_report(ReportRequest(write_run(tmp_path, planted()))).path)
    names = [data["images"][i]["name"] for i in data["classes"][0]["farthest"]]
    assert set(names[:3]) == {"boat00.jpg", "boat04.jpg", "boat08.jpg"}


def test_the_watermark_is_a_cluster(tmp_path: Path) -> None:
    data = data_of(write_report(ReportRequest(write_run(tmp_path, planted()))).path)
    assert sum(each["count"] for each in data["clusters"]) == 36
    (marked,) = [each for each in data["clusters"] if each["place"] == "bottom left"]
    assert marked["count"] == 9
    assert marked["classes"] == [{"label": "boat", "count": 9}]


def test_the_mean_is_named_where_it_lies_at_the_edge() -> None:
    assert flag_of(np.stack([cells((0, 0)), *[cells((8, 8))] * 4])) is None
    assert flag_of(np.stack([cells((0, column)) for column in range(0, 15, 3)])) == Flag("top", 2, of_mean=True)


def test_few_images_are_no_shortcut(tmp_path: Path) -> None:
    records = [sidecar(f"{i}.jpg", [class_record("boat", spot(6, 0))]) for i in range(4)]
    assert data_of(write_report(ReportRequest(write_run(tmp_path, records))).path)["classes"][0]["flag"] is None


def test_clusters_are_the_groups_of_equal_maps() -> None:
    maps = np.stack([cells((i % 3 * 6, 3)).ravel() for i in range(30)])
    found = cluster(maps, 3)
    assert [len(set(found.labels[i::3])) for i in range(3)] == [1, 1, 1]
    assert len(set(found.labels)) == 3
    np.testing.assert_allclose(found.distances, 0, atol=1e-7)
    assert len(set(cluster(maps, 8).labels)) == 3


def test_a_map_over_a_cropped_photograph_lies_in_its_middle() -> None:
    fit = plan_fit(Size(400, 200), Size(224, 224), "crop")
    placement = placement_of(fit, (7, 7))
    assert placement.cells == placement.seen == (0.25, 0.0, 0.75, 1.0)


def test_cells_reach_beyond_the_picture_where_their_geometry_says_so() -> None:
    line = CellLine(offset=0.0, stride=32.0, seen_from=0.0, seen_to=224.0)
    fit = plan_fit(Size(448, 224), Size(224, 224), "squash")
    placement = placement_of(Fit(fit.source, fit.input, fit.seen, fit.filled, MapGeometry(line, line)), (8, 8))
    np.testing.assert_allclose(placement.cells, (-1 / 14, -1 / 14, 15 / 14, 15 / 14))
    assert placement.seen == (0.0, 0.0, 1.0, 1.0)


def test_a_map_that_was_averaged_down_has_wider_cells() -> None:
    line = {"offset": 0.875, "stride": 1.75, "seen_from": 0.0, "seen_to": 224.0}
    record = sidecar("a.jpg", [])
    record["model"]["geometry"] = {"rows": line, "columns": line}
    geometry = fit_of(record, Size(64, 64)).geometry
    assert geometry is not None
    assert geometry.rows == CellLine(1.75, 3.5, 0.0, 224.0)


def test_the_grid_of_a_map_keeps_its_place() -> None:
    entry = entry_of(sidecar("a.jpg", [class_record("cat", spot(0, 6))]), "a.jpg")
    grid = entry.classes[0].grid
    assert grid is not None
    assert grid[0, 15] == 1
    assert grid.max() == 1
    assert grid[8:, :8].max() == 0


@pytest.mark.parametrize("mode", FIT_MODES)
@pytest.mark.parametrize(("width", "height"), [(60, 40), (401, 203), (7, 900)])
def test_the_grid_of_a_map_is_the_map_over_the_photograph(mode: FitMode, width: int, height: int) -> None:
    heat = np.random.default_rng(2).integers(0, 256, (7, 7)).astype(np.uint8)
    record = sidecar("a.jpg", [class_record("cat", heat)])
    record["input"] |= {"width": width, "height": height}
    record["model"]["fit"] = mode
    expected = map_to_source((heat / 255).astype(np.float32), fit_of(record, Size(7, 7)), Size(GRID, GRID))
    grid = entry_of(record, "a.jpg").classes[0].grid
    assert grid is not None
    np.testing.assert_allclose(grid, expected, atol=1e-6)


@pytest.mark.parametrize(("x", "y", "distance"), [(29.5, 19.5, 0.0), (-0.5, -0.5, 1.0), (59.5, 19.5, 0.83205)])
def test_the_distance_of_a_peak_from_the_middle(x: float, y: float, distance: float) -> None:
    entry = entry_of(sidecar("a.jpg", [class_record("cat", spot(0, 0), peak={"x": x, "y": y})]), "a.jpg")
    assert peak_distance(entry) == pytest.approx(distance, abs=1e-5)


def test_a_histogram_counts() -> None:
    drawn = histogram("Probability", [0.01, 0.02, 0.99, 1.0, 1.0, 1.0])
    assert drawn is not None
    heights = [bar.height for bar in drawn.bars]
    assert heights[0] == 30
    assert heights[-1] == 60
    assert not any(heights[1:-1])
    assert histogram("Probability", []) is None


ORDERS: dict[ReportSort, list[str]] = {
    "name": ["a.jpg", "b.jpg", "broken.jpg", "c.jpg"],
    "probability": ["b.jpg", "c.jpg", "a.jpg", "broken.jpg"],
    "area": ["c.jpg", "a.jpg", "b.jpg", "broken.jpg"],
    "peak-distance": ["a.jpg", "c.jpg", "b.jpg", "broken.jpg"],
}


def three_and_a_failure() -> list[dict[str, Any]]:
    return [
        sidecar("a.jpg", [class_record("x", spot(0, 0), probability=0.1, area=0.5, peak={"x": 0, "y": 0})]),
        sidecar("b.jpg", [class_record("y", spot(3, 3), probability=0.9, area=0.1, peak={"x": 30, "y": 20})]),
        sidecar("c.jpg", [class_record("x", spot(3, 5), probability=0.4, area=0.8, peak={"x": 40, "y": 20})]),
        failure("broken.jpg", "cut <b>short</b>"),
    ]


@pytest.mark.parametrize("key", REPORT_SORTS)
def test_sorting(tmp_path: Path, key: ReportSort) -> None:
    page = write_report(ReportRequest(write_run(tmp_path, three_and_a_failure()), sort=key)).path
    assert [image["name"] for image in data_of(page)["images"]] == ORDERS[key]


def test_a_limit_shows_the_first_and_sums_up_all(tmp_path: Path) -> None:
    written = write_report(ReportRequest(write_run(tmp_path, planted()), sort="name", limit=2))
    data = data_of(written.path)
    assert [image["name"] for image in data["images"]] == ["boat00.jpg", "boat01.jpg"]
    assert (written.shown, written.total, data["total"]) == (2, 36, 36)
    assert [each["count"] for each in data["classes"]] == [12, 12, 12]
    assert all(i < 2 for each in (*data["classes"],) for i in each["farthest"])
    assert all(i < 2 for each in (*data["clusters"],) for i in each["examples"])
    assert "first 2 images of 36" in written.path.read_text()


class References(HTMLParser):
    """Collects the elements of a page, and the addresses in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "action"}]


def links_of(data: Any) -> set[str]:
    """Every link in the data of a page."""
    links = set()
    for image in data["images"]:
        links |= {image[key] for key in ("thumbnail", "photo", "sidecar")}
        links |= {each["overlay"] for each in image["classes"]}
    return links - {None}


def test_names_and_messages_cannot_become_markup(tmp_path: Path) -> None:
    label = "</script><script>alert(1)</script>&<!--"
    records = [sidecar(HOSTILE, [class_record(label, spot(3, 3))]), failure("x.jpg", label)]
    records[0]["model"]["layer"] = "<b>layer</b>"
    out = write_run(tmp_path, records)
    page = write_report(ReportRequest(out)).path
    text = page.read_text()
    assert "<img" not in text
    assert "alert(1)<" not in text
    assert "<b>" not in text
    assert References(text).tags.count("script") == 2
    data = data_of(page)
    assert {image["name"] for image in data["images"]} == {HOSTILE, "x.jpg"}
    assert data["classes"][0]["label"] == label


def test_embedded_json_is_the_same_data() -> None:
    hostile = {"</script>": ["<!--", "&lt;", "\u2028", "é"]}
    text = embedded_json(hostile)
    assert not set("<>&\u2028é") & set(text)
    assert json.loads(text) == hostile


def test_links_are_relative_and_lead_to_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    records = [sidecar(name, [class_record("cat", spot(3, 3))]) for name in ("c:1.jpg", "sub dir/100%.jpg", "ä#?.jpg")]
    out = write_run(tmp_path / "a", records)
    page = write_report(ReportRequest(out)).path
    assert References(page.read_text()).addresses == ["#panel-images"]
    links = links_of(data_of(page))
    # Three photographs and sidecars, and the one thumbnail of three equal files.
    assert len(links) == 7
    for link in links:
        assert not urlsplit(link).scheme, link
        assert not link.startswith("/"), link
        assert (page.parent / unquote(urlsplit(link).path)).is_file(), link
    # Moved with its photographs, the page still finds everything.
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert all((tmp_path / "b" / "out" / unquote(link)).is_file() for link in links)


def test_a_page_elsewhere_links_back(tmp_path: Path) -> None:
    out = write_run(tmp_path, [sidecar("a.jpg", [class_record("cat", spot(3, 3))])])
    (tmp_path / "pages").mkdir()
    page = write_report(ReportRequest(out, tmp_path / "pages" / "p.html")).path
    (image,) = data_of(page)["images"]
    assert image["sidecar"] == "../out/a.jpg.json"
    assert image["photo"] == "../photos/a.jpg"
    assert (page.parent / image["thumbnail"]).is_file()


def test_a_self_contained_page_has_no_external_reference(tmp_path: Path) -> None:
    out = write_run(tmp_path, three_and_a_failure())
    page = write_report(ReportRequest(out, self_contained=True)).path
    links = links_of(data_of(page))
    assert links
    assert all(link.startswith("data:image/jpeg;base64,") for link in links)
    text = page.read_text()
    assert References(text).addresses == ["#panel-images"]
    assert not re.search(r"url\(|@import|(?<!www\.w3\.org/2000/svg)https?://(?!www\.w3\.org/2000/svg)", text)
    assert not (out / "report").exists()


def test_thumbnails_are_small_pictures_of_the_photographs(tmp_path: Path) -> None:
    record = sidecar("large.jpg", [class_record("cat", spot(3, 3))])
    out = write_run(tmp_path, [record])
    data = jpeg(1000, 500)
    (tmp_path / "photos" / "large.jpg").write_bytes(data)
    record["input"]["bytes"] = len(data)
    (out / "large.jpg.json").write_text(json.dumps(record))
    page = write_report(ReportRequest(out)).path
    (image,) = data_of(page)["images"]
    assert decode((out / image["thumbnail"]).read_bytes(), Limits()).size == Size(250, 125)
    assert not image["painted"]


def test_the_overlay_stands_in_for_a_photograph_that_is_gone_or_changed(tmp_path: Path) -> None:
    records = [
        sidecar(name, [class_record("cat", spot(3, 3), overlay=f"{name}.overlay.jpg")]) for name in ("a.jpg", "b.jpg")
    ]
    out = write_run(tmp_path, records)
    for name in ("a.jpg", "b.jpg"):
        (out / f"{name}.overlay.jpg").write_bytes(jpeg(30, 20, seed=3))
    (tmp_path / "photos" / "a.jpg").unlink()
    (tmp_path / "photos" / "b.jpg").write_bytes(jpeg(50, 50, seed=2) + b"more")
    page = write_report(ReportRequest(out)).path
    for image in data_of(page)["images"]:
        assert image["painted"]
        assert image["photo"] is None
        assert decode((out / image["thumbnail"]).read_bytes(), Limits()).size == Size(30, 20)
    assert "2 photographs not found" in page.read_text()


def test_an_image_without_any_picture_is_shown_without_one(tmp_path: Path) -> None:
    out = write_run(tmp_path, [sidecar("a.jpg", [class_record("cat", spot(3, 3))])], photos=False)
    (image,) = data_of(write_report(ReportRequest(out)).path)["images"]
    assert image["thumbnail"] is None


def test_a_sidecar_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    record = sidecar("a.jpg", [class_record("cat", spot(3, 3), overlay="../secret.jpg")])
    out = write_run(tmp_path, [record])
    secret = jpeg(9, 9)
    (tmp_path / "secret.jpg").write_bytes(secret)
    record["input"] |= {"path": "../secret.jpg", "bytes": len(secret)}
    (out / "a.jpg.json").write_text(json.dumps(record))
    (image,) = data_of(write_report(ReportRequest(out)).path)["images"]
    assert image["thumbnail"] is None
    assert image["classes"][0]["overlay"] is None


def test_sidecars_without_maps_are_shown_by_their_overlays(tmp_path: Path) -> None:
    old = class_record("cat", spot(3, 3))
    del old["heat"]
    data = data_of(write_report(ReportRequest(write_run(tmp_path, [sidecar("a.jpg", [old])]))).path)
    assert data["images"][0]["classes"][0]["heat"] is None
    assert data["classes"] == data["clusters"] == []


def test_a_sidecar_that_is_not_whole_is_named(tmp_path: Path) -> None:
    record = sidecar("a.jpg", [class_record("cat", spot(3, 3))])
    out = write_run(tmp_path, [record])
    del record["classes"][0]["heat"]["width"]
    (out / "a.jpg.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match=r"a\.jpg\.json: this sidecar is incomplete"):
        write_report(ReportRequest(out))


def test_a_geometry_without_a_stride_is_named(tmp_path: Path) -> None:
    line = {"offset": 1.0, "stride": 0.0, "seen_from": 0.0, "seen_to": 224.0}
    record = sidecar("a.jpg", [class_record("cat", np.full((64, 64), 9, np.uint8))])
    record["model"]["geometry"] = {"rows": line, "columns": line}
    out = write_run(tmp_path, [record])
    with pytest.raises(UsageError, match=r"a\.jpg\.json: this sidecar is incomplete"):
        write_report(ReportRequest(out))


def test_a_page_of_somebody_else_stays(tmp_path: Path) -> None:
    out = write_run(tmp_path, three_and_a_failure())
    (out / "index.html").write_text("<h1>mine</h1>")
    with pytest.raises(UsageError, match="did not write it"):
        write_report(ReportRequest(out))
    assert (out / "index.html").read_text() == "<h1>mine</h1>"


def test_what_is_no_regular_file_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    out = write_run(tmp_path, three_and_a_failure())
    os.mkfifo(tmp_path / "page.html")
    for place in (tmp_path / "page.html", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(UsageError, match="did not write it"):
            write_report(ReportRequest(out, place))
        assert not place.is_file()


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    out = write_run(tmp_path, planted())
    first = write_report(ReportRequest(out)).path.read_bytes()
    assert write_report(ReportRequest(out)).path.read_bytes() == first


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for i in range(2):
        (tmp_path / "photos" / f"{i}.jpg").write_bytes(jpeg(30, 20, seed=i))
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"nothing")

    def invoke(*args: str, code: int) -> str:
        result = CliRunner().invoke(program, [*args], obj=FakeEngines(), catch_exceptions=False)
        assert result.exit_code == code, result.stderr
        return result.stderr

    said = invoke("explain", "photos", "-o", "out", "--report", code=1)
    assert said.endswith("Report of 3 images -> out/index.html\n")
    names = [image["name"] for image in data_of(tmp_path / "out" / "index.html")["images"]]
    assert names == ["0.jpg", "1.jpg", "bad.jpg"]
    said = invoke("report", "out", "--sort", "probability", "--limit", "1", "-o", "p.html", code=0)
    assert said == "Report of 1 image of 3 -> p.html\n"
    assert invoke("report", "out", "-q", code=0) == ""
    assert "no problems" in CliRunner().invoke(program, ["verify", "out"]).output
    assert "run.json" in invoke("report", "photos", code=2)
    assert "-o FOLDER" in invoke("explain", "photos", "--jsonl", "-", "--report", code=2)
    # The pictures of a report are no inputs of another run.
    assert "3 images" in invoke("explain", "out", "photos", "-o", "again", "--dry-run", code=0)


def test_a_foreign_page_is_refused_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_bytes(jpeg())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").write_text("mine")
    result = CliRunner().invoke(program, ["explain", "a.jpg", "-o", "out", "--report"], obj=FakeEngines())
    assert result.exit_code == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["index.html"]


COLOURS = re.compile(r"--([a-z-]+): (#[0-9a-f]{6})")


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1])
def test_texts_have_the_contrast_of_wcag_aa(scheme: int) -> None:
    style = (resources.files("gradcam_cli.report") / "page.css").read_text()
    colours = dict(COLOURS.findall(style.split(":root {")[scheme + 1].split("}")[0]))
    pairs = [(text, page) for text in ("ink", "quiet", "accent", "bad") for page in ("page", "card")]
    for text, page in [
        *pairs,
        ("ink", "warn-page"),
        ("accent", "warn-page"),
        ("warn", "warn-page"),
        ("warn", "card"),
        ("accent-ink", "accent"),
        ("quiet", "shade"),
    ]:
        light, dark = sorted((luminance(colours[text]), luminance(colours[page])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, page)


def thumbnails(out: Path) -> set[str]:
    return {path.name for path in (out / "report").glob("*.jpg")}


def replace_photo(root: Path, name: str, side: int) -> None:
    """Another photograph of this name, and the sidecar of its explanation."""
    data = jpeg(side, side)
    (root / "photos" / name).write_bytes(data)
    path = root / "out" / f"{name}.json"
    record = json.loads(path.read_text())
    record["input"] |= {"bytes": len(data), "sha256": f"{side:064}", "width": side, "height": side}
    path.write_text(json.dumps(record))


def test_equal_files_have_one_thumbnail(tmp_path: Path) -> None:
    records = [sidecar(f"{i}.jpg", [class_record("cat", spot(3, 3))]) for i in range(4)]
    out = write_run(tmp_path, records)
    replace_photo(tmp_path, "3.jpg", 50)
    images = data_of(write_report(ReportRequest(out)).path)["images"]
    assert len(thumbnails(out)) == 2
    assert len({image["thumbnail"] for image in images[:3]}) == 1
    assert decode((out / images[3]["thumbnail"]).read_bytes(), Limits()).size == Size(50, 50)


def test_thumbnails_that_no_page_shows_are_removed(tmp_path: Path) -> None:
    records = [sidecar(f"{i}.jpg", [class_record("cat", spot(3, 3))]) for i in range(2)]
    out = write_run(tmp_path, records)
    replace_photo(tmp_path, "0.jpg", 50)
    write_report(ReportRequest(out))
    write_report(ReportRequest(out, output=tmp_path / "other.html"))
    others = {"report/mine.jpg", f"report/{'a' * 24}.gradcam-thumbnail.jpg"}
    for name in others:
        (out / name).write_bytes(b"mine")
    before = thumbnails(out)
    replace_photo(tmp_path, "0.jpg", 70)
    write_report(ReportRequest(out))
    assert thumbnails(out) > before, "the other page shows the old one still"
    (tmp_path / "other.html").unlink()
    write_report(ReportRequest(out))
    left = thumbnails(out)
    assert len(before - left) == 1
    assert all((out / name).read_bytes() == b"mine" for name in others)
    images = data_of(out / "index.html")["images"]
    assert all((out / image["thumbnail"]).is_file() for image in images)
    write_report(ReportRequest(out, self_contained=True))
    assert thumbnails(out) == {Path(name).name for name in others}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"mine": 1}', '{"gradcam_report": 1, "pages": {"../index.html": ["../run.json"]}}']
)
def test_a_list_of_thumbnails_that_is_damaged_or_foreign_removes_nothing(tmp_path: Path, text: str) -> None:
    out = write_run(tmp_path, [sidecar("a.jpg", [class_record("cat", spot(3, 3))])])
    (out / "report").mkdir()
    (out / "report/thumbnails.json").write_text(text)
    write_report(ReportRequest(out))
    assert (out / "run.json").is_file()
    assert len(thumbnails(out)) == 1
    if "mine" in text:
        assert (out / "report/thumbnails.json").read_text() == text


@pytest.mark.parametrize("layout", ["side-by-side", "triptych"])
def test_of_a_figure_the_overlay_is_shown(tmp_path: Path, layout: Layout) -> None:
    """Without the photograph, the page shows the overlay: of a figure that panel alone, as its thumbnail too."""
    style = OverlaySettings(layout=layout, caption=True, colorbar=True)
    out, plan = write_run_of_a_figure(tmp_path, style)
    (image,) = data_of(write_report(ReportRequest(out)).path)["images"]
    width, height = plan.size.width, plan.size.height
    edges = (
        plan.overlay.left / width,
        plan.overlay.top / height,
        plan.overlay.right / width,
        plan.overlay.bottom / height,
    )
    assert image["panel"] == pytest.approx(edges, abs=1e-4)
    small = decode((out / image["thumbnail"]).read_bytes(), Limits()).pixels
    assert small.shape[:2] == (160, 240)
    assert np.abs(small[4:-4, 4:-4].astype(int) - (200, 40, 40)).max() < 12
    # An overlay of another run in the same folder is no such figure: it is shown as it is.
    (out / "a.jpg.overlay.jpg").write_bytes(jpeg(240, 160))
    (image,) = data_of(write_report(ReportRequest(out)).path)["images"]
    assert image["panel"] is None


def test_verify_knows_what_is_made_of_runs(tmp_path: Path) -> None:
    out = write_run(tmp_path, [])
    (out / "comparison.json").write_text('{"gradcam_comparison": 1, "images": []}')
    (out / "golden.json").write_text('{"gradcam_snapshot": "1", "images": []}')
    (out / "report").mkdir()
    (out / "report/thumbnails.json").write_text('{"gradcam_report": 1, "pages": {}}')
    assert verify_folder(out).foreign == 0
    (out / "mine.json").write_text('{"comparison": 1}')
    found = verify_folder(out)
    assert (found.foreign, found.problems) == (1, [])


def test_failures_are_no_photographs_that_are_missing(tmp_path: Path) -> None:
    out = write_run(tmp_path, [sidecar("a.jpg", [class_record("cat", spot(3, 3))]), failure("b.jpg", "cut short")])
    (tmp_path / "photos/b.jpg").write_bytes(b"cut")
    assert "not found" not in write_report(ReportRequest(out)).path.read_text()
    (tmp_path / "photos/a.jpg").unlink()
    assert "1 photograph not found" in write_report(ReportRequest(out)).path.read_text()
