"""`gradcam-cli verify`."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradcam_cli.cli.console import say
from gradcam_cli.cli.options import LocalPath
from gradcam_cli.text import counted, printable

if TYPE_CHECKING:
    from gradcam_cli.results.verification import Findings

PROBLEMS = 1


@click.command(
    epilog="""\b
Examples:
  gradcam-cli verify out/
  gradcam-cli verify out/ --json | jq .problems
  gradcam-cli verify out/ --prune
\b
Exit codes: 0 all is whole, 1 something is not, 2 there is no such folder.
"""
)
@click.argument("folder", metavar="OUT", type=LocalPath())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--inputs",
    "places",
    multiple=True,
    metavar="PATH",
    type=LocalPath(),
    help="Where the inputs are now, if not where run.json names them; repeatable.",
)
@click.option("--prune", is_flag=True, help="Remove the outputs whose input is gone.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but what is wrong.")
@click.pass_context
def verify(ctx: click.Context, folder: Path, as_json: bool, places: tuple[Path, ...], prune: bool, quiet: bool) -> None:
    """Verify that the output folder OUT is whole.

    Every sidecar is valid by its schema, every overlay and map has the hash its sidecar tells and can be read,
    nothing lies there that no sidecar names, every sidecar has the options of its run.json, and its input is still
    there. Prints one problem a line (the file, a tab, what is wrong with it), and a verdict.
    """
    from gradcam_cli.results import verification

    folders = tuple(os.fspath(path) for path in places)
    findings = verification.verify_folder(folder, folders)
    removed = 0
    if prune:
        removed = verification.prune(folder, findings)
        findings = verification.verify_folder(folder, folders)
    if as_json:
        click.echo(json.dumps(findings.as_record() | {"pruned": removed}, sort_keys=True))
    else:
        _print(findings, removed, quiet=quiet)
    ctx.exit(PROBLEMS if findings.problems else 0)


def _print(findings: "Findings", removed: int, *, quiet: bool) -> None:
    for problem in findings.problems:
        click.echo(f"{json.dumps(problem.file)[1:-1]}\t{printable(problem.problem)}")
    if quiet:
        return
    for remark in findings.unchecked:
        say(remark)
    pruned = f"; {counted(removed, 'sidecar')} removed" if removed else ""
    click.echo(f"{findings.verdict()}{pruned}")
