"""Painting: exact pixels where arithmetic permits."""

import numpy as np
import pytest

from gradcam_cli.geometry import Box
from gradcam_cli.overlay import colour_table, paint
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
