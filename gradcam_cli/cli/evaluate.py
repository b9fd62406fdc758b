"""`gradcam-cli evaluate`: its options, and which of them contradict each other."""

import math
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gradcam_cli.cli.console import Verbosity, say
from gradcam_cli.cli.inputs import input_settings
from gradcam_cli.cli.options import (
    METHOD_CHOICES,
    STDIO,
    LocalPath,
    engine_options,
    engine_settings,
    input_options,
    inputs_argument,
    model_option,
    model_settings,
    range_option,
    several_layers_model_options,
    talk_options,
    verbosity_of,
)
from gradcam_cli.cli.table import table
from gradcam_cli.errors import UsageError
from gradcam_cli.evaluation.measures import CONVENTIONS, GROUPS, MEASURES
from gradcam_cli.process.signals import INTERRUPTED, PIPE_CLOSED, TERMINATED, Terminated, stopped_by_signals
from gradcam_cli.process.streams import quiet_libraries
from gradcam_cli.settings import BASELINES, QUICK_METRICS, EvaluateRequest, Gate, StudySettings
from gradcam_cli.text import counted

if TYPE_CHECKING:
    from gradcam_cli.engines.selection import Engines
    from gradcam_cli.evaluation.run import Evaluation

DEFAULTS = EvaluateRequest().study
ALL = "all"
MOST_CELLS = 16
OPTIONS = {measure.option: measure for measure in MEASURES.values()}


def _definitions() -> str:
    """Every figure's definition, for `--help`."""
    lines = ["Definitions:", *(f"  {word}: {text}." for word, text in CONVENTIONS.items())]
    for measure in MEASURES.values():
        unit = "percent, " if measure.percent else ""
        lines.append(f"  {measure.option} ({unit}{measure.better} is better): {measure.definition}.")
    return "\n\n".join(lines)


def _groups(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    """Read `drop,deletion` as groups of metrics, in their own order."""
    asked = {part.strip() for part in value.split(",")}
    unknown = asked - {*GROUPS, ALL}
    if unknown:
        known = ", ".join((*GROUPS, ALL))
        raise click.BadParameter(f"there is no metric '{', '.join(sorted(unknown))}': choose from {known}", ctx, param)
    return GROUPS if ALL in asked else tuple(group for group in GROUPS if group in asked)


def _grid(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read `2x2` as (rows, columns)."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d)x(\d)", value.lower())
    rows, columns = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 2 <= rows * columns <= MOST_CELLS:
        raise click.BadParameter(f"'{value}' is not a grid such as 2x2 (2 to {MOST_CELLS} cells)", ctx, param)
    return rows, columns


@click.command(
    epilog=f"""\b
Examples:
  gradcam-cli evaluate photos/ --method gradcam --method gradcam++ -o study/
  gradcam-cli evaluate photos/ --method gradcam --method gradcam++ --grid 2x2 --metrics all -o study/
  gradcam-cli evaluate photos/ --method gradcam++ --fail-under average-drop=30 --fail-under increase=20
\b
Exit codes: 0 all done, 1 some image failed, 2 usage, 3 model, 4 stopped by the machine, 5 a --fail-under was
crossed, 130 Ctrl-C.

{_definitions()}
"""
)
@inputs_argument
@click.option(
    "-o",
    "--out",
    "output",
    metavar="FOLDER",
    help="Folder for evaluation.json, evaluation.jsonl and curves.png; without it there is only the table.",
)
@input_options
@model_option
@several_layers_model_options
@click.option(
    "--method",
    "methods",
    type=click.Choice(METHOD_CHOICES),
    multiple=True,
    default=DEFAULTS.methods,
    show_default=True,
    help="Which of the CAM family; repeatable.",
)
@click.option(
    "--metrics",
    default=",".join(QUICK_METRICS),
    show_default=True,
    callback=_groups,
    metavar="GROUP,...",
    help=f"What to measure: {', '.join(GROUPS)} or {ALL}. One pass more an image and method for drop and adcc, one a "
    "step for deletion and insertion.",
)
@click.option(
    "--steps",
    type=click.IntRange(2, 1000),
    default=DEFAULTS.steps,
    show_default=True,
    help="Steps of deletion and insertion.",
)
@click.option(
    "--baseline",
    type=click.Choice(BASELINES),
    default=DEFAULTS.baseline,
    show_default=True,
    help="What replaces removed pixels: the picture's mean colour, the picture blurred (sigma 10 pixels at 224), "
    "black, or what the pixels around them suggest, with noise (ROAD, Rong 2022).",
)
@click.option(
    "--grid",
    metavar="RxC",
    callback=_grid,
    help="Grid pointing game on collages of R rows and C columns; the model must take a larger input.",
)
@click.option(
    "--boxes-csv",
    type=LocalPath(),
    help="Where the objects are: file,x0,y0,x1,y1 in pixels of the whole picture; several lines a file.",
)
@click.option(
    "--fail-under",
    "gates",
    multiple=True,
    metavar="[METHOD:]METRIC=VALUE",
    help="End with 5 where a mean is worse than VALUE: above it where lower is better, below it where higher is; "
    "repeatable.",
)
@engine_options
@range_option
@talk_options
@click.pass_context
def evaluate(ctx: click.Context, /, **options: Any) -> None:
    """Measure which explanation to believe: compare methods and layers on the pictures of INPUT.

    The table goes to stdout; figures, one row for each image and method, and a plot of the curves go to a folder.
    """
    _refuse_contradictions(options)
    request = _request(options)
    verbosity = verbosity_of(options)
    with quiet_libraries(verbose=verbosity.verbose):
        ctx.exit(_run(request, verbosity, ctx.obj))


def _run(request: EvaluateRequest, verbosity: Verbosity, engines: "Engines | None") -> int:
    from gradcam_cli.cli.evaluate_observer import ConsoleStudyObserver
    from gradcam_cli.evaluation.run import run_evaluate
    from gradcam_cli.runs.study_engines import StudyEngines

    observer = ConsoleStudyObserver(request, verbosity)
    try:
        with stopped_by_signals(), observer:
            evaluation = run_evaluate(request, observer, open_engines=partial(StudyEngines, engines=engines))
    except KeyboardInterrupt as stop:
        measured = ": the rows that were written stay valid, and there is no summary." if observer.is_measuring else "."
        say(f"Interrupted{measured}")
        return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
    return _tell(evaluation, request, quiet=verbosity.quiet)


def _tell(evaluation: "Evaluation", request: EvaluateRequest, *, quiet: bool) -> int:
    """Print the table on stdout, and what else people should know on stderr; gives the exit code."""
    summary = evaluation.summary
    counts = summary.counts
    if counts["ok"]:
        try:
            click.echo(table(summary), nl=False)
        except BrokenPipeError:
            return PIPE_CLOSED
    for line in summary.unchanged():
        say(f"warning: {line}")
    if not quiet:
        failed = f", {counts['error']} failed" if counts["error"] else ""
        where = f" -> {request.output}" if request.output else "; nothing was written (-o FOLDER)"
        say(f"{counted(counts.total(), 'image')}: {counts['ok']} measured{failed}{where}")
    for line in evaluation.crossed:
        say(f"--fail-under: {line}")
    return evaluation.exit_status


def _request(options: Mapping[str, Any]) -> EvaluateRequest:
    """Make the one request that the library takes out of the options."""
    layers = options["layer"]
    return EvaluateRequest(
        inputs=input_settings(options),
        output=Path(options["output"]) if options["output"] else None,
        model=model_settings(options, layers[0]),
        layers=layers,
        study=StudySettings(
            methods=tuple(dict.fromkeys(options["methods"])),
            metrics=options["metrics"],
            steps=options["steps"],
            baseline=options["baseline"],
            grid=options["grid"],
        ),
        engine=engine_settings(options),
        fit=options["fit"],
        batch_size=options["batch_size"],
        sample_range=options["sample_range"],
        boxes=options["boxes_csv"],
        gates=tuple(_gate(text, options) for text in options["gates"]),
    )


def _refuse_contradictions(options: Mapping[str, Any]) -> None:
    if STDIO in options["inputs"]:
        raise UsageError("A picture on stdin can be read only once: evaluate wants files.")
    if options["output"] == STDIO:
        raise UsageError("The table goes to stdout by itself; -o is a folder.")


def _gate(text: str, options: Mapping[str, Any]) -> Gate:
    """Read `[METHOD:]METRIC=VALUE`, and refuse what will not be measured."""
    match = re.fullmatch(r"(?:([^:=]+):)?([^:=]+)=(.+)", text)
    measure = OPTIONS.get(match[2]) if match else None
    if match is None or measure is None:
        known = ", ".join(OPTIONS)
        raise UsageError(f"--fail-under {text}: METRIC=VALUE or METHOD:METRIC=VALUE, METRIC one of {known}.")
    try:
        limit = float(match[3])
    except ValueError as error:
        raise UsageError(f"--fail-under {text}: '{match[3]}' is not a number.") from error
    if not math.isfinite(limit):
        raise UsageError(f"--fail-under {text}: no figure can be compared with '{match[3]}'. Give a finite number.")
    turned_on = {*options["metrics"], *(name for name in SWITCHES if options[name])}
    if measure.group not in turned_on:
        raise UsageError(f"--fail-under {text}: {measure.option} is not measured. Turn it on: {_switch(measure.group)}")
    if match[1] and match[1] not in options["methods"]:
        raise UsageError(f"--fail-under {text}: there is no --method {match[1]} in this run.")
    if measure.name == "win_rate" and len(set(options["methods"])) == 1:
        raise UsageError(f"--fail-under {text}: a win rate needs a second --method.")
    return Gate(measure.name, limit, match[1])


# Options that turn on measures of their own.
SWITCHES = ("grid", "boxes_csv")


def _switch(group: str) -> str:
    return f"`{group}`" if group in SWITCHES else f"`metrics={group}`"
