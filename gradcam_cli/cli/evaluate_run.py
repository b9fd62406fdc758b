"""One run of `gradcam-cli evaluate`: everything is checked and opened first, then measured, then told."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from gradcam_cli.cli.announcing import announce
from gradcam_cli.cli.common import found_inputs, listening, locate
from gradcam_cli.cli.console import Progress, busy, say
from gradcam_cli.cli.inputs import input_settings
from gradcam_cli.cli.options import verbosity_of
from gradcam_cli.cli.signals import INTERRUPTED, PIPE_CLOSED, TERMINATED, Terminated, stopped_by_signals
from gradcam_cli.cli.table import table
from gradcam_cli.engines.selection import Work, open_engine
from gradcam_cli.errors import EnvironmentStop, ModelError, UsageError
from gradcam_cli.evaluation.measures import MEASURES
from gradcam_cli.evaluation.settings import StudySettings
from gradcam_cli.runs.tally import FAILED, OK
from gradcam_cli.settings import EngineSettings, MethodOptions, RunSettings, TargetSettings
from gradcam_cli.text import counted
from gradcam_cli.versions import versions

if TYPE_CHECKING:
    from gradcam_cli.engines.protocol import Engine
    from gradcam_cli.evaluation.grid import Candidate
    from gradcam_cli.evaluation.ground_truth import Boxes
    from gradcam_cli.evaluation.images import Measured, Study
    from gradcam_cli.evaluation.sanity import Kept, Stage
    from gradcam_cli.evaluation.summary import Summary
    from gradcam_cli.inputs.discovery import Found, Source
    from gradcam_cli.models.request import ModelRequest
    from gradcam_cli.results.output import OutputFolder
    from gradcam_cli.results.sidecar import ModelCard
    from gradcam_cli.runs.job import Unexplained

GATE_CROSSED = 5
RECORD, ROWS, PLOT = "evaluation.json", "evaluation.jsonl", "curves.png"


@dataclass(frozen=True)
class Bench:
    """One layer, ready to be measured: its study and engine, and one for collages; what it takes to randomise it."""

    request: "ModelRequest"
    card: "ModelCard"
    study: "Study"
    engine: "Engine"
    grid_engine: "Engine | None"

    @property
    def layer(self) -> str:
        """The layer's path."""
        return self.engine.layer.path


@dataclass(eq=False)
class Findings:
    """What a run gathers: the summary, rows to write, and what the collages and the sanity check go on from."""

    summary: "Summary"
    lines: TextIO | None
    progress: Progress
    candidates: "list[Candidate]" = field(default_factory=list)
    kept: "dict[str, list[Kept]]" = field(default_factory=dict)
    collages: int = 0

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row, where rows are wanted."""
        from gradcam_cli.results.sidecar import to_json

        if self.lines is None:
            return
        try:
            self.lines.write(to_json(row, indent=None))
            self.lines.flush()
        except OSError as error:
            raise EnvironmentStop(f"{self.lines.name}: {error.strerror}. What was written stays valid.") from error


def run(options: Mapping[str, Any]) -> int:
    """Measure what the options ask for; gives the exit code."""
    output = Path(options["output"]) if options["output"] else None
    found = found_inputs(input_settings(options), verbosity_of(options), output)
    boxes = _boxes(options["boxes_csv"], found.sources)
    with _folder(options["output"]) as folder:
        try:
            return _run(found, boxes, folder, options)
        except MemoryError as error:
            raise EnvironmentStop("There is not enough memory for such batches: try a smaller --batch-size.") from error


def _run(found: "Found", boxes: "dict[str, Boxes]", folder: "OutputFolder | None", options: Mapping[str, Any]) -> int:
    sources = found.sources
    benches = _open_all(options, len(sources), boxes)
    summary = _empty_summary(benches)
    quiet = options["quiet"]
    try:
        with (
            stopped_by_signals(),
            folder.rows(ROWS) if folder else contextlib.nullcontext() as lines,
            Progress(_passes(benches, len(sources)), wanted=options["progress"], quiet=quiet, unit="pass") as progress,
        ):
            findings = Findings(summary, lines, progress)
            _measure_images(benches, sources, findings, quiet=quiet)
            _measure_grid(benches, findings)
            _measure_sanity(benches, findings, quiet=quiet)
    except KeyboardInterrupt as stop:
        say("Interrupted: the rows that were written stay valid, and there is no summary.")
        return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
    return _tell(findings, benches, folder, _about_inputs(found, options), options)


def _passes(benches: list[Bench], images: int) -> int:
    """Inputs that go through the network for all images; collages and the sanity check add theirs when they begin."""
    from gradcam_cli.evaluation.images import passes_of_an_image

    return images * sum(passes_of_an_image(bench.study, bench.engine) for bench in benches)


def _boxes(path: Path | None, sources: "list[Source]") -> "dict[str, Boxes]":
    if path is None:
        return {}
    from gradcam_cli.evaluation.ground_truth import read_boxes

    boxes = read_boxes(path)
    if not boxes.keys() & {source.relative for source in sources}:
        raise UsageError(
            f"{path}: no box belongs to any of these pictures. Its column 'file' has to be their place in the tree, "
            f"such as {sources[0].relative}."
        )
    return boxes


@contextlib.contextmanager
def _folder(output: str | None) -> "Iterator[OutputFolder | None]":
    if output is None:
        yield None
        return
    from gradcam_cli.results.output import OutputFolder

    folder = OutputFolder(Path(output))
    folder.prepare(RECORD, ROWS)
    try:
        yield folder
    finally:
        folder.release()


def _study_settings(options: Mapping[str, Any]) -> StudySettings:
    return StudySettings(
        methods=tuple(dict.fromkeys(options["methods"])),
        metrics=options["metrics"],
        steps=options["steps"],
        baseline=options["baseline"],
        grid=options["grid"],
    )


def _open_all(options: Mapping[str, Any], images: int, boxes: "dict[str, Boxes]") -> list[Bench]:
    """Make every engine before the first image, so that a wrong layer is known at once."""
    benches: list[Bench] = []
    for layer in dict.fromkeys(options["layer"]):
        bench = _open(locate(options, layer), options, images, boxes)
        if any(other.layer == bench.layer for other in benches):
            raise UsageError(f"--layer {layer} is {bench.layer}, which is among the others already.")
        benches.append(bench)
    return benches


def _open(request: "ModelRequest", options: Mapping[str, Any], images: int, boxes: "dict[str, Boxes]") -> Bench:
    from gradcam_cli.evaluation.images import Study
    from gradcam_cli.inputs.decoding import decode
    from gradcam_cli.methods import METHODS
    from gradcam_cli.methods.method_runner import check_method
    from gradcam_cli.results.sidecar import RunCard
    from gradcam_cli.runs.engine_factory import chosen_fit, extras_of, model_card
    from gradcam_cli.runs.job import Job
    from gradcam_cli.runs.observer import OpenedModel

    settings = _study_settings(options)
    if request.inputs_vary and settings.grid:
        raise UsageError(
            "--grid lays several pictures into one: it takes no inputs that differ from picture to picture."
        )
    if request.plan and "sanity" in settings.metrics:
        raise ModelError(f"{request.plan}: the weights of a plan cannot be randomised. Give the model it came from.")
    methods = tuple(METHODS[name] for name in settings.methods)
    choice = EngineSettings(options["engine"], options["precision"], options["cache"])
    work = Work(TargetSettings(top_k=1), methods, MethodOptions(), images, options["batch_size"])
    with busy("loading the model", quiet=options["quiet"]):
        engine, model = open_engine(request, choice, work)
    if not engine.head.has_probabilities:
        raise ModelError(
            f"{model.name}: evaluate measures how a probability changes, and this model's output is "
            f"{engine.head.reason}. If it is logits, say so: --output-kind softmax-logits or sigmoid-logits."
        )
    for method in methods:
        check_method(method, engine)
    fit = chosen_fit(model, options["fit"])
    card = model_card(model, engine, fit, request)
    opened = OpenedModel(card, tuple(model.notes), tuple(model.warnings))
    announce(opened, options["model"], options["fit"], verbosity_of(options))
    run_settings = RunSettings(fit=fit, batch_size=options["batch_size"], sample_range=options["sample_range"])
    job = Job(
        settings=run_settings,
        preprocessing=model.preprocessing,
        labels=model.labels,
        model=card,
        run=RunCard("", versions()),
        several_targets=False,
        overlays=False,
        channels=model.input_shape[2],
        extras=extras_of(model, decode, run_settings),
        listen=listening(verbose=options["verbose"]),
    )
    grid_engine = _grid_engine(request, choice, work, engine, settings.grid) if settings.grid else None
    return Bench(request, card, Study(settings, job, boxes), engine, grid_engine)


def _grid_engine(
    request: "ModelRequest", choice: EngineSettings, work: Work, engine: "Engine", grid: tuple[int, int]
) -> "Engine":
    """The same network and weights at a larger input."""
    size = engine.input_size[0] * grid[0], engine.input_size[1] * grid[1]
    wanted = f"--grid {grid[0]}x{grid[1]} needs the same network at {size[0]}x{size[1]} pixels"
    if request.plan:
        raise ModelError(f"{request.plan}: {wanted}; a plan is compiled for one size. Give the model it came from.")
    larger = replace(request, settings=replace(request.settings, input_size=size))
    cells = grid[0] * grid[1]
    collages = max(1, work.images // cells)
    try:
        return open_engine(larger, choice, replace(work, targets=TargetSettings(top_k=cells), images=collages))[0]
    except ModelError as error:
        raise ModelError(
            f"{wanted}, which this one cannot take: a named model with global pooling can, and a file whose input size "
            f"was left open. ({error})"
        ) from error


def _empty_summary(benches: list[Bench]) -> "Summary":
    from gradcam_cli.evaluation.summary import Summary

    return Summary([bench.layer for bench in benches], benches[0].study.settings.methods)


def _measure_images(benches: list[Bench], sources: "list[Source]", findings: Findings, *, quiet: bool) -> None:
    from gradcam_cli.evaluation.images import Measured, measure, passes_of_an_image
    from gradcam_cli.evaluation.rows import image_rows
    from gradcam_cli.runs.watched_engine import counting

    started = time.monotonic()
    for bench in benches:
        engine = counting(bench.engine, findings.progress.advance)
        with contextlib.closing(measure(sources, bench.study, engine)) as images:
            for image in images:
                if isinstance(image, Measured):
                    findings.summary.add(bench.layer, image)
                    for row in image_rows(bench.layer, image, bench.study.job.labels):
                        findings.write(row)
                    _keep(bench, image, findings, first=bench is benches[0])
                    continue
                # Its passes are not made: they are no part of what there is to do.
                findings.progress.extend(-passes_of_an_image(bench.study, engine))
                if bench is benches[0]:
                    _report(image, findings)
    if not quiet:
        say(findings.summary.speed(time.monotonic() - started))


def _keep(bench: Bench, image: "Measured", findings: Findings, *, first: bool) -> None:
    """Remember what the collages and the sanity check need of an image: little, and only where they are asked for."""
    from gradcam_cli.evaluation.grid import SURE, Candidate
    from gradcam_cli.evaluation.sanity import Kept

    if first:
        findings.summary.counts["ok"] += 1
    if first and bench.grid_engine and image.probability >= SURE:
        findings.candidates.append(Candidate(image.source, image.index))
    if bench.study.wants("sanity"):
        maps = {name: result.raw for name, result in image.methods.items()}
        findings.kept.setdefault(bench.layer, []).append(Kept(image.source, image.index, maps))


def _report(image: "Unexplained", findings: Findings) -> None:
    from gradcam_cli.evaluation.rows import error_row

    findings.summary.counts["error"] += 1
    findings.write(error_row(image))
    findings.progress.say(f"{image.source.relative!r}: {image.error.reason}: {image.error}")


def _measure_grid(benches: list[Bench], findings: Findings) -> None:
    from gradcam_cli.evaluation.grid import SURE, Cell, collages, measure_grid
    from gradcam_cli.evaluation.images import own_passes
    from gradcam_cli.evaluation.rows import cell_row
    from gradcam_cli.runs.watched_engine import counting

    grid = benches[0].study.settings.grid
    if grid is None:
        return
    groups = collages(findings.candidates, grid[0] * grid[1])
    findings.collages = len(groups)
    if not groups:
        say(f"--grid: too few pictures with a probability of {SURE} or more and different classes for one collage.")
    for bench in benches:
        assert bench.grid_engine is not None  # noqa: S101 - _open made one for --grid
        methods = bench.study.settings.methods
        findings.progress.extend(len(groups) * (1 + own_passes(methods, bench.grid_engine)))
        engine = counting(bench.grid_engine, findings.progress.advance)
        with contextlib.closing(measure_grid(groups, methods, grid, bench.study.job, engine)) as cells:
            for cell in cells:
                if isinstance(cell, Cell):
                    findings.summary.add_cell(bench.layer, cell)
                    findings.write(cell_row(bench.layer, cell, bench.study.job.labels))
                else:
                    _report(cell, findings)


def _measure_sanity(benches: list[Bench], findings: Findings, *, quiet: bool) -> None:
    from gradcam_cli.evaluation.images import own_passes
    from gradcam_cli.evaluation.rows import change_row
    from gradcam_cli.evaluation.sanity import measure_stage
    from gradcam_cli.runs.watched_engine import counting

    for bench in benches:
        kept = findings.kept.get(bench.layer)
        if not kept:
            continue
        methods = bench.study.settings.methods
        for stage, randomised in _randomised(bench):
            findings.progress.extend(len(kept) * (1 + own_passes(methods, randomised)))
            engine = counting(randomised, findings.progress.advance)
            with contextlib.closing(measure_stage(kept, methods, stage, bench.study.job, engine)) as changes:
                for change in changes:
                    findings.summary.add_change(bench.layer, change)
                    findings.write(change_row(bench.layer, change))
            if not quiet:
                findings.progress.say(f"sanity: {stage.layers} of {stage.of} layers shuffled, back to {stage.back_to}")


def _randomised(bench: Bench) -> "Iterator[tuple[Stage, Engine]]":
    """Engines of a copy of the network that forgets more and more."""
    from gradcam_cli.engines.selection import Engines
    from gradcam_cli.evaluation.sanity import Stage

    work = Work(TargetSettings(top_k=1), (), MethodOptions(), bench.engine.streams, 1)
    models = Engines().of_model(bench.request, EngineSettings())
    for stage in models.open_randomised(work, bench.request.settings.layer, bench.engine.batch_size):
        yield Stage(stage.layers, stage.of, stage.back_to), stage.engine


def _about_inputs(found: "Found", options: Mapping[str, Any]) -> dict[str, Any]:
    """What `evaluation.json` has of the inputs, as `run.json` has it."""
    from gradcam_cli.inputs.discovery import as_text
    from gradcam_cli.results.runs_found import as_given

    return {
        "inputs": as_given([as_text(path) for path in options["inputs"]], options["files_from"]),
        "left_out": found.left_out.as_record(),
    }


def _tell(
    findings: Findings,
    benches: list[Bench],
    folder: "OutputFolder | None",
    about_inputs: dict[str, Any],
    options: Mapping[str, Any],
) -> int:
    from gradcam_cli.evaluation.summary import Gate

    summary = findings.summary
    gates = [Gate(MEASURES[name], limit, method) for method, name, limit in options["gates"]]
    crossed = list(summary.crossed(gates))
    if folder:
        _write(folder, _record(findings, benches, options, crossed) | about_inputs, summary, options)
    if summary.counts["ok"]:
        try:
            click.echo(table(summary), nl=False)
        except BrokenPipeError:
            return PIPE_CLOSED
    for line in summary.unchanged():
        say(f"warning: {line}")
    if not options["quiet"]:
        failed = f", {summary.counts['error']} failed" if summary.counts["error"] else ""
        say(f"{counted(summary.counts.total(), 'image')}: {summary.counts['ok']} measured{failed}{_where(folder)}")
    for line in crossed:
        say(f"--fail-under: {line}")
    if crossed:
        return GATE_CROSSED
    return FAILED if summary.counts["error"] else OK


def _where(folder: "OutputFolder | None") -> str:
    return f" -> {folder.root}" if folder else "; nothing was written (-o FOLDER)"


def _record(findings: Findings, benches: list[Bench], options: Mapping[str, Any], crossed: list[str]) -> dict[str, Any]:
    from gradcam_cli.evaluation.summary import evaluation_record

    settings = benches[0].study.settings
    cards = [bench.card for bench in benches]
    extra = {
        "gates": {"asked": [_gate_text(*gate) for gate in options["gates"]], "crossed": crossed},
        "grid": {"collages": findings.collages, "candidates": len(findings.candidates)} if settings.grid else None,
    }
    job = benches[0].study.job
    return evaluation_record(findings.summary, settings, cards, job.run.versions, job.settings.sample_range) | extra


def _gate_text(method: str | None, name: str, limit: float) -> str:
    return f"{method + ':' if method else ''}{MEASURES[name].option}={limit:g}"


def _write(folder: "OutputFolder", record: dict[str, Any], summary: "Summary", options: Mapping[str, Any]) -> None:
    from gradcam_cli.results.sidecar import to_json

    folder.write(RECORD, to_json(record).encode("ascii"))
    curves = summary.curves()
    if not curves:
        return
    if find_spec("matplotlib") is None:
        say(f"No {PLOT}: matplotlib is not installed. Install it: pip install 'gradcam-cli[plot]'")
        return
    from gradcam_cli.evaluation.plot import Curves, curves_png

    title = f"{options['model']}, {counted(summary.counts['ok'], 'image')}, baseline {options['baseline']}"
    folder.write(PLOT, curves_png(title, [Curves(*curve) for curve in curves]))
