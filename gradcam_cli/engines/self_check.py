"""A check of the gradient that a plan's network computes: a compiler fault would not raise an error.

A plan is checked when it is compiled, and again with another version of OpenVINO.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.engines.openvino import OpenVinoEngine, PassOptions
from gradcam_cli.engines.plan import Plan, SelfCheck
from gradcam_cli.engines.protocol import Floats, Forward
from gradcam_cli.engines.runtime import openvino
from gradcam_cli.errors import ModelError
from gradcam_cli.settings import TargetSettings

# A ReLU whose input is nearly 0 may be active in one computation and inactive in the other.
LEAST_CORRELATION = 0.999
MOST_STRETCHED = 0.05
PICTURES = 2
# For each image.
DIRECTIONS = 8
# The lengths of the steps, as shares of the activations' root mean square; for each picture one of them has to agree.
# The rounding of float32 is small beside the effect of a long step, and a short one crosses fewer kinks of the ReLUs
# behind the layer: how many there are differs from network to network and from picture to picture. A wrong gradient
# agrees with none.
STEPS = (0.001, 0.0001, 0.03)
SEED = 7


class WrongGradientError(ModelError):
    """Two computations of a gradient differ."""


def check_pictures(plan: Plan) -> Floats:
    """Make the test inputs for a gradient: one image like a photograph, and one of noise, both preprocessed."""
    # Most plans need no second check, so this is imported here.
    from gradcam_cli.models.sample_pictures import sample_pictures

    height, width, channels = plan.input_shape
    noise = np.random.default_rng(SEED).integers(0, 256, (height, width, channels), np.uint8)
    pictures = (sample_pictures(height, width, channels)[0], noise)
    return np.stack([plan.preprocessing(picture) for picture in pictures])


def explained(plan: Plan, targets: NDArray[np.intp] | None = None) -> tuple[OpenVinoEngine, list[Forward]]:
    """Explain the test images one by one, because some networks accept only one image, and give the engine too."""
    engine = OpenVinoEngine(plan, TargetSettings(), PassOptions(1))
    pictures = check_pictures(plan)
    given = [None] * len(pictures) if targets is None else [classes[None] for classes in targets]
    return engine, [engine.explain(x[None], asked) for x, asked in zip(pictures, given, strict=True)]


def slopes_of(passes: Iterable[Forward]) -> Floats:
    """Give the gradients of the first target of several passes: (N, h, w, K)."""
    found = [forward.gradients for forward in passes]
    return np.concatenate([gradients[:, 0] for gradients in found if gradients is not None])


def checked(found: Floats, reference: Floats) -> SelfCheck:
    """Compare two computations of the same gradients (N, ...), for each of N images.

    Raises:
        WrongGradientError: they do not agree, or all gradients are 0.
    """
    pairs = [
        (a.ravel().astype(np.float64), b.ravel().astype(np.float64)) for a, b in zip(found, reference, strict=True)
    ]
    # An image whose gradient is 0 in both computations is ignored.
    lengths = [(np.linalg.norm(a), np.linalg.norm(b)) for a, b in pairs]
    kept = [(pair, length) for pair, length in zip(pairs, lengths, strict=True) if any(length)]
    if not kept:
        raise WrongGradientError("the gradient is 0 everywhere on the test images")
    if not all(np.isfinite(length).all() and all(length) for _, length in kept):
        raise WrongGradientError("one of two computations of its gradient is 0 or not finite")
    correlations = [_correlation(a, b) for (a, b), _ in kept]
    ratios = [float(length[0] / length[1]) for _, length in kept]
    worst = max(ratios, key=lambda ratio: abs(ratio - 1))
    check = SelfCheck(openvino.__version__, float(min(correlations)), worst)
    if check.correlation < LEAST_CORRELATION or abs(worst - 1) > MOST_STRETCHED:
        raise WrongGradientError(
            f"two computations of its gradient differ (correlation {check.correlation:.4f}, "
            f"ratio of the lengths {worst:.4f})"
        )
    return check


def _correlation(a: Floats, b: Floats) -> float:
    """Give the cosine of two gradients. The mean is not subtracted, because the mean of a gradient has a meaning."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def checked_by_differences(plan: Plan) -> SelfCheck:
    """Compare a plan's gradient with central differences of its logits along random directions, through the head.

    For a direction D of the activations: `(S(A + D) - S(A - D)) / 2` is `sum(g D)` up to terms of third order.

    Raises:
        WrongGradientError: they do not agree.
        ModelError: the gradient cannot be built.
    """
    engine, passes = explained(plan)
    slopes = slopes_of(passes).astype(np.float64)
    pairs = [_best_differences(engine, forward, own) for forward, own in zip(passes, slopes, strict=True)]
    predicted, measured = zip(*pairs, strict=True)
    return checked(np.asarray(predicted), np.asarray(measured))


def _best_differences(engine: OpenVinoEngine, forward: Forward, slopes: Floats) -> tuple[Floats, Floats]:
    """Give the differences of one picture by the first length of a step at which both computations agree."""
    *others, last = STEPS
    for step in others:
        pair = _differences(engine, forward, slopes, step)
        with suppress(WrongGradientError):
            checked(*(each[None] for each in pair))
            return pair
    return _differences(engine, forward, slopes, last)


def _differences(engine: OpenVinoEngine, forward: Forward, slopes: Floats, step: float) -> tuple[Floats, Floats]:
    """Give the changes of a logit by steps of one length, as its gradient (h, w, K) predicts and as they are."""
    changes = list(_changes(forward.activations, step))
    moved = [[_logit(engine, forward, each) for each in (change, -change)] for change in changes]
    predicted = [float((slopes * change[0]).sum()) for change in changes]
    return np.asarray(predicted), np.asarray([(after - before) / 2 for after, before in moved])


def _logit(engine: OpenVinoEngine, forward: Forward, change: Floats) -> float:
    """The target's logit with something added to the activations."""
    return float(engine.shifted_logits(forward, change)[0, forward.targets[0, 0]])


def _changes(activations: Floats, step: float) -> Iterator[Floats]:
    """Make directions (N, h, w, K) in which the score has a slope in both senses.

    All cells of a channel are moved alike, or each in proportion to its value: cells that are 0 behind a ReLU stay
    equal, so that a max pooling behind them finds its maximum where it was.
    """
    rng = np.random.default_rng(SEED)
    size = np.sqrt((activations.astype(np.float64) ** 2).mean(axis=(1, 2, 3), keepdims=True))
    for _ in range(DIRECTIONS // 2):
        alike = step * size * rng.standard_normal((1, 1, 1, activations.shape[3]))
        yield np.broadcast_to(alike, activations.shape).astype(np.float32)
        yield (step * activations * rng.standard_normal(activations.shape)).astype(np.float32)


def check_again(plan: Plan) -> None:
    """Check a plan's gradient once more where it was checked with another version of OpenVINO.

    Raises:
        ModelError: it is wrong with this version.
    """
    if plan.check is None or plan.check.openvino == openvino.__version__:
        return
    try:
        checked_by_differences(plan)
    except WrongGradientError as error:
        raise ModelError(
            f"{plan.name}: with OpenVINO {openvino.__version__} {error}. Compile the model again, or use "
            "`engine=tensorflow`."
        ) from error
