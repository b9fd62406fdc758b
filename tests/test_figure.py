"""Figures: where their parts lie, what is painted there, and which letters can be written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import jpeg
from fakes import FakeEngines, FakeModel
from numpy.typing import NDArray
from PIL import ImageFont

from gradcam_cli import Explainer
from gradcam_cli.engines.work import Work
from gradcam_cli.errors import UsageError
from gradcam_cli.imaging import lettering as lettering_module
from gradcam_cli.imaging.figure import INK, PAPER, UNSEEN, FigurePlan, Words, plan_figure
from gradcam_cli.imaging.geometry import Box, Fit, Size, map_to_source, plan_fit
from gradcam_cli.imaging.lettering import ELLIPSIS, Face, Lettering, lettering_of, plain
from gradcam_cli.imaging.overlay import colour_table
from gradcam_cli.inputs.decoding import decode, encode_jpeg
from gradcam_cli.labels.class_labels import Label, Labels
from gradcam_cli.models.request import ModelRequest
from gradcam_cli.options import explain_request
from gradcam_cli.runs.explain import run_explain
from gradcam_cli.runs.observer import RunObserver
from gradcam_cli.runs.painting import figure_pixels, paint_overlay, painting_bytes
from gradcam_cli.settings import LAYOUTS, EngineSettings, Layout, Limits, OverlaySettings
from gradcam_cli.text import percent_text

RNG = np.random.default_rng(5)
HEAT = np.array([[0.0, 0.25], [0.5, 1.0]], np.float32)
SIZES = [(500, 375), (375, 500), (32, 32), (1, 1), (3000, 40), (40, 3000), (1200, 1200)]


def photo(width: int, height: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def squashed(width: int, height: int) -> Fit:
    return plan_fit(Size(width, height), Size(64, 64), "squash")


def planned(width: int, height: int, **style: Any) -> FigurePlan:
    plan = plan_figure(Size(width, height), OverlaySettings(**style))
    assert plan is not None
    return plan


def part(figure: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    return figure[box.top : box.bottom, box.left : box.right]


def test_an_overlay_alone_is_no_figure() -> None:
    assert plan_figure(Size(500, 375), OverlaySettings(mask=0.5, draw_boxes=True)) is None


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_parts_of_a_figure_lie_in_it_and_apart(layout: Layout, width: int, height: int) -> None:
    plan = planned(width, height, layout=layout, caption=True, colorbar=True)
    assert plan.bar is not None
    assert plan.band is not None
    assert len(plan.panels) == {"overlay": 1, "side-by-side": 2, "triptych": 3}[layout]
    covered = np.zeros((plan.size.height, plan.size.width), int)
    for box in (*plan.panels, plan.bar, plan.band):
        assert 0 <= box.left < box.right <= plan.size.width
        assert 0 <= box.top < box.bottom <= plan.size.height
        covered[box.top : box.bottom, box.left : box.right] += 1
    assert covered.max() == 1
    assert {box.size for box in plan.panels} == {Size(width * plan.enlarged, height * plan.enlarged)}
    assert plan.letters >= 13


def test_panels_of_wide_pictures_lie_below_each_other() -> None:
    assert len({box.top for box in planned(400, 200, layout="triptych").panels}) == 1
    assert len({box.left for box in planned(402, 200, layout="triptych").panels}) == 1


@pytest.mark.parametrize(
    ("side", "max_side", "times"),
    [(32, None, 7), (120, None, 2), (121, None, 1), (32, 100, 3), (32, 32, 1), (1, None, 240)],
)
def test_small_pictures_are_enlarged(side: int, max_side: int | None, times: int) -> None:
    assert planned(side, side, caption=True, max_side=max_side).enlarged == times


def test_each_panel_shows_what_it_should() -> None:
    pixels, fit = photo(300, 200), squashed(300, 200)
    style = OverlaySettings(layout="triptych", alpha=0.5, colormap="inferno")
    plan = plan_figure(Size(300, 200), style)
    assert plan is not None
    figure = figure_pixels(pixels, HEAT, fit, style, Words())
    original, heat, overlay = (part(figure, box) for box in plan.panels)
    np.testing.assert_array_equal(original, pixels)
    colours = colour_table("inferno")[np.rint(255 * map_to_source(HEAT, fit)).astype(int)]
    assert np.abs(heat.astype(int) - colours).max() <= 4, "a rounding of heat is a step in the table"
    assert np.abs(overlay - (pixels / 2 + colours / 2)).max() <= 4
    gap = figure[:, plan.panels[0].right : plan.panels[1].left]
    assert (gap == PAPER).all()
    assert gap.shape[1] > 0


def test_the_overlay_in_a_figure_is_the_overlay_alone() -> None:
    pixels, fit = photo(300, 200), squashed(300, 200)
    for style in ({}, {"mask": "otsu"}, {"mask": 0.5}):
        alone = figure_pixels(pixels, HEAT, fit, OverlaySettings(**style), Words())
        plan = planned(300, 200, layout="triptych", **style)
        figure = figure_pixels(pixels, HEAT, fit, OverlaySettings(layout="triptych", **style), Words())
        np.testing.assert_array_equal(part(figure, plan.overlay), alone)


def test_an_overlay_alone_is_encoded_as_it_is_painted() -> None:
    pixels, fit = photo(60, 40), squashed(60, 40)
    style = OverlaySettings(alpha=0.5)
    painted = figure_pixels(pixels, HEAT, fit, style, Words())
    assert paint_overlay(pixels, HEAT, fit, style, None, Words("cat", "1 %")) == encode_jpeg(painted, 92)


def test_what_the_model_did_not_see_is_grey_in_the_heat() -> None:
    fit = plan_fit(Size(400, 300), Size(64, 64), "crop")
    plan = planned(400, 300, layout="triptych")
    figure = figure_pixels(photo(400, 300), HEAT, fit, OverlaySettings(layout="triptych"), Words())
    heat = part(figure, plan.panels[1])
    assert (heat[:, :50] == UNSEEN).all()
    assert (heat[:, -50:] == UNSEEN).all()
    assert not (heat[:, 50:-50] == UNSEEN).all(axis=2).any()


def test_the_colour_bar_is_hot_at_its_top() -> None:
    plan = planned(300, 200, colorbar=True)
    assert plan.bar is not None
    figure = figure_pixels(photo(300, 200), HEAT, squashed(300, 200), OverlaySettings(colorbar=True), Words())
    bar = part(figure, plan.bar)
    table = colour_table("jet")
    np.testing.assert_array_equal(bar[0, 0], table[255])
    np.testing.assert_array_equal(bar[-1, -1], table[0])
    ticks = figure[:, plan.bar.right :]
    assert (ticks.min(axis=(1, 2)) < 200).any(), "its ticks are written"


def test_a_caption_is_written_on_its_band_and_nowhere_else() -> None:
    pixels, fit, style = photo(300, 200), squashed(300, 200), OverlaySettings(caption=True)
    plan = planned(300, 200, caption=True)
    assert plan.band is not None
    empty = figure_pixels(pixels, HEAT, fit, style, Words())
    assert (part(empty, plan.band) == PAPER).all()
    said = figure_pixels(pixels, HEAT, fit, style, Words("cat", "97.3 %"))
    changed = np.flatnonzero((said != empty).any(axis=(1, 2)))
    assert changed.min() >= plan.band.top
    assert changed.max() < plan.band.bottom - 2
    written = part(said, plan.band)
    assert written.min() <= INK[0] + 20
    left, right = written[:, :150].min(), written[:, -60:].min()
    assert max(left, right) < 120, "the class on the left, the probability on the right"


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_long_labels_are_shortened(width: int, height: int) -> None:
    plan = planned(width, height, caption=True)
    assert plan.band is not None
    style = OverlaySettings(caption=True)
    words = Words("W" * 2000, "> 99.9 %")
    band = part(figure_pixels(photo(width, height), HEAT, squashed(width, height), style, words), plan.band)
    # There is a margin on both sides, and no letter reaches beyond the band.
    assert (band[:, :4] == PAPER).all()
    assert (band[:, -4:] == PAPER).all()
    assert (band[-2:] == PAPER).all()


def test_shortening() -> None:
    letters = Lettering()
    letters = lettering_of(["a golden retriever"])
    assert letters.shortened("a golden retriever", 20, 500) == "a golden retriever"
    short = letters.shortened("a golden retriever", 20, 100)
    assert short.endswith(ELLIPSIS)
    assert "a golden retriever".startswith(short.removesuffix(ELLIPSIS))
    assert letters.width(short, 20) <= 100
    assert letters.shortened("a golden retriever", 20, 5) == ""


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0.0 %"), (0.0004, "< 0.1 %"), (0.5, "50.0 %"), (0.9996, "> 99.9 %"), (1.0, "100.0 %"), (0.12345, "12.3 %")],
)
def test_probabilities(share: float, text: str) -> None:
    assert percent_text(share) == text


def test_the_font_of_pillow_knows_what_it_lacks() -> None:
    assert Face().having("aZ9%é猫Ж") == frozenset("aZ9%")


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering_module, "FONTS", "no_such_package")
    monkeypatch.setattr(lettering_module, "FONTS_CJK", "no_such_package")


@pytest.mark.usefixtures("no_fonts")
def test_without_fonts_other_scripts_cannot_be_written() -> None:
    letters = lettering_of(["cat", "кот", "élan"])
    assert [letters.writes(text) for text in ("cat", "кот", "élan")] == [True, False, False]


SCRIPTS = [
    "élan",
    "кот",
    "γάτα",
    "קט",
    "قطة",
    "แมว",
    "बिल्ली",
    "猫",
    "ねこ",
    "고양이",
    "cat 猫 (кот)",
    "e\u0301\u0323",
]


@pytest.mark.parametrize("label", SCRIPTS)
def test_fonts_of_the_extra_write_other_scripts(label: str) -> None:
    pytest.importorskip("manimgx_fonts")
    pytest.importorskip("manimgx_fonts_cjk")
    letters = lettering_of([label])
    assert letters.writes(label)
    paper = np.full((60, 400, 3), 255, np.uint8)
    drawn = letters.draw(paper, label, 32, (10, 45), (0, 0, 0))
    assert drawn.min() < 100
    ink = np.flatnonzero(drawn.min(axis=(0, 2)) < 128)
    assert ink.max() <= 10 + letters.width(label, 32) + 2
    shortened = letters.shortened(label * 40, 32, 200)
    assert shortened.endswith(ELLIPSIS)
    assert 100 < letters.width(shortened, 32) <= 200


def test_one_face_is_used_where_it_has_all_labels() -> None:
    pytest.importorskip("manimgx_fonts")
    letters = lettering_of(["cat", "кот"])
    assert letters.faces[0].path is not None
    assert letters.faces[0].path.name.startswith("NotoSans[")
    assert lettering_of(["cat", "dog"]).faces[0] == Face()


def test_text_is_one_line_without_control_characters() -> None:
    assert plain(" a\n b\x1b\u202e  e\u0301 ") == "a b é"


class Notes(RunObserver):
    """Keeps the notes of a run."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class NamedEngines(FakeEngines):
    """Finds a model whose classes have names in several scripts."""

    def open(self, request: ModelRequest, choice: EngineSettings, work: Work) -> Any:
        names = Labels(tuple(Label(name) for name in ("кот", "cat", "пёс", "dog", "猫")))
        return super().open(request, choice, work)[0], FakeModel(labels=names)


@pytest.mark.usefixtures("no_fonts")
def test_a_run_says_which_labels_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(300, 200))
    seen = Notes()
    request = explain_request([tmp_path / "a.jpg"], tmp_path / "out", {"caption": True, "top_k": 2})
    assert run_explain(request, seen, engines=NamedEngines()).exit_status == 0
    (note,) = [note for note in seen.notes if "captions" in note]
    assert "3 labels, such as 'кот'" in note
    assert "fonts" in note


def test_a_file_that_is_no_font_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(30, 20))
    (tmp_path / "font.ttf").write_bytes(b"no font")
    engines = FakeEngines()
    options = {"caption": True, "font": tmp_path / "font.ttf"}
    with pytest.raises(UsageError, match="the font cannot be read"):
        run_explain(explain_request([tmp_path / "a.jpg"], tmp_path / "out", options), engines=engines)
    assert engines.opened == []


def test_a_font_of_ones_own(tmp_path: Path) -> None:
    own = ImageFont.load_default(10)
    assert isinstance(own, ImageFont.FreeTypeFont)
    (tmp_path / "font.ttf").write_bytes(own.font_bytes)
    letters = lettering_of(["cat", "猫"], tmp_path / "font.ttf")
    assert [letters.writes(text) for text in ("cat", "猫")] == [True, False]
    assert letters.faces == (Face(tmp_path / "font.ttf"),)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"font": "a.ttf"}, "needs `caption`"),
        ({"colorbar": True, "mask": 0.5}, "`layout=triptych`"),
        ({"layout": "diptych"}, "choose from overlay, side-by-side, triptych"),
    ],
)
def test_options_without_effect_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        explain_request(["a.jpg"], None, options)


def test_a_figure_is_part_of_the_digest() -> None:
    options: list[dict[str, Any]] = [
        {},
        {"layout": "triptych"},
        {"caption": True},
        {"colorbar": True},
        {"caption": True, "font": "a.ttf"},
    ]
    assert len({explain_request(["a.jpg"], None, each).digest({}, {}) for each in options}) == len(options)


def test_painting_a_figure_takes_more_memory() -> None:
    plain_bytes = painting_bytes(OverlaySettings(), Size(1000, 500))
    assert plain_bytes == 7 * 1000 * 500
    assert painting_bytes(OverlaySettings(layout="triptych"), Size(1000, 500)) > 15 * 1000 * 500


def test_a_figure_of_an_explanation(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(300, 200))
    explainer = Explainer(engines=FakeEngines(), layout="side-by-side", caption=True)
    explanation = explainer.explain_one(tmp_path / "a.jpg")
    explanation.save(tmp_path / "out")
    plan = planned(300, 200, layout="side-by-side", caption=True)
    saved = decode((tmp_path / "out/a.jpg.overlay.jpg").read_bytes(), Limits()).pixels
    assert saved.shape[:2] == (plan.size.height, plan.size.width)
    figure = explanation.best.figure("side-by-side")
    assert np.abs(saved.astype(int) - figure).mean() < 3, "a JPEG of the same figure"
    assert explanation.best.overlay().shape == (200, 300, 3)
    run_json = tmp_path / "out/run.json"
    assert not run_json.exists()
