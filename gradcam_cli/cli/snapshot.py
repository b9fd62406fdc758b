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
        exit_codes="0 written, 2 wrong usage, 4 machine error such as a full disk.",
    )
)
@click.argument("run", type=AnyPlace())
@out_option("Snapshot file to write.", "FILE", required=True)
@option(
    "--tolerance",
    group="limits",
    multiple=True,
    metavar="METRIC=VALUE",
    help="Limit of a metric in `compare --snapshot`, instead of its default. Repeatable. `gradcam-cli help compare` "
    "lists the metrics.",
)
@quiet_option("Print only errors.")
def snapshot(run: Path | Url, output: Path | Url, tolerance: tuple[str, ...], quiet: bool) -> None:
    """Write the results of a run to one small file, to compare later runs with it.

    RUN is an output folder of `explain`. FILE contains the hash, the best class, its probability and its map for each
    image, and the tolerance. `gradcam-cli compare NEW --snapshot FILE` compares a later run with it.
    """
    from gradcam_cli.report.snapshot import take_snapshot

    made = take_snapshot(run, output, tolerance)
    if not quiet:
        say(f"{counted(len(made.records), 'image')} -> {output}")
