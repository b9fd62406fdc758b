"""The inputs of a command that calls no run of the library."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradcam_cli.cli.console import Verbosity
from gradcam_cli.cli.inputs import say_left_out
from gradcam_cli.errors import UsageError
from gradcam_cli.settings import InputSettings

if TYPE_CHECKING:
    from gradcam_cli.inputs.discovery import Found


def found_inputs(settings: InputSettings, verbosity: Verbosity, output: Path | None = None) -> "Found":
    """Find the pictures that are asked for, and report what is left out."""
    from gradcam_cli.inputs.finding import find_inputs

    found = find_inputs(settings, output, keep_omissions=verbosity.verbose)
    if not verbosity.quiet:
        say_left_out(found.left_out)
    if not found.sources:
        raise UsageError("There is nothing to do: no pictures were found in what was given.")
    return found
