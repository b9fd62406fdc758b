"""Options of the commands, made from the descriptions of the settings, and how they are written on a command line."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import click

from gradcam_cli.cli.command import Choice, Decorator, FloatRange, argument, option
from gradcam_cli.cli.console import Verbosity
from gradcam_cli.errors import UsageError
from gradcam_cli.options import Option as Setting
from gradcam_cli.options import options_of
from gradcam_cli.parsing import PARSERS
from gradcam_cli.requests import ExplainRequest
from gradcam_cli.settings import InputSettings, ModelSettings
from gradcam_cli.urls import Url, is_url, place, refuse_url, shown

STDIO = "-"
# A store in the memory of the process, for tests. Its contents are lost when the command ends.
LOST_AT_THE_END = "memory://"
# Options whose name differs from the name of their setting.
FLAGS = {
    "classes": "--class",
    "gates": "--fail-under",
    "inputs": "--input",
    "methods": "--method",
    "null_separated": "-0",
    "output_name": "--output",
    "sample_range": "--range",
    "sha256": "--model-sha256",
    "trust_code": "--trust-model-code",
}
# Options that have a short form.
SHORT = {"model": ("-m",)}


class LocalPath(click.Path):
    """A path on this machine, relative or absolute. A URL is refused, because it would be taken for nested folders."""

    def __init__(self) -> None:
        """Give paths as `Path`."""
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse a URL; a `Path` of it would lose one of its two slashes."""
        if isinstance(value, str):
            refuse_url(value)
        return super().convert(value, param, ctx)


class AnyPlace(LocalPath):
    """A path on this machine, or the URL of a place in an object store."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Give a `Path` or a `Url`."""
        if isinstance(value, str) and is_url(value):
            return place(value)
        return value if isinstance(value, Url) else super().convert(value, param, ctx)


class OutputPlace(AnyPlace):
    """A path or URL that a command writes to."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse a store that cannot keep results."""
        if isinstance(value, str):
            refuse_lost(value)
        return super().convert(value, param, ctx)


def refuse_lost(target: str) -> None:
    """Refuse to write to a store in memory.

    Raises:
        UsageError: `target` is a place in such a store.
    """
    if target.lower().startswith(LOST_AT_THE_END):
        raise UsageError(
            f"{shown(target)}: a store in memory is lost when the command ends. Use a folder, or an object store such "
            "as s3://bucket/results."
        )


def option_name(setting: str) -> str:
    """Give the option of a setting: `--top-k` for `top_k`."""
    return FLAGS.get(setting, f"--{setting.replace('_', '-')}")


def setting_options(settings: type[Any], *names: str) -> Decorator:
    """Make one option for each of these settings, with the type, range, default and help text of the setting."""
    known = options_of(settings)
    return together(*(_option(name, known[name]) for name in names))


def together(*options: Decorator) -> Decorator:
    """Combine several options in one decorator; `--help` lists them in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for each in reversed(options):
            function = each(function)
        return function

    return decorate


def parsed_by(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Make a click callback that parses the text of an option; a `ValueError` of `parse` becomes a usage error."""

    def read(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        try:
            if param.multiple:
                return tuple(parse(each) for each in value)
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from error

    return read


def _option(name: str, setting: Setting) -> Decorator:
    kind, doc, default = setting.kind, setting.doc, setting.default
    flag = option_name(name)
    otherwise = f"  [default: {doc.otherwise.format(default)}]" if doc.otherwise else ""
    # The default is None if the help shows another text for it: the command checks whether the option was given.
    default = default if doc.otherwise is None else None
    return option(
        *SHORT.get(name, ()),
        f"{flag}/--no-{name}" if default is True else flag,
        name,
        group=doc.group,
        is_flag=kind is bool,
        multiple=Ellipsis in get_args(kind),
        type=None if name in PARSERS else _type(setting),
        callback=parsed_by(PARSERS[name]) if name in PARSERS else None,
        default=default,
        show_default=default is not None and default is not False and default != (),
        metavar=doc.form,
        help=f"{doc.text}{otherwise}",
    )


def _type(setting: Setting) -> click.ParamType[Any] | None:
    """Give the type of an option's values; None for text and for flags."""
    doc, members = setting.doc, setting.members
    if setting.choices:
        return Choice(setting.choices)
    if int in members:
        return click.IntRange(doc.low, doc.high)
    if float in members:
        return FloatRange(doc.low if doc.above is None else doc.above, doc.high, min_open=doc.above is not None)
    # A value that may be a URL stays text; the library parses it.
    return LocalPath() if Path in members and Url not in members else None


input_options = setting_options(
    InputSettings,
    *("files_from", "null_separated", "limit", "include", "exclude", "recursive", "hidden", "follow_links"),
)
layer_option = setting_options(ModelSettings, "layer")
engine_options = setting_options(ExplainRequest, "fit", "engine", "precision", "cache", "batch_size")
verbose_option = option("-v", "--verbose", group="messages", is_flag=True, help="Print the messages of TensorFlow.")


def model_options(layer: Decorator = layer_option) -> Decorator:
    """Combine all options of a model except its name; `layer` is the option of its layer or layers."""
    return together(
        setting_options(ModelSettings, "labels", "labels_from"),
        layer,
        setting_options(
            ModelSettings, "token_grid", "preprocess", "weights", "input_size", "output_name", "output_kind"
        ),
        setting_options(ModelSettings, "inputs", "pairs", "image_input"),
        setting_options(ModelSettings, "custom_objects", "trust_code", "sha256"),
    )


def examples(*lines: str, head: str = "", exit_codes: str = "") -> str:
    """Give the end of a `--help` text: example commands, and the meaning of the exit codes."""
    head = head or ("Example" if len(lines) == 1 else "Examples")
    codes = f"\n\b\nExit codes: {exit_codes}\n" if exit_codes else ""
    return "\n".join(["\b", f"{head}:", *(f"  {line}" for line in lines)]) + codes


def inputs_and_output(form: str, text: str) -> Decorator:
    """Combine the argument INPUT, the option of the output folder, and the options that select inputs."""
    inputs = argument("paths", metavar="INPUT...", nargs=-1)
    return together(inputs, option("-o", "--out", "output", group="output", metavar=form, help=text), input_options)


def out_option(
    text: str, form: str | None = None, *, required: bool = False, kind: type[LocalPath] = OutputPlace
) -> Decorator:
    """Make the option of the file or folder that a command writes; `kind` is the type of its value."""
    return option("-o", "--out", "output", group="output", type=kind(), metavar=form, required=required, help=text)


def quiet_option(text: str) -> Decorator:
    """Make the option `--quiet`."""
    return option("-q", "--quiet", group="messages", is_flag=True, help=text)


def list_option(what: str = "Print a JSON list.") -> Decorator:
    """Make the option `--json`, which prints JSON instead of a table."""
    return option("--json", "as_json", group="output", is_flag=True, help=what)


talk_options = together(
    option(
        "--progress/--no-progress",
        group="messages",
        default=None,
        help="Show a progress bar.  [default: on a terminal]",
    ),
    quiet_option("Print only failures."),
    option("-v", "--verbose", group="messages", is_flag=True, help="Print more messages, also those of TensorFlow."),
)


def keywords(options: Mapping[str, Any], *own: str) -> dict[str, Any]:
    """Give the options that are keywords of the library: all except the command line's `own`."""
    return {name: value for name, value in options.items() if name not in {*OWN, *own}}


# Options of `explain` and `evaluate` that are not keywords of the library.
OWN = ("paths", "output", "quiet", "verbose", "progress")


def verbosity_of(options: Mapping[str, Any]) -> Verbosity:
    """Give the verbosity that the options ask for."""
    return Verbosity(options["quiet"], options["verbose"], options["progress"])
