"""Options that several commands share, and how they become settings."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gradcam_cli.settings import ModelSettings, Threshold

# The names stand here, too, so that --help need not import numpy; a test compares them with the registry.
PREPROCESS_CHOICES = ("auto", "caffe", "tf", "torch", "unit", "none", "lite")
MODEL_DEFAULTS = ModelSettings()
LONGEST_SIDE = 8192
STDIO = "-"


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read `224` or `224x320` as (height, width)."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", value.lower())
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not all(0 < side <= LONGEST_SIDE for side in size):
        raise click.BadParameter(f"'{value}' is not a size such as 224 or 224x320 (height x width)", ctx, param)
    return size


def threshold(ctx: click.Context, param: click.Parameter, value: str | None) -> Threshold | None:
    """Read a level of heat between 0 and 1, or `otsu`."""
    if value is None:
        return None
    if value == "otsu":
        return "otsu"
    level = float(value) if re.fullmatch(r"\d*\.?\d+", value) else 0.0
    if not 0 < level < 1:
        raise click.BadParameter(f"'{value}' is neither a level of heat between 0 and 1 nor otsu", ctx, param)
    return level


output_option = click.option(
    "--output",
    "output_name",
    metavar="NAME",
    help="Which output to explain, where the model has several.",
)
input_size_option = click.option(
    "--input-size",
    metavar="HxW",
    callback=_size,
    help="Height and width of the input, where the model leaves them open.",
)


def model_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what describes a model besides its name; the names are those of `ModelSettings`."""
    add = [
        click.option(
            "--weights",
            type=click.Path(path_type=Path),
            help="Local weights for a named model: .h5, .weights.h5 or .keras.",
        ),
        input_size_option,
        output_option,
        click.option(
            "--model-sha256", "sha256", metavar="HEX", help="Refuse a model file, or weights, with another hash."
        ),
        click.option(
            "--layer",
            default=MODEL_DEFAULTS.layer,
            show_default=True,
            metavar="auto|NAME|PATH",
            help="Target layer (see `gradcam-cli layers MODEL`).",
        ),
        click.option(
            "--labels", type=click.Path(path_type=Path), help="Names of the classes: one a line, CSV or JSON."
        ),
        click.option(
            "--preprocess",
            type=click.Choice(PREPROCESS_CHOICES),
            default=MODEL_DEFAULTS.preprocess,
            show_default=True,
            help="How pixels become the model's input.",
        ),
    ]
    for option in reversed(add):
        function = option(function)
    return function
