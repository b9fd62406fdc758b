"""Grad-CAM++ for the softmax, with the first three moments of the class gradients.

The paper derives alpha for `Y = exp(S)` and, in its section on softmax, for `Y = softmax(S)`. For a head that is
piecewise linear in A, write `s_k = dS^k/dA` for the gradient of the logit of class k at one element of A, and take
moments over the classes under the probabilities `Y^k`:

    m = sum_k Y^k s_k        v = sum_k Y^k (s_k - m)^2        t = sum_k Y^k (s_k - m)^3        d = s_c - m

Then `Y' = Y^c d`, `Y'' = Y^c (d^2 - v)` and `Y''' = Y^c (d^3 - 3 d v - t)`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.engines.protocol import Engine, Forward, probabilities_of
from gradcam_cli.errors import ModelError
from gradcam_cli.methods.arithmetic import POLE, Floats, divided, positive_mass, weighted_map
from gradcam_cli.methods.method import Batch, Classes, Method, RawMaps

Array = NDArray[np.float64]

# The most probable classes are used instead of all when they have this much of the probability, or this number.
ENOUGH_PROBABILITY = 0.9999
MOST_CLASSES = 50
ONE_OF_MANY = frozenset({"softmax", "linear"})
WITHOUT_SLOPES = frozenset({"probabilities", "score", "value"})


@dataclass(frozen=True)
class Moments:
    """The moments that alpha depends on: `d`, `v`, `t`, broadcastable to (N, h, w, K), and `Y^c` (N,)."""

    offset: Array
    variance: Array
    skew: Array
    probability: Array


def gradcam_plus_plus_softmax(activations: Floats, moments: Moments) -> Floats:
    """Grad-CAM++ with the derivatives of the softmax instead of those of the exponential.

    `relu(sum_k w_k A_k)` with `w_k = sum_ij alpha_ijk relu(Y')` and `alpha = Y'' / (2 Y'' + S_k Y''')`,
    `S_k = sum_ij max(A_ijk, 0)`. Chattopadhyay et al. 2018, arXiv:1710.11063, equations 10, 19 and 21 to 23.

    Alpha can be negative, and has poles: where `|2 Y'' + S_k Y'''|` is below 1e-12 of its terms, alpha is 0. `Y^c`
    cancels in alpha and scales the whole map.

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
    alpha = divided(second, denominator, where=np.abs(denominator) > POLE * size)
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
    """Compute the moments for a GAP -> Dense head, where `s_k = W[:, k] / Z` everywhere, with three matrix products.

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
    # Computed about the mean over all classes, which is near m: raw moments would lose precision.
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
    """Compute the moments for any head, from the gradients of the classes with nearly all of the probability.

    The probabilities of the classes given are scaled to sum to 1. Gradients are added one at a time, as differences
    from the target's, so that only one is in memory.

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
    """Convert `E[s]`, `E[s^2]`, `E[s^3]` to the moments about the mean."""
    first, second, third = powers
    variance = second - first**2
    skew = third - 3 * first * second + 2 * first**3
    return Moments(target - first, variance, skew, probability)


# A function from a batch and one class for each image, (N,), to the moments for these classes.
MomentsOf = Callable[[Batch, Classes], Moments]


@dataclass(frozen=True, eq=False)
class _Sample:
    """The most probable classes of each image, their probabilities, and how many of them are taken (N,)."""

    classes: Classes
    probabilities: Floats
    count: Classes


def _sample_of_classes(engine: Engine, forward: Forward) -> _Sample:
    probabilities = probabilities_of(engine.head, forward)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :MOST_CLASSES]
    ranked = np.take_along_axis(probabilities, order, axis=1)
    before = np.cumsum(ranked, axis=1) - ranked
    count = np.count_nonzero(before < ENOUGH_PROBABILITY, axis=1)
    if engine.head.class_count <= MOST_CLASSES:
        # With so few classes all are used: a class of low probability may have the largest slope.
        count = np.full_like(count, engine.head.class_count)
    return _Sample(order, ranked, count)


def _maps(batch: Batch) -> RawMaps:
    head = batch.engine.head
    if head.kind not in ONE_OF_MANY:
        return RawMaps(_maps_by_moments(batch, _sigmoid_moments))
    if head.weights is not None:
        return RawMaps(_maps_by_moments(batch, partial(_dense_moments, head.weights)))
    sample = _sample_of_classes(batch.engine, batch.forward)
    return RawMaps(_maps_by_moments(batch, partial(_sampled_moments, sample)), sample.count)


def _maps_by_moments(batch: Batch, moments_of: MomentsOf) -> NDArray[np.float32]:
    moments = (moments_of(batch, classes) for classes in batch.forward.targets.T)
    return batch.maps(_map_of_moments, ((m.offset, m.variance, m.skew, m.probability) for m in moments))


def _map_of_moments(activations: Floats, offset: Array, variance: Array, skew: Array, probability: Array) -> Floats:
    return gradcam_plus_plus_softmax(activations, Moments(offset, variance, skew, probability))


def _dense_moments(weights: Floats, batch: Batch, classes: Classes) -> Moments:
    area = batch.activations.shape[1] * batch.activations.shape[2]
    return dense_head_moments(weights, probabilities_of(batch.engine.head, batch.forward), classes, area)


def _sigmoid_moments(batch: Batch, classes: Classes) -> Moments:
    """Compute the moments of sigmoids: a sigmoid is the softmax of its logit and a constant 0."""
    gradient = batch.engine.class_gradients(batch.forward, classes)
    probability = _probability(batch, classes)
    return sampled_moments(gradient, probability, [(1 - probability, np.zeros_like(gradient))])


def _sampled_moments(sample: _Sample, batch: Batch, classes: Classes) -> Moments:
    gradient = batch.engine.class_gradients(batch.forward, classes)
    return sampled_moments(gradient, _probability(batch, classes), _others(batch, classes, sample))


def _probability(batch: Batch, classes: Classes) -> Floats:
    return probabilities_of(batch.engine.head, batch.forward)[np.arange(len(classes)), classes]


def _others(batch: Batch, classes: Classes, sample: _Sample) -> Iterator[tuple[Floats, Floats]]:
    """Give the sampled classes besides the target, one rank at a time, with probability 0 if an image needs no more."""
    for rank in range(int(sample.count.max())):
        ranked = sample.classes[:, rank]
        counts = (rank < sample.count) & (ranked != classes)
        if not counts.any():
            continue
        share = np.where(counts, sample.probabilities[:, rank], 0)
        yield share, batch.engine.class_gradients(batch.forward, ranked)


def _check_engine(engine: Engine) -> None:
    if engine.head.kind in WITHOUT_SLOPES:
        raise ModelError(
            "`method=gradcam++-softmax` needs logits with a softmax or a sigmoid, but this model's output is "
            f"{engine.head.reason}. `method=gradcam++` works for any output."
        )


METHOD = Method(
    "gradcam++-softmax",
    "as gradcam++, with the derivatives of the softmax instead of the logit's exponential",
    _maps,
    "1 + up to 50 of the head, and back; GAP -> Dense: 1",
    check_engine=_check_engine,
    why_one_score="It uses the derivatives of the softmax already.",
    exact_heads=frozenset({"piecewise"}),
)
