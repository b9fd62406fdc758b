"""`gradcam-cli verify`."""

import json
from pathlib import Path

import click

from gradcam_cli.cli.console import counted, printable, say

PROBLEMS = 1


@click.command(
    epilog="""\b
Examples:
  gradcam-cli verify out/
  gradcam-cli verify out/ --json | jq .problems
\b
Exit codes: 0 all is whole, 1 something is not, 2 there is no such folder.
"""
)
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but what is wrong.")
@click.pass_context
def verify(ctx: click.Context, folder: Path, as_json: bool, quiet: bool) -> None:
    """Verify that the output folder OUT is whole.

    Every sidecar is valid by its schema, every overlay and map has the hash its sidecar tells and can be read, and
    nothing lies there that no sidecar names. Prints one problem a line: the file, a tab, what is wrong with it.
    """
    from gradcam_cli.verification import verify_folder

    findings = verify_folder(folder)
    if as_json:
        click.echo(json.dumps(findings.as_record(), sort_keys=True))
    else:
        for problem in findings.problems:
            click.echo(f"{json.dumps(problem.file)[1:-1]}\t{printable(problem.problem)}")
    if not quiet:
        left = f", {counted(findings.foreign, 'JSON file')} of others" if findings.foreign else ""
        problems = counted(len(findings.problems), "problem") if findings.problems else "no problems"
        say(f"{counted(findings.sidecars, 'sidecar')}, {counted(findings.files, 'file')}{left}: {problems}.")
    ctx.exit(PROBLEMS if findings.problems else 0)
