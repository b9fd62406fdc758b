"""Ask an engine for what a method needs, and make the raw maps of a batch."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.engines.protocol import NO_EXTRAS, Engine, Extras, Floats, Forward, probabilities_of
from gradcam_cli.errors import ModelError, UsageError
from gradcam_cli.imaging.geometry import MapGeometry, Size, over_input, regridded
from gradcam_cli.methods import Evidence, Method, Needs
from gradcam_cli.methods.fusion import fuse_layers
from gradcam_cli.methods.scorecam import masks, strongest_channels
from gradcam_cli.methods.softmax import Moments, dense_head_moments, sampled_moments
from gradcam_cli.settings import MethodOptions

# A sample of the most probable classes stands for all when it holds this much of the probability, or is this large.
ENOUGH_PROBABILITY = 0.9999
MOST_CLASSES = 50
# Input pixels by which a grid may miss its mirror image.
SYMMETRIC = 1e-3
PLAIN = MethodOptions()

Classes = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class RawMaps:
    """Maps (N, T, h, w) of a batch; `classes_sampled` (N,) where a sample of classes stood for all."""

    maps: Floats
    classes_sampled: Classes | None = None


def check_options(method: Method, options: MethodOptions) -> None:
    """Refuse what has no meaning for a method, before anything is loaded.

    Raises:
        UsageError: the method takes no gradient of a score that could be chosen.
    """
    if options.score != "logit" and not method.differentiates:
        hint = " It is made of the softmax's derivatives already." if method.needs is Needs.MOMENTS else ""
        raise UsageError(
            f"--score chooses what is differentiated, and --method {method.name} takes no gradient of one score.{hint}"
        )


def check_method(method: Method, engine: Engine, options: MethodOptions = PLAIN) -> None:
    """Refuse a method that this network and layer cannot serve, before any image is read.

    Raises:
        ModelError: the method needs a GAP -> Dense head on the target layer, or probabilities that there are not.
    """
    if options.score == "probability" and not engine.head.has_probabilities:
        raise ModelError(f"There is no probability to differentiate: this model's output is {engine.head.reason}.")
    if method.needs is Needs.CLASS_WEIGHTS and engine.head.weights is None:
        raise ModelError(
            f"--method {method.name} needs a network whose target layer is followed by global average pooling and one "
            f"dense layer; '{engine.layer.path}' is not. --method gradcam works for any layer."
        )
    if method.needs is Needs.MOMENTS and engine.head.kind in {"probabilities", "score", "value"}:
        raise ModelError(
            f"--method {method.name} needs logits that a softmax or a sigmoid follows; this model's output is "
            f"{engine.head.reason}. --method gradcam++ works for any output."
        )


def explain_inputs(
    method: Method, engine: Engine, inputs: Floats, options: MethodOptions = PLAIN, extras: Extras = NO_EXTRAS
) -> tuple[Forward, RawMaps]:
    """Run a batch of inputs (N, H, W, channels), and make the maps of its target classes as the options say.

    The pass over the inputs themselves chooses the classes. Maps are averaged over the copies that `smooth` and `flip`
    make, at each layer, and then fused over the layers. The `extras` stay as they are in every copy.

    Returns:
        That pass, and the maps.
    """
    forward = engine.explain(inputs, extras=extras)
    found = [_averaged(method, engine, forward, options)]
    later = ((other, other.explain(inputs, forward.targets, extras)) for other in engine.others)
    found += [_averaged(method, other, again, options) for other, again in later]
    if len(found) == 1:
        return forward, found[0]
    return forward, RawMaps(
        fuse_layers([raw.maps for raw in found], _places(engine)), _most(raw.classes_sampled for raw in found)
    )


def _places(engine: Engine) -> list[MapGeometry]:
    """Say where the cells of each fused layer lie in the input."""
    return [each.layer.placed(engine.input_size) for each in (engine, *engine.others)]


def _averaged(method: Method, engine: Engine, forward: Forward, options: MethodOptions) -> RawMaps:
    """The mean of the raw maps of all copies of a batch, every one asked about the classes of the original."""
    total, sampled, count = np.zeros(()), [], 0
    for copy, mirrored in _copies(forward.inputs, options):
        again = forward if copy is forward.inputs else engine.explain(copy, forward.targets, forward.extras)
        raw = raw_maps(method, engine, again, options)
        total = total + (_mirrored_back(raw.maps, engine) if mirrored else raw.maps)
        sampled.append(raw.classes_sampled)
        count += 1
    return RawMaps((total / count).astype(np.float32), _most(sampled))


def _mirrored_back(maps: Floats, engine: Engine) -> Floats:
    """Turn maps of mirrored inputs round; where cells do not lie symmetrically, read them at the cells' own centres."""
    place, width = engine.layer.placed(engine.input_size), engine.input_size[1]
    mirrored = place.columns.mirrored(width)
    cells = Size(maps.shape[-1], maps.shape[-2])
    last = mirrored.offset + (cells.width - 1) * mirrored.stride
    if abs(last - place.columns.offset) < SYMMETRIC:
        return maps[..., ::-1]
    return np.asarray(regridded(maps, MapGeometry(place.rows, mirrored), place, cells), np.float32)


def _copies(inputs: Floats, options: MethodOptions) -> Iterator[tuple[Floats, bool]]:
    """What is explained in place of the inputs (N, H, W, channels), and whether it is mirrored."""
    for copy in _noisy(inputs, options) if options.smooth else [inputs]:
        yield copy, False
        if options.flip:
            yield np.ascontiguousarray(copy[:, :, ::-1]), True


def _noisy(inputs: Floats, options: MethodOptions) -> Iterator[Floats]:
    """Copies with noise of standard deviation `noise * (max x - min x)`. Smilkov et al. 2017, arXiv:1706.03825.

    Each image's noise comes from its own content, so that neither its neighbours nor another run change it.
    """
    generators = [np.random.default_rng(list(hashlib.sha256(x.tobytes()).digest())) for x in inputs]
    deviation = options.noise * np.ptp(inputs, axis=(1, 2, 3), keepdims=True)
    for _ in range(options.smooth):
        noise = np.stack([generator.standard_normal(inputs.shape[1:], np.float32) for generator in generators])
        yield (inputs + deviation * noise).astype(np.float32, copy=False)


def _most(counts: Iterable[Classes | None]) -> Classes | None:
    """The largest of several counts (N,), of those that there are."""
    known = [count for count in counts if count is not None]
    return np.maximum.reduce(known) if known else None


def raw_maps(method: Method, engine: Engine, forward: Forward, options: MethodOptions = PLAIN) -> RawMaps:
    """Make the maps of all target classes of a batch, at the layer's own resolution and before any scaling.

    A map is NaN everywhere where any number that it is made of is not finite: such an image is never drawn, and does
    not disturb the others of its batch.
    """
    # What overflows here is found by `_maps`, one image at a time.
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        sampled = _classes_to_sample(engine, forward) if _needs_sample(method, engine) else None
        maps = [_maps(method, evidence) for evidence in _evidence(method, engine, forward, options, sampled)]
    return RawMaps(np.stack(maps, axis=1).astype(np.float32, copy=False), sampled.count if sampled else None)


def _maps(method: Method, evidence: Evidence) -> NDArray[np.floating[Any]]:
    """The maps (N, h, w) of one target, where what is not finite is kept from the method."""
    finite = evidence.finite()
    if finite.all():
        return method.maps(evidence)
    maps = method.maps(evidence.without(~finite))
    maps[~finite] = np.nan
    return maps


@dataclass(frozen=True, eq=False)
class _Sample:
    """The most probable classes of each image, their probabilities, and how many of them are taken (N,)."""

    classes: Classes
    probabilities: Floats
    count: Classes


def _needs_sample(method: Method, engine: Engine) -> bool:
    one_of_many = engine.head.kind in {"softmax", "linear"}
    return method.needs is Needs.MOMENTS and one_of_many and engine.head.weights is None


def _classes_to_sample(engine: Engine, forward: Forward) -> _Sample:
    probabilities = probabilities_of(engine.head, forward)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :MOST_CLASSES]
    ranked = np.take_along_axis(probabilities, order, axis=1)
    before = np.cumsum(ranked, axis=1) - ranked
    count = np.count_nonzero(before < ENOUGH_PROBABILITY, axis=1)
    if engine.head.class_count <= MOST_CLASSES:
        # Of so few none is left out: a class of little probability may have the largest slope.
        count = np.full_like(count, engine.head.class_count)
    return _Sample(order, ranked, count)


def _evidence(
    method: Method, engine: Engine, forward: Forward, options: MethodOptions, sample: _Sample | None
) -> Iterator[Evidence]:
    """What the method needs of each target in turn."""
    activations = forward.activations
    match method.needs:
        case Needs.ACTIVATIONS:
            return (Evidence(activations) for _ in forward.targets.T)
        case Needs.GRADIENTS:
            assert forward.gradients is not None  # noqa: S101 - the engine was made for this method
            curved = method.takes_curvature and engine.head.linearity == "pooled" and options.score == "logit"
            plain = (Evidence(activations, gradients=g) for g in _by_target(forward.gradients))
            return _with_curvature(engine, forward) if curved else plain
        case Needs.CLASS_WEIGHTS:
            assert engine.head.weights is not None  # noqa: S101 - check_method has been asked
            weights = engine.head.weights.T[forward.targets]
            return (Evidence(activations, class_weights=w) for w in _by_target(weights))
        case Needs.MOMENTS:
            return (Evidence(activations, moments=_moments(engine, forward, c, sample)) for c in forward.targets.T)
        case Needs.ABLATION:
            scores = _by_target(np.take_along_axis(forward.logits, forward.targets, axis=1))
            drops = _by_target(engine.ablation_drops(forward))
            return (Evidence(activations, drops=d, scores=s) for d, s in zip(drops, scores, strict=True))
        case Needs.MASKED_SCORES:
            masked = _masked_scores(engine, forward, options)
            return (Evidence(activations, masked_scores=m) for m in _by_target(masked))


def _with_curvature(engine: Engine, forward: Forward) -> Iterator[Evidence]:
    """Gradients with the second and third derivatives by the elements: those by the means, over Z^2 and Z^3."""
    assert forward.gradients is not None  # noqa: S101 - the engine was made for this method
    area = np.float64(forward.activations.shape[1] * forward.activations.shape[2])
    second, third = (_by_target(found) for found in engine.pooled_derivatives(forward))
    for rank, g in enumerate(_by_target(forward.gradients)):
        yield Evidence(forward.activations, g, second=second[rank] / area**2, third=third[rank] / area**3)


def _by_target(values: Floats) -> Floats:
    """From (N, T, ...) to (T, N, ...), a view."""
    return values.swapaxes(0, 1)


def _masked_scores(engine: Engine, forward: Forward, options: MethodOptions) -> Floats:
    """The logit of each target for the picture seen through each channel: (N, T, K), -inf where none was taken.

    Pairs of an image and a channel fill the engine's batches, whichever images they are of. A mask dims the picture
    itself, towards black, not the numbers that the network takes for it.
    """
    height, width = engine.input_size
    scores = np.full((*forward.targets.shape, forward.activations.shape[3]), -np.inf, np.float32)
    pairs = np.argwhere(strongest_channels(forward.activations, options.max_channels, options.scorecam_masks))
    for start in range(0, len(pairs), engine.batch_size):
        images, channels = pairs[start : start + engine.batch_size].T
        small = masks(forward.activations[images, :, :, channels], options.scorecam_masks)
        mask = over_input(small, Size(width, height), engine.layer.geometry)
        lit = forward.inputs[images] - engine.black
        seen = (engine.black + mask[..., np.newaxis] * lit).astype(np.float32, copy=False)
        extras = {name: values[images] for name, values in forward.extras.items()}
        masked = engine.explain(seen, extras=extras)
        scores[images, :, channels] = np.take_along_axis(masked.logits, forward.targets[images], axis=1)
    return scores


def _moments(engine: Engine, forward: Forward, classes: Classes, sample: _Sample | None) -> Moments:
    probabilities = probabilities_of(engine.head, forward)
    if engine.head.weights is not None and engine.head.kind in {"softmax", "linear"}:
        area = forward.activations.shape[1] * forward.activations.shape[2]
        return dense_head_moments(engine.head.weights, probabilities, classes, area)
    gradient = engine.class_gradients(forward, classes)
    probability = probabilities[np.arange(len(classes)), classes]
    if sample is None:
        # A sigmoid is the softmax of its logit against 0, whose gradient is 0.
        return sampled_moments(gradient, probability, [(1 - probability, np.zeros_like(gradient))])
    return sampled_moments(gradient, probability, _others(engine, forward, classes, sample))


def _others(engine: Engine, forward: Forward, classes: Classes, sample: _Sample) -> Iterator[tuple[Floats, Floats]]:
    """The sampled classes besides the target, one rank at a time, with probability 0 where an image needs no more."""
    for rank in range(int(sample.count.max())):
        ranked = sample.classes[:, rank]
        counts = (rank < sample.count) & (ranked != classes)
        if not counts.any():
            continue
        yield np.where(counts, sample.probabilities[:, rank], 0), engine.class_gradients(forward, ranked)
