"""Parsers for the options of an evaluation that are written as text: metrics, and limits of measures."""

import math
import re
from collections.abc import Iterable
from dataclasses import replace

from gradcam_cli.errors import UsageError
from gradcam_cli.evaluation.measures import GROUPS, MEASURES, Measure
from gradcam_cli.requests import EvaluateRequest, Gate, StudySettings
from gradcam_cli.text import did_you_mean

ALL = "all"
OPTIONS = {measure.option: measure for measure in MEASURES.values()}
# Arguments that select their own measures.
SWITCHES = ("grid", "boxes_csv")


def parse_groups(text: str) -> tuple[str, ...]:
    """Parse `drop,deletion` as groups of metrics, in their fixed order; `all` means all groups.

    Raises:
        ValueError: there is no such group.
    """
    asked = {part.strip() for part in text.split(",")}
    unknown = asked - {*GROUPS, ALL}
    if unknown:
        known = ", ".join((*GROUPS, ALL))
        near = did_you_mean(min(unknown), (*GROUPS, ALL))
        raise ValueError(f"there is no metric '{', '.join(sorted(unknown))}': choose from {known}.{near}")
    return GROUPS if ALL in asked else tuple(group for group in GROUPS if group in asked)


def with_gates(request: EvaluateRequest, texts: Iterable[str]) -> EvaluateRequest:
    """Give the request with limits that are parsed from texts; see `parse_gate`."""
    has_boxes = request.boxes_csv is not None
    return replace(request, gates=tuple(parse_gate(text, request.study, has_boxes=has_boxes) for text in texts))


def parse_gate(text: str, study: StudySettings, *, has_boxes: bool) -> Gate:
    """Read `[METHOD:]METRIC=VALUE`.

    Raises:
        UsageError: the text is not a limit, or the study does not measure the metric.
    """
    match = re.fullmatch(r"(?:([^:=]+):)?([^:=]+)=(.+)", text)
    measure = OPTIONS.get(match[2]) if match else None
    if match is None or measure is None:
        known, near = ", ".join(OPTIONS), did_you_mean(match[2], OPTIONS) if match else ""
        raise UsageError(
            f"`gates={text}`: write METRIC=VALUE or METHOD:METRIC=VALUE, where METRIC is one of {known}.{near}"
        )
    try:
        limit = float(match[3])
    except ValueError as error:
        raise UsageError(f"`gates={text}`: '{match[3]}' is not a number.") from error
    if not math.isfinite(limit):
        raise UsageError(f"`gates={text}`: '{match[3]}' is not a finite number.")
    gate = Gate(measure.name, limit, match[1])
    _check_measured(text, gate, measure, study, has_boxes=has_boxes)
    return gate


def _check_measured(text: str, gate: Gate, measure: Measure, study: StudySettings, *, has_boxes: bool) -> None:
    switched = dict(zip(SWITCHES, (study.grid is not None, has_boxes), strict=True))
    if not switched.get(measure.group, measure.group in study.metrics):
        switch = f"`{measure.group}`" if measure.group in SWITCHES else f"`metrics={measure.group}`"
        raise UsageError(f"`gates={text}`: {measure.option} is not measured. Select it with {switch}")
    if gate.method and gate.method not in study.methods:
        raise UsageError(f"`gates={text}`: there is no `method={gate.method}` in this run.")
    if measure.name == "win_rate" and len(study.methods) == 1:
        raise UsageError(f"`gates={text}`: the win rate compares methods. Give a second `method`.")
