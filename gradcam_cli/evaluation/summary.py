"""The summary of all images: means, standard errors and counts, mean curves, and the check of gates."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from math import sqrt
from typing import Any

import numpy as np

from gradcam_cli.engines.protocol import Floats
from gradcam_cli.evaluation.grid import Cell
from gradcam_cli.evaluation.images import Measured
from gradcam_cli.evaluation.measures import CONVENTIONS, MEASURES, Measure
from gradcam_cli.evaluation.sanity import UNCHANGED, Change, Stage
from gradcam_cli.methods import METHODS
from gradcam_cli.requests import Gate, StudySettings
from gradcam_cli.results.sidecar import SCHEMA_VERSION, ModelCard
from gradcam_cli.settings import SampleRange
from gradcam_cli.text import counted

DIGITS = 6


@dataclass
class Figure:
    """A running mean and its standard error (Welford's algorithm); values are not stored."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """Add one value."""
        self.count += 1
        before = value - self.mean
        self.mean += before / self.count
        self.squares += before * (value - self.mean)

    @property
    def standard_error(self) -> float | None:
        """Give the sample standard deviation divided by the square root of the count; None for a single value."""
        return sqrt(self.squares / (self.count - 1) / self.count) if self.count > 1 else None

    def as_record(self) -> dict[str, Any]:
        """Give the mean, standard error and count for `evaluation.json`."""
        error = self.standard_error
        return {
            "mean": round(self.mean, DIGITS),
            "standard_error": None if error is None else round(error, DIGITS),
            "count": self.count,
        }


@dataclass
class Line:
    """One method at one layer."""

    figures: defaultdict[str, Figure] = field(default_factory=lambda: defaultdict(Figure))
    wins: defaultdict[str, Figure] = field(default_factory=lambda: defaultdict(Figure))
    curves: dict[str, Floats] = field(default_factory=dict)
    images: int = 0
    flat: int = 0
    flat_cells: int = 0
    stages: defaultdict[Stage, list[float]] = field(default_factory=lambda: defaultdict(list))

    def mean_curves(self) -> dict[str, list[float]]:
        """Give the curves averaged over images."""
        return {
            name: [round(float(value) / self.images, DIGITS) for value in curve] for name, curve in self.curves.items()
        }

    def unchanged(self) -> list[Stage]:
        """Give the stages of the sanity check in which the map did not change."""
        return [stage for stage, found in self.stages.items() if found and np.median(found) > UNCHANGED]


class StudySummary:
    """Results by layer and method, in the requested order."""

    def __init__(self, layers: Iterable[str], methods: Iterable[str]) -> None:
        """Begin with nothing counted."""
        listed = list(methods)
        self.lines = {(layer, method): Line() for layer in layers for method in listed}
        self.passes = 0
        self.counts: Counter[str] = Counter()

    def add(self, layer: str, image: Measured) -> None:
        """Count one image."""
        self.passes += image.passes
        for method, result in image.methods.items():
            line = self.lines[layer, method]
            line.images += 1
            line.flat += result.flat
            for name, value in result.figures.items():
                line.figures[name].add(value)
            for name, curve in result.curves.items():
                line.curves[name] = line.curves.get(name, np.zeros_like(curve)) + curve
        for (winner, other), won in image.wins.items():
            self.lines[layer, winner].wins[other].add(won)

    def add_cell(self, layer: str, cell: Cell) -> None:
        """Count one cell of a collage."""
        line = self.lines[layer, cell.method]
        line.figures["grid"].add(cell.share)
        line.flat_cells += cell.flat

    def add_change(self, layer: str, change: Change) -> None:
        """Count one map of the sanity check."""
        line = self.lines[layer, change.method]
        line.stages[change.stage].append(change.correlation)
        if change.stage.is_head:
            line.figures["sanity_head"].add(change.correlation)
        if change.stage.is_all:
            line.figures["sanity_all"].add(change.correlation)

    def speed(self, seconds: float) -> str:
        """Describe the speed of the evaluation: images per second, and inputs of the network."""
        images = max((line.images for line in self.lines.values()), default=0)
        layers, methods = len(self.layers()), len(self.methods())
        what = f"{counted(images, 'image')} x {counted(methods, 'method')}"
        what += f" x {layers} layers" if layers > 1 else ""
        seconds = max(seconds, 1e-9)
        masking = [name for name in self.methods() if METHODS[name].masks_inputs]
        own = f" ({', '.join(masking)}'s own passes not counted)" if masking else ""
        return (
            f"{what} in {seconds:.1f} s: {images * layers / seconds:.1f} images/s; "
            f"{counted(self.passes, 'input')} through the network{own}, {self.passes / seconds:.1f} a second"
        )

    def layers(self) -> list[str]:
        """The layers, each once."""
        return list(dict.fromkeys(layer for layer, _ in self.lines))

    def methods(self) -> list[str]:
        """The methods, each once."""
        return list(dict.fromkeys(method for _, method in self.lines))

    def figure(self, layer: str, method: str, measure: Measure) -> Figure:
        """Give one measure of one method."""
        return self.lines[layer, method].figures[measure.name]

    def best(self, layer: str, measure: Measure) -> float | None:
        """Give the best mean of several methods; None if there is nothing to compare."""
        found = [self.figure(layer, method, measure) for method in self.methods()]
        means = [figure.mean for figure in found if figure.count]
        if len(means) < 2:
            return None
        return min(means) if measure.better == "lower" else max(means)

    def counts_of(self, layer: str, measure: Measure) -> int:
        """Give the number of values that the means of a line are computed from."""
        return max(self.figure(layer, method, measure).count for method in self.methods())

    def curves(self) -> list[tuple[str, str, dict[str, list[float]], dict[str, float]]]:
        """Give the layer, method, mean curves and areas of every method with curves."""
        return [
            (layer, method, line.mean_curves(), {name: line.figures[name].mean for name in line.curves})
            for (layer, method), line in self.lines.items()
            if line.curves
        ]

    def measured(self) -> list[Measure]:
        """Give the measures that at least one method has, in the order of `measures`."""
        return [m for m in MEASURES.values() if any(line.figures[m.name].count for line in self.lines.values())]

    def results(self) -> list[dict[str, Any]]:
        """Give all results for `evaluation.json`."""
        return [_record(layer, method, line) for (layer, method), line in self.lines.items()]

    def crossed(self, gates: Iterable[Gate]) -> Iterator[str]:
        """Give a line for each gate that is not met; a gate without any measurement is not met."""
        for gate in gates:
            measure = MEASURES[gate.measure]
            for (layer, method), line in self.lines.items():
                if gate.method not in {None, method}:
                    continue
                figure = line.figures[measure.name]
                what = f"{method} at {layer}: {measure.option}"
                if not figure.count:
                    yield f"{what} was not measured on any image"
                elif measure.is_worse(figure.mean, gate.limit):
                    side = "above" if measure.better == "lower" else "below"
                    yield f"{what} is {figure.mean:.4g}, {side} {gate.limit:g}"

    def unchanged(self) -> Iterator[str]:
        """Give a line for each method whose maps hardly change when weights are permuted, with the last such stage."""
        for (layer, method), line in self.lines.items():
            stages = line.unchanged()
            if stages:
                last = stages[-1]
                median = np.median(line.stages[last])
                yield (
                    f"{method} at {layer} hardly changes when the weights of the last {last.layers} of {last.of} "
                    f"layers, from the end back to {last.back_to}, are permuted (median rank correlation "
                    f"{median:.3f}). Its maps depend little on the weights that the model learned."
                )


def _record(layer: str, method: str, line: Line) -> dict[str, Any]:
    return {
        "layer": layer,
        "method": method,
        "images": line.images,
        "flat": line.flat,
        "flat_cells": line.flat_cells,
        "metrics": {name: figure.as_record() for name, figure in line.figures.items() if figure.count},
        "wins": {other: figure.as_record() for other, figure in line.wins.items()},
        "curves": line.mean_curves(),
        "sanity": [
            {
                "layers": stage.layers,
                "of": stage.of,
                "back_to": stage.back_to,
                "mean": round(float(np.mean(found)), DIGITS),
                "median": round(float(np.median(found)), DIGITS),
                "count": len(found),
                "unchanged": stage in line.unchanged(),
            }
            for stage, found in line.stages.items()
        ],
    }


def evaluation_record(
    summary: StudySummary,
    settings: StudySettings,
    models: Iterable[ModelCard],
    versions: Mapping[str, str],
    sample_range: SampleRange | None = None,
) -> dict[str, Any]:
    """Build `evaluation.json`: the results, their definitions, and the options. The same run gives the same bytes."""
    counts = {key: summary.counts[key] for key in ("ok", "error")}
    return {
        "schema_version": SCHEMA_VERSION,
        "conventions": CONVENTIONS,
        "definitions": {
            measure.name: {"better": measure.better, "percent": measure.percent, "definition": measure.definition}
            for measure in summary.measured()
        },
        "options": {**asdict(settings), "sample_range": sample_range},
        "models": [asdict(model) for model in models],
        "counts": {**counts, "asked": sum(counts.values()), "done": counts["ok"], "failed": counts["error"]},
        "results": summary.results(),
        "versions": dict(versions),
    }
