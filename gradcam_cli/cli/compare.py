"""`gradcam-cli compare`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradcam_cli.cli.console import say
from gradcam_cli.cli.options import LocalPath
from gradcam_cli.errors import UsageError
from gradcam_cli.report.change_metrics import CHANGE_METRICS, change_limit
from gradcam_cli.settings import MATCHES, CompareRequest, Match

if TYPE_CHECKING:
    from gradcam_cli.report.comparing import Compared


def metrics_help() -> str:
    """List every metric with its definition, for `--help`."""
    lines = [f"  {metric.name}: {metric.definition}." for metric in CHANGE_METRICS.values()]
    return "\n\n".join(["Metrics; a name that ends in -below is bad below its limit, all others above it:", *lines])


@click.command(
    epilog=f"""\b
Examples:
  gradcam-cli compare baseline/ current/
  gradcam-cli compare baseline/ current/ --fail-over class-changes=0 --fail-over worst-correlation-below=0.8
  gradcam-cli compare baseline/ current/ --json | jq '.images[0]'
  gradcam-cli compare current/ --snapshot explanations.json
  gradcam-cli compare current/ --snapshot explanations.json --update
\b
Exit codes: 0 compared, 2 usage, 4 stopped by the machine, 5 a --fail-over, or the tolerance of the snapshot, was
crossed.

{metrics_help()}
"""
)
@click.argument("runs", metavar="[BASE] NEW", type=LocalPath(), nargs=-1, required=True)
@click.option(
    "-o", "--out", "output", type=LocalPath(), metavar="FOLDER", help="Folder for comparison.json and index.html."
)
@click.option(
    "--match",
    type=click.Choice(MATCHES),
    default=CompareRequest.match,
    show_default=True,
    help="Which images are the same: those of one path, or files of the same bytes.",
)
@click.option(
    "--fail-over", multiple=True, metavar="METRIC=VALUE", help="End with 5 beyond VALUE; repeatable. See the metrics."
)
@click.option("--warn-over", multiple=True, metavar="METRIC=VALUE", help="Warn beyond VALUE; repeatable.")
@click.option("--snapshot", type=LocalPath(), metavar="FILE", help="Compare NEW with a snapshot, in place of BASE.")
@click.option("--update", is_flag=True, help="Accept NEW: the snapshot becomes that of NEW, with its old tolerance.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, that of comparison.json.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing on stdout; limits that are crossed are still named.")
@click.pass_context
def compare(
    ctx: click.Context,
    runs: tuple[Path, ...],
    output: Path | None,
    match: Match,
    fail_over: tuple[str, ...],
    warn_over: tuple[str, ...],
    snapshot: Path | None,
    update: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compare two runs over the same images: classes, probabilities, and where the model looked.

    BASE and NEW are output folders of `explain`: two models, two layers, two methods or two commits. Only their
    sidecars are read. Maps are compared for the best class of BASE, or, where NEW did not explain that one, for the
    best class of each (marked by *). Prints the images that changed most, and names every image that was added or
    removed, or that fails in one of the runs.
    """
    from gradcam_cli.report import comparing

    wanted = 1 if snapshot else 2
    if len(runs) != wanted:
        raise UsageError("Name BASE and NEW, or only NEW with --snapshot FILE.")
    if update and not snapshot:
        raise UsageError("--update accepts NEW as the snapshot: name it by --snapshot FILE.")
    compared = comparing.compare(
        CompareRequest(
            new=runs[-1],
            base=None if snapshot else runs[0],
            snapshot=snapshot,
            match=match,
            output=output,
            fail_over=tuple(change_limit(text, "fail_over") for text in fail_over),
            warn_over=tuple(change_limit(text, "warn_over") for text in warn_over),
            update=update,
        )
    )
    _tell(compared, as_json=as_json, quiet=quiet)
    ctx.exit(compared.exit_status)


def _tell(compared: "Compared", *, as_json: bool, quiet: bool) -> None:
    from gradcam_cli.report.changes_table import changes_table
    from gradcam_cli.results.sidecar import to_json

    if not quiet:
        text = to_json(compared.as_record()) if as_json else changes_table(compared.comparison)
        click.echo(text, nl=False)
        for remark in compared.comparison.remarks:
            say(remark)
    if compared.request.update and not quiet:
        say(f"{compared.request.snapshot}: updated")
    for line in compared.warnings:
        say(f"warning: {line}")
    for line in compared.crossed:
        say(f"crossed: {line}")
