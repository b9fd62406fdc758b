"""docs/commands.md is what the program says of itself."""

import re

import click
from conftest import ROOT

from gradcam_cli.cli import program
from gradcam_cli.cli.command import Option
from gradcam_cli.cli.environment import contexts_of

PAGE = (ROOT / "docs/commands.md").read_text(encoding="utf-8")


def test_every_command_and_option_is_on_the_page() -> None:
    root = click.Context(program, info_name="gradcam-cli", auto_envvar_prefix="GRADCAM_CLI")
    for each in contexts_of(root):
        (section,) = re.findall(rf"^##+ {each.command_path}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
        for option in (parameter for parameter in each.command.params if isinstance(parameter, Option)):
            (row,) = [line for line in section.splitlines() if line.endswith(f"| `{option.variables(each)[0]}` |")]
            assert all(name in row for name in (*option.opts, *option.secondary_opts))


def test_rows_have_their_defaults() -> None:
    rows = {line.split(" | ")[0][2:]: line for line in PAGE.split("## gradcam-cli merge")[0].splitlines()}
    assert "| `1, or 0 with --class` | `GRADCAM_CLI_EXPLAIN_TOP_K` |" in rows["`--top-k K`"]
    assert "(0<=x<=1) | `0.45` | `GRADCAM_CLI_EXPLAIN_ALPHA` |" in rows["`--alpha A`"]
    assert r"`-m, --model NAME\|FILE" in "".join(rows)
    assert not re.search(r"\[default", PAGE)
