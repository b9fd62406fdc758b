"""Memory bounded by bytes: who waits for whom, and large pictures analysed and painted in bounded memory."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import picture
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcam_cli.imaging.geometry import Box, Size, map_rows, map_to_source, plan_fit
from gradcam_cli.imaging.heatmap import scale, summarise
from gradcam_cli.imaging.regions import find_regions
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.runs import painting
from gradcam_cli.runs.memory_budget import MemoryBudget
from gradcam_cli.runs.painting import MOST_ANALYSED, analysed_size, find_heat, paint_overlay
from gradcam_cli.settings import FIT_MODES, Limits, OverlaySettings


def test_small_pictures_work_together_and_large_ones_alone() -> None:
    budget = MemoryBudget(at_work=100)
    sizes = [30, 250, 30, 60, 99, 1, 100, 101, 40, 40] * 6
    running: list[int] = []
    most: list[int] = []

    def work(size: int) -> None:
        with budget.lease() as lease:
            lease.take(size)
            running.append(size)
            most.append(sum(running))
            assert sum(running) <= 100 or len(running) == 1
            time.sleep(0.001)
            running.remove(size)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, sizes))
    assert max(most) == 250
    assert any(60 < total <= 100 for total in most)


def test_leases_that_grow_do_not_wait_for_each_other_for_ever() -> None:
    budget = MemoryBudget(at_work=100)

    def work(size: int) -> int:
        with budget.lease() as lease:
            lease.take(40)
            lease.take(size)
            lease.take(size // 2)
            assert lease.held == size
        return size

    with ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(work, [90, 300, 41, 99] * 25))) == 100


def test_a_large_picture_is_not_overtaken_for_ever() -> None:
    budget, first, done = MemoryBudget(at_work=100), Event(), []

    def large() -> None:
        with budget.lease() as lease:
            first.set()
            lease.take(100)
            done.append("large")

    def little() -> None:
        with budget.lease() as lease:
            lease.take(10)
            done.append("small")

    with budget.lease() as held:
        held.take(50)
        waiting = Thread(target=large)
        waiting.start()
        first.wait()
        time.sleep(0.05)
        other = Thread(target=little)
        other.start()
        time.sleep(0.05)
        assert done == []
    waiting.join()
    other.join()
    assert done == ["large", "small"]


def test_what_is_kept_is_bounded_and_given_back() -> None:
    budget = MemoryBudget(kept=100)
    assert budget.keep(60)
    assert not budget.keep(41)
    budget.free(60)
    assert budget.keep(100)


@given(width=st.integers(1, 20_000), height=st.integers(1, 20_000))
def test_the_analysed_size(width: int, height: int) -> None:
    size = analysed_size(Size(width, height))
    assert size.width * size.height <= MOST_ANALYSED
    assert 1 <= size.width <= width
    assert 1 <= size.height <= height
    if width * height <= MOST_ANALYSED:
        assert size == Size(width, height)


@pytest.mark.parametrize("mode", FIT_MODES)
@pytest.mark.parametrize("source", [Size(600, 400), Size(401, 599)])
def test_peaks_and_boxes_at_a_lower_resolution(monkeypatch: pytest.MonkeyPatch, source: Size, mode: Any) -> None:
    rng = np.random.default_rng(source.width)
    scaled = scale(rng.random((7, 7), np.float32) ** 3)
    fit = plan_fit(source, Size(224, 224), mode)
    heat = map_to_source(scaled, fit)
    exact, boxes, _ = find_heat(scaled, fit, 0.4)
    assert exact == summarise(heat, flat=False)
    assert boxes == find_regions(heat, fit.seen, 0.4)
    monkeypatch.setattr(painting, "MOST_ANALYSED", 30_000)
    close, coarse, _ = find_heat(scaled, fit, 0.4)
    pixel = (source.width * source.height / 30_000) ** 0.5 + 1
    assert exact.peak
    assert close.peak
    assert heat[close.peak[1], close.peak[0]] > 0.9
    assert abs(close.area - exact.area) < 0.02
    assert boxes
    assert coarse
    for one, other in zip(boxes, coarse, strict=True):
        for side in ("left", "top", "right", "bottom"):
            assert abs(getattr(one.box, side) - getattr(other.box, side)) <= 2 * pixel
        assert abs(one.share - other.share) < 0.03
        assert 0 <= other.box.left < other.box.right <= source.width
        assert 0 <= other.box.top < other.box.bottom <= source.height


@settings(max_examples=30)
@given(width=st.integers(5, 60), height=st.integers(5, 60), rows=st.integers(1, 20))
def test_rows_of_a_map(width: int, height: int, rows: int) -> None:
    heat = np.random.default_rng(0).random((5, 4), np.float32)
    fit = plan_fit(Size(width, height), Size(30, 20), "pad")
    whole = map_to_source(heat, fit)
    for top in range(0, height, rows):
        part = map_rows(heat, fit, fit.source, slice(top, top + rows))
        assert np.abs(part - whole[top : top + rows]).max() < 1e-6


@pytest.mark.parametrize(
    "style",
    [
        OverlaySettings(quality=100),
        OverlaySettings(quality=100, mask=0.4),
        OverlaySettings(quality=100, mask="otsu"),
        OverlaySettings(quality=100, draw_boxes=True),
        OverlaySettings(quality=100, draw_boxes=True, layout="triptych", caption=True, colorbar=True),
    ],
)
@pytest.mark.parametrize("mode", FIT_MODES)
def test_overlays_painted_in_strips_are_the_same(
    monkeypatch: pytest.MonkeyPatch, mode: Any, style: OverlaySettings
) -> None:
    pixels = picture(150, 230)
    scaled = scale(np.random.default_rng(3).random((7, 7), np.float32) ** 2)
    fit = plan_fit(Size(150, 230), Size(64, 64), mode)
    _, regions, _ = find_heat(scaled, fit, 0.5)
    whole = decode(paint_overlay(pixels, scaled, fit, style, regions), Limits()).pixels
    monkeypatch.setattr(painting, "STRIP", 150 * 7)
    before = pixels.copy()
    strips = decode(paint_overlay(pixels, scaled, fit, style, regions), Limits()).pixels
    assert np.abs(whole.astype(int) - strips).max() <= 3
    assert np.array_equal(pixels, before)
    if style.layout == "overlay":
        assert np.abs(whole.astype(int) - pixels).mean() > 3


def test_a_large_picture_says_what_it_costs_before_it_is_decoded() -> None:
    costs: list[int] = []
    data = cv2.imencode(".png", picture(400, 300))[1].tobytes()
    decode(data, Limits(), None, None, costs.append)
    assert 3 * 400 * 300 <= costs[0] <= 6 * 400 * 300
    wide = cv2.imencode(".png", np.dstack([picture(40, 30), picture(40, 30)[:, :, :1]]).astype(np.uint16) * 257)[1]
    decode(wide.tobytes(), Limits(), None, None, costs.append)
    assert costs[1] >= (8 + 4 + 3) * 40 * 30
    with pytest.raises(RuntimeError):
        decode(data, Limits(), None, None, _refuse)


def _refuse(_: int) -> None:
    raise RuntimeError


def test_boxes_of_the_whole_picture_stay_inside() -> None:
    scaled = np.ones((7, 7), np.float32)
    fit = plan_fit(Size(10_007, 5_003), Size(224, 224), "squash")
    summary, regions, _ = find_heat(scaled, fit, 0.5)
    assert regions
    assert regions[0].box == Box(0, 0, 10_007, 5_003)
    assert summary.peak
    assert abs(summary.peak[0] - 5003) <= 8
    assert abs(summary.peak[1] - 2501) <= 8
