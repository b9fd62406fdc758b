"""The inputs of a command: what contradicts itself."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from gradcam_cli.cli.console import say
from gradcam_cli.cli.options import STDIO, refuse_lost
from gradcam_cli.errors import UsageError
from gradcam_cli.urls import check_url


def refuse(contradictions: Iterable[tuple[Any, str]]) -> None:
    """Raise UsageError with the first message whose condition holds."""
    for holds, message in contradictions:
        if holds:
            raise UsageError(message)


def check_inputs(options: Mapping[str, Any]) -> None:
    """Refuse options of inputs that contradict each other, and URLs in which no result can stay.

    Raises:
        UsageError: there is something to refuse.
    """
    listed, quiet = options["files_from"], options["quiet"]
    refuse(
        [
            (
                not (options["paths"] or listed),
                "There is no INPUT. Name pictures or folders, or give a list by --files-from.",
            ),
            (options["null_separated"] and not listed, "-0 is about the list of --files-from."),
            (quiet and options["verbose"], "--quiet and --verbose contradict each other: give one of them."),
        ]
    )
    for name in ("output", "jsonl"):
        refuse_lost(options.get(name) or "")
    check_url(options.get("jsonl") or "")
    terminal = sys.stdin is not None and sys.stdin.isatty()
    if STDIO in options["paths"] and terminal:
        raise UsageError("- reads a picture from stdin, which is a terminal here: send one (explain - < cat.jpg).")
    if options["files_from"] == STDIO and terminal:
        say("Reading paths from the terminal, one a line; Ctrl-D ends the list.")
