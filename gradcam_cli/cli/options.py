"""Options that several commands share, and how they become settings."""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from gradcam_cli.cli.console import Verbosity
from gradcam_cli.settings import (
    ENGINES,
    FIT_CHOICES,
    OUTPUT_KINDS,
    PRECISIONS,
    EngineSettings,
    ModelSettings,
    RunSettings,
    SampleRange,
    Threshold,
)

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# The names stand here, too, so that --help need not import numpy; a test compares them with the registry.
PREPROCESS_CHOICES = ("auto", "caffe", "tf", "torch", "unit", "none", "lite", "unit-bgr", "none-bgr", "tf-bgr")
# So do these; the registry is numpy's.
METHOD_CHOICES = (
    "gradcam",
    "gradcam++",
    "gradcam++-paper",
    "gradcam++-softmax",
    "cam",
    "layercam",
    "hirescam",
    "xgradcam",
    "scorecam",
    "ablationcam",
    "eigencam",
    "eigengradcam",
)
MODEL_DEFAULTS = ModelSettings()
RUN_DEFAULTS = RunSettings()
ENGINE_DEFAULTS = EngineSettings()
LONGEST_SIDE = 8192
STDIO = "-"


class LocalPath(click.Path):
    """A path on this machine, relative or absolute; a URL is refused, of which the file system would make folders."""

    def __init__(self) -> None:
        """Give paths as `Path`."""
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse a URL before its two slashes become one."""
        from gradcam_cli.inputs.discovery import refuse_url

        if isinstance(value, str):
            refuse_url(value)
        return super().convert(value, param, ctx)


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read `224` or `224x320` as (height, width)."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", value.lower())
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not all(0 < side <= LONGEST_SIDE for side in size):
        raise click.BadParameter(f"'{value}' is not a size such as 224 or 224x320 (height x width)", ctx, param)
    return size


def _grid(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read `14x14` as (height, width)."""
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", (value or "").lower())
    if value is not None and not match:
        raise click.BadParameter(f"'{value}' is not a grid such as 14x14 (height x width)", ctx, param)
    return (int(match[1]), int(match[2])) if match else None


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


def _sample_range(ctx: click.Context, param: click.Parameter, value: str | None) -> SampleRange | None:
    """Read `LOW:HIGH`, `minmax` or `percentile`."""
    if value is None:
        return None
    if value == "minmax":
        return "minmax"
    if value == "percentile":
        return "percentile"
    low, _, high = value.partition(":")
    try:
        levels = float(low), float(high)
    except ValueError:
        levels = 0.0, 0.0
    if not (levels[0] < levels[1] and all(math.isfinite(level) for level in levels)):
        message = f"'{value}' is neither LOW:HIGH, two numbers of which the first is lower, nor minmax nor percentile"
        raise click.BadParameter(message, ctx, param)
    return levels


range_option = click.option(
    "--range",
    "sample_range",
    metavar="LOW:HIGH|minmax|percentile",
    callback=_sample_range,
    help="Which samples become black and white in pictures of more than 8 bits or of floating point.  [default: all of"
    " 16 bits; floating point is refused]",
)
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


output_kind_option = click.option(
    "--output-kind",
    type=click.Choice(OUTPUT_KINDS),
    default=MODEL_DEFAULTS.output_kind,
    show_default=True,
    help="What the output is, where the model file does not say so.",
)


def _input_value(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Read `NAME=VALUE` as (name, value)."""
    for value in values:
        if not re.fullmatch(r"[^=]+=.+", value, re.DOTALL):
            raise click.BadParameter(f"'{value}' is not NAME=VALUE, such as age=30", ctx, param)
    return tuple((name, text) for name, _, text in (value.partition("=") for value in values))


custom_objects_options = (
    click.option(
        "--custom-objects",
        type=click.Path(path_type=Path),
        metavar="FILE.py",
        help="Python file with the model's own layers and functions; it is run, with --trust-model-code.",
    ),
    click.option("--trust-model-code", "trust_code", is_flag=True, help="Allow --custom-objects to run its file."),
)
image_input_option = click.option(
    "--image-input",
    metavar="NAME|all",
    help="Which input takes the explained picture, where several take pictures; all: the same picture in each.",
)


def _with(*options: Decorator) -> Decorator:
    """Several options as one decorator, listed in `--help` in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


inputs_argument = click.argument("inputs", metavar="INPUT...", nargs=-1)
input_options = _with(
    click.option("--files-from", metavar="FILE|-", help="Read more inputs from a list, one path a line."),
    click.option("-0", "null", is_flag=True, help="The list is separated by NUL, as find -print0 writes it."),
    click.option("--recursive/--no-recursive", default=True, help="Walk into sub-folders.  [default: recursive]"),
    click.option("--follow-links", is_flag=True, help="Walk folders behind symbolic links too, each folder once."),
    click.option("--hidden", is_flag=True, help="Take hidden and system files and folders (.git, ._*, Thumbs.db) too."),
    click.option(
        "--exclude",
        multiple=True,
        metavar="PATTERN",
        help="Leave out files and folders of a walk that fit, as in a .gitignore; repeatable.",
    ),
    click.option(
        "--include",
        multiple=True,
        metavar="PATTERN",
        help="Of the files of a walk, take only those that fit, as in a .gitignore; repeatable.",
    ),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Take only the first N images."),
)
model_option = click.option(
    "--model",
    default=MODEL_DEFAULTS.model,
    show_default=True,
    metavar="NAME|FILE",
    help="Architecture (see `gradcam-cli models`), or a .keras or .h5 file.",
)
token_grid_option = click.option(
    "--token-grid",
    metavar="HxW",
    callback=_grid,
    help="Grid of a transformer's tokens, where the network does not show it.",
)
layer_option = click.option(
    "--layer",
    default=MODEL_DEFAULTS.layer,
    show_default=True,
    metavar="auto|NAME|PATH",
    help="Target layer (see `gradcam-cli layers MODEL`).",
)
layers_option = click.option(
    "--layer",
    multiple=True,
    default=(MODEL_DEFAULTS.layer,),
    show_default=True,
    metavar="auto|NAME|PATH",
    help="Target layer (see `gradcam-cli layers MODEL`); repeatable.",
)


further_inputs_options = _with(
    click.option(
        "--input",
        "inputs_given",
        multiple=True,
        callback=_input_value,
        metavar="NAME=VALUE",
        help="Value of a further input: a number, several as 0.1,0.2, FILE.npy, or FILE.csv:COLUMN[,COLUMN...] with a "
        "row for each picture; repeatable.",
    ),
    click.option(
        "--pairs",
        type=LocalPath(),
        metavar="FILE.csv",
        help="The second picture of each: columns file and partner.",
    ),
    image_input_option,
)
labels_options = _with(
    click.option("--labels", type=LocalPath(), help="Names of the classes: one a line, CSV or JSON."),
    click.option(
        "--labels-from",
        type=LocalPath(),
        metavar="FOLDER",
        help="Folder whose sub-folders are named after the classes, as Keras reads a data set.",
    ),
)


def _model_options(layer: Decorator) -> Decorator:
    """What describes a model besides its name; the names are those of `ModelSettings`."""
    return _with(
        click.option(
            "--weights",
            type=LocalPath(),
            help="Local weights for a named model: .h5, .weights.h5 or .keras.",
        ),
        input_size_option,
        output_option,
        further_inputs_options,
        *custom_objects_options,
        output_kind_option,
        click.option(
            "--model-sha256", "sha256", metavar="HEX", help="Refuse a model file, or weights, with another hash."
        ),
        layer,
        labels_options,
        click.option(
            "--preprocess",
            type=click.Choice(PREPROCESS_CHOICES),
            default=MODEL_DEFAULTS.preprocess,
            show_default=True,
            help="How pixels become the model's input.",
        ),
    )


model_options = _model_options(layer_option)
several_layers_model_options = _model_options(layers_option)

fit_option = click.option(
    "--fit",
    type=click.Choice(FIT_CHOICES),
    default="auto",
    show_default=True,
    help="How a picture is laid into the input: whole, its middle, or whole with a border; auto is squash, or what "
    "the tool that made the model does.",
)
engine_options = _with(
    fit_option,
    click.option(
        "--engine",
        type=click.Choice(ENGINES),
        default=ENGINE_DEFAULTS.engine,
        show_default=True,
        help="What runs the network; auto takes tensorflow on a GPU, else openvino where it is installed and can.",
    ),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default=ENGINE_DEFAULTS.precision,
        show_default=True,
        help="Floating-point format of the forward pass (bfloat16: openvino).",
    ),
    click.option("--cache/--no-cache", default=True, help="Keep compiled plans for the next time.  [default: cache]"),
    click.option(
        "--batch-size",
        type=click.IntRange(1, 4096),
        default=RUN_DEFAULTS.batch_size,
        show_default=True,
        help="Images in one forward pass, at most.",
    ),
)


def model_settings(options: Mapping[str, Any], layer: str) -> ModelSettings:
    """Read the options that describe a model, to be explained at one layer."""
    return ModelSettings(
        model=options["model"],
        layer=layer,
        layers=options.get("layers", ()),
        labels=options["labels"],
        labels_from=options["labels_from"],
        preprocess=options["preprocess"],
        weights=options["weights"],
        input_size=options["input_size"],
        output_name=options["output_name"],
        output_kind=options["output_kind"],
        sha256=options["sha256"],
        inputs=options["inputs_given"],
        pairs=options["pairs"],
        image_input=options["image_input"],
        custom_objects=options["custom_objects"],
        trust_code=options["trust_code"],
        token_grid=options.get("token_grid"),
    )


def engine_settings(options: Mapping[str, Any]) -> EngineSettings:
    """Read the options of the engine."""
    return EngineSettings(options["engine"], options["precision"], options["cache"])


talk_options = _with(
    click.option("--progress/--no-progress", default=None, help="Show a progress bar.  [default: on a terminal]"),
    click.option("-q", "--quiet", is_flag=True, help="Say only what failed."),
    click.option("-v", "--verbose", is_flag=True, help="Say more, and let TensorFlow speak."),
)


def verbosity_of(options: Mapping[str, Any]) -> Verbosity:
    """Read the options of what people want to see."""
    return Verbosity(options["quiet"], options["verbose"], options["progress"])
