"""Check the gradient that a plan's network computes, because a fault of the compiler does not raise an error.

A plan is checked when it is compiled, and again if it is used with another version of OpenVINO.
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
# The number of directions for each image.
DIRECTIONS = 8
# The step lengths, relative to the root mean square of the activations. For each image, the results must agree at one
# of them. With a long step, the rounding of float32 is small relative to the effect. A short step crosses fewer kinks
# of the ReLUs after the layer; their number depends on the network and the image. A wrong gradient agrees at no step.
STEPS = (0.001, 0.0001, 0.03)
SEED = 7


class WrongGradientError(ModelError):
    """Two computations of a gradient differ."""


def check_pictures(plan: Plan) -> Floats:
    """Make two preprocessed test inputs (2, height, width, channels): one similar to a photograph, and one of noise."""
    # Most runs need no check, so this is imported here.
    from gradcam_cli.models.sample_pictures import sample_pictures

    height, width, channels = plan.input_shape
    noise = np.random.default_rng(SEED).integers(0, 256, (height, width, channels), np.uint8)
    pictures = (sample_pictures(height, width, channels)[0], noise)
    return np.stack([plan.preprocessing(picture) for picture in pictures])


def explained(plan: Plan, targets: NDArray[np.intp] | None = None) -> tuple[OpenVinoEngine, list[Forward]]:
    """Explain the test images one by one, because some networks accept only one image; give the engine too."""
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

    They agree if the correlation is at least `LEAST_CORRELATION`, and the ratio of the norms differs from 1 by at most
    `MOST_STRETCHED`.

    Raises:
        WrongGradientError: they do not agree, or a gradient is 0 or not finite.
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
    """Give the cosine of two gradients: unlike in a correlation coefficient, the mean is not subtracted."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def checked_by_differences(plan: Plan) -> SelfCheck:
    """Compare a plan's gradient g with central differences of its logits S along random directions.

    For a change D of the activations A: `(S(A + D) - S(A - D)) / 2 = sum(g D)`, up to terms of third order in D.

    Raises:
        WrongGradientError: the two results do not agree.
        ModelError: the gradient cannot be built.
    """
    engine, passes = explained(plan)
    slopes = slopes_of(passes).astype(np.float64)
    pairs = [_best_differences(engine, forward, own) for forward, own in zip(passes, slopes, strict=True)]
    predicted, measured = zip(*pairs, strict=True)
    return checked(np.asarray(predicted), np.asarray(measured))


def _best_differences(engine: OpenVinoEngine, forward: Forward, slopes: Floats) -> tuple[Floats, Floats]:
    """Give the predicted and measured changes of one image, at the first step length at which they agree."""
    *others, last = STEPS
    for step in others:
        pair = _differences(engine, forward, slopes, step)
        with suppress(WrongGradientError):
            checked(*(each[None] for each in pair))
            return pair
    return _differences(engine, forward, slopes, last)


def _differences(engine: OpenVinoEngine, forward: Forward, slopes: Floats, step: float) -> tuple[Floats, Floats]:
    """Give the changes of a logit for steps of one length: predicted by its gradient (h, w, K), and measured."""
    changes = list(_changes(forward.activations, step))
    moved = [[_logit(engine, forward, each) for each in (change, -change)] for change in changes]
    predicted = [float((slopes * change[0]).sum()) for change in changes]
    return np.asarray(predicted), np.asarray([(after - before) / 2 for after, before in moved])


def _logit(engine: OpenVinoEngine, forward: Forward, change: Floats) -> float:
    """Give the target's logit after a change (1, h, w, K) of the activations."""
    return float(engine.shifted_logits(forward, change)[0, forward.targets[0, 0]])


def _changes(activations: Floats, step: float) -> Iterator[Floats]:
    """Make changes (N, h, w, K) along which the score is differentiable in both directions.

    Either all cells of a channel are changed by the same value, or each cell in proportion to its own value. So cells
    that a ReLU has set to 0 stay equal to each other, and a later max pooling keeps the position of its maximum.
    """
    rng = np.random.default_rng(SEED)
    size = np.sqrt((activations.astype(np.float64) ** 2).mean(axis=(1, 2, 3), keepdims=True))
    for _ in range(DIRECTIONS // 2):
        alike = step * size * rng.standard_normal((1, 1, 1, activations.shape[3]))
        yield np.broadcast_to(alike, activations.shape).astype(np.float32)
        yield (step * activations * rng.standard_normal(activations.shape)).astype(np.float32)


def check_again(plan: Plan) -> None:
    """Check a plan's gradient again if it was checked with another version of OpenVINO.

    Raises:
        ModelError: the gradient is wrong with the installed version.
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
