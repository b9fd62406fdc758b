"""Commands and options of the program: help in groups, environment variables, and suggestions for misspelt values."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from gradcam_cli.cli.config_file import ISOLATED, NAMED
from gradcam_cli.cli.console import say
from gradcam_cli.cli.wording import as_options
from gradcam_cli.settings import OPTION_GROUPS, OptionGroup
from gradcam_cli.text import did_you_mean

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

HEADINGS: dict[OptionGroup, str] = {
    "inputs": "Inputs",
    "model": "Model",
    "target": "Classes to explain",
    "method": "Method",
    "measures": "Measures",
    "output": "Output",
    "overlay": "Overlay",
    "engine": "Engine",
    "limits": "Limits",
    "messages": "Messages and help",
}
# Options of every command that select the configuration file.
GENERAL = frozenset({"config", "isolated"})
ORIGIN = "gradcam_cli.origin"
# The text of an option with a longer name starts on the next line.
WIDEST_NAME = 30
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def values_of(parameter: click.Parameter, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
    """Give the completions of a value: words, a request for file names, or nothing."""
    from gradcam_cli.cli.completion import completions, paths

    known = completions(str(parameter.name), ctx, incomplete)
    if known is not None:
        return known
    return paths(parameter.metavar) or parameter.type.shell_complete(ctx, parameter, incomplete)


class Choice(click.Choice[str]):
    """A choice of words; the error message for an unknown word suggests the nearest word."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """List the allowed words and suggest the nearest one."""
        return super().get_invalid_choice_message(value, ctx) + did_you_mean(str(value), self.choices)


class FloatRange(click.FloatRange):
    """A number between limits. `nan` is refused, because comparisons with limits do not exclude it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert to a finite number within the limits."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class Option(click.Option):
    """An option with a group in the help.

    Its description names arguments of the library; the help shows the names of options instead.
    """

    def __init__(self, *args: Any, group: OptionGroup, **kwargs: Any) -> None:
        """Take the arguments of `click.Option`, and the group."""
        super().__init__(*args, **kwargs)
        self.group = group

    @property
    def long_name(self) -> str:
        """The option without its hyphens, as in a configuration file: `top-k`; that of `-0` is `null-separated`."""
        long = [name for name in self.opts if name.startswith("--")]
        return (long[0][2:] if long else str(self.name)).replace("_", "-")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        """Give the completions of the value."""
        return values_of(self, ctx, incomplete)

    def variables(self, ctx: click.Context) -> tuple[str, ...]:
        """Name the environment variables of the option: one for this command, and one for all commands."""
        key = self.long_name.replace("-", "_").upper()
        prefixes = (ctx.auto_envvar_prefix, ctx.find_root().auto_envvar_prefix)
        return tuple(dict.fromkeys(f"{prefix}_{key}" for prefix in prefixes if prefix))

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Give the text of the option's environment variable; None if it is missing or empty."""
        return next((text for name in self.variables(ctx) if (text := os.environ.get(name))), None)

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Give the value of the option's environment variable; each line is one value of a repeatable option."""
        text = self.resolve_envvar_value(ctx)
        return text if text is None or not self.multiple else tuple(filter(None, text.splitlines()))

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        """Give the value and its source: the command line, the environment, the configuration file, or the default."""
        value, source = super().consume_value(ctx, opts)
        if source is ParameterSource.DEFAULT and self.name not in GENERAL:
            from gradcam_cli.cli.config_file import configured

            found = configured(ctx, self)
            if found:
                ctx.meta[f"{ORIGIN}.{self.name}"] = str(found.path)
                return found.value, ParameterSource.DEFAULT_MAP
        return value, source

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Check a value; the error message names the environment variable or the file that contains a wrong value."""
        try:
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            origin = self.origin(ctx)
            if origin is None:
                raise
            raise click.BadParameter(f"{error.message} This is from {origin}.", ctx, self) from error

    def origin(self, ctx: click.Context) -> str | None:
        """Name the environment variable or the file that sets the option; None if neither does."""
        source = ctx.get_parameter_source(str(self.name))
        if source is ParameterSource.ENVIRONMENT:
            return next(name for name in self.variables(ctx) if os.environ.get(name))
        return ctx.meta.get(f"{ORIGIN}.{self.name}") if source is ParameterSource.DEFAULT_MAP else None

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Give the option's line of `--help`."""
        record = super().get_help_record(ctx)
        return record and (record[0], as_options(record[1]))


class Argument(click.Argument):
    """An argument with shell completion."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        """Give the values that a shell can complete."""
        return values_of(self, ctx, incomplete)


def general_options() -> list[click.Parameter]:
    """Give the options of every command that select the configuration file."""

    def keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
        def callback(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
            if value:
                ctx.meta[name] = value

        return callback

    common: dict[str, Any] = {"group": "messages", "expose_value": False, "is_eager": True}
    return [
        Option(
            ["--config"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Configuration file.  [default: gradcam-cli.toml or pyproject.toml in this folder or one above]",
            callback=keep(NAMED),
            **common,
        ),
        Option(
            ["--isolated"],
            is_flag=True,
            help="Use no configuration file except that of --config.",
            callback=keep(ISOLATED),
            **common,
        ),
    ]


def options_by_name(command: click.Command) -> dict[str, Option]:
    """Give the options of a command by their long names without the leading hyphens, except --config and --isolated."""
    options = (parameter for parameter in command.params if isinstance(parameter, Option))
    return {option.long_name: option for option in options if option.name not in GENERAL}


class Command(click.Command):
    """A command whose help lists the options in groups, and whose options can be set by a configuration file."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of `click.Command`."""
        super().__init__(*args, **kwargs)
        self.params += general_options()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in groups with headings."""
        groups: dict[OptionGroup, list[tuple[str, str]]] = {group: [] for group in OPTION_GROUPS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            # Arguments are explained in the text of the command.
            if record and isinstance(parameter, click.Option):
                groups[parameter.group if isinstance(parameter, Option) else "messages"].append(record)
        widths = [len(name) for rows in groups.values() for name, _ in rows if len(name) <= WIDEST_NAME]
        for group, rows in groups.items():
            if rows:
                with formatter.section(HEADINGS[group]):
                    formatter.write_dl([(name.ljust(max(widths, default=0)), text) for name, text in rows])
        self._write_variables(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Report misspelt environment variables, then run the command."""
        from gradcam_cli.cli.environment import unknown_variables

        if not isinstance(self, click.Group):
            for line in unknown_variables(ctx):
                say(line)
        return super().invoke(ctx)

    def _write_variables(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show how environment variables set options, for the first option as an example."""
        first = next(iter(options_by_name(self).values()), None)
        if first and len(first.variables(ctx)) > 1:
            own, common = first.variables(ctx)
            with formatter.section("Environment"):
                formatter.write_text(
                    f"{own} sets --{first.long_name} for this command. {common} sets it for all commands. Every option "
                    "has such variables. For a repeatable option, write one value per line."
                )


class Group(Command, click.Group):
    """A command with sub-commands; the help lists them before the options."""

    command_class = Command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the options."""
        self.format_commands(ctx, formatter)
        Command.format_options(self, ctx, formatter)


class Commands(MutableMapping[str, click.Command]):
    """The commands of the program by name; the module of a command is imported when the command is needed.

    `explain` is the function `explain` in the module `gradcam_cli.cli.explain`. The function has a trailing underscore
    if the name is a Python builtin: `compile_`.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """Import nothing yet."""
        self._found: dict[str, click.Command | None] = dict.fromkeys(names)

    def __getitem__(self, name: str) -> click.Command:
        known = self._found[name]
        if known is None:
            known = self._found[name] = _imported(name)
        return known

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._found[name] = command

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _imported(name: str) -> click.Command:
    attribute = name.replace("-", "_")
    module = vars(import_module(f"gradcam_cli.cli.{attribute}"))
    found = module.get(f"{attribute}_") or module[attribute]
    if not isinstance(found, click.Command):
        raise TypeError(f"gradcam_cli.cli.{attribute} has no command")
    return found


def command(name: str | None = None, **kwargs: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a decorator that turns a function into a command with grouped options."""
    return click.command(name, cls=Command, **kwargs)


def argument(*names: str, **kwargs: Any) -> Decorator:
    """Make an argument."""
    return click.argument(*names, cls=Argument, **kwargs)


def option(*names: str, group: OptionGroup, **kwargs: Any) -> Decorator:
    """Make an option of a group."""
    return click.option(*names, cls=Option, group=group, **kwargs)
