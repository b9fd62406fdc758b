"""Eigen-CAM and Eigen-Grad-CAM: the first principal component."""

from functools import partial

import numpy as np

from gradcam_cli.methods.arithmetic import Floats
from gradcam_cli.methods.method import FORWARD, Method, activation_maps, gradient_method


def eigencam(activations: Floats) -> Floats:
    """Eigen-CAM: the projection of the activations on their first principal component, the same for every class.

    `relu(P(A))`, see `principal_projection`. Muhammad and Yeasin 2020, arXiv:2008.00299.

    Differs from the paper in two points: the mean of each channel is subtracted before, so that the component is that
    of the variance; and the sign of the eigenvector, which is arbitrary, is chosen as below.

    Args:
        activations: A, (N, h, w, K).

    Returns:
        (N, h, w), non-negative, in the activations' dtype.
    """
    return np.maximum(principal_projection(activations), 0)


def eigengradcam(activations: Floats, gradients: Floats) -> Floats:
    """Eigen-Grad-CAM: the projection of activations times gradients, which depends on the class.

    `relu(P(g * A))`, see `principal_projection`; no paper is known.

    Args:
        activations: A, (N, h, w, K).
        gradients: g, of the same shape.

    Returns:
        (N, h, w), non-negative, in the activations' dtype.
    """
    return np.maximum(principal_projection(gradients * activations), 0)


def principal_projection(values: Floats) -> Floats:
    """Project the cells of each image, as points in K dimensions, on their first principal component.

    With X the (h*w, K) matrix of cells, each column without its mean, and v the first right singular vector of X:
    `P = X v`, with the sign for which `P` correlates positively with `sum_k values_k`. If that correlation is exactly
    0, the cell of largest magnitude is positive.

    The vector is found in float64 on the smaller side of X: of `X^T X` (K, K), or of the Gram matrix `X X^T`
    (h*w, h*w), whose eigenvector u gives `P = sqrt(lambda) u`.

    Args:
        values: (N, h, w, K).

    Returns:
        (N, h, w), positive and negative, in the dtype of the values; 0 everywhere if all cells are equal.
    """
    n, h, w, k = values.shape
    cells = values.reshape(n, h * w, k).astype(np.float64)
    centred = cells - cells.mean(axis=1, keepdims=True)
    projection = _along_cells(centred) if h * w <= k else _along_channels(centred)
    agreement = np.einsum("np,np->n", projection, centred.sum(axis=2))
    largest = np.take_along_axis(projection, np.abs(projection).argmax(axis=1)[:, None], axis=1)[:, 0]
    sign = np.where(np.where(agreement == 0, largest, agreement) < 0, -1.0, 1.0)
    signed: Floats = (projection * sign[:, None]).reshape(n, h, w).astype(values.dtype)
    return signed


def _along_cells(centred: Floats) -> Floats:
    values, vectors = np.linalg.eigh(centred @ centred.transpose(0, 2, 1))
    # Eigenvalues are in ascending order; rounding may make a zero eigenvalue negative.
    projection: Floats = vectors[:, :, -1] * np.sqrt(np.maximum(values[:, -1:], 0))
    return projection


def _along_channels(centred: Floats) -> Floats:
    _, vectors = np.linalg.eigh(centred.transpose(0, 2, 1) @ centred)
    projection: Floats = (centred @ vectors[:, :, -1:])[:, :, 0]
    return projection


METHODS = (
    Method(
        "eigencam",
        "first principal component of the activations, the same for every class",
        partial(activation_maps, eigencam),
        FORWARD,
    ),
    gradient_method("eigengradcam", "first principal component of activations times gradients", eigengradcam),
)
