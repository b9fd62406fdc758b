"""`gradcam-cli compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gradcam_cli.cli.ci import CI_OPTIONS, ci_files, ci_options
from gradcam_cli.cli.command import command
from gradcam_cli.cli.console import say
from gradcam_cli.cli.options import AnyPlace, examples, list_option, out_option, quiet_option, setting_options
from gradcam_cli.errors import UsageError
from gradcam_cli.report.change_metrics import change_limits, definitions
from gradcam_cli.requests import CompareRequest
from gradcam_cli.urls import Url, place

if TYPE_CHECKING:
    from gradcam_cli.report.comparing import Compared


@command(
    epilog=examples(
        "gradcam-cli compare baseline/ current/",
        "gradcam-cli compare baseline/ current/ --fail-over class-changes=0 --fail-over worst-correlation-below=0.8",
        "gradcam-cli compare baseline/ current/ --json | jq '.images[0]'",
        "gradcam-cli compare current/ --snapshot explanations.json",
        "gradcam-cli compare current/ --snapshot explanations.json --update",
        exit_codes="0 compared, 2 wrong usage, 4 machine error such as a full disk, 5 a metric is worse than its\n"
        f"--fail-over or than the tolerance of the snapshot.\n\n{definitions()}",
    )
)
@click.argument("runs", metavar="[BASE] NEW", type=AnyPlace(), nargs=-1, required=True)
@out_option("Folder for comparison.json and index.html.", "FOLDER")
@setting_options(CompareRequest, "match", "fail_over", "warn_over", "snapshot", "update")
@ci_options
@list_option("Print a JSON object, the same as in comparison.json.")
@quiet_option("Print only the limits that are exceeded, on stderr.")
@click.pass_context
def compare(ctx: click.Context, /, runs: tuple[Path | Url, ...], as_json: bool, quiet: bool, **options: Any) -> None:
    """Compare two runs over the same images: classes, probabilities, and where the model looked.

    BASE and NEW are output folders of `explain`, for example of two models, layers, methods or commits. Only their
    sidecars are read. For each image, the maps of the best class of BASE are compared. If NEW did not explain that
    class, the maps of the best class of each run are compared (marked by *). Prints the images that changed most, and
    every image that was added, that was removed, or that failed in one of the runs.
    """
    from gradcam_cli.report import comparing
    from gradcam_cli.report.compare_ci import compare_report

    if len(runs) != (1 if options["snapshot"] else 2):
        raise UsageError("Give BASE and NEW, or only NEW with --snapshot FILE.")
    for name in ("fail_over", "warn_over"):
        options[name] = change_limits(options[name], name)
    options["snapshot"] = place(options["snapshot"]) if options["snapshot"] else None
    base = None if options["snapshot"] else runs[0]
    files = {name: options.pop(name) for name in CI_OPTIONS}
    compared: Compared | None = None
    with ci_files(files, lambda: compare_report(compared)):
        compared = comparing.compare(CompareRequest(runs[-1], base, **options))
    if not quiet:
        _print(compared, as_json=as_json)
    for line in compared.lines():
        say(line)
    ctx.exit(compared.exit_status)


def _print(compared: "Compared", *, as_json: bool) -> None:
    from gradcam_cli.report.changes_table import changes_table
    from gradcam_cli.results.sidecar import to_json

    click.echo(to_json(compared.as_record()) if as_json else changes_table(compared.comparison), nl=False)
    for remark in compared.comparison.remarks:
        say(remark)
    if compared.request.update:
        say(f"{compared.request.snapshot}: updated")
