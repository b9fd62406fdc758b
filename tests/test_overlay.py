"""Painting: exact pixels where arithmetic permits."""

import numpy as np
import pytest

from gradcam_cli.imaging.geometry import Box, Size
from gradcam_cli.imaging.overlay import colour_table, draw_boxes, mask, paint
from gradcam_cli.imaging.regions import Region
from gradcam_cli.settings import COLORMAPS, OverlaySettings

WHOLE = Box(0, 0, 2, 1)
GREY = np.full((1, 2, 3), 100, np.uint8)


def test_jet_runs_from_blue_to_red() -> None:
    table = colour_table("jet")
    assert table[0].tolist() == [0, 0, 128]
    assert table[255].tolist() == [128, 0, 0]
    assert table[128].tolist()[1] == 255


@pytest.mark.parametrize("name", COLORMAPS)
def test_every_colormap_has_256_colours(name: str) -> None:
    table = colour_table(name)
    assert table.shape == (256, 3)
    assert len(np.unique(table, axis=0)) > 50


def test_blending_by_hand() -> None:
    heat = np.array([[0.0, 1.0]], np.float32)
    painted = paint(GREY, heat, WHOLE, OverlaySettings(alpha=0.5))
    # Half of 100 and half of (0, 0, 128), half of (128, 0, 0).
    assert painted.tolist() == [[[50, 50, 114], [114, 50, 50]]]


def test_alpha_at_its_ends() -> None:
    heat = np.array([[0.0, 1.0]], np.float32)
    assert np.array_equal(paint(GREY, heat, WHOLE, OverlaySettings(alpha=0)), GREY)
    assert paint(GREY, heat, WHOLE, OverlaySettings(alpha=1)).tolist() == [[[0, 0, 128], [128, 0, 0]]]


def test_what_the_model_did_not_see_is_left_alone() -> None:
    painted = paint(GREY, np.zeros((1, 2), np.float32), Box(1, 0, 2, 1), OverlaySettings(alpha=1))
    assert painted.tolist() == [[[100, 100, 100], [0, 0, 128]]]


def test_the_photograph_is_not_changed() -> None:
    before = GREY.copy()
    paint(GREY, np.ones((1, 2), np.float32), WHOLE, OverlaySettings())
    assert np.array_equal(GREY, before)


COLOURS = np.array([[[200, 100, 50], [10, 220, 30], [90, 90, 200]]], np.uint8)


def test_a_mask_keeps_what_is_hot_and_greys_the_rest() -> None:
    heat = np.array([[0.5, 0.44, 1.0]], np.float32)
    masked = mask(COLOURS, heat, Box(0, 0, 3, 1), 0.5)
    assert masked[0, 0].tolist() == [200, 100, 50]
    assert masked[0, 2].tolist() == [90, 90, 200]
    grey = 0.5 * (0.299 * 10 + 0.587 * 220 + 0.114 * 30)
    assert masked[0, 1].tolist() == [pytest.approx(grey, abs=1)] * 3


def test_a_mask_fades_outwards() -> None:
    heat = np.array([[0.5, 0.475, 0.46]], np.float32)
    masked = mask(np.full((1, 3, 3), 100, np.uint8), heat, Box(0, 0, 3, 1), 0.5)
    # Half way down the fade of 0.05, half of 100 and half of 50.
    assert masked[0, :, 0].tolist() == [100, 75, pytest.approx(60, abs=1)]


def test_a_mask_greys_what_the_model_did_not_see() -> None:
    masked = mask(COLOURS, np.ones((1, 3), np.float32), Box(1, 0, 2, 1), 0.5)
    assert masked[0, 1].tolist() == COLOURS[0, 1].tolist()
    for i in (0, 2):
        assert len(set(masked[0, i].tolist())) == 1


def test_a_mask_of_no_heat_is_grey_all_over_at_any_level() -> None:
    for level in (0.01, 0.5, "otsu"):
        masked = mask(COLOURS, np.zeros((1, 3), np.float32), Box(0, 0, 3, 1), level)
        assert (masked == masked[:, :, :1]).all(), level


@pytest.mark.parametrize(("width", "height"), [(1, 1), (30, 20), (200, 150), (1600, 90), (90, 1600), (2400, 1800)])
def test_boxes_are_drawn_where_they_are(width: int, height: int) -> None:
    grey = np.full((height, width, 3), 100, np.uint8)
    box = Box(width // 4, height // 4, max(1, width * 3 // 4), max(1, height * 3 // 4))
    drawn = draw_boxes(grey, [Region(box, 0.42)], Size(width, height))
    assert drawn.shape == grey.shape
    assert (grey == 100).all()
    assert (drawn[box.bottom - 1, box.left : box.right] == 255).all()
    assert (drawn[box.top : box.bottom, box.right - 1] == 255).all()
    # Below the box there is its black rim and nothing else.
    rim = 2 + round(0.005 * (width * height) ** 0.5)
    assert (drawn[box.bottom + rim :] == 100).all()


def test_boxes_follow_the_overlays_size() -> None:
    region = Region(Box(100, 300, 500, 700), 0.5)
    small = draw_boxes(np.zeros((200, 200, 3), np.uint8), [region], Size(1000, 1000))
    lines = np.flatnonzero((small[130] == 255).all(axis=1))
    assert lines.tolist() == [20, 99]


@pytest.mark.parametrize("corner", [(0, 0), (0, 292), (392, 0), (392, 292)])
def test_labels_stay_in_the_picture(corner: tuple[int, int]) -> None:
    left, top = corner
    canvas = np.zeros((300, 400, 3), np.uint8)
    plate = draw_boxes(canvas, [Region(Box(left, top, left + 8, top + 8), 1.0)], Size(400, 300)) == 255
    middle = draw_boxes(canvas, [Region(Box(100, 100, 108, 108), 1.0)], Size(400, 300)) == 255
    # The same plate is seen whole wherever it stands: all but what overlaps with the box's own lines.
    assert plate.sum() >= 0.8 * middle.sum()


def test_the_box_with_most_heat_lies_on_top() -> None:
    canvas = np.zeros((300, 400, 3), np.uint8)
    large, small = Region(Box(50, 60, 250, 200), 0.6), Region(Box(50, 60, 120, 120), 0.1)
    both = draw_boxes(canvas, [large, small], Size(400, 300))
    alone = draw_boxes(canvas, [large], Size(400, 300))
    top = (slice(30, 61), slice(45, 120))
    assert np.array_equal(both[top], alone[top])
