"""Writes docs/commands.md: every command and option, as the program itself describes them.

Run it with `make reference`. A test compares the file with the program.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from gradcam_cli.cli import program
from gradcam_cli.cli.command import HEADINGS, Option
from gradcam_cli.cli.config_file import command_names
from gradcam_cli.cli.environment import contexts_of

TARGET = Path(__file__).parent.parent / "docs" / "commands.md"
HEAD = """# Commands

This page is generated from the program (`make reference`); `gradcam-cli help COMMAND` shows the same. Every option can
also be set by the environment variable in its row, by `GRADCAM_CLI_` and its name for all commands, and by a
[configuration file](configuration.md).
"""
# Part of the text of options whose default is more than a value.
DEFAULT = re.compile(r"\s*\[default: (.*)\]\s*$")


def reference() -> str:
    """Give the text of the page."""
    root = click.Context(program, info_name="gradcam-cli", **program.context_settings)
    return "\n".join([HEAD, *(line for each in contexts_of(root) for line in _command(each))])


def _command(ctx: click.Context) -> Iterator[str]:
    yield f"{'#' * (2 + max(0, len(command_names(ctx)) - 1))} {ctx.command_path}\n"
    yield f"```text\n{' '.join([ctx.command_path, *ctx.command.collect_usage_pieces(ctx)])}\n```\n"
    text = inspect.cleandoc(ctx.command.help or "").replace("\b\n", "")
    yield f"{_escaped(text)}\n"
    if isinstance(ctx.command, click.Group):
        names = ", ".join(f"[{name}](#{_anchor(f'{ctx.command_path} {name}')})" for name in ctx.command.commands)
        yield f"Commands: {names}\n"
    yield from _options(ctx)
    if ctx.command.epilog:
        yield f"```text\n{_epilog(ctx.command.epilog)}\n```\n"


def _options(ctx: click.Context) -> Iterator[str]:
    options = [parameter for parameter in ctx.command.params if isinstance(parameter, Option)]
    for group, heading in HEADINGS.items():
        rows = [_row(option, ctx) for option in options if option.group == group]
        if rows:
            yield f"| {heading.lower()} | what it does | default | environment |\n|---|---|---|---|"
            yield "\n".join([*rows, ""])


def _row(option: Option, ctx: click.Context) -> str:
    names, text = option.get_help_record(ctx) or ("", "")
    extra = option.get_help_extra(ctx)
    # click writes ranges and defaults behind the text.
    text = re.sub(r"\s*\[[^\[\]]*\]\s*$", "", text) if extra else text
    told = DEFAULT.search(text)
    default = told[1] if told else str(extra.get("default", ""))
    text = DEFAULT.sub("", text)
    limits = f" ({extra['range']})" if "range" in extra else ""
    default = f"`{default}`" if default else ""
    cells = (f"`{names}`", f"{_escaped(text)}{limits}", default, f"`{option.variables(ctx)[0]}`")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _escaped(text: str) -> str:
    return re.sub(r"([<>*_])", r"\\\1", text) if "`" not in text else text.replace("<", r"\<")


def _epilog(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", text.replace("\b\n", "").replace("\b", "")).strip()


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
