"""Grad-CAM and its nearest kin: activations weighted by the gradient of one score.

Every function here takes `activations` A (N, h, w, K), the output of the target layer, and `gradients`
g = dS/dA of the same shape, S being the score of the class to explain: its logit, unless told. It gives maps
(N, h, w), non-negative, in the layer's own resolution and in no unit but their own. Arrays are float32 or float64,
and so is the answer.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

# Below this share of its own terms the denominator of alpha is rounding noise: a pole, where alpha is set to 0.
POLE = 1e-12


def gradcam(activations: Floats, gradients: Floats) -> Floats:
    """Grad-CAM: channels weighted by their mean gradient.

    `relu(sum_k mean_ij(g_ijk) A_k)`. Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2.
    """
    return weighted_map(activations, gradients.mean(axis=(1, 2)))


def gradcam_plus_plus(activations: Floats, gradients: Floats) -> Floats:
    """Grad-CAM++: channels weighted by their positive gradients, each pixel by its own alpha.

    `relu(sum_k w_k A_k)` with `w_k = sum_ij a_ijk relu(g_ijk) / sum_ij a_ijk` and
    `a_ijk = [g_ijk > 0] / (2 + S_k g_ijk)`, `S_k = sum_ij max(A_ijk, 0)`.
    Chattopadhyay et al. 2018, arXiv:1710.11063, equations 10, 11 and 19.

    The closed form of alpha is exact for heads that are piecewise linear in A (ReLU, max pooling), and an
    approximation for smooth ones (swish, GELU, tanh, LayerNorm between the layer and the logits). Where such a head
    sees A through its spatial means alone, g and alpha are the same in all cells of a channel, alpha cancels, and the
    map is exact again.

    Differs from the paper in that alpha is normalised to sum to 1 over the positive gradients of a channel,
    as its authors' own program does: see `gradcam_plus_plus_paper` for the equations. `S_k` is
    taken over `max(A, 0)`, which is the paper's sum wherever the layer ends in a ReLU, and keeps the
    denominator at 2 or more where it does not.
    """
    alpha, positive = _alpha_and_positive_gradients(activations, gradients)
    total = alpha.sum(axis=(1, 2))
    weights = _spatial_dot(alpha, positive)
    # A channel without a positive gradient has weight 0 and nothing to normalise by.
    return weighted_map(activations, np.divide(weights, total, out=np.zeros_like(weights), where=total > 0))


def gradcam_plus_plus_paper(
    activations: Floats, gradients: Floats, second: Floats | None = None, third: Floats | None = None
) -> Floats:
    """Grad-CAM++ by its equations: alpha is not normalised.

    `relu(sum_k w_k A_k)` with `w_k = sum_ij a_ijk relu(g_ijk)`. Chattopadhyay et al. 2018, arXiv:1710.11063,
    equations 10, 11 and 19. `a_ijk` is as in `gradcam_plus_plus`, which is exact for heads that are piecewise linear in
    A, and an approximation for others.

    With the second and third derivatives h and q of S by the elements of A, it is exact for smooth heads too:
    `a = Y'' / (2 Y'' + S_k Y''')` with `Y'' = g^2 + h` and `Y''' = g^3 + 3 g h + q` (the common factor exp(S) cancels).
    There alpha can be negative and has poles: where the denominator is below 1e-12 of its terms, alpha is 0.

    Args:
        activations: A, (N, h, w, K).
        gradients: g, of the same shape.
        second: h, (N, K), where the head sees A through its K spatial means: the same for all cells of a channel.
        third: q, likewise.
    """
    if second is not None and third is not None:
        return weighted_map(activations, _exact_weights(activations, gradients, second, third))
    alpha, positive = _alpha_and_positive_gradients(activations, gradients)
    return weighted_map(activations, _spatial_dot(alpha, positive))


def hirescam(activations: Floats, gradients: Floats) -> Floats:
    """HiResCAM: every element weighted by its own gradient.

    `relu(sum_k g_k * A_k)`, elementwise. Draelos and Carin 2020, arXiv:2011.08891. The relu is this
    program's, as for `cam`.

    For a head of global average pooling and one dense layer it is `gradcam`; elsewhere it shows what the score
    is made of at each place, which a mean over the gradients does not.
    """
    return _summed(gradients * activations)


def layercam(activations: Floats, gradients: Floats) -> Floats:
    """LayerCAM: every element weighted by its own gradient where that is positive.

    `relu(sum_k relu(g_k) * A_k)`, elementwise. Jiang et al. 2021, IEEE TIP 30, "LayerCAM: Exploring Hierarchical
    Class Activation Maps for Localization". Made for early layers, and for fusing several.
    """
    return _summed(np.maximum(gradients, 0) * activations)


def xgradcam(activations: Floats, gradients: Floats) -> Floats:
    """XGrad-CAM: channels weighted by their gradients, averaged with the activations as weights.

    `relu(sum_k w_k A_k)` with `w_k = sum_ij g_ijk A_ijk / sum_ij A_ijk`. Fu et al. 2020, arXiv:2008.02312.

    Nothing is added to the denominator: a channel whose activations sum to 0 has weight 0.
    """
    total = activations.sum(axis=(1, 2))
    weights = _spatial_dot(gradients, activations)
    return weighted_map(activations, np.divide(weights, total, out=np.zeros_like(weights), where=total != 0))


def weighted_map(activations: Floats, weights: Floats) -> Floats:
    """`relu(sum_k w_k A_k)`: the last step of every method that weights channels.

    Args:
        activations: (N, h, w, K).
        weights: (N, K).

    Returns:
        (N, h, w).
    """
    n, h, w, k = activations.shape
    summed = activations.reshape(n, h * w, k) @ weights[:, :, np.newaxis]
    maps: Floats = np.maximum(summed.reshape(n, h, w), 0)
    return maps


def _summed(contributions: Floats) -> Floats:
    """`relu(sum_k ...)` of what each element contributes: (N, h, w, K) to (N, h, w)."""
    maps: Floats = np.maximum(contributions.sum(axis=3), 0)
    return maps


def positive_mass(activations: Floats) -> Floats:
    """`S_k = sum_ij max(A_ijk, 0)`, the mass of each channel, as (N, 1, 1, K)."""
    mass: Floats = np.maximum(activations, 0).sum(axis=(1, 2), keepdims=True)
    return mass


def _alpha_and_positive_gradients(activations: Floats, gradients: Floats) -> tuple[Floats, Floats]:
    """`a = [g > 0] / (2 + S_k g)` and `relu(g)`.

    With Y = exp(S) and a head piecewise linear in A the n-th derivative of Y is exp(S) g^n, so the paper's
    `g^2 / (2 g^2 + S_k g^3)` is `1 / (2 + S_k g)` wherever g is not 0. In this form nothing can overflow,
    nothing is divided by less than 2, and no epsilon shifts the small gradients that deep layers have.
    """
    positive: Floats = np.maximum(gradients, 0)
    alpha: Floats = (gradients > 0) / (2 + positive_mass(activations) * positive)
    return alpha, positive


def _exact_weights(activations: Floats, gradients: Floats, second: Floats, third: Floats) -> Floats:
    """`sum_ij a_ijk relu(g_ijk)` with alpha from all three derivatives, (N, K), in the activations' dtype."""
    g = gradients.astype(np.float64)
    h, q = (derivative.astype(np.float64)[:, None, None, :] for derivative in (second, third))
    mass = positive_mass(activations).astype(np.float64)
    twice, thrice = g**2 + h, g**3 + 3 * g * h + q
    denominator = 2 * twice + mass * thrice
    size = 2 * (g**2 + np.abs(h)) + mass * (np.abs(g) ** 3 + 3 * np.abs(g * h) + np.abs(q))
    regular = np.abs(denominator) > POLE * size
    alpha = np.divide(twice, denominator, out=np.zeros_like(denominator), where=regular)
    return _spatial_dot(alpha, np.maximum(g, 0)).astype(activations.dtype)


def _spatial_dot(a: Floats, b: Floats) -> Floats:
    """`sum_ij a_ijk b_ijk` as (N, K)."""
    dot: Floats = np.einsum("nhwk,nhwk->nk", a, b)
    return dot
