"""Commands and options of the program: help in groups, environment variables, and suggestions for misspelt values."""

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

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
# Names of options longer than this have their text on the next line.
WIDEST_NAME = 30
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def values_of(parameter: click.Parameter, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
    """Give what a shell can complete: words, file names where a value is a file, or nothing."""
    from gradcam_cli.cli.completion import completions, paths

    known = completions(str(parameter.name), ctx, incomplete)
    if known is not None:
        return known
    return paths(parameter.metavar) or parameter.type.shell_complete(ctx, parameter, incomplete)


class Choice(click.Choice[str]):
    """One of some words; the message for another word suggests the nearest."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Say which words there are, and which was probably meant."""
        return super().get_invalid_choice_message(value, ctx) + did_you_mean(str(value), self.choices)


class Option(click.Option):
    """An option that has a group in help.

    Its description speaks of arguments, as the library does: people at a shell read of options.
    """

    def __init__(self, *args: Any, group: OptionGroup, **kwargs: Any) -> None:
        """Take what click takes, and the group."""
        super().__init__(*args, **kwargs)
        self.group = group

    @property
    def long_name(self) -> str:
        """The option without its hyphens, as in a configuration file: `top-k`; that of `-0` is `null-separated`."""
        long = [name for name in self.opts if name.startswith("--")]
        return (long[0][2:] if long else str(self.name)).replace("_", "-")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        """Give the values that a shell can complete."""
        return values_of(self, ctx, incomplete)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Give the option's line of `--help`."""
        record = super().get_help_record(ctx)
        return record and (record[0], as_options(record[1]))


class Argument(click.Argument):
    """An argument whose values a shell can complete."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        """Give the values that a shell can complete."""
        return values_of(self, ctx, incomplete)


class Command(click.Command):
    """A command whose help lists the options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options below the headings of their groups."""
        groups: dict[OptionGroup, list[tuple[str, str]]] = {group: [] for group in OPTION_GROUPS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            # Arguments are explained by the text above.
            if record and isinstance(parameter, click.Option):
                groups[parameter.group if isinstance(parameter, Option) else "messages"].append(record)
        widths = [len(name) for rows in groups.values() for name, _ in rows if len(name) <= WIDEST_NAME]
        for group, rows in groups.items():
            if rows:
                with formatter.section(HEADINGS[group]):
                    formatter.write_dl([(name.ljust(max(widths, default=0)), text) for name, text in rows])


class Group(Command, click.Group):
    """A command with sub-commands, which stand before its options in help."""

    command_class = Command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the options."""
        self.format_commands(ctx, formatter)
        Command.format_options(self, ctx, formatter)


class Commands(MutableMapping[str, click.Command]):
    """The commands of the program by name; the module of a command is imported when the command is needed.

    `explain` is `explain` in the module `gradcam_cli.cli.explain`; a command whose name Python uses for
    something else has an underscore behind it, as in `compile_`.
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
    """Make a function a command with options in groups."""
    return click.command(name, cls=Command, **kwargs)


def argument(*names: str, **kwargs: Any) -> Decorator:
    """Make an argument."""
    return click.argument(*names, cls=Argument, **kwargs)


def option(*names: str, group: OptionGroup, **kwargs: Any) -> Decorator:
    """Make an option of a group."""
    return click.option(*names, cls=Option, group=group, **kwargs)
