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
        exit_codes="0 written, 2 RUN is not the output folder of a run, 4 machine error such as a full disk.",
    )
)
@click.argument("run", metavar="RUN", type=AnyPlace())
@out_option("HTML file to write.  [default: index.html in RUN]", "FILE")
@setting_options(ReportRequest, "self_contained", "sort", "limit")
@quiet_option("Print only errors.")
def report(run: Path | Url, quiet: bool, **options: Any) -> None:
    """Write an HTML page about the run in the output folder RUN.

    The page shows images and heatmaps, distributions, the mean heatmap of each class, classes whose heat is at one
    edge, and failures. A browser opens it without a network connection.
    """
    write_page(ReportRequest(run, **options), quiet=quiet)


def write_page(request: ReportRequest, *, quiet: bool) -> None:
    """Write a report, and print its path."""
    from gradcam_cli.report.report import write_report

    with quiet_libraries(verbose=False):
        written = write_report(request)
    if not quiet:
        say(written.summary())
