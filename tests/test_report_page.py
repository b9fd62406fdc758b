"""The report in a browser: what people click, type and see. Skipped where Chromium or playwright is missing."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reports import PHOTO, class_record, failure, sidecar, spot, write_run, write_run_of_a_figure

from gradcam_cli.imaging.geometry import Size, map_to_source
from gradcam_cli.imaging.overlay import colour_table
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.report import report as report_module
from gradcam_cli.report.image_state import fit_of
from gradcam_cli.requests import ReportRequest
from gradcam_cli.settings import Limits, OverlaySettings

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: apt-get install chromium")

# Pages of these tests are files.
write_report: Callable[[ReportRequest], Any] = report_module.write_report
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        # Chromium has no sandbox for root, as in a container.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


def records() -> list[dict[str, Any]]:
    """Seventy images of two classes, the dogs with a watermark; one with two classes and boxes; two failures."""
    made = []
    for i in range(69):
        label, heat = ("cat", spot(3, 3)) if i % 2 else ("dog", spot(6, 0))
        found = class_record(label, heat, i % 2, probability=round(0.3 + i / 100, 2), area=round(0.9 - i / 100, 2))
        made.append(sidecar(f"{i:02}.jpg", [found]))
    box = {"x0": 10, "y0": 5, "x1": 30, "y1": 25, "share": 0.5}
    hostile = class_record(HOSTILE, spot(0, 6), 2, probability=0.05, boxes=[box])
    made.append(sidecar(f"{HOSTILE}.jpg", [hostile, class_record("cat", spot(6, 6), 1)]))
    made[0]["model"]["fit"] = "crop"
    return [*made, failure("bad1.jpg", "cut short"), failure("bad2.jpg", HOSTILE)]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page: Path = write_report(ReportRequest(write_run(tmp_path_factory.mktemp("run"), records()))).path
    return page


@dataclass
class Opened:
    """A page in the browser, and what the browser complains of."""

    page: Any
    complaints: list[str] = field(default_factory=list)

    def names(self) -> list[str]:
        return [text.removesuffix(".jpg") for text in self.page.locator("#grid .name").all_inner_texts()]

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())


def opened(browser: Any, path: Path, width: int = 1280, **options: Any) -> Opened:
    page = browser.new_page(viewport={"width": width, "height": 800}, **options)
    found = Opened(page)
    page.on("console", lambda message: found.complaints.append(message.text))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("dialog", lambda dialog: found.complaints.append(f"dialog: {dialog.message}"))
    page.on("requestfailed", lambda request: found.complaints.append(f"no {request.url}"))
    page.goto(path.as_uri())
    return found


@pytest.fixture
def view(browser: Any, report: Path) -> Iterator[Opened]:
    """The report on a wide screen; after each test, the browser must have had no complaints."""
    found = opened(browser, report)
    yield found
    found.page.wait_for_timeout(50)
    found.page.close()
    assert found.complaints == []


def test_pages(view: Opened) -> None:
    assert view.text("#found") == "70 images"
    assert len(view.names()) == 60
    view.page.locator("#next-page").click()
    assert len(view.names()) == 10
    assert view.page.locator("#page").input_value() == "2"


def test_hostile_names_are_text(view: Opened) -> None:
    view.page.locator("#text").fill("onerror")
    assert view.names() == [HOSTILE]
    assert view.text("#grid .label") == HOSTILE
    view.page.locator(".card").click()
    assert view.text("#view-name") == f"{HOSTILE}.jpg"
    assert view.page.evaluate("document.querySelectorAll('[onerror]').length") == 0


def test_filters(view: Opened) -> None:
    page = view.page
    page.locator("#class").select_option(label="dog (35)")
    assert view.text("#found") == "35 images of 70"
    page.locator("#least").fill("0.9")
    assert view.names() == ["60", "62", "64", "66", "68"]
    page.locator("#most").fill("0.93")
    assert view.names() == ["60", "62"]
    page.locator("#controls button[type=reset]").click()
    assert view.text("#found") == "70 images"
    page.locator("#place").select_option("top right")
    assert view.names() == [HOSTILE]
    page.locator("#class").select_option(label="cat (35)")
    assert view.names() == []
    page.locator("#place").select_option("")
    page.locator("#text").fill("onerror")
    assert view.text("#grid .label") == "cat", "the card shows the class that is filtered by"


def test_sorting(view: Opened) -> None:
    page = view.page
    page.locator("#sort").select_option("probability")
    assert view.names()[:3] == ["68", "67", "66"]
    page.locator("#reverse").check()
    assert view.names()[:3] == [HOSTILE, "00", "01"]
    page.locator("#sort").select_option("area")
    page.locator("#reverse").uncheck()
    assert view.names()[:3] == ["00", "01", "02"]


def test_the_slider_fades_the_heat(view: Opened) -> None:
    opacity = "getComputedStyle(document.querySelector('#grid canvas')).opacity"
    assert view.page.evaluate(opacity) == "0.4"
    view.page.locator("#heat").fill("75")
    assert view.page.evaluate(opacity) == "0.75"
    assert view.text("#heat-value") == "75 %"


@pytest.mark.parametrize("number", [0, 1])
def test_the_heat_is_that_of_the_overlay(view: Opened, number: int) -> None:
    """The page's pixels against the program's own, for a cropped and for a squashed photograph."""
    view.page.locator("#colormap").select_option("inferno")
    width, height, values = view.page.evaluate(
        "(i) => { const c = document.querySelectorAll('#grid canvas')[i];"
        " return [c.width, c.height, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]; }",
        number,
    )
    drawn = np.array(values).reshape(height, width, 4)
    assert (width, height) == (120, 80)
    fit = fit_of(records()[number], Size(7, 7))
    heat = [spot(6, 0), spot(3, 3)][number].astype(np.float32)
    expected = map_to_source(heat, fit, Size(width, height))
    seen = map_to_source(np.ones_like(heat), fit, Size(width, height)) > 0
    np.testing.assert_array_equal(drawn[..., 3] == 255, seen)
    colours = colour_table("inferno")[np.rint(expected).astype(int)].astype(int)
    assert np.abs(drawn[..., :3] - colours)[seen].max() <= 4, "a rounding of heat is a step in the table"


def test_the_large_view(view: Opened) -> None:
    page = view.page
    page.locator("#text").fill("onerror")
    page.locator(".card").click()
    facts = view.text("#view-facts")
    for words in ("5.0 %", "2.5", "25.0 %", "x 30, y 20", "50.0 %", "gradcam++", "last", "60 x 40", "at the top right"):
        assert words in facts, facts
    assert page.locator("#stage svg rect").count() == 2
    first = page.evaluate("document.querySelector('#stage canvas').toDataURL()")
    page.locator("#view-classes button").nth(1).click()
    assert "cat (1)" in view.text("#view-facts")
    assert page.evaluate("document.querySelector('#stage canvas').toDataURL()") != first
    assert page.locator("#view-links a").all_inner_texts() == ["Sidecar", "Photograph"]
    assert page.evaluate("document.querySelector('#stage img').naturalWidth") == PHOTO[0]


def test_a_mouse_that_rests_shows_a_preview(view: Opened) -> None:
    page = view.page
    page.locator("#text").fill("onerror")
    page.locator("#heat").focus()
    preview = page.locator("#preview")
    page.locator(".card").hover()
    assert not preview.is_visible(), "not at once"
    preview.wait_for(state="visible", timeout=5000)
    assert page.evaluate("document.activeElement.id") == "heat"
    assert preview.locator("li").all_inner_texts() == [f"{HOSTILE}\n5.0 %", "cat\n50.0 %"]
    assert "logit 2.5" in view.text("#preview-facts")
    assert preview.locator("svg rect").count() == 2
    assert preview.locator("canvas").count() == 1
    box, card = preview.bounding_box(), page.locator(".card").bounding_box()
    assert box["x"] >= card["x"] + card["width"], "the card can be seen"
    # The mouse may go to the preview; Escape closes it.
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.wait_for_timeout(400)
    assert preview.is_visible()
    page.keyboard.press("Escape")
    assert not preview.is_visible()
    page.mouse.move(1, 1)
    page.locator(".card").hover()
    preview.wait_for(state="visible", timeout=5000)
    page.mouse.move(1, 1)
    preview.wait_for(state="hidden", timeout=5000)
    page.locator(".card").hover()
    preview.wait_for(state="visible", timeout=5000)
    preview.click()
    assert page.locator("#view").is_visible()
    assert not preview.is_visible()


def test_previews_stay_in_the_window(view: Opened) -> None:
    cards, preview = view.page.locator(".card"), view.page.locator("#preview")
    for number in (4, 9):
        cards.nth(number).hover()
        preview.wait_for(state="visible", timeout=5000)
        view.page.wait_for_timeout(300)
        box = preview.bounding_box()
        assert box["x"] >= 0
        assert box["y"] >= 0
        assert box["x"] + box["width"] <= 1280
        assert box["y"] + box["height"] <= 800


def test_a_touch_shows_no_preview(browser: Any, report: Path) -> None:
    found = opened(browser, report, 390, has_touch=True, is_mobile=True)
    found.page.locator(".card").first.tap()
    found.page.wait_for_timeout(600)
    assert found.page.locator("#view").is_visible()
    assert not found.page.locator("#preview").is_visible()
    found.page.close()
    assert found.complaints == []


def test_of_a_figure_the_large_view_shows_the_overlay(browser: Any, tmp_path: Path) -> None:
    """Without photographs: the panel of the overlay fills the stage, so that the marks lie where they should."""
    out, _ = write_run_of_a_figure(tmp_path, OverlaySettings(layout="triptych", caption=True))
    found = opened(browser, write_report(ReportRequest(out)).path)
    found.page.locator(".card").click()
    found.page.wait_for_function("document.querySelector('#stage img').complete")
    found.page.evaluate("document.querySelector('#stage svg').remove()")
    shown = decode(found.page.locator("#stage").screenshot(), Limits()).pixels
    # A browser may blend the outermost pixels with what is beside the panel.
    assert np.abs(shown[8:-8, 8:-8].astype(int) - (200, 40, 40)).max() < 30
    found.page.close()
    assert found.complaints == []


def test_the_keyboard(view: Opened) -> None:
    page = view.page
    page.locator(".card").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert view.text("#view-name") == "01.jpg"
    page.keyboard.press("ArrowRight")
    assert view.text("#view-name") == "02.jpg"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    assert not page.locator("#view").is_visible()
    assert page.evaluate("document.activeElement.querySelector('.name').textContent") == "01.jpg"
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.querySelector('.name').textContent") == "06.jpg"
    page.locator("#tab-images").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#panel-failures").is_visible()
    assert page.evaluate("document.activeElement.id") == "tab-failures"


def test_failures(view: Opened) -> None:
    view.page.locator("#tab-failures").click()
    rows = view.page.locator("#failures tr").all_inner_texts()
    assert [row.split() for row in rows] == [
        ["bad1.jpg", "truncated_or_corrupt", "cut", "short"],
        ["bad2.jpg", "truncated_or_corrupt", *HOSTILE.split()],
    ]


def test_the_flag_leads_to_its_images(view: Opened) -> None:
    assert (
        view.text("#flags li span")
        == "35 of 35 images of dog have their heat at the bottom left, and so has their mean"
    )
    view.page.locator("#flags button").click()
    assert view.text("#found") == "35 images of 70"
    assert view.page.locator("#class").input_value() == "0 dog"


def test_classes_and_clusters(view: Opened) -> None:
    page = view.page
    page.locator("#tab-classes").click()
    assert page.locator("#classes h2").all_inner_texts() == ["dog", "cat", HOSTILE]
    page.locator("#classes .examples button").first.click()
    assert page.locator("#view").is_visible()
    page.keyboard.press("Escape")
    page.locator("#tab-clusters").click()
    sizes = [int(text.split()[2]) for text in page.locator("#clusters h2").all_inner_texts()]
    assert sum(sizes) == 70
    page.locator("#clusters button.link").first.click()
    assert view.text("#found") == f"{sizes[0]} images of 70"


def test_every_picture_has_a_text_and_every_control_a_name(view: Opened) -> None:
    for tab in ("images", "classes", "clusters"):
        view.page.locator(f"#tab-{tab}").click()
        nameless = view.page.evaluate(
            "[...document.querySelectorAll('img:not([alt]), img[alt=\"\"]')].length"
            " + [...document.querySelectorAll('input, select')].filter(e => !e.labels.length && !e.ariaLabel).length"
        )
        assert nameless == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(browser: Any, report: Path, scheme: str) -> None:
    found = opened(browser, report, 390, color_scheme=scheme)
    page = found.page
    for tab in ("images", "classes", "clusters", "failures"):
        page.locator(f"#tab-{tab}").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab
    page.locator("#tab-images").click()
    assert not page.locator("#text").is_visible()
    page.locator("#filters summary").click()
    assert page.locator("#text").is_visible()
    page.locator(".card").first.click()
    assert page.evaluate("document.getElementById('view').scrollWidth") <= 390
    page.close()
    assert found.complaints == []


def test_a_page_alone_in_a_folder(browser: Any, report: Path, tmp_path: Path) -> None:
    """A self-contained page needs no other file; it works where everything else is gone."""
    page = write_report(ReportRequest(report.parent, tmp_path / "alone.html", self_contained=True)).path
    found = opened(browser, page)
    found.page.locator(".card").first.click()
    assert found.page.evaluate("document.querySelector('#stage img').naturalWidth") == PHOTO[0]
    assert found.page.locator("#view-links a").count() == 0
    found.page.close()
    assert found.complaints == []


def test_a_moved_folder_falls_back_to_thumbnails(browser: Any, report: Path, tmp_path: Path) -> None:
    shutil.copytree(report.parent, tmp_path / "artifact")
    found = opened(browser, tmp_path / "artifact" / "index.html")
    found.page.locator(".card").first.click()
    found.page.wait_for_function("document.querySelector('#stage img').naturalWidth > 0")
    assert "gradcam-thumbnail" in found.page.evaluate("document.querySelector('#stage img').src")
    found.page.close()
