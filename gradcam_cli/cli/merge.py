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
        exit_codes="0 merged, 2 a shard is missing or different, or a folder is in use, 4 machine error\n"
        "such as a full disk.",
    )
)
@click.argument("runs", metavar="RUN...", type=AnyPlace(), nargs=-1, required=True)
@out_option("Output folder of the merged run.  [default: RUN, if there is only one]", "OUT")
@option(
    "--report",
    group="output",
    is_flag=True,
    help="Also write an HTML page about the merged run (see `gradcam-cli report`).",
)
@quiet_option("Print only errors.")
def merge(runs: tuple[Path | Url, ...], output: Path | Url | None, report: bool, quiet: bool) -> None:
    """Merge the shards that `explain --shard K/N` has written into one run.

    RUN is the output folder of all shards, or one of several output folders. The records of the shards are combined in
    OUT/run.json. The results in several folders are linked or copied into OUT. If a shard is missing, an error names it
    and nothing is written.
    """
    from gradcam_cli.results.merging import merge_runs, summary

    if report:
        # A page that this program did not write is refused before the merge, not after it.
        from gradcam_cli.report.report import refuse_foreign_page

        refuse_foreign_page(output or runs[0])

    def tell(text: str) -> None:
        if not quiet:
            say(text)

    merged = merge_runs(runs, output, note=tell)
    tell(summary(merged))
    if report and merged.folder is not None:
        write_page(ReportRequest(merged.folder), quiet=quiet)
