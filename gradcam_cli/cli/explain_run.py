"""One run of `gradcam-cli explain`: inputs, model and output are checked in this order, then images flow."""

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from gradcam_cli.cli.common import (
    INTERRUPTED,
    TERMINATED,
    Terminated,
    announce,
    find_inputs,
    lines_to,
    locate,
    model_card,
    terminated_as_interrupt,
    versions,
)
from gradcam_cli.cli.console import Progress, say
from gradcam_cli.cli.engines import EngineChoice, Work, open_engine
from gradcam_cli.cli.options import STDIO
from gradcam_cli.cli.tally import Tally
from gradcam_cli.errors import UsageError
from gradcam_cli.settings import MethodOptions, OverlaySettings, RunSettings, TargetSettings

if TYPE_CHECKING:
    from gradcam_cli.discovery import Source
    from gradcam_cli.models.request import ModelRequest
    from gradcam_cli.network import Engine
    from gradcam_cli.output import Names, OutputFolder
    from gradcam_cli.pipeline import Job, Sink


@dataclass(frozen=True)
class Destination:
    """Where results go: a folder, one overlay to stdout, records to a file or stdout."""

    folder: "OutputFolder | None"
    overlay_to_stdout: bool
    jsonl: str | None


class StdoutSink:
    """Writes the one overlay to stdout."""

    def write_image(self, names: "Names", files: Mapping[str, bytes], record: Mapping[str, Any]) -> None:
        """Write the overlay; a failed image has none."""
        del names, record
        for data in files.values():
            sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


class NoFiles:
    """Takes nothing: only records were asked for."""

    def write_image(self, names: "Names", files: Mapping[str, bytes], record: Mapping[str, Any]) -> None:
        """Let it pass."""


def run(options: Mapping[str, Any]) -> int:
    """Explain what the options ask for; gives the exit code."""
    _check_options(options)
    sources = find_inputs(options)
    if options["dry_run"]:
        return _dry_run(sources, options)
    destination = _destination(options)
    if destination.overlay_to_stdout and len(sources) != 1:
        raise UsageError(f"-o - writes one overlay, but there are {len(sources)} inputs. Use -o FOLDER.")
    request = locate(options, options["layer"])
    engine, job = _prepare(request, options, len(sources), destination)
    if destination.overlay_to_stdout and engine.target_count != 1:
        raise UsageError("-o - writes one overlay, but several classes are to be explained. Use -o FOLDER.")
    return _explain_all(sources, job, engine, destination, options)


def _check_options(options: Mapping[str, Any]) -> None:
    from gradcam_cli.evidence import check_options
    from gradcam_cli.methods import METHODS

    check_options(METHODS[options["method"]], _method_options(options))


def _dry_run(sources: "list[Source]", options: Mapping[str, Any]) -> int:
    from gradcam_cli.output import Names

    for source in sources:
        folder = options["output"] if options["output"] not in {None, STDIO} else ""
        sidecar = Path(folder, source.relative).with_name(Names(source, several=False).sidecar)
        click.echo(os.fsencode(f"{source.path}\t{sidecar}"))
    if not options["quiet"]:
        say(f"{len(sources)} images would be explained; nothing was written.")
    return 0


def _destination(options: Mapping[str, Any]) -> Destination:
    from gradcam_cli.output import OutputFolder

    output = options["output"]
    folder = None
    if output not in {None, STDIO}:
        folder = OutputFolder(Path(output))
        folder.prepare()
    return Destination(folder, output == STDIO, options["jsonl"])


def _run_settings(options: Mapping[str, Any]) -> RunSettings:
    overlay = OverlaySettings(
        alpha=options["alpha"],
        colormap=options["colormap"],
        quality=options["quality"],
        max_side=options["max_side"],
        mask=options["mask"],
        draw_boxes=options["draw_boxes"],
    )
    return RunSettings(
        method=options["method"],
        method_options=_method_options(options),
        fit=options["fit"],
        batch_size=options["batch_size"],
        save_maps=options["save_maps"],
        min_score=options["min_score"],
        boxes=options["boxes"],
        overlay=overlay,
    )


def _method_options(options: Mapping[str, Any]) -> MethodOptions:
    given = {key: options[key] for key in ("score", "smooth", "noise", "flip", "max_channels")}
    return MethodOptions(**{key: value for key, value in given.items() if value is not None})


def _target_settings(options: Mapping[str, Any]) -> TargetSettings:
    top_k = options["top_k"]
    if top_k is None:
        top_k = 0 if options["classes"] else TargetSettings().top_k
    return TargetSettings(options["classes"], top_k)


def _prepare(
    request: "ModelRequest", options: Mapping[str, Any], images: int, destination: Destination
) -> "tuple[Engine, Job]":
    """Make the engine, and say once what was chosen."""
    from gradcam_cli.evidence import check_method
    from gradcam_cli.methods import METHODS
    from gradcam_cli.pipeline import Job

    settings = _run_settings(options)
    method = METHODS[settings.method]
    choice = EngineChoice(options["engine"], options["precision"], options["cache"])
    work = Work(_target_settings(options), (method,), settings.method_options, images, settings.batch_size)
    engine, model = open_engine(request, choice, work)
    engines = (engine, *engine.others)
    for each in engines:
        check_method(method, each)
    card = model_card(model, engine, settings.fit)
    layers = tuple(each.layer.path for each in engines) if engine.others else ()
    announce(card, model.warnings, options, layers)
    job = Job(
        settings=settings,
        preprocessing=model.preprocessing,
        labels=model.labels,
        model=card,
        versions=versions(),
        several_targets=engine.target_count > 1,
        overlays=destination.folder is not None or destination.overlay_to_stdout,
        channels=model.input_shape[2],
        asked_classes=len(options["classes"]),
        layers=layers,
    )
    return engine, job


def _explain_all(
    sources: "list[Source]",
    job: "Job",
    engine: "Engine",
    destination: Destination,
    options: Mapping[str, Any],
) -> int:
    from gradcam_cli.pipeline import explain as explain_sources

    tally = Tally()
    exit_code = None
    quiet = options["quiet"]
    try:
        with (
            terminated_as_interrupt(),
            lines_to(destination.jsonl) as lines,
            Progress(len(sources), wanted=options["progress"], quiet=quiet) as progress,
            contextlib.closing(explain_sources(sources, job, engine, _sink(destination))) as records,
        ):
            for record in records:
                _report(record, tally, progress, lines, verbose=options["verbose"])
    except Terminated:
        exit_code = TERMINATED
    except KeyboardInterrupt:
        exit_code = INTERRUPTED
    if destination.folder:
        destination.folder.write_run(_run_record(tally, job, options, interrupted=exit_code is not None))
    if exit_code is not None:
        say("Interrupted: what was finished stays valid.")
    if not quiet:
        where = f" -> {options['output']}" if destination.folder else ""
        say(f"{tally.summary()}{where}")
    return tally.exit_code if exit_code is None else exit_code


def _sink(destination: Destination) -> "Sink":
    if destination.folder:
        return destination.folder
    return StdoutSink() if destination.overlay_to_stdout else NoFiles()


def _report(
    record: Mapping[str, Any], tally: Tally, progress: Progress, lines: TextIO | None, *, verbose: bool
) -> None:
    from gradcam_cli.sidecar import to_json

    tally.add(record)
    if lines:
        lines.write(to_json(record, indent=None))
        lines.flush()
    if record["status"] == "error":
        progress.say(f"{record['input']['path']!r}: {record['reason']}: {record['message']}")
    elif verbose:
        seen = [f"{c['label'] or c['index']} {c['probability']:.3f}" for c in record["classes"]]
        progress.say(f"{record['input']['path']}: {', '.join(seen)}")
    progress.advance()


def _run_record(tally: Tally, job: "Job", options: Mapping[str, Any], *, interrupted: bool) -> dict[str, Any]:
    from dataclasses import asdict

    from gradcam_cli.sidecar import SCHEMA_VERSION

    settings = asdict(job.settings)
    settings["classes"] = list(options["classes"])
    settings["top_k"] = _target_settings(options).top_k
    return {
        "schema_version": SCHEMA_VERSION,
        "counts": tally.as_record(),
        "images_per_second": round(tally.images_per_second, 3),
        "interrupted": interrupted,
        "model": asdict(job.model),
        "options": settings,
        "versions": dict(job.versions),
    }
