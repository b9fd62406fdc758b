"""Grad-CAM++ on the softmax itself, by the first three moments of the class gradients.

The paper derives alpha for `Y = exp(S)` and, in its section on softmax, for `Y = softmax(S)`. For a head that is
piecewise linear in A, write `s_k = dS^k/dA` for the gradient of the logit of class k at one element of A, and take
moments over the classes under the probabilities `Y^k`:

    m = sum_k Y^k s_k        v = sum_k Y^k (s_k - m)^2        t = sum_k Y^k (s_k - m)^3        d = s_c - m

Then `Y' = Y^c d`, `Y'' = Y^c (d^2 - v)` and `Y''' = Y^c (d^3 - 3 d v - t)`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.methods.gradcam import POLE, Floats, positive_mass, weighted_map

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """What alpha needs to know about all classes: `d`, `v`, `t`, broadcastable to (N, h, w, K), and `Y^c` (N,)."""

    offset: Array
    variance: Array
    skew: Array
    probability: Array


def gradcam_plus_plus_softmax(activations: Floats, moments: Moments) -> Floats:
    """Grad-CAM++ with the derivatives of the softmax in place of those of the exponential.

    `relu(sum_k w_k A_k)` with `w_k = sum_ij alpha_ijk relu(Y')` and `alpha = Y'' / (2 Y'' + S_k Y''')`,
    `S_k = sum_ij max(A_ijk, 0)`. Chattopadhyay et al. 2018, arXiv:1710.11063, equations 10, 19 and 21 to 23.

    Alpha can be negative, and has poles: where `|2 Y'' + S_k Y'''|` is below 1e-12 of its terms it is taken
    as 0. `Y^c` cancels in alpha and scales the whole map alike.

    Args:
        activations: A, (N, h, w, K).
        moments: of the class gradients at A.

    Returns:
        (N, h, w), non-negative, in the activations' dtype.
    """
    d, v, t = moments.offset, moments.variance, moments.skew
    mass = positive_mass(activations).astype(np.float64)
    second = d**2 - v
    third = d**3 - 3 * d * v - t
    denominator = 2 * second + mass * third
    size = 2 * np.abs(second) + mass * np.abs(third)
    regular = np.abs(denominator) > POLE * size
    alpha = np.divide(second, denominator, out=np.zeros_like(denominator), where=regular)
    slope = moments.probability[:, None, None, None] * np.maximum(d, 0)
    per_pixel = np.broadcast_to(alpha * slope, activations.shape)
    weights = per_pixel.sum(axis=(1, 2))
    return weighted_map(activations, weights.astype(activations.dtype))


def dense_head_moments(
    class_weights: NDArray[np.floating],
    probabilities: NDArray[np.floating],
    classes: NDArray[np.integer],
    area: int,
) -> Moments:
    """Moments for a GAP -> Dense head, where `s_k = W[:, k] / Z` everywhere: three matrix products in all.

    Args:
        class_weights: W, (K, C).
        probabilities: Y, (N, C).
        classes: the class to explain, (N,).
        area: Z = h * w.

    Returns:
        `d`, `v`, `t` as (N, 1, 1, K).
    """
    s = class_weights.astype(np.float64) / area
    y = probabilities.astype(np.float64)
    # Taken about the mean over all classes, which is near m: raw moments would cancel.
    centre = s.mean(axis=1)
    s = s - centre[:, None]
    powers = (y @ s.T, y @ (s**2).T, y @ (s**3).T)
    target = s[:, classes].T
    return _moments(powers, target, y[np.arange(len(classes)), classes])


def sampled_moments(
    target: NDArray[np.floating],
    probability: NDArray[np.floating],
    others: Iterable[tuple[NDArray[np.floating], NDArray[np.floating]]],
) -> Moments:
    """Moments for any head, from the gradients of the classes that hold nearly all of the probability.

    The probabilities of the classes given are scaled to sum to 1. Gradients are taken in one at a time, as
    differences from the target's, so that memory stays that of one.

    Args:
        target: s_c, (N, h, w, K).
        probability: Y^c, (N,).
        others: for every other class taken, its probability (N,) and its gradient (N, h, w, K); an image that
            needs fewer classes than its neighbours has probability 0 there.

    Returns:
        `d`, `v`, `t` as (N, h, w, K).
    """
    about = target.astype(np.float64)
    first, second, third = (np.zeros_like(about) for _ in range(3))
    total = probability.astype(np.float64)
    for share, gradient in others:
        y = share.astype(np.float64)[:, None, None, None]
        difference = gradient.astype(np.float64) - about
        first += y * difference
        second += y * difference**2
        third += y * difference**3
        total = total + share
    norm = total[:, None, None, None]
    powers = (first / norm, second / norm, third / norm)
    return _moments_about_zero(powers, np.zeros(1), probability.astype(np.float64))


def _moments(powers: tuple[Array, Array, Array], target: Array, probability: Array) -> Moments:
    flat = tuple(p[:, None, None, :] for p in (*powers, target))
    return _moments_about_zero((flat[0], flat[1], flat[2]), flat[3], probability)


def _moments_about_zero(powers: tuple[Array, Array, Array], target: Array, probability: Array) -> Moments:
    """From `E[s]`, `E[s^2]`, `E[s^3]` to the moments about the mean."""
    first, second, third = powers
    variance = second - first**2
    skew = third - 3 * first * second + 2 * first**3
    return Moments(target - first, variance, skew, probability)
