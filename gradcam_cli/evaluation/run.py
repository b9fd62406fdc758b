"""One run of an evaluation: check and open everything, then measure, then write the results."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, TextIO

from gradcam_cli.errors import EnvironmentStop
from gradcam_cli.evaluation.grid import SURE, Candidate, Cell, collages, measure_grid
from gradcam_cli.evaluation.images import Measured, measure, own_passes, passes_of_an_image
from gradcam_cli.evaluation.measures import MEASURES
from gradcam_cli.evaluation.observer import StudyObserver
from gradcam_cli.evaluation.rows import Row, cell_row, change_row, error_row, image_rows
from gradcam_cli.evaluation.sanity import BaselineMaps, Stage, measure_stage
from gradcam_cli.evaluation.study import LayerStudy, boxes_of, open_layers
from gradcam_cli.evaluation.summary import StudySummary, evaluation_record
from gradcam_cli.extras import install_hint
from gradcam_cli.inputs.discovery import Found, as_text
from gradcam_cli.inputs.finding import find_inputs
from gradcam_cli.inputs.sources import Source
from gradcam_cli.requests import EvaluateRequest, Gate
from gradcam_cli.results.folders import study_folder
from gradcam_cli.results.run_folder import StudyFolder
from gradcam_cli.results.runs_found import as_given
from gradcam_cli.results.sidecar import to_json
from gradcam_cli.runs.job import Unexplained
from gradcam_cli.runs.observer import RunObserver
from gradcam_cli.runs.study_engines import StudyEngines
from gradcam_cli.runs.watched_engine import counting
from gradcam_cli.text import counted

RECORD, ROWS, PLOT = "evaluation.json", "evaluation.jsonl", "curves.png"
FAILED, GATE_CROSSED = 1, 5

# A function that finds the model of a request and opens its engines, for a number of images.
OpenEngines = Callable[[EvaluateRequest, int, RunObserver], StudyEngines]


@dataclass(frozen=True)
class Evaluation:
    """The outcome of an evaluation: its summary, and one line for each gate that is not met."""

    summary: StudySummary
    crossed: tuple[str, ...]

    @property
    def exit_status(self) -> int:
        """Give 5 if a gate is not met, 1 if an image failed, otherwise 0."""
        if self.crossed:
            return GATE_CROSSED
        return FAILED if self.summary.counts["error"] else 0

    def outcome(self) -> str:
        """Describe how many images were measured, and how many failed."""
        counts = self.summary.counts
        failed = f", {counts['error']} failed" if counts["error"] else ""
        return f"{counted(counts.total(), 'image')}: {counts['ok']} measured{failed}"


def run_evaluate(
    request: EvaluateRequest, observer: StudyObserver | None = None, *, open_engines: OpenEngines = StudyEngines
) -> Evaluation:
    """Evaluate the methods and layers of a request, and write the results to its output folder.

    An image that fails is counted and reported; it does not stop the run.

    Args:
        request: all options of the run.
        observer: receives progress and notes; see `StudyObserver`.
        open_engines: finds the model and opens its engines.

    Raises:
        UsageError: the request cannot be served: no pictures, two layers that are the same, an output folder that
            cannot be written.
        ModelError: the model is refused, cannot be loaded, has no such layer, or cannot do what is asked for.
        EnvironmentStop: the machine stopped the run. The rows that were written stay valid.
        KeyboardInterrupt: the run was interrupted. The rows that were written stay valid.
    """
    observer = observer or StudyObserver()
    found = find_inputs(request.inputs, observer.found, request.output, keep_omissions=observer.wants_omissions)
    # An evaluation keeps more data of each image than its name.
    sources = list(found.sources)
    boxes = boxes_of(request.boxes_csv, sources)
    with study_folder(request.output).held(RECORD, ROWS) if request.output else nullcontext() as folder:
        try:
            engines = open_engines(request, len(sources), observer)
            layers = open_layers(request, engines, boxes)
            with folder.rows(ROWS) if folder else nullcontext() as lines:
                measuring = _Measuring(request, observer, engines, layers, sources, lines)
                measuring.measure_all()
        except MemoryError as error:
            raise EnvironmentStop(
                "There is not enough memory for batches of this size. Use a smaller `batch_size`."
            ) from error
        crossed = tuple(measuring.summary.crossed(request.gates))
        if folder:
            _write(folder, _record(measuring, found, crossed), measuring.summary, request, observer)
    return Evaluation(measuring.summary, crossed)


@dataclass(eq=False)
class _Measuring:
    """Measures images, then collages, then the sanity check, and collects the results.

    The `candidates` for collages and the maps with unchanged weights (`baselines`, by layer) are collected while the
    images are measured.
    """

    request: EvaluateRequest
    observer: StudyObserver
    engines: StudyEngines
    layers: list[LayerStudy]
    sources: list[Source]
    lines: TextIO | None
    candidates: list[Candidate] = field(default_factory=list)
    baselines: dict[str, list[BaselineMaps]] = field(default_factory=dict)
    collages: int = 0

    def __post_init__(self) -> None:
        self.summary = StudySummary([layer.layer for layer in self.layers], self.request.study.methods)

    def measure_all(self) -> None:
        passes = sum(passes_of_an_image(layer.study, layer.engine) for layer in self.layers)
        self.observer.measuring(len(self.sources) * passes)
        started = time.monotonic()
        for layer in self.layers:
            self._measure_images(layer)
        self.observer.note(self.summary.speed(time.monotonic() - started))
        if self.request.study.grid:
            self._measure_grid(self.request.study.grid)
        for layer in self.layers:
            self._measure_sanity(layer)

    def _measure_images(self, layer: LayerStudy) -> None:
        first = layer is self.layers[0]
        engine = counting(layer.engine, self.observer.advanced)
        with closing(measure(self.sources, layer.study, engine)) as images:
            for image in images:
                if isinstance(image, Measured):
                    self.summary.add(layer.layer, image)
                    for row in image_rows(layer.layer, image, layer.study.job.labels):
                        self._write_row(row)
                    self._keep(layer, image, first=first)
                    continue
                # Its passes are not run, so they are subtracted from the total.
                self.observer.extended(-passes_of_an_image(layer.study, engine))
                if first:
                    self._report(image)

    def _keep(self, layer: LayerStudy, image: Measured, *, first: bool) -> None:
        """Keep the data of an image that the collages and the sanity check need, if they are requested."""
        if first:
            self.summary.counts["ok"] += 1
        if first and layer.grid_engine and image.probability >= SURE:
            self.candidates.append(Candidate(image.source, image.index))
        if layer.study.wants("sanity"):
            maps = {name: result.raw for name, result in image.methods.items()}
            self.baselines.setdefault(layer.layer, []).append(BaselineMaps(image.source, image.index, maps))

    def _measure_grid(self, grid: tuple[int, int]) -> None:
        groups = collages(self.candidates, grid[0] * grid[1])
        self.collages = len(groups)
        if not groups:
            self.observer.warn(
                f"`grid`: one collage needs more images of different classes with a probability of at least {SURE}."
            )
        for layer in self.layers:
            if layer.grid_engine is None:
                continue
            methods, job = layer.study.settings.methods, layer.study.job
            self.observer.extended(len(groups) * (1 + own_passes(methods, layer.grid_engine)))
            engine = counting(layer.grid_engine, self.observer.advanced)
            with closing(measure_grid(groups, methods, grid, job, engine)) as cells:
                for cell in cells:
                    if isinstance(cell, Cell):
                        self.summary.add_cell(layer.layer, cell)
                        self._write_row(cell_row(layer.layer, cell, job.labels))
                    else:
                        self._report(cell)

    def _measure_sanity(self, layer: LayerStudy) -> None:
        baselines = self.baselines.get(layer.layer)
        if not baselines:
            return
        methods = layer.study.settings.methods
        for randomised in self.engines.open_randomised(layer.asked, layer.engine):
            stage = Stage(randomised.layers, randomised.of, randomised.back_to)
            self.observer.extended(len(baselines) * (1 + own_passes(methods, randomised.engine)))
            engine = counting(randomised.engine, self.observer.advanced)
            with closing(measure_stage(baselines, methods, stage, layer.study.job, engine)) as changes:
                for change in changes:
                    self.summary.add_change(layer.layer, change)
                    self._write_row(change_row(layer.layer, change))
            self.observer.note(f"sanity: {stage.layers} of {stage.of} layers permuted, back to {stage.back_to}")

    def _report(self, image: Unexplained) -> None:
        self.summary.counts["error"] += 1
        self._write_row(error_row(image))
        self.observer.failed(image)

    def _write_row(self, row: Row) -> None:
        self.observer.row(row)
        if self.lines is None:
            return
        try:
            self.lines.write(to_json(row, indent=None))
            self.lines.flush()
        except OSError as error:
            raise EnvironmentStop(f"{self.lines.name}: {error.strerror}. Written results stay valid.") from error


def _record(measuring: _Measuring, found: Found, crossed: tuple[str, ...]) -> dict[str, Any]:
    """Build `evaluation.json`: the request, the files that were left out, and all results."""
    request = measuring.request
    job = measuring.layers[0].study.job
    cards = [layer.study.job.model for layer in measuring.layers]
    grid = {"collages": measuring.collages, "candidates": len(measuring.candidates)}
    figures = evaluation_record(measuring.summary, request.study, cards, job.run.versions, job.settings.sample_range)
    return {
        **figures,
        "gates": {"asked": [gate_text(gate) for gate in request.gates], "crossed": list(crossed)},
        "grid": grid if request.study.grid else None,
        "inputs": as_given([as_text(path) for path in request.inputs.paths], request.inputs.files_from),
        "left_out": found.left_out.as_record(),
    }


def gate_text(gate: Gate) -> str:
    """Format a gate as it is given: `gradcam:average-drop=30`."""
    method = f"{gate.method}:" if gate.method else ""
    return f"{method}{MEASURES[gate.measure].option}={gate.limit:g}"


def _write(
    folder: StudyFolder,
    record: Mapping[str, Any],
    summary: StudySummary,
    request: EvaluateRequest,
    observer: StudyObserver,
) -> None:
    folder.write(RECORD, to_json(record).encode("ascii"))
    curves = summary.curves()
    if not curves:
        return
    if find_spec("matplotlib") is None:
        observer.warn(f"No {PLOT}: matplotlib is not installed. Install it: {install_hint('plot')}")
        return
    from gradcam_cli.evaluation.plot import Curves, curves_png

    images = counted(summary.counts["ok"], "image")
    title = f"{request.model.model}, {images}, baseline {request.study.baseline}"
    folder.write(PLOT, curves_png(title, [Curves(*curve) for curve in curves]))
