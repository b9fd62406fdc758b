"""`gradcam-cli methods`."""

import json
from typing import Any

import click

from gradcam_cli.cli.explain import DEFAULTS
from gradcam_cli.cli.wording import as_options


@click.command(
    epilog="""\b
Example:
  gradcam-cli methods
  gradcam-cli methods --json | jq -r '.[] | select(.head == "any") | .name'
"""
)
@click.option("--json", "as_json", is_flag=True, help="A list for programs.")
def methods(as_json: bool) -> None:
    """List the methods: what they do, what they cost in forward passes, and what head they need."""
    from gradcam_cli.methods import METHODS

    rows = [
        {
            "name": method.name,
            "line": method.line,
            "cost": as_options(method.cost),
            "head": method.head,
            "default": method.name == DEFAULTS.method,
        }
        for method in METHODS.values()
    ]
    click.echo(json.dumps(rows, indent=2) if as_json else _table(rows))


def _table(rows: list[dict[str, Any]]) -> str:
    """One line a method; the default is marked with a star."""
    head = {"name": "METHOD", "head": "HEAD", "cost": "FORWARD PASSES AN IMAGE", "line": "MAP"}
    cells = [head, *rows]
    widths = {key: max(len(cell[key]) for cell in cells) for key in head}
    lines = []
    for cell in cells:
        mark = "* " if cell.get("default") else "  "
        lines.append((mark + "  ".join(f"{cell[key]:<{widths[key]}}" for key in head)).rstrip())
    return "\n".join(lines)
