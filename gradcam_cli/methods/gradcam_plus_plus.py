"""Grad-CAM++ with the exponential of the score: with alpha normalised, and by the paper's equations.

See `softmax` for the version with the softmax instead of the exponential.
"""

import numpy as np

from gradcam_cli.engines.protocol import Linearity
from gradcam_cli.methods.arithmetic import POLE, Floats, divided, positive_mass, spatial_dot, weighted_map
from gradcam_cli.methods.method import BACKWARD, Batch, Method, RawMaps, by_target, gradient_maps, gradient_method

# For a piecewise linear head the closed form of alpha is exact. For a smooth head after a spatial mean, alpha cancels
# or the derivatives with respect to the means are used.
EXACT_HEADS: frozenset[Linearity] = frozenset({"piecewise", "pooled"})


def gradcam_plus_plus(activations: Floats, gradients: Floats) -> Floats:
    """Grad-CAM++: channels weighted by their positive gradients, each pixel by its own alpha.

    `relu(sum_k w_k A_k)` with `w_k = sum_ij a_ijk relu(g_ijk) / sum_ij a_ijk` and
    `a_ijk = [g_ijk > 0] / (2 + S_k g_ijk)`, `S_k = sum_ij max(A_ijk, 0)`.
    Chattopadhyay et al. 2018, arXiv:1710.11063, equations 10, 11 and 19.

    The closed form of alpha is exact for heads that are piecewise linear in A (ReLU, max pooling), and an
    approximation for smooth ones (swish, GELU, tanh, LayerNorm between the layer and the logits). If such a head
    depends only on the spatial means of A, g and alpha are the same in all cells of a channel, so alpha cancels and the
    map is exact.

    Differs from the paper in that alpha is normalised to sum to 1 over the positive gradients of a channel,
    as the program of its authors does; `gradcam_plus_plus_paper` follows the equations. `S_k` sums `max(A, 0)`. After a
    ReLU this is the sum of the paper; otherwise it keeps the denominator at 2 or more. A channel without a positive
    gradient has weight 0.

    Args:
        activations: A, the output of the target layer, (N, h, w, K).
        gradients: g = dS/dA of the score S of the class to explain, of the same shape.

    Returns:
        (N, h, w), non-negative, in the dtype of the arrays and in no unit but its own.
    """
    alpha, positive = _alpha_and_positive_gradients(activations, gradients)
    total = alpha.sum(axis=(1, 2))
    return weighted_map(activations, divided(spatial_dot(alpha, positive), total, where=total > 0))


def gradcam_plus_plus_paper(activations: Floats, gradients: Floats) -> Floats:
    """Grad-CAM++ by the equations of the paper: alpha is not normalised.

    `relu(sum_k w_k A_k)` with `w_k = sum_ij a_ijk relu(g_ijk)`. Chattopadhyay et al. 2018, arXiv:1710.11063,
    equations 10, 11 and 19. `a_ijk` is as in `gradcam_plus_plus`, which is exact for heads that are piecewise linear in
    A, and an approximation for others.

    Args:
        activations: A, the output of the target layer, (N, h, w, K).
        gradients: g = dS/dA of the score S of the class to explain, of the same shape.

    Returns:
        (N, h, w), non-negative, in the dtype of the arrays and in no unit but its own.
    """
    alpha, positive = _alpha_and_positive_gradients(activations, gradients)
    return weighted_map(activations, spatial_dot(alpha, positive))


def gradcam_plus_plus_pooled(activations: Floats, gradients: Floats, second: Floats, third: Floats) -> Floats:
    """Grad-CAM++ by the equations of the paper, for a smooth head that depends only on the spatial means of A.

    `relu(sum_k w_k A_k)` with `w_k = sum_ij a_ijk relu(g_ijk)`. Chattopadhyay et al. 2018, arXiv:1710.11063,
    equations 10 and 19. Alpha is exact: with the second and third derivatives h and q of S by the elements of A it is
    `a = Y'' / (2 Y'' + S_k Y''')` with `Y'' = g^2 + h` and `Y''' = g^3 + 3 g h + q` (the common factor exp(S) cancels),
    `S_k = sum_ij max(A_ijk, 0)`.

    Alpha can be negative and has poles: where the denominator is below 1e-12 of its terms, alpha is 0.

    Args:
        activations: A, the output of the target layer, (N, h, w, K).
        gradients: g = dS/dA of the logit S of the class to explain, of the same shape.
        second: h, (N, K): the same for all cells of a channel.
        third: q, likewise.

    Returns:
        (N, h, w), non-negative, in the dtype of the activations and in no unit but its own.
    """
    g = gradients.astype(np.float64)
    h, q = (derivative.astype(np.float64)[:, None, None, :] for derivative in (second, third))
    mass = positive_mass(activations).astype(np.float64)
    twice, thrice = g**2 + h, g**3 + 3 * g * h + q
    denominator = 2 * twice + mass * thrice
    size = 2 * (g**2 + np.abs(h)) + mass * (np.abs(g) ** 3 + 3 * np.abs(g * h) + np.abs(q))
    alpha = divided(twice, denominator, where=np.abs(denominator) > POLE * size)
    return weighted_map(activations, spatial_dot(alpha, np.maximum(g, 0)).astype(activations.dtype))


def _alpha_and_positive_gradients(activations: Floats, gradients: Floats) -> tuple[Floats, Floats]:
    """`a = [g > 0] / (2 + S_k g)` and `relu(g)`.

    With Y = exp(S) and a head piecewise linear in A the n-th derivative of Y is exp(S) g^n, so the paper's
    `g^2 / (2 g^2 + S_k g^3)` is `1 / (2 + S_k g)` wherever g is not 0. In this form nothing can overflow,
    nothing is divided by less than 2, and no epsilon shifts the small gradients that deep layers have.
    """
    positive: Floats = np.maximum(gradients, 0)
    alpha: Floats = (gradients > 0) / (2 + positive_mass(activations) * positive)
    return alpha, positive


def _paper_maps(batch: Batch) -> RawMaps:
    """Use the exact derivatives if the engine can compute them, otherwise the closed form."""
    if batch.engine.head.linearity != "pooled" or batch.options.score != "logit":
        return gradient_maps(gradcam_plus_plus_paper, batch)
    # The derivative of a mean over Z cells with respect to one cell is 1 / Z.
    area = np.float64(batch.activations.shape[1] * batch.activations.shape[2])
    second, third = batch.engine.pooled_derivatives(batch.forward)
    arrays = by_target(batch.gradients, second / area**2, third / area**3)
    return RawMaps(batch.maps(gradcam_plus_plus_pooled, arrays))


METHODS = (
    gradient_method(
        "gradcam++",
        "positive gradients, each pixel weighted by its own alpha (normalised)",
        gradcam_plus_plus,
        exact_heads=EXACT_HEADS,
    ),
    Method(
        "gradcam++-paper",
        "as gradcam++, by the equations of the paper (alpha not normalised)",
        _paper_maps,
        BACKWARD,
        differentiates=True,
        exact_heads=EXACT_HEADS,
        derives_pooled=True,
    ),
)
