"""Measures for each image: every method explains it, and the network is run on images changed by the heatmap."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.engines.protocol import Engine, Floats, map_layer
from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.evaluation.ground_truth import Boxes, box_mask, hits
from gradcam_cli.evaluation.imputation import Colours, Imputation, colours_of, imputation, masked
from gradcam_cli.evaluation.maps import Probe, class_scores, method_maps, over_input, probability_of
from gradcam_cli.evaluation.metrics import (
    adcc,
    area_under,
    coherency,
    complexity,
    drop,
    increase,
    removal_ranks,
    share_inside,
    win,
)
from gradcam_cli.imaging.geometry import Box, MapGeometry, map_to_source
from gradcam_cli.imaging.heatmap import scale, summarise
from gradcam_cli.inputs.sources import Source
from gradcam_cli.methods import METHODS
from gradcam_cli.requests import StudySettings
from gradcam_cli.runs.job import Fitted, Job, Unexplained
from gradcam_cli.runs.pipeline import stacked_extras, through
from gradcam_cli.settings import MethodOptions

# Seed of the order of pixels with equal heat, the same for every map.
SEED = 0
CURVES = ("deletion", "insertion")


@dataclass(frozen=True)
class Study:
    """The measures, and the preparation of inputs; `boxes` by the image's path in the input folder."""

    settings: StudySettings
    job: Job
    boxes: Mapping[str, Boxes] = field(default_factory=dict)

    def wants(self, *groups: str) -> bool:
        """Whether any of these groups of metrics is requested."""
        return any(group in self.settings.metrics for group in groups)


@dataclass(frozen=True, eq=False)
class MethodResult:
    """One method on one image: its raw map, its measures by name, and its curves (steps + 1,)."""

    raw: Floats
    figures: dict[str, float]
    curves: dict[str, Floats]

    @property
    def flat(self) -> bool:
        """Whether the map has no heat."""
        return not self.raw.any()


@dataclass(frozen=True, eq=False)
class Measured:
    """One image: the predicted class, its probability, the results of each method, and each method's wins in percent.

    `passes` counts the inputs of the network for this image, without the additional passes of a method.
    """

    source: Source
    index: int
    probability: float
    methods: dict[str, MethodResult]
    wins: dict[tuple[str, str], float]
    passes: int


def passes_of_an_image(study: Study, engine: Engine) -> int:
    """Count the inputs of the network for each image, including the additional passes of methods."""
    settings = study.settings
    methods = len(settings.methods)
    own = own_passes(settings.methods, engine)
    passes = 1 + own
    if study.wants("drop", "adcc"):
        passes += methods
    if study.wants("adcc"):
        passes += own
    curves = sum(curve in settings.metrics for curve in CURVES)
    return passes + (1 + methods * curves * (settings.steps - 1) if curves else 0)


def own_passes(methods: Iterable[str], engine: Engine) -> int:
    """Count the additional passes of the methods for one image."""
    masked = sum(METHODS[name].masks_inputs for name in methods)
    return masked * min(MethodOptions().max_channels, engine.layer.channels)


def measure(sources: Iterable[Source], study: Study, engine: Engine) -> Generator[Measured | Unexplained]:
    """Measure every source in order; a source that fails is reported and does not affect others."""

    def run(images: list[Fitted | Unexplained], ending: Engine) -> list[Measured | Unexplained]:
        fitted = [image for image in images if isinstance(image, Fitted)]
        results = iter(_measure_batch(fitted, study, ending) if fitted else [])
        return [next(results) if isinstance(image, Fitted) else image for image in images]

    yield from through(sources, study.job, engine, engine.input_size, run)


@dataclass(eq=False)
class _Case:
    """One image while it is measured; `window` is the part of the input without padding."""

    image: Fitted
    index: int
    probability: float
    raw: dict[str, Floats]
    window: Box
    geometry: MapGeometry | None
    figures: dict[str, dict[str, float]]
    curves: dict[str, dict[str, Floats]]
    kept: dict[str, float] = field(default_factory=dict)
    passes: int = 1

    @property
    def finite(self) -> bool:
        """Whether the probability and all maps are finite numbers."""
        return bool(np.isfinite(self.probability)) and all(np.isfinite(raw).all() for raw in self.raw.values())

    @property
    def picture(self) -> Floats:
        """The image without padding."""
        return self.image.inputs[self.window.top : self.window.bottom, self.window.left : self.window.right]

    def heat(self, method: str) -> Floats:
        """Give a method's heatmap over the image without padding."""
        whole = over_input(scale(self.raw[method]), self.image.inputs.shape[:2], self.geometry)
        return whole[self.window.top : self.window.bottom, self.window.left : self.window.right]

    def with_picture(self, picture: Floats) -> Floats:
        """Give the input with another image and the same padding."""
        inputs = self.image.inputs.copy()
        inputs[self.window.top : self.window.bottom, self.window.left : self.window.right] = picture
        return inputs


def _measure_batch(images: list[Fitted], study: Study, engine: Engine) -> list[Measured | Unexplained]:
    methods = study.settings.methods
    forward = engine.explain(np.stack([image.inputs for image in images]), extras=stacked_extras(images))
    classes = forward.targets[:, 0]
    probabilities = probability_of(engine, forward, classes)
    maps = method_maps(methods, engine, forward)
    all_cases = [
        _Case(
            image=image,
            index=int(classes[i]),
            probability=float(probabilities[i]),
            raw={name: maps[name][i, 0] for name in methods},
            window=image.fit.filled,
            geometry=map_layer(engine).geometry,
            figures={name: {} for name in methods},
            curves={name: {} for name in methods},
        )
        for i, image in enumerate(images)
    ]
    # Images without a finite map cannot be masked: they are reported, and the others are measured.
    cases = [case for case in all_cases if case.finite]
    if cases:
        _measure_cases(cases, study, engine)
    return [_finished(case) for case in all_cases]


def _measure_cases(cases: list[_Case], study: Study, engine: Engine) -> None:
    classes = np.asarray([case.index for case in cases], np.intp)
    colours = colours_of(study.job.preprocessing, study.job.channels)
    if study.wants("drop", "adcc"):
        for name in study.settings.methods:
            _measure_masked(name, cases, classes, study, engine, colours)
    if study.wants(*CURVES):
        _measure_curves(cases, study, engine, colours)
    for case in cases:
        _measure_boxes(case, study)


def _measure_masked(
    method: str, cases: list[_Case], classes: NDArray[np.intp], study: Study, engine: Engine, colours: Colours
) -> None:
    """Run one more pass over images masked by the heat, for the probability of the class and for the map."""
    heats = [case.heat(method) for case in cases]
    inputs = [case.with_picture(masked(case.picture, heat, colours)) for case, heat in zip(cases, heats, strict=True)]
    extras = stacked_extras([case.image for case in cases])
    forward = engine.explain(np.stack(inputs), classes[:, None], extras)
    kept = probability_of(engine, forward, classes).tolist()
    for case, after in zip(cases, kept, strict=True):
        case.passes += 1
        case.kept[method] = after
        if study.wants("drop"):
            case.figures[method]["average_drop"] = drop(case.probability, after)
            case.figures[method]["increase"] = increase(case.probability, after)
    if study.wants("adcc"):
        # A masked image may overflow although the original does not: its measures are NaN, and it is reported.
        again = method_maps([method], engine, forward)[method]
        for i, case in enumerate(cases):
            parts = coherency(case.raw[method], again[i, 0]), complexity(heats[i])
            loss = drop(case.probability, case.kept[method])
            case.figures[method] |= dict(zip(("coherency", "complexity"), parts, strict=True))
            case.figures[method]["adcc"] = adcc(*parts, loss)


def _measure_curves(cases: list[_Case], study: Study, engine: Engine, colours: Colours) -> None:
    """Measure deletion and insertion, with all steps of all methods and images in full batches.

    Both curves have the same ends: the original image, whose probability is known, and the baseline.
    """
    settings = study.settings
    curves = [curve for curve in CURVES if curve in settings.metrics]

    def probes() -> Iterator[Probe]:
        for case in cases:
            extras = case.image.extras
            fill = imputation(settings.baseline, case.picture, colours)
            yield case.index, case.with_picture(fill(np.ones(case.picture.shape[:2], np.bool_))), extras
            for method in settings.methods:
                for picture in _steps(case.heat(method), curves, settings.steps, fill):
                    yield case.index, case.with_picture(picture), extras

    scores = class_scores(engine, probes())
    for case in cases:
        nothing = next(scores)
        for method in settings.methods:
            for curve in curves:
                between = [next(scores) for _ in range(settings.steps - 1)]
                ends = (case.probability, nothing) if curve == "deletion" else (nothing, case.probability)
                points = np.asarray([ends[0], *between, ends[1]])
                case.curves[method][curve] = points
                case.figures[method][curve] = area_under(points)
        case.passes += 1 + len(settings.methods) * len(curves) * (settings.steps - 1)


def _steps(heat: Floats, curves: list[str], steps: int, fill: Imputation) -> Iterator[Floats]:
    """Give the images between the ends of each curve."""
    ranks = removal_ranks(heat, np.random.default_rng(SEED).permutation(heat.size))
    for curve in curves:
        for step in range(1, steps):
            hottest = ranks < step * heat.size / steps
            yield fill(hottest if curve == "deletion" else ~hottest)


def _measure_boxes(case: _Case, study: Study) -> None:
    boxes = study.boxes.get(case.image.source.relative)
    if boxes is None:
        return
    for method, raw in case.raw.items():
        heat = map_to_source(scale(raw), case.image.fit)
        peak = summarise(heat, flat=not raw.any()).peak
        inside = box_mask(boxes, case.image.fit.source)
        case.figures[method]["pointing"] = float(peak is not None and hits(boxes, peak))
        case.figures[method]["energy"] = share_inside(heat, inside)


def _finished(case: _Case) -> Measured | Unexplained:
    methods = {name: MethodResult(case.raw[name], case.figures[name], case.curves[name]) for name in case.raw}
    figures = [value for result in methods.values() for value in result.figures.values()]
    if not (case.finite and np.isfinite(figures).all()):
        error = ImageError(Reason.NOT_FINITE, "the model's scores or gradients for this image are not finite")
        return Unexplained(case.image.source, case.image.card, error)
    wins = {(a, b): win(case.kept[a], case.kept[b]) for a in case.kept for b in case.kept if a != b}
    for method, result in methods.items():
        against = [won for (winner, _), won in wins.items() if winner == method]
        if against:
            result.figures["win_rate"] = sum(against) / len(against)
    return Measured(case.image.source, case.index, case.probability, methods, wins, case.passes)
