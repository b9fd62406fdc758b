"""`gradcam-cli snapshot`."""

from pathlib import Path

import click

from gradcam_cli.cli.command import command, option
from gradcam_cli.cli.console import say
from gradcam_cli.cli.options import AnyPlace, examples, out_option, quiet_option
from gradcam_cli.text import counted
from gradcam_cli.urls import Url


@command(
    epilog=examples(
        "gradcam-cli snapshot out/ -o explanations.json",
        "gradcam-cli snapshot out/ -o explanations.json --tolerance worst-peak-shift=5",
        "gradcam-cli compare out/ --snapshot explanations.json",
        exit_codes="0 written, 2 usage, 4 stopped by the machine.",
    )
)
@click.argument("run", type=AnyPlace())
@out_option("The snapshot.", "FILE", required=True)
@option(
    "--tolerance",
    group="limits",
    multiple=True,
    metavar="METRIC=VALUE",
    help="What `compare --snapshot` accepts, in place of the usual limit of this metric; repeatable. The metrics are "
    "those of `gradcam-cli compare --help`.",
)
@quiet_option("Say nothing.")
def snapshot(run: Path | Url, output: Path | Url, tolerance: tuple[str, ...], quiet: bool) -> None:
    """Keep what a run says of each image in one small file: a test of where a model looks.

    RUN is an output folder of `explain`. FILE has the hash, the best class, its probability and its map of each image,
    and the tolerance. `gradcam-cli compare NEW --snapshot FILE` compares a later run with it.
    """
    from gradcam_cli.report.snapshot import take_snapshot

    made = take_snapshot(run, output, tolerance)
    if not quiet:
        say(f"{counted(len(made.records), 'image')} -> {output}")
