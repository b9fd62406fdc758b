"""`gradcam-cli methods`."""

import json

import click

from gradcam_cli.cli.options import examples, list_option
from gradcam_cli.cli.wording import as_options
from gradcam_cli.settings import RunSettings
from gradcam_cli.text import columns, mark


@click.command(
    epilog=examples(
        "gradcam-cli methods",
        """gradcam-cli methods --json | jq -r '.[] | select(.head == "any") | .name'""",
        head="Example",
    )
)
@list_option()
def methods(as_json: bool) -> None:
    """List the methods: what they do, what they cost in forward passes, and what head they need."""
    from gradcam_cli.methods import METHODS

    default = RunSettings().method
    if as_json:
        rows = [
            {"name": m.name, "line": m.line, "cost": as_options(m.cost), "head": m.head, "default": m.name == default}
            for m in METHODS.values()
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    lines = [(mark(m.name == default) + m.name, m.head, as_options(m.cost), m.line) for m in METHODS.values()]
    click.echo(columns([("  METHOD", "HEAD", "FORWARD PASSES AN IMAGE", "MAP"), *lines]))
