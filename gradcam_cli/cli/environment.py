"""Find environment variables with the prefix of the program that set no option."""

import os
from collections.abc import Iterator

import click

from gradcam_cli.cli.command import Option
from gradcam_cli.text import did_you_mean


def unknown_variables(ctx: click.Context) -> Iterator[str]:
    """Give a line for each variable of the program's prefix that sets no option of any command."""
    prefix = ctx.find_root().auto_envvar_prefix
    given = {name for name in os.environ if prefix and name.startswith(f"{prefix}_")}
    # All commands are imported only if a variable does not belong to this command.
    given -= known_variables(ctx)
    if given:
        known = {name for each in contexts_of(ctx.find_root()) for name in known_variables(each)}
        yield from (
            f"warning: the environment variable {name} sets no option.{did_you_mean(name, known)}"
            for name in sorted(given - known)
        )


def contexts_of(ctx: click.Context) -> Iterator[click.Context]:
    """Give a context for each command below that of `ctx`, and `ctx` itself first."""
    yield ctx
    if isinstance(ctx.command, click.Group):
        for name, command in ctx.command.commands.items():
            yield from contexts_of(click.Context(command, ctx, info_name=name))


def known_variables(ctx: click.Context) -> set[str]:
    """Give the variables that set an option of a command."""
    options = (parameter for parameter in ctx.command.params if isinstance(parameter, Option))
    return {name for option in options for name in option.variables(ctx)}
