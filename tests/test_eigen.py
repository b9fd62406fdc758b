"""Eigen-CAM: its principal component against a power iteration cell by cell, and its sign."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from gradcam_cli.methods.eigen import eigencam, eigengradcam, principal_projection

Array = NDArray[np.float64]


def test_on_paper() -> None:
    # Two cells that differ by (3, 4): the direction is (3, 4) / 5, and they lie 2.5 either side of their mean. The
    # second cell has the larger sum, so it is the positive one.
    a = np.array([[[[1.0, 1.0], [4.0, 5.0]]]])
    assert principal_projection(a) == pytest.approx(np.array([[[-2.5, 2.5]]]))
    assert eigencam(a) == pytest.approx(np.array([[[0.0, 2.5]]]))
    assert eigencam(a + 100) == pytest.approx(np.array([[[0.0, 2.5]]]))


def slow_projection(values: Array) -> Array:
    """The first principal component of one image (h, w, K), by power iteration on its covariance."""
    h, w, k = values.shape
    cells = [values[i, j] - sum(values[y, x] for y in range(h) for x in range(w)) / (h * w)
             for i in range(h) for j in range(w)]  # fmt: skip
    direction = np.arange(1.0, k + 1)
    for _ in range(3000):
        direction = sum(cell * (cell @ direction) for cell in cells)
        direction = direction / np.sqrt(direction @ direction)
    along = np.array([cell @ direction for cell in cells])
    sums = np.array([cell.sum() for cell in cells])
    return along.reshape(h, w) * (1 if np.corrcoef(along, sums)[0, 1] > 0 else -1)


# More channels than cells, and more cells than channels: the two sides on which the eigenvector is looked for.
@pytest.mark.parametrize("shape", [(2, 3, 3, 20), (2, 5, 4, 6), (1, 2, 3, 6)])
@pytest.mark.parametrize("seed", range(3))
def test_equals_a_power_iteration(shape: tuple[int, int, int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, g = np.maximum(rng.normal(0.3, 1, shape), 0), rng.normal(size=shape)
    for image in range(shape[0]):
        np.testing.assert_allclose(principal_projection(a)[image], slow_projection(a[image]), atol=1e-6)
        np.testing.assert_allclose(eigencam(a)[image], np.maximum(slow_projection(a[image]), 0), atol=1e-6)
        product = np.maximum(slow_projection(g[image] * a[image]), 0)
        np.testing.assert_allclose(eigengradcam(a, g)[image], product, atol=1e-6)


def test_both_sides_agree_and_the_sign_is_not_chance() -> None:
    rng = np.random.default_rng(3)
    a = rng.random((2, 4, 4, 15))
    few = principal_projection(a)
    # Channels that say nothing change the side, not the projection.
    many = principal_projection(np.concatenate([a, np.zeros((2, 4, 4, 30))], axis=3))
    np.testing.assert_allclose(few, many, atol=1e-10)
    for image in range(2):
        assert np.corrcoef(few[image].ravel(), a[image].sum(axis=2).ravel())[0, 1] > 0
    # Where the sum over the channels says nothing, the largest cell is positive.
    level = np.array([[[[3.0, 0.0], [0.0, 3.0], [2.0, 1.0], [2.0, 1.0]]]])
    assert principal_projection(level)[0, 0].argmax() == np.abs(principal_projection(level)[0, 0]).argmax()


cells = st.floats(-1e3, 1e3, allow_nan=False, width=32)


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=4, max_dims=4, max_side=4), elements=cells))
def test_finite_non_negative_and_in_the_dtype_of_the_activations(a: Any) -> None:
    maps = eigencam(a)
    assert maps.dtype == np.float32
    assert maps.shape == a.shape[:3]
    assert np.isfinite(maps).all()
    assert (maps >= 0).all()
    spread = np.linalg.norm(a.reshape(len(a), -1, a.shape[3]) - a.mean(axis=(1, 2))[:, None], axis=(1, 2))
    assert (np.linalg.norm(maps, axis=(1, 2)) <= spread * (1 + 1e-5) + 1e-6).all()


def test_all_cells_alike_are_flat() -> None:
    assert not eigencam(np.ones((1, 3, 3, 4), np.float32)).any()
