"""`gradcam-cli explain`: the main job."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

import click

from gradcam_cli.cli.console import Progress, download_bar, quiet_libraries, say
from gradcam_cli.cli.options import MODEL_DEFAULTS, PREPROCESS_CHOICES
from gradcam_cli.cli.options import model_options as add_model_options
from gradcam_cli.cli.tally import Tally
from gradcam_cli.errors import EnvironmentStop, UsageError
from gradcam_cli.settings import (
    COLORMAPS,
    FIT_MODES,
    ModelSettings,
    OverlaySettings,
    RunSettings,
    TargetSettings,
)

if TYPE_CHECKING:
    from gradcam_cli.discovery import Source
    from gradcam_cli.models.request import ModelRequest
    from gradcam_cli.network import Engine
    from gradcam_cli.output import Names, OutputFolder
    from gradcam_cli.pipeline import Job, Sink

METHOD_CHOICES = ("gradcam++", "gradcam++-paper", "gradcam++-softmax", "gradcam", "cam")
STDIO = "-"
DEFAULTS = RunSettings()
OVERLAY_DEFAULTS = OverlaySettings()
INTERRUPTED, TERMINATED = 130, 143
VERSIONED = ("gradcam-cli", "keras", "tensorflow", "numpy", "opencv-python-headless")


class Terminated(KeyboardInterrupt):
    """SIGTERM: the run ends as it does for Ctrl-C, with another exit code."""


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


@click.command(
    epilog="""\b
Examples:
  gradcam-cli explain photos/ -o out/
  gradcam-cli explain cat.jpg -o - --model efficientnetlite0 > overlay.jpg
  find . -name '*.png' -print0 | gradcam-cli explain --files-from - -0 --jsonl - | jq .classes[0]
\b
Exit codes: 0 all done, 1 some image failed, 2 usage, 3 model, 4 stopped by the machine, 130 Ctrl-C.
"""
)
@click.argument("inputs", metavar="INPUT...", nargs=-1)
@click.option(
    "-o",
    "--output",
    metavar="FOLDER|-",
    help="Folder for overlays and sidecars; - writes the one overlay to stdout.",
)
@click.option("--files-from", metavar="FILE|-", help="Read more inputs from a list, one path a line.")
@click.option("-0", "null", is_flag=True, help="The list is separated by NUL, as find -print0 writes it.")
@click.option("--recursive/--no-recursive", default=True, help="Walk into sub-folders.  [default: recursive]")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Explain only the first N images.")
@click.option("--dry-run", is_flag=True, help="Print what would be explained, and where it would be written.")
@click.option(
    "--model",
    default=MODEL_DEFAULTS.model,
    show_default=True,
    metavar="NAME|FILE",
    help="Architecture (see `gradcam-cli models`), or a .keras or .h5 file.",
)
@add_model_options
@click.option(
    "--layer",
    default=MODEL_DEFAULTS.layer,
    show_default=True,
    metavar="auto|NAME|PATH",
    help="Target layer (see `gradcam-cli layers MODEL`).",
)
@click.option("--labels", type=click.Path(path_type=Path), help="Names of the classes: one a line, CSV or JSON.")
@click.option(
    "--preprocess",
    type=click.Choice(PREPROCESS_CHOICES),
    default=MODEL_DEFAULTS.preprocess,
    show_default=True,
    help="How pixels become the model's input.",
)
@click.option(
    "--method",
    type=click.Choice(METHOD_CHOICES),
    default=DEFAULTS.method,
    show_default=True,
    help="Which of the CAM family.",
)
@click.option("--class", "classes", multiple=True, metavar="ID|NAME|WNID", help="Explain this class; repeatable.")
@click.option(
    "--top-k",
    type=click.IntRange(min=0),
    metavar="K",
    help="Explain the K most probable classes.  [default: 1, or 0 with --class]",
)
@click.option(
    "--fit",
    type=click.Choice(FIT_MODES),
    default=DEFAULTS.fit,
    show_default=True,
    help="How a picture is laid into the input: whole, its middle, or whole with a border.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1, 4096),
    default=DEFAULTS.batch_size,
    show_default=True,
    help="Images in one forward pass.",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    default=OVERLAY_DEFAULTS.alpha,
    show_default=True,
    help="The heat's share of the overlay's colour.",
)
@click.option(
    "--colormap",
    type=click.Choice(COLORMAPS),
    default=OVERLAY_DEFAULTS.colormap,
    show_default=True,
    help="Colours of the heat.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    default=OVERLAY_DEFAULTS.quality,
    show_default=True,
    help="JPEG quality of the overlays.",
)
@click.option(
    "--max-side",
    type=click.IntRange(min=1),
    metavar="N",
    help="Longest side of the overlays in pixels.  [default: the picture's own size]",
)
@click.option("--save-maps", is_flag=True, help="Write the raw maps too: NAME.map.npy, float32 (h, w), before scaling.")
@click.option("--jsonl", metavar="FILE|-", help="Write one record a line, as images are done.")
@click.option("--progress/--no-progress", default=None, help="Show a progress bar.  [default: on a terminal]")
@click.option("-q", "--quiet", is_flag=True, help="Say only what failed.")
@click.option("-v", "--verbose", is_flag=True, help="Say more, and let TensorFlow speak.")
@click.pass_context
def explain(ctx: click.Context, /, **options: Any) -> None:
    """Explain what the model saw in each INPUT: an overlay JPEG and a JSON sidecar.

    INPUT is a picture, a folder of them, or - for one picture on stdin. The tree of a folder is mirrored in the
    output folder: photos/a/cat.png becomes out/a/cat.png.overlay.jpg and out/a/cat.png.json.
    """
    _refuse_contradictions(options)
    with quiet_libraries(verbose=options["verbose"]):
        ctx.exit(_run(options))


def _refuse_contradictions(options: Mapping[str, Any]) -> None:
    output, jsonl = options["output"], options["jsonl"]
    if options["inputs"].count(STDIO) and options["files_from"] == STDIO:
        raise UsageError("stdin can be a picture or a list of paths, not both.")
    if not options["inputs"] and not options["files_from"]:
        raise UsageError("There is no INPUT. Name pictures or folders, or give a list by --files-from.")
    if options["null"] and not options["files_from"]:
        raise UsageError("-0 is about the list of --files-from.")
    if output is None and jsonl is None and not options["dry_run"]:
        raise UsageError(
            "Say where the results go: -o FOLDER (or -o - for one overlay, or --jsonl - for records only)."
        )
    if output == STDIO and jsonl == STDIO:
        raise UsageError("stdout can take the overlay or the records, not both.")
    if output == STDIO and not options["dry_run"] and sys.stdout.isatty():
        raise UsageError("An overlay is a JPEG: send it to a file or a pipe (-o - > overlay.jpg).")
    if options["save_maps"] and output in {None, STDIO}:
        raise UsageError("--save-maps writes beside the sidecars: it needs -o FOLDER.")
    if options["top_k"] == 0 and not options["classes"]:
        raise UsageError("--top-k 0 explains nothing unless --class names a class.")


def _run(options: Mapping[str, Any]) -> int:
    sources = _sources(options)
    if options["dry_run"]:
        return _dry_run(sources, options)
    destination = _destination(options)
    if destination.overlay_to_stdout and len(sources) != 1:
        raise UsageError(f"-o - writes one overlay, but there are {len(sources)} inputs. Use -o FOLDER.")
    request = _request(options)
    engine, job = _prepare(request, options, len(sources), destination)
    if destination.overlay_to_stdout and engine.target_count != 1:
        raise UsageError("-o - writes one overlay, but several classes are to be explained. Use -o FOLDER.")
    return _explain_all(sources, job, engine, destination, options)


def _sources(options: Mapping[str, Any]) -> "list[Source]":
    from gradcam_cli.discovery import find_sources, read_list
    from gradcam_cli.images import SUFFIXES

    listed = (
        read_list(_list_bytes(options["files_from"]), null_separated=options["null"]) if options["files_from"] else []
    )
    folder = Path(options["output"]) if options["output"] not in {None, STDIO} else None
    sources = find_sources(options["inputs"], listed, suffixes=SUFFIXES, recursive=options["recursive"], output=folder)
    if not sources:
        raise UsageError("There is nothing to explain: no pictures were found in what was given.")
    return sources[: options["limit"]]


def _list_bytes(name: str) -> bytes:
    if name == STDIO:
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name}: the list cannot be read: {error.strerror}.") from error


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


def _request(options: Mapping[str, Any]) -> "ModelRequest":
    from gradcam_cli.models.request import locate_model

    settings = ModelSettings(
        model=options["model"],
        layer=options["layer"],
        labels=options["labels"],
        preprocess=options["preprocess"],
        **options["model_options"],
    )
    return locate_model(settings, download_bar)


def _run_settings(options: Mapping[str, Any]) -> RunSettings:
    overlay = OverlaySettings(options["alpha"], options["colormap"], options["quality"], options["max_side"])
    return RunSettings(
        method=options["method"],
        fit=options["fit"],
        batch_size=options["batch_size"],
        save_maps=options["save_maps"],
        overlay=overlay,
    )


def _target_settings(options: Mapping[str, Any]) -> TargetSettings:
    top_k = options["top_k"]
    if top_k is None:
        top_k = 0 if options["classes"] else TargetSettings().top_k
    return TargetSettings(options["classes"], top_k)


def _prepare(
    request: "ModelRequest", options: Mapping[str, Any], images: int, destination: Destination
) -> "tuple[Engine, Job]":
    """Load the model, trace it, and say once what was chosen."""
    from gradcam_cli.engines.tensorflow import TensorFlowEngine
    from gradcam_cli.evidence import check_method
    from gradcam_cli.methods import METHODS, Needs
    from gradcam_cli.models.classifier import load_classifier
    from gradcam_cli.pipeline import Job
    from gradcam_cli.sidecar import ModelCard

    settings = _run_settings(options)
    method = METHODS[settings.method]
    classifier = load_classifier(request)
    engine = TensorFlowEngine(
        classifier,
        request.settings.layer,
        _target_settings(options),
        batch_size=min(settings.batch_size, images),
        gradients=method.needs is Needs.GRADIENTS,
    )
    check_method(method, engine)
    card = ModelCard(
        name=classifier.name,
        sha256=classifier.sha256,
        layer=engine.layer.path,
        layer_reason=engine.layer.reason,
        engine=engine.name,
        precision=engine.precision,
        preprocess=classifier.preprocessing.name,
        preprocess_guessed=classifier.preprocess_guessed,
        fit=settings.fit,
        input_size=engine.input_size,
    )
    _announce(card, options)
    job = Job(
        settings=settings,
        preprocessing=classifier.preprocessing,
        labels=classifier.labels,
        model=card,
        versions={name: version(name) for name in VERSIONED},
        several_targets=engine.target_count > 1,
        overlays=destination.folder is not None or destination.overlay_to_stdout,
    )
    return engine, job


def _announce(card: Any, options: Mapping[str, Any]) -> None:
    if options["quiet"]:
        return
    say(f"{card.name}: layer {card.layer} ({card.layer_reason})")
    if card.preprocess_guessed:
        say(
            f"{card.name}: nothing tells how pixels become its input; '{card.preprocess}' was guessed. "
            "Say it with --preprocess."
        )
    if options["verbose"]:
        height, width = card.input_size
        say(f"input {height}x{width}, fit {card.fit}, preprocess {card.preprocess}, {card.engine} {card.precision}")


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
            _terminated_as_interrupt(),
            _jsonl(destination.jsonl) as lines,
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


@contextlib.contextmanager
def _jsonl(name: str | None) -> Iterator[TextIO | None]:
    if name is None:
        yield None
    elif name == STDIO:
        yield sys.stdout
    else:
        try:
            with Path(name).open("w", encoding="ascii", newline="\n") as file:
                yield file
        except OSError as error:
            raise EnvironmentStop(f"{name}: {error.strerror}.") from error


@contextlib.contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """Let SIGTERM unwind the run as Ctrl-C does."""

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
