"""`gradcam-cli report`."""

from pathlib import Path
from typing import Any

import click

from gradcam_cli.cli.command import command
from gradcam_cli.cli.console import say
from gradcam_cli.cli.options import AnyPlace, examples, out_option, quiet_option, setting_options
from gradcam_cli.process.streams import quiet_libraries
from gradcam_cli.requests import ReportRequest
from gradcam_cli.urls import Url


@command(
    epilog=examples(
        "gradcam-cli report out/",
        "gradcam-cli report out/ --sort peak-distance --limit 500",
        "gradcam-cli report out/ -o report.html --self-contained",
        exit_codes="0 written, 2 there is no such run, 4 stopped by the machine.",
    )
)
@click.argument("run", metavar="RUN", type=AnyPlace())
@out_option("The page.  [default: index.html in the folder RUN]", "FILE")
@setting_options(ReportRequest, "self_contained", "sort", "limit")
@quiet_option("Say nothing but errors.")
def report(run: Path | Url, quiet: bool, **options: Any) -> None:
    """Make an HTML page of the run in the output folder RUN.

    The page shows photographs and heat, distributions, the mean heat of each class, classes with heat at one edge, and
    failures. It opens in a browser without a network.
    """
    write_page(ReportRequest(run, **options), quiet=quiet)


def write_page(request: ReportRequest, *, quiet: bool) -> None:
    """Write a report, and say where it is."""
    from gradcam_cli.report.report import write_report

    with quiet_libraries(verbose=False):
        written = write_report(request)
    if not quiet:
        say(written.summary())
