"""Grad-CAM++ on the softmax: its derivatives against finite differences and the paper's own expansion."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradcam_cli.methods.softmax import dense_head_moments, gradcam_plus_plus_softmax, sampled_moments

Array = NDArray[np.float64]


def softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def network(seed: int = 0, n: int = 2, side: int = 3, k: int = 4, c: int = 5) -> tuple[Array, Array, Array]:
    """Activations (N, h, w, K), dense weights (K, C) and the probabilities they give."""
    rng = np.random.default_rng(seed)
    a = np.maximum(rng.normal(0.3, 1, (n, side, side, k)), 0)
    weights = rng.normal(0, 3, (k, c))
    return a, weights, softmax(a.mean(axis=(1, 2)) @ weights)


def probability_along(a: Array, weights: Array, channel: int, target: int, step: float) -> float:
    """Y^c after one element of the channel has grown by a step."""
    moved = a.copy()
    moved[0, 0, 0, channel] += step
    return float(softmax(moved.mean(axis=(1, 2)) @ weights)[0, target])


def test_derivatives_equal_finite_differences() -> None:
    a, weights, y = network(n=1)
    target = 2
    moments = dense_head_moments(weights, y, np.array([target]), 9)
    d, v, t = (m[0, 0, 0] for m in (moments.offset, moments.variance, moments.skew))
    for channel in range(weights.shape[0]):
        h = 0.05
        f = [probability_along(a, weights, channel, target, i * h) for i in range(-3, 4)]
        first = (-f[0] + 9 * f[1] - 45 * f[2] + 45 * f[4] - 9 * f[5] + f[6]) / (60 * h)
        second = (2 * f[0] - 27 * f[1] + 270 * f[2] - 490 * f[3] + 270 * f[4] - 27 * f[5] + 2 * f[6]) / (180 * h**2)
        third = (f[0] - 8 * f[1] + 13 * f[2] - 13 * f[4] + 8 * f[5] - f[6]) / (8 * h**3)
        yc = y[0, target]
        assert yc * d[channel] == pytest.approx(first, rel=1e-6, abs=1e-9)
        assert yc * (d[channel] ** 2 - v[channel]) == pytest.approx(second, rel=1e-5, abs=1e-8)
        assert yc * (d[channel] ** 3 - 3 * d[channel] * v[channel] - t[channel]) == pytest.approx(
            third, rel=1e-3, abs=1e-6
        )


def slow_map(a: Array, gradients: Array, y: Array, target: int) -> Array:
    """Equations 10, 19 and 21 to 23 for one image, cell by cell; gradients (C, h, w, K) of every class's logit."""
    h, w, k = a.shape
    out = np.zeros((h, w))
    for channel in range(k):
        mass = sum(max(a[i, j, channel], 0.0) for i in range(h) for j in range(w))
        weight = 0.0
        for i in range(h):
            for j in range(w):
                s = gradients[:, i, j, channel]
                sc, mean, square, cube = s[target], y @ s, y @ s**2, y @ s**3
                yc = y[target]
                first = yc * (sc - mean)
                # Equation 22: the derivative of Y (s_c - m), and its derivative once more, with m' = E[s^2] - m^2.
                mean_1 = square - mean**2
                second = first * (sc - mean) - yc * mean_1
                square_1 = cube - square * mean
                mean_2 = square_1 - 2 * mean * mean_1
                third = second * (sc - mean) - 2 * first * mean_1 - yc * mean_2
                denominator = 2 * second + mass * third
                alpha = second / denominator if denominator else 0.0
                weight += alpha * max(first, 0.0)
        out += weight * a[:, :, channel]
    return np.maximum(out, 0)


@pytest.mark.parametrize("seed", range(4))
def test_dense_head_equals_the_equations(seed: int) -> None:
    a, weights, y = network(seed)
    classes = np.array([1, 3])
    maps = gradcam_plus_plus_softmax(a, dense_head_moments(weights, y, classes, 9))
    for i, target in enumerate(classes):
        gradients = np.broadcast_to((weights.T / 9)[:, None, None, :], (5, 3, 3, 4))
        np.testing.assert_allclose(maps[i], slow_map(a[i], gradients, y[i], int(target)), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_any_head_equals_the_equations(seed: int) -> None:
    a, _, y = network(seed)
    gradients = np.random.default_rng(seed + 100).normal(size=(2, 5, 3, 3, 4))
    classes = np.array([1, 3])
    rows = np.arange(2)
    others = []
    for rank in range(1, 5):
        other = (classes + rank) % 5
        others.append((y[rows, other], gradients[rows, other]))
    moments = sampled_moments(gradients[rows, classes], y[rows, classes], others)
    maps = gradcam_plus_plus_softmax(a, moments)
    for i, target in enumerate(classes):
        np.testing.assert_allclose(maps[i], slow_map(a[i], gradients[i], y[i], int(target)), rtol=1e-8, atol=1e-12)


def test_both_ways_to_the_moments_agree() -> None:
    _, weights, y = network(3)
    classes = np.array([0, 4])
    dense = dense_head_moments(weights, y, classes, 9)
    slopes = np.broadcast_to((weights / 9).T[:, None, None, :], (5, 3, 3, 4))
    others = [(np.where(classes == c, 0, y[:, c]), np.broadcast_to(slopes[c], (2, 3, 3, 4))) for c in range(5)]
    sampled = sampled_moments(slopes[classes], y[[0, 1], classes], others)
    for name in ("offset", "variance", "skew"):
        np.testing.assert_allclose(
            np.broadcast_to(getattr(dense, name), (2, 3, 3, 4)), getattr(sampled, name), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_certain_prediction_is_finite(dtype: Any) -> None:
    a, weights, _ = network(1)
    certain = np.zeros((2, 5))
    certain[:, 2] = 1.0
    moments = dense_head_moments(weights.astype(dtype), certain.astype(dtype), np.array([2, 2]), 9)
    maps = gradcam_plus_plus_softmax(a.astype(dtype), moments)
    assert np.isfinite(maps).all()
    assert maps.dtype == dtype


def test_a_pole_gives_nothing_instead_of_infinity() -> None:
    # Two classes with equal probability and opposite gradients +-1: d = 1, v = 1, t = 0, so Y'' = 0 and Y''' = -2.
    # With S = 0 the denominator vanishes.
    a = np.zeros((1, 1, 1, 1))
    moments = sampled_moments(np.ones((1, 1, 1, 1)), np.array([0.5]), [(np.array([0.5]), -np.ones((1, 1, 1, 1)))])
    assert moments.variance.item() == pytest.approx(1.0)
    assert np.isfinite(gradcam_plus_plus_softmax(a, moments)).all()
