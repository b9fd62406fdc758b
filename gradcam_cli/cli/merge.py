"""`gradcam-cli merge`."""

from pathlib import Path

import click

from gradcam_cli.cli.command import command, option
from gradcam_cli.cli.console import say
from gradcam_cli.cli.options import AnyPlace, examples, out_option, quiet_option
from gradcam_cli.cli.report import write_page
from gradcam_cli.requests import ReportRequest
from gradcam_cli.urls import Url


@command(
    epilog=examples(
        "gradcam-cli merge out/",
        "gradcam-cli merge out-1/ out-2/ out-3/ -o out/ --report",
        exit_codes="0 merged, 2 a shard is missing or differs, a folder is in use, 4 stopped by the machine.",
    )
)
@click.argument("runs", metavar="RUN...", type=AnyPlace(), nargs=-1, required=True)
@out_option("Folder of the merged run.  [default: RUN, where there is one]", "OUT")
@option(
    "--report",
    group="output",
    is_flag=True,
    help="Make an HTML page of the merged run, too (see `gradcam-cli report`).",
)
@quiet_option("Say nothing but errors.")
def merge(runs: tuple[Path | Url, ...], output: Path | Url | None, report: bool, quiet: bool) -> None:
    """Make one run of the shards that `explain --shard K/N` has written.

    RUN is the folder that all shards wrote to, or one of several. Their records are added up to OUT/run.json, and the
    outputs of several folders are linked into OUT, or copied. A missing shard is named, and nothing is written then.
    """
    from gradcam_cli.results.merging import merge_runs, summary

    if report:
        # A page of somebody else is refused before the merge, not after it.
        from gradcam_cli.report.report import refuse_foreign_page

        refuse_foreign_page(output or runs[0])

    def tell(text: str) -> None:
        if not quiet:
            say(text)

    merged = merge_runs(runs, output, note=tell)
    tell(summary(merged))
    if report and merged.folder is not None:
        write_page(ReportRequest(merged.folder), quiet=quiet)
