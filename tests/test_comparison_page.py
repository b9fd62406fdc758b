"""The page of a comparison: what it shows, and that names in it are text and nothing else."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import Invoke, jpeg
from fakes import FakeEngines, OtherEngine
from reports import data_of

from gradcam_cli import explain_folder
from gradcam_cli.report.image_state import GRID

CHROMIUM = shutil.which("chromium")
NAME = "<img src=x onerror=document.title='hit'>.jpg"


@pytest.fixture
def page(tmp_path: Path, invoke: Invoke) -> Path:
    """The page of two models over pictures, of which one has markup for a name and one fails in the second run."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for i, name in enumerate((NAME, "b.jpg", "<script><b>.jpg"), 1):
        (photos / name).write_bytes(jpeg(seed=i))
    explain_folder(photos, tmp_path / "one", engines=FakeEngines())
    (photos / "b.jpg").write_bytes(b"")
    explain_folder(photos, tmp_path / "two", engines=FakeEngines(kind=OtherEngine))
    invoke("compare", "one", "two", "-o", "diff", "--fail-over", "failed-now=0", code=5)
    return tmp_path / "diff" / "index.html"


def test_the_page_has_both_maps_and_the_photograph_of_each_image(page: Path) -> None:
    images = data_of(page)["images"]
    assert {image["path"] for image in images} == {NAME, "<script><b>.jpg"}
    for image in images:
        assert image["photo"].startswith("data:image/jpeg;base64,")
        for side in ("before", "after"):
            # Base64 of a byte for each cell.
            assert len(image[side]["map"]) == 4 * -(-GRID * GRID // 3)
        assert (image["width"], image["height"]) == (40, 30)
        assert image["correlation"] < 1


def test_names_are_text_in_the_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<img" not in text
    assert text.count("<script") == text.count("</script>") == 2
    assert "failed-now is 1, above 0: b.jpg" in text
    assert "b.jpg: empty" in text
    assert "script-src &#39;sha256-" in text or "script-src 'sha256-" in text


def test_the_same_comparison_gives_the_same_page(page: Path, invoke: Invoke, tmp_path: Path) -> None:
    before = page.read_bytes()
    invoke("compare", "one", "two", "-o", "diff", "--fail-over", "failed-now=0", code=5)
    assert page.read_bytes() == before
    assert str(tmp_path).encode() not in before


def test_a_page_of_others_is_not_replaced(page: Path, invoke: Invoke) -> None:
    page.write_text("<!doctype html><p>mine</p>")
    assert "did not write it" in invoke("compare", "one", "two", "-o", "diff", code=2).stderr
    assert page.read_text() == "<!doctype html><p>mine</p>"


def test_a_photograph_that_is_gone_leaves_the_maps(page: Path, invoke: Invoke, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "photos")
    invoke("compare", "one", "two", "-o", "diff")
    assert all(image["photo"] is None and image["after"]["map"] for image in data_of(page)["images"])


def opened(page: Path, profile: Path) -> str:
    """The document after a browser has run the page's scripts, which must print nothing to its console."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert not re.findall(r":CONSOLE.*", done.stderr)
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_draws_the_page_and_runs_no_name(page: Path, tmp_path: Path) -> None:
    dom = opened(page, tmp_path / "profile")
    assert "<title>Comparison of two runs" in dom
    items = re.findall(r"<li><button.*?</li>", dom)
    assert len(items) == 2
    assert all("&lt;" in item and "class " in item for item in items)
    # One photograph and one map on each side.
    assert len(re.findall(r"<img[^>]*src=\"data:", dom)) == len(re.findall("<img", dom)) == 2
    assert dom.count("<canvas") == 2


# Changes the view as a person does, and leaves what is to be seen in the title.
STEPS = """<script>
const seen = [];
const $$ = (selector) => document.querySelector(selector);
const shown = () => ["#before", "#after"].map((id) => getComputedStyle($$(id)).visibility).join(" ");
const choose = (mode) => $$(`input[value=${mode}]`).click();
choose("slider");
$$("#split").value = 20;
$$("#split").dispatchEvent(new Event("input"));
seen.push(getComputedStyle($$("#after .stage")).clipPath);
choose("blink");
seen.push(shown());
setTimeout(() => {
  seen.push(shown());
  choose("side");
  seen.push(shown(), getComputedStyle($$("#after .stage")).clipPath, $$("#name").textContent);
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
  seen.push($$("#name").textContent);
  document.title = JSON.stringify(seen);
}, 1000);
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_slider_blink_and_keys_do_what_they_say(page: Path, tmp_path: Path) -> None:
    first, second = (image["path"] for image in data_of(page)["images"])
    # The policy of the page would not let the steps run.
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    (tmp_path / "steps.html").write_text(text.replace("</body>", STEPS), encoding="utf-8")
    title = re.findall(r"<title>(.*?)</title>", opened(tmp_path / "steps.html", tmp_path / "profile"))[0]
    sliced, *others = json.loads(html.unescape(title))
    assert sliced == "inset(0px 0px 0px 20%)"
    assert others == ["visible hidden", "hidden visible", "visible visible", "none", first, second]


def test_the_data_of_the_page_is_json_with_sorted_keys(page: Path) -> None:
    data: dict[str, Any] = data_of(page)
    assert json.dumps(data) == json.dumps(data, sort_keys=True)
