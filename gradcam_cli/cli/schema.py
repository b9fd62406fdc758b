"""`gradcam-cli schema`."""

import click

from gradcam_cli.cli.command import command
from gradcam_cli.cli.options import examples


@command(epilog=examples("gradcam-cli schema > sidecar.schema.json"))
def schema() -> None:
    """Print the JSON Schema of the sidecar."""
    from gradcam_cli.results.sidecar import schema_text

    click.echo(schema_text(), nl=False)
