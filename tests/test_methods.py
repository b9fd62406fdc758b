"""Methods on literal arrays, against slow transcriptions of their equations, and under the laws they must obey."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from gradcam_cli.methods import METHODS
from gradcam_cli.methods.cam import cam
from gradcam_cli.methods.gradcam import gradcam
from gradcam_cli.methods.gradcam_plus_plus import gradcam_plus_plus, gradcam_plus_plus_paper
from gradcam_cli.methods.hirescam import hirescam
from gradcam_cli.methods.layercam import layercam
from gradcam_cli.methods.xgradcam import xgradcam

Array = NDArray[np.float64]

# One image, 1 x 2 cells, two channels. The first channel's gradient is positive in one cell only.
A = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
G = np.array([[[[2.0, -1.0], [-1.0, -3.0]]]])


def test_gradcam_on_paper() -> None:
    # Weights: mean(2, -1) = 0.5 and mean(-1, -3) = -2. Maps: 0.5*1 - 2*2 = -3.5 and 0.5*3 - 2*4 = -6.5.
    assert gradcam(A, G).tolist() == [[[0.0, 0.0]]]
    # With the second channel's gradient at 0 only 0.5 * A_0 is left.
    assert gradcam(A, G * [1, 0]).tolist() == [[[0.5, 1.5]]]


def test_gradcam_plus_plus_on_paper() -> None:
    # Channel 0: S = 1 + 3 = 4, alpha = 1 / (2 + 4 * 2) = 0.1 in the first cell and 0 in the second, so that the
    # normalised weight is 0.1 * 2 / 0.1 = 2. Channel 1 has no positive gradient: weight 0.
    assert gradcam_plus_plus(A, G) == pytest.approx(np.array([[[2.0, 6.0]]]))


def test_gradcam_plus_plus_paper_on_paper() -> None:
    # As above, not normalised: 0.1 * 2 = 0.2.
    assert gradcam_plus_plus_paper(A, G) == pytest.approx(np.array([[[0.2, 0.6]]]))


def test_cam_on_paper() -> None:
    assert cam(A, np.array([[2.0, -1.0]])).tolist() == [[[0.0, 2.0]]]


def test_hirescam_on_paper() -> None:
    # 2*1 - 1*2 = 0 and -1*3 - 3*4 = -15.
    assert hirescam(A, G).tolist() == [[[0.0, 0.0]]]
    assert hirescam(A, -G).tolist() == [[[0.0, 15.0]]]


def test_layercam_on_paper() -> None:
    # Of the four gradients only the first is positive.
    assert layercam(A, G).tolist() == [[[2.0, 0.0]]]


def test_xgradcam_on_paper() -> None:
    # Weights: (2*1 - 1*3) / 4 = -0.25 and (-1*2 - 3*4) / 6 = -14/6; with their signs turned round the map is
    # 0.25*1 + 14/6*2 and 0.25*3 + 14/6*4.
    assert not xgradcam(A, G).any()
    assert xgradcam(A, -G) == pytest.approx(np.array([[[0.25 + 28 / 6, 0.75 + 56 / 6]]]))


def test_xgradcam_without_activations_is_nothing() -> None:
    # The first channel is 0 everywhere; the second sums to 0, and would be divided by it.
    a = np.array([[[[0.0, 1.0], [0.0, -1.0]]]])
    assert not xgradcam(a, np.array([[[[1.0, 2.0], [1.0, 1.0]]]])).any()


def slow_plus_plus(a: Array, g: Array, *, normalised: bool) -> Array:
    """Equations 10, 11 and 19 with the derivatives of exp(S), cell by cell; S = 0 loses no generality."""
    n, h, w, k = a.shape
    out = np.zeros((n, h, w))
    for image in range(n):
        for channel in range(k):
            mass = sum(max(a[image, i, j, channel], 0.0) for i in range(h) for j in range(w))
            alphas, products = 0.0, 0.0
            for i in range(h):
                for j in range(w):
                    slope = g[image, i, j, channel]
                    if slope <= 0:
                        continue
                    second, third = slope**2, slope**3
                    alpha = second / (2 * second + mass * third)
                    alphas += alpha
                    products += alpha * slope
            weight = products / alphas if normalised and alphas else products
            out[image] += weight * a[image, :, :, channel]
    return np.maximum(out, 0)


def cases(seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    shape = (2, 3, 4, 5)
    return rng.normal(0.5, 1, shape), rng.normal(0, 0.5, shape)


@pytest.mark.parametrize("seed", range(5))
def test_plus_plus_equals_its_equations(seed: int) -> None:
    a, g = cases(seed)
    np.testing.assert_allclose(gradcam_plus_plus(a, g), slow_plus_plus(a, g, normalised=True), rtol=1e-12)
    np.testing.assert_allclose(gradcam_plus_plus_paper(a, g), slow_plus_plus(a, g, normalised=False), rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_gradcam_equals_its_equation(seed: int) -> None:
    a, g = cases(seed)
    for image in range(len(a)):
        for i in range(a.shape[1]):
            for j in range(a.shape[2]):
                total = sum(g[image, :, :, k].sum() / 12 * a[image, i, j, k] for k in range(a.shape[3]))
                assert gradcam(a, g)[image, i, j] == pytest.approx(max(total, 0.0), rel=1e-12, abs=1e-12)


def slow_elementwise(a: Array, g: Array, *, positive: bool) -> Array:
    """HiResCAM, or LayerCAM where only positive gradients count, element by element."""
    n, h, w, k = a.shape
    out = np.zeros((n, h, w))
    for image, i, j, channel in np.ndindex(n, h, w, k):
        slope = g[image, i, j, channel]
        if slope > 0 or not positive:
            out[image, i, j] += slope * a[image, i, j, channel]
    return np.maximum(out, 0)


def slow_xgradcam(a: Array, g: Array) -> Array:
    n, h, w, k = a.shape
    out = np.zeros((n, h, w))
    for image in range(n):
        for channel in range(k):
            above = sum(g[image, i, j, channel] * a[image, i, j, channel] for i in range(h) for j in range(w))
            below = sum(a[image, i, j, channel] for i in range(h) for j in range(w))
            out[image] += above / below * a[image, :, :, channel]
    return np.maximum(out, 0)


@pytest.mark.parametrize("seed", range(5))
def test_elementwise_methods_and_xgradcam_equal_their_equations(seed: int) -> None:
    a, g = cases(seed)
    np.testing.assert_allclose(hirescam(a, g), slow_elementwise(a, g, positive=False), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(layercam(a, g), slow_elementwise(a, g, positive=True), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(xgradcam(a, g), slow_xgradcam(a, g), rtol=1e-10, atol=1e-12)


def dense_head(seed: int, dtype: Any = np.float64) -> tuple[Any, Any, Any]:
    """Activations after a ReLU, a class's weights, and the gradient W / Z that a GAP -> Dense head has."""
    rng = np.random.default_rng(seed)
    a = np.maximum(rng.normal(size=(3, 4, 4, 6)), 0).astype(dtype)
    weights = rng.normal(size=(3, 6)).astype(dtype)
    return a, weights, np.broadcast_to(weights[:, None, None, :] / 16, a.shape)


@pytest.mark.parametrize("seed", range(3))
def test_with_a_dense_head_plus_plus_is_gradcam_without_negative_weights(seed: int) -> None:
    a, weights, g = dense_head(seed)
    clipped = np.maximum(weights, 0) / 16
    expected = np.einsum("nhwk,nk->nhw", a, clipped)
    np.testing.assert_allclose(gradcam_plus_plus(a, g), expected, rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_with_a_dense_head_cam_is_z_times_gradcam(seed: int) -> None:
    a, weights, g = dense_head(seed)
    np.testing.assert_allclose(cam(a, weights), 16 * gradcam(a, g), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_with_a_dense_head_hirescam_and_xgradcam_are_gradcam(seed: int) -> None:
    a, _, g = dense_head(seed)
    np.testing.assert_allclose(hirescam(a, g), gradcam(a, g), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(xgradcam(a, g), gradcam(a, g), rtol=1e-12, atol=1e-14)
    # What is positive of a weight is all that LayerCAM and Grad-CAM++ see of it.
    np.testing.assert_allclose(layercam(a, g), gradcam_plus_plus(a, g), rtol=1e-12, atol=1e-14)


GRADIENT_METHODS = (gradcam, gradcam_plus_plus, gradcam_plus_plus_paper, hirescam, layercam, xgradcam)


# With a dense head weights are the gradients themselves, so that only the map's unit may change. The paper's own
# variant is linear in g only where S * g is small beside 2.
@pytest.mark.parametrize(
    ("method", "size"),
    [
        (gradcam, 1e-2),
        (gradcam_plus_plus, 1e-2),
        (gradcam_plus_plus_paper, 1e-8),
        (hirescam, 1e-2),
        (layercam, 1e-2),
        (xgradcam, 1e-2),
    ],
)
def test_tiny_gradients_give_the_same_scaled_map(method: Any, size: float) -> None:
    rng = np.random.default_rng(1)
    a = rng.random((1, 7, 7, 16)).astype(np.float32)
    g = rng.normal(0.3 * size, size, (1, 1, 1, 16)).astype(np.float32) * np.ones((1, 7, 7, 1), np.float32)
    large, small = method(a, g), method(a, g * np.float32(1e-20))
    assert small.max() > 0
    np.testing.assert_allclose(small / small.max(), large / large.max(), rtol=1e-5)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_negative_gradients_give_nothing(method: Any) -> None:
    a = np.random.default_rng(2).random((2, 5, 5, 4)).astype(np.float32)
    assert not method(a, -np.ones_like(a)).any()
    assert not method(a, np.zeros_like(a)).any()


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_precision_is_kept(method: Any) -> None:
    a = np.ones((1, 2, 2, 3), np.float32)
    assert method(a, a).dtype == np.float32
    assert method(a.astype(np.float64), a.astype(np.float64)).dtype == np.float64


finite = st.floats(-1e3, 1e3, allow_nan=False, width=32)


@st.composite
def activations_and_gradients(draw: st.DrawFn) -> tuple[Any, Any]:
    shape = draw(hnp.array_shapes(min_dims=4, max_dims=4, max_side=4))
    return draw(hnp.arrays(np.float32, shape, elements=finite)), draw(hnp.arrays(np.float32, shape, elements=finite))


@given(activations_and_gradients())
def test_maps_are_finite_non_negative_and_independent_of_the_batch(case: tuple[Any, Any]) -> None:
    a, g = case
    for method in GRADIENT_METHODS:
        maps = method(a, g)
        assert maps.shape == a.shape[:3]
        assert np.isfinite(maps).all()
        assert (maps >= 0).all()
        alone = np.concatenate([method(a[i : i + 1], g[i : i + 1]) for i in range(len(a))])
        np.testing.assert_allclose(maps, alone, rtol=1e-5, atol=1e-6 * max(1.0, float(maps.max())))


def test_the_registry_knows_its_names() -> None:
    assert list(METHODS) == [
        "gradcam",
        "gradcam++",
        "gradcam++-paper",
        "gradcam++-softmax",
        "cam",
        "layercam",
        "hirescam",
        "xgradcam",
        "scorecam",
        "ablationcam",
        "eigencam",
        "eigengradcam",
    ]
    assert all(name == method.name and method.line for name, method in METHODS.items())
