"""Run a method on a batch: raw maps, averaged over noisy and mirrored copies, and fused over several layers."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from gradcam_cli.engines.protocol import NO_EXTRAS, Engine, Extras, Floats, Forward
from gradcam_cli.errors import ModelError, UsageError
from gradcam_cli.imaging.geometry import MapGeometry, Size, regridded
from gradcam_cli.methods.fusion import fuse_layers
from gradcam_cli.methods.method import Batch, Classes, Method, RawMaps
from gradcam_cli.settings import MethodOptions

# Tolerance in input pixels between a grid and its mirror image.
SYMMETRIC = 1e-3
PLAIN = MethodOptions()


def chosen_method(name: str, options: MethodOptions, methods: Mapping[str, Method]) -> Method:
    """Find a method by its name, and check its options.

    Raises:
        UsageError: there is no such method, or an option has no effect on it.
    """
    method = methods.get(name)
    if method is None:
        raise UsageError(f"`method={name}`: choose from {', '.join(methods)}.")
    check_options(method, options)
    return method


def check_options(method: Method, options: MethodOptions) -> None:
    """Refuse options that have no effect on a method, before anything is loaded.

    Raises:
        UsageError: `score` is set, but the method does not differentiate a score.
    """
    if options.score != "logit" and not method.differentiates:
        refusal = (
            f"`score` chooses the score that is differentiated, but `method={method.name}` does not "
            "differentiate one score."
        )
        raise UsageError(f"{refusal} {method.why_one_score}".rstrip())


def check_method(method: Method, engine: Engine, options: MethodOptions = PLAIN) -> None:
    """Refuse a method that cannot explain this network and layer, before any image is read.

    Raises:
        ModelError: the method needs another head after the target layer, or probabilities that the output does not
        have.
    """
    if options.score == "probability" and not engine.head.has_probabilities:
        raise ModelError(f"`score=probability` needs a probability, but this model's output is {engine.head.reason}.")
    method.check_engine(engine)


def explain_inputs(
    method: Method, engine: Engine, inputs: Floats, options: MethodOptions = PLAIN, extras: Extras = NO_EXTRAS
) -> tuple[Forward, RawMaps]:
    """Run a batch of inputs (N, H, W, channels), and make the maps of its target classes according to the options.

    The classes are chosen by the pass over the original inputs. Maps are averaged over the copies that `smooth` and
    `flip` make, at each layer, and then fused over the layers. The `extras` stay as they are in every copy.

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
    """Give the positions of the cells of each fused layer in the input."""
    return [each.layer.placed(engine.input_size) for each in (engine, *engine.others)]


def _averaged(method: Method, engine: Engine, forward: Forward, options: MethodOptions) -> RawMaps:
    """Average the raw maps of all copies of a batch, for the classes of the original."""
    total, sampled, count = np.zeros(()), [], 0
    for copy, mirrored in _copies(forward.inputs, options):
        again = forward if copy is forward.inputs else engine.explain(copy, forward.targets, forward.extras)
        raw = raw_maps(method, engine, again, options)
        total = total + (_mirrored_back(raw.maps, engine) if mirrored else raw.maps)
        sampled.append(raw.classes_sampled)
        count += 1
    return RawMaps((total / count).astype(np.float32), _most(sampled))


def _mirrored_back(maps: Floats, engine: Engine) -> Floats:
    """Mirror the maps of mirrored inputs back; interpolate at the cell centres if the cells are not symmetric."""
    place, width = engine.layer.placed(engine.input_size), engine.input_size[1]
    mirrored = place.columns.mirrored(width)
    cells = Size(maps.shape[-1], maps.shape[-2])
    last = mirrored.offset + (cells.width - 1) * mirrored.stride
    if abs(last - place.columns.offset) < SYMMETRIC:
        return maps[..., ::-1]
    return np.asarray(regridded(maps, MapGeometry(place.rows, mirrored), place, cells), np.float32)


def _copies(inputs: Floats, options: MethodOptions) -> Iterator[tuple[Floats, bool]]:
    """Give the copies of the inputs (N, H, W, channels) that are explained, and whether each is mirrored."""
    for copy in _noisy(inputs, options) if options.smooth else [inputs]:
        yield copy, False
        if options.flip:
            yield np.ascontiguousarray(copy[:, :, ::-1]), True


def _noisy(inputs: Floats, options: MethodOptions) -> Iterator[Floats]:
    """Copies with noise of standard deviation `noise * (max x - min x)`. Smilkov et al. 2017, arXiv:1706.03825.

    The seed of each image's noise is a hash of the image, so that it is the same in every batch and every run.
    """
    generators = [np.random.default_rng(list(hashlib.sha256(x.tobytes()).digest())) for x in inputs]
    deviation = options.noise * np.ptp(inputs, axis=(1, 2, 3), keepdims=True)
    for _ in range(options.smooth):
        noise = np.stack([generator.standard_normal(inputs.shape[1:], np.float32) for generator in generators])
        yield (inputs + deviation * noise).astype(np.float32, copy=False)


def _most(counts: Iterable[Classes | None]) -> Classes | None:
    """Give the largest of several counts (N,), ignoring None."""
    known = [count for count in counts if count is not None]
    return np.maximum.reduce(known) if known else None


def raw_maps(method: Method, engine: Engine, forward: Forward, options: MethodOptions = PLAIN) -> RawMaps:
    """Make the maps of all target classes of a batch, at the layer's own resolution and before any scaling.

    If a value that a map depends on is not finite, the whole map is NaN. Such an image is not painted, and it does not
    affect the others of its batch.
    """
    # Images with numbers that overflow are found one at a time, see `finite_maps`.
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        return method.maps(Batch(engine, forward, options))
