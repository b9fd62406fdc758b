"""Fits and the way back: literal boxes, exact points, and round trips for any size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gradcam_cli.imaging.geometry import (
    PAD_COLOUR,
    Box,
    Size,
    apply_fit,
    map_to_source,
    plan_fit,
    resize,
    resize_maps,
    seen_box,
)
from gradcam_cli.settings import FIT_MODES, FitMode

sizes = st.builds(Size, st.integers(1, 500), st.integers(1, 500))


def test_squash_takes_all_and_fills_all() -> None:
    fit = plan_fit(Size(400, 200), Size(100, 100), "squash")
    assert (fit.seen, fit.filled) == (Box(0, 0, 400, 200), Box(0, 0, 100, 100))


def test_crop_takes_the_middle() -> None:
    fit = plan_fit(Size(400, 200), Size(100, 100), "crop")
    assert (fit.seen, fit.filled) == (Box(100, 0, 300, 200), Box(0, 0, 100, 100))


def test_pad_fills_the_middle() -> None:
    fit = plan_fit(Size(400, 200), Size(100, 100), "pad")
    assert (fit.seen, fit.filled) == (Box(0, 0, 400, 200), Box(0, 25, 100, 75))


@pytest.mark.parametrize("mode", FIT_MODES)
def test_a_picture_of_the_right_size_is_not_touched(mode: FitMode) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    assert np.array_equal(apply_fit(pixels, plan_fit(Size(32, 24), Size(32, 24), mode)), pixels)


def test_padding_has_its_colour_and_the_picture_its_place() -> None:
    pixels = np.full((10, 20, 3), 9, np.uint8)
    padded = apply_fit(pixels, plan_fit(Size(20, 10), Size(20, 20), "pad"))
    assert (padded[5:15] == 9).all()
    assert (padded[:5] == PAD_COLOUR).all()
    assert (padded[15:] == PAD_COLOUR).all()


def test_maps_meet_at_the_centres_of_their_cells() -> None:
    # Centres of 4 pixels in units of 2 cells: 0, 0.25, 0.75, 1 after the ends are held.
    assert resize_maps(np.array([[[0.0, 4.0]]]), Size(4, 1)).tolist() == [[[0.0, 1.0, 3.0, 4.0]]]
    maps = np.random.default_rng(0).random((2, 3, 5, 7))
    np.testing.assert_allclose(resize_maps(maps, Size(7, 5)), maps)
    np.testing.assert_allclose(resize_maps(maps[..., ::-1], Size(21, 10)), resize_maps(maps, Size(21, 10))[..., ::-1])


@given(source=sizes, target=sizes, mode=st.sampled_from(FIT_MODES))
def test_boxes_stay_inside_and_proportions_hold(source: Size, target: Size, mode: FitMode) -> None:
    fit = plan_fit(source, target, mode)
    for box, outer in ((fit.seen, source), (fit.filled, target)):
        assert 0 <= box.left < box.right <= outer.width
        assert 0 <= box.top < box.bottom <= outer.height
        # In the middle, as near as whole pixels allow.
        assert abs(box.left - (outer.width - box.right)) <= 1
        assert abs(box.top - (outer.height - box.bottom)) <= 1
    if mode != "squash":
        outer, other, inner = (source, target, fit.seen) if mode == "crop" else (target, source, fit.filled)
        width = min(outer.width, outer.height * other.width / other.height)
        height = min(outer.height, outer.width * other.height / other.width)
        assert abs(inner.size.width - max(1, width)) <= 0.5001
        assert abs(inner.size.height - max(1, height)) <= 0.5001


@given(source=sizes, target=sizes, mode=st.sampled_from(FIT_MODES))
def test_the_input_has_the_networks_size(source: Size, target: Size, mode: FitMode) -> None:
    pixels = np.zeros((source.height, source.width, 3), np.uint8)
    assert apply_fit(pixels, plan_fit(source, target, mode)).shape == (target.height, target.width, 3)


def test_area_and_bilinear_by_hand() -> None:
    checker = np.array([[0, 100], [200, 100]], np.uint8)[:, :, None].repeat(3, axis=2)
    assert resize(checker, Size(1, 1)).ravel().tolist() == [100, 100, 100]
    # Shrinking downwards gives [100, 100], and growing sideways keeps it.
    assert (resize(checker, Size(4, 1)) == 100).all()


@given(source=sizes, target=sizes, mode=st.sampled_from(FIT_MODES), h=st.integers(1, 9), w=st.integers(1, 9))
def test_a_constant_map_comes_back_constant_where_the_model_looked(
    source: Size, target: Size, mode: FitMode, h: int, w: int
) -> None:
    fit = plan_fit(source, target, mode)
    heat = map_to_source(np.ones((h, w), np.float32), fit)
    assert heat.shape == (source.height, source.width)
    inside = np.zeros_like(heat, bool)
    inside[fit.seen.top : fit.seen.bottom, fit.seen.left : fit.seen.right] = True
    np.testing.assert_allclose(heat[inside], 1, rtol=1e-5)
    assert not heat[~inside].any()


def slow_value(heat: NDArray[np.float32], u: float, v: float) -> float:
    """Bilinear between cell centres, held beyond the outermost, at (u, v) in cells."""
    h, w = heat.shape
    x, y = min(max(u - 0.5, 0), w - 1), min(max(v - 0.5, 0), h - 1)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, w - 1), min(top + 1, h - 1)
    fx, fy = x - left, y - top
    upper = heat[top, left] * (1 - fx) + heat[top, right] * fx
    lower = heat[bottom, left] * (1 - fx) + heat[bottom, right] * fx
    return float(upper * (1 - fy) + lower * fy)


@pytest.mark.parametrize("mode", FIT_MODES)
def test_every_source_pixel_reads_the_map_at_its_own_place(mode: FitMode) -> None:
    source, target = Size(37, 23), Size(28, 28)
    heat = np.random.default_rng(3).random((7, 7)).astype(np.float32)
    fit = plan_fit(source, target, mode)
    back = map_to_source(heat, fit)
    for y in range(fit.seen.top, fit.seen.bottom):
        for x in range(fit.seen.left, fit.seen.right):
            across = (x + 0.5 - fit.seen.left) / fit.seen.size.width
            down = (y + 0.5 - fit.seen.top) / fit.seen.size.height
            u = (fit.filled.left + across * fit.filled.size.width) * 7 / 28
            v = (fit.filled.top + down * fit.filled.size.height) * 7 / 28
            assert back[y, x] == pytest.approx(slow_value(heat, u, v), abs=1e-5)


def test_a_marked_spot_comes_back_to_its_place() -> None:
    """From pixels to the input and back: the brightest spot of the input lies where the source had it."""
    for mode in FIT_MODES:
        pixels = np.zeros((120, 200, 3), np.uint8)
        pixels[50:60, 90:100] = 255
        fit = plan_fit(Size(200, 120), Size(64, 64), mode)
        there = apply_fit(pixels, fit)[:, :, 0]
        there[(there == PAD_COLOUR[0])] = 0
        y, x = np.unravel_index(map_to_source(there.astype(np.float32), fit).argmax(), (120, 200))
        assert abs(y - 54.5) <= 4
        assert abs(x - 94.5) <= 4


def test_a_smaller_overlay_shows_the_same_places() -> None:
    fit = plan_fit(Size(80, 40), Size(32, 32), "crop")
    heat = np.random.default_rng(5).random((8, 8)).astype(np.float32)
    assert seen_box(fit, Size(40, 20)) == Box(10, 0, 30, 20)
    full, half = map_to_source(heat, fit), map_to_source(heat, fit, Size(40, 20))
    blocks = full.reshape(20, 2, 40, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(half[:, 11:29], blocks[:, 11:29], atol=0.02)
