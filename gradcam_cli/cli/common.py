"""What `evaluate` and `check-preprocess` do alike: find inputs and the model."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcam_cli.cli.console import Verbosity, download_bar
from gradcam_cli.cli.inputs import say_left_out
from gradcam_cli.cli.options import model_settings
from gradcam_cli.errors import UsageError
from gradcam_cli.settings import InputSettings

if TYPE_CHECKING:
    from gradcam_cli.inputs.discovery import Found
    from gradcam_cli.models.request import ModelRequest
    from gradcam_cli.runs.job import Listen


def found_inputs(settings: InputSettings, verbosity: Verbosity, output: Path | None = None) -> "Found":
    """Find the pictures that are asked for, and report what is left out."""
    from gradcam_cli.inputs.finding import find_inputs

    found = find_inputs(settings, output, keep_omissions=verbosity.verbose)
    if not verbosity.quiet:
        say_left_out(found.left_out)
    if not found.sources:
        raise UsageError("There is nothing to do: no pictures were found in what was given.")
    return found


def locate(options: Mapping[str, Any], layer: str) -> "ModelRequest":
    """Find the model that the options name, to be explained at one layer."""
    from gradcam_cli.engines.selection import Engines

    return Engines().locate(model_settings(options, layer), download_bar, cache=options["cache"])


def listening(*, verbose: bool) -> "Listen":
    """Report what native decoders print, where the user asked for it; otherwise nothing of it is shown."""
    from gradcam_cli.cli.decoder_lines import DecoderLines
    from gradcam_cli.runs.job import unheard

    return DecoderLines().listen if verbose else unheard
