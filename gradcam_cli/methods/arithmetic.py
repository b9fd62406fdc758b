"""Functions that several methods share: masses of channels, sums over cells, and the last step of each map.

Arrays are float32 or float64, and results have the same dtype.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

# If the denominator of alpha is below this share of its terms, it is only rounding error: alpha has a pole and is set
# to 0.
POLE = 1e-12


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


def summed_map(contributions: Floats) -> Floats:
    """`relu(sum_k c_ijk)` of the contributions c of all elements: (N, h, w, K) to (N, h, w)."""
    maps: Floats = np.maximum(contributions.sum(axis=3), 0)
    return maps


def positive_mass(activations: Floats) -> Floats:
    """`S_k = sum_ij max(A_ijk, 0)`, the mass of each channel, as (N, 1, 1, K)."""
    mass: Floats = np.maximum(activations, 0).sum(axis=(1, 2), keepdims=True)
    return mass


def spatial_dot(a: Floats, b: Floats) -> Floats:
    """`sum_ij a_ijk b_ijk` of two arrays (N, h, w, K), as (N, K)."""
    dot: Floats = np.einsum("nhwk,nhwk->nk", a, b)
    return dot


def divided(numerator: Floats, denominator: Floats, *, where: NDArray[np.bool_]) -> Floats:
    """`numerator / denominator` where the condition holds, and 0 elsewhere; all three of one shape."""
    quotient: Floats = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=where)
    return quotient
