"""Regions of heat: by hand on small maps, and laws that hold for any."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from gradcam_cli.imaging.geometry import Box
from gradcam_cli.imaging.regions import Region, find_regions, level_of
from gradcam_cli.settings import Threshold

Heat = NDArray[np.float32]
HEAT = np.array(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5],
        [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.5],
        [0.0, 0.0, 0.6, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.6, 0.4, 0.0, 0.0, 0.4],
    ],
    np.float32,
)


def whole(heat: Heat) -> Box:
    return Box(0, 0, heat.shape[1], heat.shape[0])


def boxes(heat: Heat, threshold: Threshold) -> list[Box]:
    return [region.box for region in find_regions(heat, whole(heat), threshold)]


def test_boxes_and_shares_by_hand() -> None:
    first, second = find_regions(HEAT, whole(HEAT), 0.5)
    # 1.0 and 0.6 touch by a corner; 0.4 is cold; all the heat is 4.0.
    assert first.box == Box(1, 1, 3, 4)
    assert first.share == pytest.approx(2.2 / 4.0)
    assert second.box == Box(6, 0, 7, 2)
    assert second.share == pytest.approx(1.0 / 4.0)


def test_the_threshold_itself_is_hot() -> None:
    assert boxes(HEAT, 0.75) == [Box(1, 1, 2, 2)]
    assert len(boxes(HEAT, 0.375)) == 3
    assert boxes(np.array([[0.5, 1.0]], np.float32), 0.5) == [Box(0, 0, 2, 1)]
    assert boxes(np.array([[np.nextafter(np.float32(0.5), np.float32(0)), 1.0]], np.float32), 0.5) == [Box(1, 0, 2, 1)]


def test_a_region_may_lie_inside_the_box_of_another() -> None:
    ring = np.zeros((7, 7), np.float32)
    ring[1:6, 1:6] = 0.5
    ring[2:5, 2:5] = 0
    ring[3, 3] = 1
    assert boxes(ring, 0.5) == [Box(1, 1, 6, 6), Box(3, 3, 4, 4)]


def test_equal_regions_stay_in_the_order_of_reading() -> None:
    heat = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1]], np.float32)
    assert boxes(heat, 0.5) == [Box(0, 0, 1, 1), Box(2, 0, 3, 1), Box(0, 2, 1, 3), Box(2, 2, 3, 3)]


def test_specks_are_left_out() -> None:
    heat = np.zeros((30, 30), np.float32)
    heat[0:6, 0:5] = 1  # 30 pixels
    heat[20, 10] = 1  # a thirtieth of it
    heat[20, 20:22] = 1  # a fifteenth
    assert boxes(heat, 0.5) == [Box(0, 0, 5, 6), Box(20, 20, 22, 21)]


def test_no_heat_no_boxes() -> None:
    nothing = np.zeros((4, 5), np.float32)
    assert boxes(nothing, 0.5) == boxes(nothing, "otsu") == []
    assert boxes(np.full((4, 5), 0.2, np.float32), 0.5) == []


def test_heat_everywhere_is_one_box() -> None:
    everywhere = np.ones((4, 5), np.float32)
    expected = [Region(Box(0, 0, 5, 4), 1.0)]
    assert find_regions(everywhere, whole(everywhere), 0.5) == expected
    assert find_regions(everywhere, whole(everywhere), "otsu") == expected


def slow_otsu(heat: Heat) -> set[int]:
    """All splits of 256 steps that leave the least variance within both sides, to rounding."""
    steps = np.round(heat.astype(np.float64) * 255)
    within = {}
    for split in range(255):
        cold, hot = steps[steps <= split], steps[steps > split]
        if len(cold) and len(hot):
            within[split] = len(cold) * cold.var() + len(hot) * hot.var()
    least = min(within.values())
    return {split for split, variance in within.items() if variance <= least + 1e-6 * steps.size}


@pytest.mark.parametrize("seed", range(8))
def test_otsu_is_the_split_of_least_variance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cold, hot = rng.uniform(0, 0.3, 120), rng.uniform(rng.uniform(0.2, 0.6), 1, 30)
    heat = np.concatenate([cold, hot]).astype(np.float32).reshape(10, 15)
    steps = np.round(heat * 255)
    found = level_of(heat, "otsu")
    split = {s for s in slow_otsu(heat) if ((steps > s) == (heat >= found)).all()}
    assert split, found


def test_otsu_tells_neighbouring_steps_apart() -> None:
    heat = (np.array([[100, 100, 101, 101]]) / 255).astype(np.float32)
    assert boxes(heat, "otsu") == [Box(2, 0, 4, 1)]
    assert 100 / 255 < level_of(heat, "otsu") < 101 / 255


def test_otsu_looks_at_what_the_model_saw_alone() -> None:
    heat = np.zeros((4, 400), np.float32)
    heat[:, 198:202] = [0.5, 0.6, 0.9, 1.0]
    assert boxes(heat, "otsu") == [Box(198, 0, 202, 4)]
    (region,) = find_regions(heat, Box(198, 0, 202, 4), "otsu")
    assert region.box == Box(200, 0, 202, 4)
    assert region.share == pytest.approx(1.9 / 3.0)


shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)
heats = hnp.arrays(np.float32, shapes, elements=st.floats(0, 1, width=32))
thresholds = st.floats(0.01, 0.99) | st.just("otsu")


@given(heats, thresholds)
def test_boxes_hold_the_heat_they_say_and_nothing_hot_is_lost_but_specks(heat: Heat, threshold: Threshold) -> None:
    regions = find_regions(heat, whole(heat), threshold)
    shares = [region.share for region in regions]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1 + 1e-9
    total = heat.sum(dtype=np.float64)
    hot = (heat >= level_of(heat, threshold)) & (total > 0)
    lost = hot.copy()
    for region in regions:
        box = region.box
        assert 0 <= box.left < box.right <= heat.shape[1]
        assert 0 <= box.top < box.bottom <= heat.shape[0]
        inside = np.where(hot, heat, 0)[box.top : box.bottom, box.left : box.right]
        assert inside.sum(dtype=np.float64) >= region.share * total * (1 - 1e-6)
        # It is the smallest box: each of its sides touches something hot.
        assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
        lost[box.top : box.bottom, box.left : box.right] = False
    # What no box holds are specks: none of them weighs a twentieth of the first region.
    for region in find_regions(np.where(lost, heat, 0).astype(np.float32), whole(heat), 1e-9):
        assert region.share * heat[lost].sum(dtype=np.float64) < 0.05 * shares[0] * total + 1e-6


@given(heats, st.floats(0.01, 0.99), st.integers(0, 5), st.integers(0, 5))
def test_boxes_are_in_pixels_of_the_whole_picture(heat: Heat, threshold: float, left: int, top: int) -> None:
    height, width = heat.shape
    larger = np.zeros((height + top + 3, width + left + 2), np.float32)
    larger[top : top + height, left : left + width] = heat
    moved = find_regions(larger, Box(left, top, left + width, top + height), threshold)
    expected = find_regions(heat, whole(heat), threshold)
    assert [r.share for r in moved] == [r.share for r in expected]
    for there, here in zip(moved, expected, strict=True):
        shifted = Box(here.box.left + left, here.box.top + top, here.box.right + left, here.box.bottom + top)
        assert there.box == shifted
