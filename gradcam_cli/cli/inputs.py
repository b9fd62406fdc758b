"""Checks of the options that name the inputs of a command."""

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
    """Refuse contradicting options, and URLs of stores that cannot keep results.

    Raises:
        UsageError: an option is refused.
    """
    listed, quiet = options["files_from"], options["quiet"]
    refuse(
        [
            (
                not (options["paths"] or listed),
                "There is no INPUT. Name image files or folders, or give a list with --files-from.",
            ),
            (options["null_separated"] and not listed, "-0 needs --files-from: it describes the list of paths."),
            (quiet and options["verbose"], "--quiet and --verbose contradict each other: use only one of them."),
        ]
    )
    for name in ("output", "jsonl"):
        refuse_lost(options.get(name) or "")
    check_url(options.get("jsonl") or "")
    terminal = sys.stdin is not None and sys.stdin.isatty()
    if STDIO in options["paths"] and terminal:
        raise UsageError(
            "INPUT - reads an image from stdin, but stdin is a terminal. Redirect a file: explain - < cat.jpg"
        )
    if options["files_from"] == STDIO and terminal:
        say("Reading paths from the terminal, one per line. Ctrl-D ends the list.")
