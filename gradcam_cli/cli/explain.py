"""`gradcam-cli explain`: its options, and which of them contradict each other."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gradcam_cli.cli.console import Records, Verbosity, say
from gradcam_cli.cli.inputs import input_settings
from gradcam_cli.cli.options import (
    METHOD_CHOICES,
    MODEL_DEFAULTS,
    STDIO,
    engine_options,
    engine_settings,
    input_options,
    inputs_argument,
    model_option,
    model_options,
    model_settings,
    range_option,
    talk_options,
    threshold,
    verbosity_of,
)
from gradcam_cli.cli.report import write_page
from gradcam_cli.errors import ImageError, UsageError
from gradcam_cli.process.signals import INTERRUPTED, PIPE_CLOSED, TERMINATED, Terminated, stopped_by_signals
from gradcam_cli.process.streams import quiet_libraries
from gradcam_cli.settings import (
    COLORMAPS,
    MASK_SCALINGS,
    SCORES,
    ExplainRequest,
    Limits,
    MethodOptions,
    OverlaySettings,
    ReportRequest,
    Resume,
    RunSettings,
    TargetSettings,
)
from gradcam_cli.text import counted

if TYPE_CHECKING:
    from gradcam_cli.engines.selection import Engines

DEFAULTS = RunSettings()
METHOD_DEFAULTS = MethodOptions()
OVERLAY_DEFAULTS = OverlaySettings()
LIMITS = Limits()


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
@inputs_argument
@click.option(
    "-o",
    "--out",
    "output",
    metavar="FOLDER|-",
    help="Folder for overlays and sidecars; - writes the one overlay to stdout.",
)
@input_options
@click.option("--dry-run", is_flag=True, help="Print what would be explained, and where it would be written.")
@model_option
@model_options
@click.option(
    "--method",
    type=click.Choice(METHOD_CHOICES),
    default=DEFAULTS.method,
    show_default=True,
    help="Which of the CAM family (see `gradcam-cli methods`).",
)
@click.option(
    "--score",
    type=click.Choice(SCORES),
    default=METHOD_DEFAULTS.score,
    show_default=True,
    help="What is differentiated, by methods that take a gradient.",
)
@click.option(
    "--layers",
    multiple=True,
    metavar="NAME|PATH",
    help="Fuse the maps of several layers, by the maximum of the scaled maps; repeat it for each.",
)
@click.option(
    "--smooth", type=click.IntRange(min=1), metavar="N", help="Explain by the mean map of N copies with noise."
)
@click.option(
    "--noise",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="S",
    help="Standard deviation of that noise, as a share of the input's range.  "
    f"[default: {METHOD_DEFAULTS.noise}, with --smooth]",
)
@click.option("--flip", is_flag=True, help="Explain by the mean of the map and that of the mirrored picture.")
@click.option(
    "--max-channels",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many channels scorecam looks through, the strongest of each picture.  "
    f"[default: {METHOD_DEFAULTS.max_channels}]",
)
@click.option(
    "--scorecam-masks",
    type=click.Choice(MASK_SCALINGS),
    help="How scorecam makes a channel a mask: divided by its maximum, or from its minimum to its maximum as in the "
    f"paper.  [default: {METHOD_DEFAULTS.scorecam_masks}]",
)
@click.option("--class", "classes", multiple=True, metavar="ID|NAME|WNID", help="Explain this class; repeatable.")
@click.option(
    "--top-k",
    type=click.IntRange(min=0),
    metavar="K",
    help="Explain the K most probable classes.  [default: 1, or 0 with --class]",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=DEFAULTS.min_score,
    show_default=True,
    help="Of the --top-k classes, explain only those with this probability or more.",
)
@engine_options
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
@click.option(
    "--boxes",
    metavar="THRESHOLD|otsu",
    callback=threshold,
    help="Record the connected regions of heat from THRESHOLD (0 to 1) on as boxes, with their shares of the heat.",
)
@click.option("--draw-boxes", is_flag=True, help="Draw the boxes on the overlays, with their shares in percent.")
@click.option(
    "--mask",
    metavar="THRESHOLD|otsu",
    callback=threshold,
    help="Paint no colours: keep the photo where heat is at THRESHOLD or above, and grey the rest.",
)
@click.option("--overwrite", is_flag=True, help="Explain everything anew, also what an earlier run has finished.")
@click.option("--retry-failed", is_flag=True, help="Take only the inputs whose sidecar tells of a failure.")
@click.option("--verify", is_flag=True, help="Compare hashes, too, before taking an image for finished.")
@range_option
@click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    default=LIMITS.max_pixels,
    show_default=True,
    help="Refuse pictures of more pixels.",
)
@click.option(
    "--max-file-bytes",
    type=click.IntRange(min=1),
    default=LIMITS.max_file_bytes,
    show_default=True,
    help="Refuse larger files.",
)
@click.option(
    "--isolate-decoder",
    is_flag=True,
    help="Decode in processes of their own: a picture that crashes a codec costs its own explanation, not the run.",
)
@click.option("--max-failures", type=click.IntRange(min=1), metavar="N", help="Stop after N failures.")
@click.option("--fail-fast", is_flag=True, help="Stop after the first failure.")
@click.option("--save-maps", is_flag=True, help="Write the raw maps too: NAME.map.npy, float32 (h, w), before scaling.")
@click.option("--report", is_flag=True, help="Make an HTML page of the output folder, too (see `gradcam-cli report`).")
@click.option("--jsonl", metavar="FILE|-", help="Write one record a line, as images are done.")
@talk_options
@click.pass_context
def explain(ctx: click.Context, /, **options: Any) -> None:
    """Explain what the model saw in each INPUT: an overlay JPEG and a JSON sidecar.

    INPUT is a picture, a folder of them, or - for one picture on stdin. The tree of a folder is mirrored in the
    output folder: photos/a/cat.png becomes out/a/cat.png.overlay.jpg and out/a/cat.png.json.
    """
    _refuse_contradictions(options)
    request = _request(options)
    verbosity = verbosity_of(options)
    with quiet_libraries(verbose=verbosity.verbose):
        if options["dry_run"]:
            ctx.exit(_preview(request, verbosity, ctx.obj))
        records = Records(options["jsonl"], overlay=options["output"] == STDIO)
        if options["report"]:
            _refuse_foreign_page(Path(options["output"]))
        code = _run(request, verbosity, records, ctx.obj)
    if options["report"] and code in {0, ImageError.exit_code}:
        write_page(ReportRequest(Path(options["output"])), quiet=verbosity.quiet)
    ctx.exit(code)


def _refuse_foreign_page(folder: Path) -> None:
    """Refuse a page of somebody else before the run, not after it."""
    from gradcam_cli.report.report import PAGE, refuse_foreign

    refuse_foreign(folder / PAGE)


def _run(request: ExplainRequest, verbosity: Verbosity, records: Records, engines: "Engines | None") -> int:
    from gradcam_cli.cli.observer import ConsoleObserver, StdoutSink
    from gradcam_cli.runs.explain import run_explain

    sink = StdoutSink() if records.overlay else None
    observer = ConsoleObserver(request, verbosity, records)
    try:
        with stopped_by_signals(), observer:
            return run_explain(request, observer, engines=engines, sink=sink).exit_status
    except KeyboardInterrupt as stop:
        if not observer.has_summed_up:
            say("Interrupted.")
        return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
    except BrokenPipeError:
        return PIPE_CLOSED


def _request(options: Mapping[str, Any]) -> ExplainRequest:
    """Make the one request that the library takes out of the options."""
    output = options["output"]
    return ExplainRequest(
        inputs=input_settings(options),
        output=Path(output) if output not in {None, STDIO} else None,
        model=model_settings(options, options["layer"]),
        engine=engine_settings(options),
        targets=_target_settings(options),
        fit=options["fit"],
        run=_run_settings(options),
        resume=_resume(options),
        max_failures=1 if options["fail_fast"] else options["max_failures"],
        isolate_decoder=options["isolate_decoder"],
    )


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
        batch_size=options["batch_size"],
        save_maps=options["save_maps"],
        min_score=options["min_score"],
        boxes=options["boxes"],
        sample_range=options["sample_range"],
        overlay=overlay,
        limits=Limits(max_file_bytes=options["max_file_bytes"], max_pixels=options["max_pixels"]),
    )


def _method_options(options: Mapping[str, Any]) -> MethodOptions:
    given = {key: options[key] for key in ("score", "smooth", "noise", "flip", "max_channels", "scorecam_masks")}
    return MethodOptions(**{key: value for key, value in given.items() if value is not None})


def _target_settings(options: Mapping[str, Any]) -> TargetSettings:
    top_k = options["top_k"]
    if top_k is None:
        top_k = 0 if options["classes"] else TargetSettings().top_k
    return TargetSettings(options["classes"], top_k)


def _resume(options: Mapping[str, Any]) -> Resume:
    if options["overwrite"]:
        return "overwrite"
    if options["retry_failed"]:
        return "retry-failed"
    return "verify" if options["verify"] else "finished"


def _preview(request: ExplainRequest, verbosity: Verbosity, engines: "Engines | None") -> int:
    """Print what the run would explain, leaving out what an earlier run has finished; nothing is written."""
    from gradcam_cli.cli.observer import ConsoleObserver
    from gradcam_cli.runs.explain import preview

    with ConsoleObserver(request, verbosity, Records()) as observer:
        observer.wants_omissions = not verbosity.quiet
        found = preview(request, observer, engines=engines)
    pictures = [source for source in found.left if source.errno is None]
    for source in found.left:
        if source.errno is not None:
            say(f"{source.path!r}: a folder that cannot be listed: {os.strerror(source.errno)}")
    for source in pictures:
        line = f"{source.path}\t{found.sidecar_path(source)}"
        # A terminal must not obey what a name tells it; a pipe gets names as they are.
        click.echo(ascii(line)[1:-1] if sys.stdout.isatty() else os.fsencode(line))
    if not verbosity.quiet:
        others = f", {found.done_before} were done before" if found.done_before else ""
        say(f"{counted(len(pictures), 'image')} would be explained{others}; nothing was written.")
    return int(len(pictures) < len(found.left))


def _refuse_contradictions(options: Mapping[str, Any]) -> None:
    output, jsonl = options["output"], options["jsonl"]
    if options["inputs"].count(STDIO) and options["files_from"] == STDIO:
        raise UsageError("stdin can be a picture or a list of paths, not both.")
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
    if options["report"] and output in {None, STDIO}:
        raise UsageError("--report is a page of an output folder: it needs -o FOLDER.")
    if options["top_k"] == 0 and not options["classes"]:
        raise UsageError("--top-k 0 explains nothing unless --class names a class.")
    _refuse_contradictory_overlays(options)
    _refuse_contradictory_resumes(options)
    _refuse_idle_options(options)


def _refuse_contradictory_resumes(options: Mapping[str, Any]) -> None:
    given = [f"--{name.replace('_', '-')}" for name in ("overwrite", "retry_failed", "verify") if options[name]]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} contradict each other: give one of them.")
    if given and options["output"] in {None, STDIO}:
        raise UsageError(f"{given[0]} is about an output folder: it needs -o FOLDER.")
    if options["fail_fast"] and options["max_failures"]:
        raise UsageError("--fail-fast is --max-failures 1: give one of them.")


def _refuse_contradictory_overlays(options: Mapping[str, Any]) -> None:
    if options["draw_boxes"] and options["boxes"] is None:
        raise UsageError("--draw-boxes draws what --boxes finds: say --boxes otsu, or a level such as --boxes 0.5.")
    if options["output"] is None and not options["dry_run"] and (options["draw_boxes"] or options["mask"]):
        raise UsageError("--draw-boxes and --mask are about overlays: they need -o.")


def _refuse_idle_options(options: Mapping[str, Any]) -> None:
    """What would have no effect was not meant so."""
    if options["noise"] is not None and not options["smooth"]:
        raise UsageError("--noise is that of the copies that --smooth N makes: say how many.")
    if options["max_channels"] is not None and options["method"] != "scorecam":
        raise UsageError("--max-channels is about --method scorecam.")
    if options["scorecam_masks"] is not None and options["method"] != "scorecam":
        raise UsageError("--scorecam-masks is about --method scorecam.")
    if options["layers"] and options["layer"] != MODEL_DEFAULTS.layer:
        raise UsageError("--layer explains one layer and --layers fuses several: give one of them.")
    if len(set(options["layers"])) != len(options["layers"]) or len(options["layers"]) == 1:
        raise UsageError("--layers fuses the maps of several layers: give each of them once, and at least two.")
