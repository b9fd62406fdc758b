"""`gradcam-cli evaluate`: its options, and how its results are printed."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from gradcam_cli.cli.ci import CI_OPTIONS, ci_files, ci_options
from gradcam_cli.cli.command import command, option
from gradcam_cli.cli.console import Verbosity, say
from gradcam_cli.cli.inputs import check_inputs
from gradcam_cli.cli.options import (
    STDIO,
    engine_options,
    examples,
    inputs_and_output,
    keywords,
    model_options,
    parsed_by,
    setting_options,
    talk_options,
    verbosity_of,
)
from gradcam_cli.errors import UsageError
from gradcam_cli.evaluation.measures import GROUPS, definitions
from gradcam_cli.evaluation.parsing import ALL, parse_groups, with_gates
from gradcam_cli.options import evaluate_request
from gradcam_cli.process.streams import quiet_libraries
from gradcam_cli.requests import EvaluateRequest, ExplainRequest
from gradcam_cli.settings import QUICK_METRICS

if TYPE_CHECKING:
    from gradcam_cli.engines.selection import Engines
    from gradcam_cli.evaluation.run import Evaluation

layers_option = option(
    "--layer",
    "layer",
    group="model",
    multiple=True,
    default=EvaluateRequest().layers,
    show_default=True,
    metavar="auto|NAME|PATH",
    help="Target layer (see `gradcam-cli layers MODEL`). Repeatable.",
)


@command(
    epilog=examples(
        "gradcam-cli evaluate photos/ --method gradcam --method gradcam++ -o study/",
        "gradcam-cli evaluate photos/ --method gradcam --method gradcam++ --grid 2x2 --metrics all -o study/",
        "gradcam-cli evaluate photos/ --method gradcam++ --fail-under average-drop=30 --fail-under increase=20",
        exit_codes="0 all images measured, 1 an image failed, 2 wrong usage, 3 model error, 4 machine error\n"
        f"such as a full disk, 5 a figure is worse than its --fail-under, 130 Ctrl-C.\n\n{definitions()}",
    )
)
@inputs_and_output(
    "FOLDER",
    "Output folder for evaluation.json, evaluation.jsonl and curves.png. Without it only the table is printed.",
)
@setting_options(EvaluateRequest, "model")
@model_options(layers_option)
@setting_options(EvaluateRequest, "methods")
@option(
    "--metrics",
    group="measures",
    default=",".join(QUICK_METRICS),
    show_default=True,
    callback=parsed_by(parse_groups),
    metavar="GROUP,...",
    help=f"What to measure: {', '.join(GROUPS)} or {ALL}. For each image and method, drop and adcc need one more "
    "forward pass; deletion and insertion need one for each step.",
)
@setting_options(EvaluateRequest, "steps", "baseline", "grid", "boxes_csv", "gates")
@engine_options
@setting_options(ExplainRequest, "sample_range")
@ci_options
@talk_options
@click.pass_context
def evaluate(ctx: click.Context, /, **options: Any) -> None:
    """Measure the quality of explanations: compare methods and layers on the images of INPUT.

    Prints a table to stdout. With --out, also writes all figures, one row for each image and method, and a plot of the
    deletion and insertion curves.
    """
    if STDIO in options["paths"]:
        raise UsageError(
            "evaluate reads each image more than once, so it cannot read stdin (-). Name files or folders."
        )
    if options["output"] == STDIO:
        raise UsageError("-o must be a folder, not -. The table is always printed to stdout.")
    check_inputs(options)
    request = _request(options)
    verbosity = verbosity_of(options)
    with quiet_libraries(verbose=verbosity.verbose):
        ctx.exit(_run(request, verbosity, options, ctx.obj))


def _request(options: Mapping[str, Any]) -> EvaluateRequest:
    """Make the request for the library from the options."""
    given = keywords(options, "layer", "gates", *CI_OPTIONS) | {"layers": options["layer"]}
    return with_gates(evaluate_request(options["paths"], options["output"] or None, given), options["gates"])


def _run(request: EvaluateRequest, verbosity: Verbosity, options: Mapping[str, Any], engines: "Engines | None") -> int:
    from gradcam_cli.cli.observer import ConsoleObserver, stoppable
    from gradcam_cli.evaluation.evaluate_ci import EvaluateCi
    from gradcam_cli.evaluation.run import run_evaluate
    from gradcam_cli.runs.study_engines import StudyEngines

    ci = EvaluateCi()
    observer = ConsoleObserver(request, verbosity, receive=ci.add)
    with stoppable(observer), ci_files(options, ci.report):
        evaluation = run_evaluate(request, observer, open_engines=partial(StudyEngines, engines=engines))
        ci.finish(evaluation, request.gates)
    return _tell(evaluation, request, quiet=verbosity.quiet)


def _tell(evaluation: "Evaluation", request: EvaluateRequest, *, quiet: bool) -> int:
    """Print the table to stdout and messages to stderr; give the exit code."""
    from gradcam_cli.evaluation.table import table

    if evaluation.summary.counts["ok"]:
        click.echo(f"{table(evaluation.summary)} Definitions: gradcam-cli evaluate --help")
    for line in evaluation.summary.unchanged():
        say(f"warning: {line}")
    if not quiet:
        where = f" -> {request.output}" if request.output else "; no files were written (use -o FOLDER to write them)"
        say(f"{evaluation.outcome()}{where}")
    for line in evaluation.crossed:
        say(f"--fail-under: {line}")
    return evaluation.exit_status
