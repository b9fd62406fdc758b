"""`gradcam-cli verify`."""

import json
from pathlib import Path

import click

from gradcam_cli.cli.ci import ci_files, ci_options
from gradcam_cli.cli.command import command, option
from gradcam_cli.cli.console import say
from gradcam_cli.cli.options import AnyPlace, examples, list_option, quiet_option
from gradcam_cli.urls import Url, written


@command(
    epilog=examples(
        "gradcam-cli verify out/",
        "gradcam-cli verify out/ --json | jq .problems",
        "gradcam-cli verify out/ --prune",
        exit_codes="0 no problems, 1 problems, 2 the folder does not exist.",
    )
)
@click.argument("folder", metavar="OUT", type=AnyPlace())
@list_option("Print a JSON object.")
@option(
    "--inputs",
    "places",
    group="inputs",
    multiple=True,
    metavar="PATH",
    type=AnyPlace(),
    help="Where the inputs are now, if they are not at the paths of run.json. Repeatable.",
)
@option("--prune", group="output", is_flag=True, help="Remove the results of inputs that no longer exist.")
@ci_options
@quiet_option("Print only problems.")
@click.pass_context
def verify(
    ctx: click.Context,
    /,
    folder: Path | Url,
    as_json: bool,
    places: tuple[Path | Url, ...],
    prune: bool,
    quiet: bool,
    **files: Path | None,
) -> None:
    """Check that the output folder OUT is complete and consistent.

    Every sidecar must be valid by its schema and have the options of its run.json, and its input must still exist.
    Every overlay and map must be readable and have the hash that is in its sidecar. Every file must belong to a
    sidecar. Prints one problem per line (the file, a tab, the problem), and a verdict.
    """
    from gradcam_cli.results.verification import Findings, verify_folder
    from gradcam_cli.results.verify_ci import verify_report

    findings: Findings | None = None
    with ci_files(files, lambda: verify_report(findings)):
        findings = verify_folder(folder, tuple(written(each) for each in places), prune=prune)
    if as_json:
        click.echo(json.dumps(findings.as_record(), sort_keys=True))
        ctx.exit(findings.exit_status)
    for problem in findings.problems:
        click.echo(problem.line())
    if not quiet:
        for remark in findings.unchecked:
            say(remark)
        click.echo(findings.verdict())
    ctx.exit(findings.exit_status)
