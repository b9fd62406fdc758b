"""Replace the names of arguments in the library's messages by the names of options."""

import re
from functools import cache

import click

# An argument as the library writes it: `name`, or `name=value`.
ARGUMENT = re.compile(r"`([a-z][a-z0-9_]*)(?:=([^`]+))?`")


def as_options(text: str) -> str:
    """Write each argument that is an option of the program as that option: `` `top_k=5` `` becomes `--top-k 5`.

    A flag stands alone: `` `hidden=True` `` becomes `--hidden`, `` `recursive=False` `` becomes
    `--no-recursive`. Other words in backticks stay as they are.
    """
    return ARGUMENT.sub(_as_option, text)


def _as_option(found: re.Match[str]) -> str:
    name, value = found[1], found[2]
    option = _setting_options().get(name) or _options().get(name)
    if option is None:
        return found[0]
    if value == "False":
        return f"--no-{option.removeprefix('--')}"
    return option if value in {None, "True"} else f"{option} {value}"


@cache
def _setting_options() -> dict[str, str]:
    """The options of a run by the names of their settings."""
    from gradcam_cli.cli.options import option_name
    from gradcam_cli.options import options_of
    from gradcam_cli.requests import EvaluateRequest, ExplainRequest

    return {name: option_name(name) for name in options_of(ExplainRequest) | options_of(EvaluateRequest)}


@cache
def _options() -> dict[str, str]:
    """The longest form of every option of the program, by the name of its argument; imports every command."""
    from gradcam_cli.cli import program

    return {
        str(parameter.name): max(parameter.opts, key=len)
        for command in program.commands.values()
        for parameter in command.params
        if isinstance(parameter, click.Option)
    }
