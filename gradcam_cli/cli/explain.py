"""`gradcam-cli explain`: its options, and the checks for contradictions between them."""

import os
import sys
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, get_args

import click

from gradcam_cli.cli.ci import CI_OPTIONS, ci_files, ci_options, wants_ci_files
from gradcam_cli.cli.command import command, option
from gradcam_cli.cli.console import Records, Verbosity, say
from gradcam_cli.cli.inputs import check_inputs, refuse
from gradcam_cli.cli.options import (
    STDIO,
    engine_options,
    examples,
    inputs_and_output,
    keywords,
    model_options,
    setting_options,
    talk_options,
    verbosity_of,
)
from gradcam_cli.cli.report import write_page
from gradcam_cli.errors import ImageError
from gradcam_cli.options import explain_request
from gradcam_cli.process.streams import quiet_libraries
from gradcam_cli.requests import ExplainRequest, ReportRequest
from gradcam_cli.settings import OverlaySettings, Resume
from gradcam_cli.urls import place

if TYPE_CHECKING:
    from gradcam_cli.engines.selection import Engines

NOWHERE = "No output is given. Use -o FOLDER, or -o - for one overlay, or --jsonl - for records only."
TO_TERMINAL = "The overlay is a JPEG file and stdout is a terminal. Redirect it: -o - > overlay.jpg."


@command(
    epilog=examples(
        "gradcam-cli explain photos/ -o out/",
        "gradcam-cli explain cat.jpg -o - --model efficientnetlite0 > overlay.jpg",
        "find . -name '*.png' -print0 | gradcam-cli explain --files-from - -0 --jsonl - | jq '.classes[0]'",
        exit_codes="0 all images explained, 1 an image failed, 2 wrong usage, 3 model error, 4 machine error\n"
        "such as a full disk, 130 Ctrl-C.",
    )
)
@inputs_and_output(
    "FOLDER|-", "Output folder for overlays and sidecars. -: write the overlay of a single image to stdout."
)
@setting_options(ExplainRequest, "shard")
@option(
    "--dry-run",
    group="output",
    is_flag=True,
    help="Print the images that would be explained and the files that would be written.",
)
@setting_options(ExplainRequest, "model")
@model_options(setting_options(ExplainRequest, "layer", "layers"))
@setting_options(ExplainRequest, "method", "score", "smooth", "noise", "flip", "max_channels")
@setting_options(ExplainRequest, "scorecam_masks", "classes", "top_k", "min_score")
@engine_options
@setting_options(ExplainRequest, "workers", "ray", "ray_cpus", "ray_gpus", "ray_min")
@setting_options(ExplainRequest, "alpha", "colormap", "quality", "max_side", "boxes", "draw_boxes", "mask")
@setting_options(ExplainRequest, "layout", "caption", "colorbar", "font")
@option(
    "--overwrite",
    group="output",
    is_flag=True,
    help="Explain all images again, also those that an earlier run has finished.",
)
@option("--retry-failed", group="output", is_flag=True, help="Explain only the images whose sidecar reports a failure.")
@option(
    "--verify",
    group="output",
    is_flag=True,
    help="Compare hashes too, not only sizes and times, to find finished images.",
)
@setting_options(ExplainRequest, "sample_range", "max_pixels", "max_file_bytes", "isolate_decoder", "max_failures")
@option("--fail-fast", group="limits", is_flag=True, help="Stop after the first failed image.")
@setting_options(ExplainRequest, "save_maps", "format", "images_per_file")
@option(
    "--report",
    group="output",
    is_flag=True,
    help="Also write an HTML page about the output folder (see `gradcam-cli report`).",
)
@option(
    "--jsonl",
    group="output",
    metavar="FILE|-",
    help="Write one JSON record per line when an image is done. -: write to stdout. An object of a store is written "
    "at the end.",
)
@ci_options
@talk_options
@click.pass_context
def explain(ctx: click.Context, /, **options: Any) -> None:
    """Explain each INPUT: write an overlay JPEG and a JSON sidecar.

    INPUT is an image, a folder of images, or - for one image on stdin. Sub-folders are kept in the output folder:
    a/cat.png in a folder INPUT becomes OUT/a/cat.png.overlay.jpg and OUT/a/cat.png.json.
    """
    refuse(_contradictions(options))
    check_inputs(options)
    request = _request(options)
    verbosity = verbosity_of(options)
    with quiet_libraries(verbose=verbosity.verbose):
        if options["dry_run"]:
            ctx.exit(_preview(request, verbosity, ctx.obj))
        records = Records(options["jsonl"], overlay=options["output"] == STDIO)
        if options["report"]:
            # A page that this program did not write is refused before the run, not after it.
            from gradcam_cli.report.report import refuse_foreign_page

            refuse_foreign_page(place(options["output"]))
        code = _run(request, verbosity, records, options, ctx.obj)
    if options["report"] and code in {0, ImageError.exit_code}:
        write_page(ReportRequest(place(options["output"])), quiet=verbosity.quiet)
    ctx.exit(code)


def _run(
    request: ExplainRequest,
    verbosity: Verbosity,
    records: Records,
    options: Mapping[str, Any],
    engines: "Engines | None",
) -> int:
    from gradcam_cli.cli.observer import ConsoleObserver, stoppable
    from gradcam_cli.results.output import StreamSink
    from gradcam_cli.runs.explain import run_explain

    sink = StreamSink(sys.stdout.buffer) if records.overlay else None
    if not wants_ci_files(options):
        observer = ConsoleObserver(request, verbosity, records)
        with stoppable(observer):
            return run_explain(request, observer, engines=engines, sink=sink).exit_status
    from gradcam_cli.results.explain_ci import ExplainCi

    ci = ExplainCi()
    observer = ConsoleObserver(request, verbosity, records, ci.add)
    with stoppable(observer), ci_files(options, ci.report):
        run = run_explain(request, observer, engines=engines, sink=sink)
        ci.left = run.counts["left"]
    return run.exit_status


def _request(options: Mapping[str, Any]) -> ExplainRequest:
    """Make the request for the library from the options."""
    given = keywords(
        options, "jsonl", "dry_run", "overwrite", "retry_failed", "verify", "fail_fast", "report", *CI_OPTIONS
    )
    given["resume"] = next(iter(_resumes(options)), "finished")
    given["max_failures"] = 1 if options["fail_fast"] else options["max_failures"]
    return explain_request(options["paths"], options["output"] if _has_folder(options) else None, given)


def _resumes(options: Mapping[str, Any]) -> list[str]:
    """Give the options that decide about images of an earlier run; they exclude each other."""
    return [name for name in get_args(Resume) if options.get(name.replace("-", "_"))]


def _has_folder(options: Mapping[str, Any]) -> bool:
    return options["output"] not in {None, STDIO}


def _preview(request: ExplainRequest, verbosity: Verbosity, engines: "Engines | None") -> int:
    """Print the images that the run would explain, without those that an earlier run has finished."""
    from gradcam_cli.cli.observer import ConsoleObserver
    from gradcam_cli.runs.explain import preview

    with closing(ConsoleObserver(request, verbosity)) as observer:
        observer.wants_omissions = not verbosity.quiet
        found = preview(request, observer, engines=engines)
    for line in found.unlisted:
        say(line)
    for source in found.pictures:
        line = f"{source.path}\t{found.where(source)}"
        # A name may contain control characters: they are escaped on a terminal, and unchanged in a pipe.
        click.echo(ascii(line)[1:-1] if sys.stdout.isatty() else os.fsencode(line))
    if not verbosity.quiet:
        say(found.summary())
    return int(bool(found.unlisted))


def _contradictions(options: Mapping[str, Any]) -> list[tuple[Any, str]]:
    """Give the possible contradictions between options: whether each is present, and its error message."""
    output, jsonl, dry_run, no_folder = (
        options["output"],
        options["jsonl"],
        options["dry_run"],
        not _has_folder(options),
    )
    nowhere, overlay = output is None and not dry_run, output == STDIO
    stdin_twice = STDIO in options["paths"] and options["files_from"] == STDIO
    painted = [name for name in ("draw_boxes", "mask", "caption", "colorbar") if options[name]]
    painted += ["layout"] if options["layout"] != OverlaySettings().layout else []
    flags = " and ".join(f"--{name.replace('_', '-')}" for name in painted)
    resumes = [f"--{name}" for name in _resumes(options)]
    stops_twice = options["fail_fast"] and options["max_failures"]
    return [
        (stdin_twice, "stdin cannot be both an image (-) and a list of paths (--files-from -). Use only one of them."),
        (nowhere and jsonl is None, NOWHERE),
        (
            overlay and jsonl == STDIO,
            "stdout cannot take both the overlay (-o -) and the records (--jsonl -). Use only one of them.",
        ),
        (overlay and not dry_run and sys.stdout.isatty(), TO_TERMINAL),
        (options["save_maps"] and no_folder, "--save-maps writes files to the output folder: it needs -o FOLDER."),
        (options["format"] != "files" and no_folder, "--format is the format of an output folder: it needs -o FOLDER."),
        (options["report"] and no_folder, "--report writes a page about an output folder: it needs -o FOLDER."),
        (nowhere and painted, f"{flags} changes overlays, but no overlay is written. Use -o FOLDER or -o -."),
        (len(resumes) > 1, f"{' and '.join(resumes)} contradict each other: use only one of them."),
        (resumes and no_folder, f"{' '.join(resumes)} reads an output folder: it needs -o FOLDER."),
        (
            options["report"] and options["shard"],
            "--report needs all shards. Use gradcam-cli merge --report after the last shard.",
        ),
        (stops_twice, "--fail-fast is the same as --max-failures 1: use only one of them."),
    ]
