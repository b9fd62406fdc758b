"""Scaling and summing up heat."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from gradcam_cli.imaging.heatmap import scale, summarise

maps = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(0, 2.0**100, width=32))


def test_scaling_divides_by_the_maximum_and_by_nothing_else() -> None:
    raw = np.array([[0.5, 1.0], [2.0, 4.0]], np.float32)
    assert scale(raw).tolist() == [[0.125, 0.25], [0.5, 1.0]]
    # The minimum is not subtracted: a map without a cold cell stays warm everywhere.
    assert scale(np.array([[3.0, 4.0]], np.float32)).tolist() == [[0.75, 1.0]]


def test_no_epsilon_even_for_the_smallest_numbers() -> None:
    raw = np.array([[1e-38, 5e-39]], np.float32)
    assert scale(raw)[0, 0] == 1.0
    assert scale(np.zeros((2, 2), np.float32)).tolist() == [[0, 0], [0, 0]]


@given(maps)
def test_scaled_heat_lies_in_the_unit_interval(raw: NDArray[np.float32]) -> None:
    heat = scale(raw)
    assert np.isfinite(heat).all()
    assert heat.min() >= 0
    assert heat.max() == (1 if raw.any() else 0)


def test_peak_and_area() -> None:
    heat = np.zeros((4, 5), np.float32)
    heat[2, 3] = 1.0
    heat[0, 0] = 0.5
    heat[1, 1] = 0.49
    summary = summarise(heat, flat=False)
    assert summary.peak == (3, 2)
    assert summary.area == 2 / 20


def test_the_peak_of_a_plateau_is_its_middle() -> None:
    heat = np.zeros((9, 9), np.float32)
    heat[0:3, 4:9] = 1.0
    assert summarise(heat, flat=False).peak == (6, 1)


def test_flat_has_no_peak() -> None:
    summary = summarise(np.zeros((3, 3), np.float32), flat=True)
    assert (summary.peak, summary.area, summary.flat) == (None, 0.0, True)
