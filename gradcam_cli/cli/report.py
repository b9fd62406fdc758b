"""`gradcam-cli report`."""

from pathlib import Path

import click

from gradcam_cli.cli.console import say
from gradcam_cli.cli.options import LocalPath
from gradcam_cli.process.streams import quiet_libraries
from gradcam_cli.settings import REPORT_SORTS, ReportRequest, ReportSort
from gradcam_cli.text import counted


@click.command(
    epilog="""\b
Examples:
  gradcam-cli report out/
  gradcam-cli report out/ --sort peak-distance --limit 500
  gradcam-cli report out/ -o report.html --self-contained
\b
Exit codes: 0 written, 2 there is no such run, 4 stopped by the machine.
"""
)
@click.argument("folder", metavar="RUN", type=LocalPath())
@click.option(
    "-o", "--out", "output", metavar="FILE", type=LocalPath(), help="The page.  [default: index.html in the folder RUN]"
)
@click.option("--self-contained", is_flag=True, help="One file that needs no other: thumbnails inside, no links.")
@click.option(
    "--sort",
    type=click.Choice(REPORT_SORTS),
    default="name",
    show_default=True,
    help="Order of the images; figures from the highest to the lowest.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Show only the first N images of that order.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
def report(
    folder: Path, output: Path | None, self_contained: bool, sort: ReportSort, limit: int | None, quiet: bool
) -> None:
    """Make an HTML page of the run in the output folder RUN.

    The page shows photographs and heat, distributions, the mean heat of each class, classes with heat at one edge, and
    failures. It opens in a browser without a network.
    """
    write_page(ReportRequest(folder, output, self_contained, sort, limit), quiet=quiet)


def write_page(request: ReportRequest, *, quiet: bool) -> None:
    """Write a report, and say where it is."""
    from gradcam_cli.report.report import write_report

    with quiet_libraries(verbose=False):
        written = write_report(request)
    if quiet:
        return
    images = counted(written.shown, "image")
    some = images if written.shown == written.total else f"{images} of {written.total}"
    classes = "class" if written.flagged == 1 else "classes"
    flags = f", {written.flagged} {classes} with heat at one edge" if written.flagged else ""
    say(f"Report of {some}{flags} -> {written.path}")
