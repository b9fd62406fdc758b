"""`gradcam-cli config`."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from gradcam_cli.cli.command import GENERAL, Option, argument, command
from gradcam_cli.cli.config_file import command_names, file_of
from gradcam_cli.cli.environment import contexts_of
from gradcam_cli.cli.options import examples, list_option
from gradcam_cli.text import columns, printable

SOURCES = {ParameterSource.ENVIRONMENT: "environment", ParameterSource.DEFAULT_MAP: "file"}


@dataclass(frozen=True)
class Setting:
    """The value of an option of a command. `origin` is the environment variable or the file that sets it."""

    command: str
    option: str
    value: Any
    source: str
    origin: str | None


@command(
    epilog=examples(
        "gradcam-cli config",
        "gradcam-cli config explain",
        """gradcam-cli config explain --json | jq '.settings[] | select(.source != "default")'""",
    )
)
@argument("names", metavar="[COMMAND]...", nargs=-1)
@list_option("Print a JSON object.")
@click.pass_context
def config(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Show which options are set by the environment and by the configuration file.

    An option on the command line is used first, then the environment, then the configuration file, then the default.
    With COMMAND, all options of this command are shown. All values are checked.
    """
    shown = [each for each in contexts_of(ctx.find_root()) if command_names(each)[: len(names)] == names]
    if names and not shown:
        raise click.UsageError(f"There is no command '{' '.join(names)}'. gradcam-cli help lists the commands.", ctx)
    settings = [setting for each in shown for setting in _settings(each)]
    file = file_of(ctx)
    if as_json:
        record = {"file": str(file.path) if file else None, "settings": [asdict(setting) for setting in settings]}
        click.echo(json.dumps(record, indent=2))
        return
    click.echo(printable(f"Configuration file: {_short(str(file.path)) if file else 'none'}"))
    told = [setting for setting in settings if names or setting.source != "default"]
    if told:
        rows = [(s.command, s.option, _text(s.value), _short(s.origin or s.source)) for s in told]
        click.echo(printable(columns([("COMMAND", "OPTION", "VALUE", "FROM"), *rows])))
    if not names:
        click.echo("All other options have their default values. gradcam-cli config COMMAND lists them.")


def _settings(ctx: click.Context) -> Iterator[Setting]:
    for option in ctx.command.params:
        if isinstance(option, Option) and option.name not in GENERAL:
            value, source = option.consume_value(ctx, {})
            ctx.set_parameter_source(str(option.name), source)
            if source in SOURCES:
                # A value that a run would refuse is refused here too.
                option.process_value(ctx, value)
            shown = max(option.opts, key=len)
            default = source not in SOURCES
            yield Setting(
                " ".join(command_names(ctx)),
                shown,
                _plain(option.get_default(ctx) if default else value),
                SOURCES.get(source, "default"),
                option.origin(ctx),
            )


def _plain(value: Any) -> Any:
    """Convert a value for JSON; None if it has no JSON form."""
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value if isinstance(value, (bool, int, float, str)) else None


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _short(path: str) -> str:
    home = str(Path.home())
    return f"~{path[len(home) :]}" if path.startswith(home + os.sep) else path
