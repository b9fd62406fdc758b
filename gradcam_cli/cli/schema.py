"""`gradcam-cli schema`."""

import click


@click.command(
    epilog="""\b
Example:
  gradcam-cli schema > sidecar.schema.json
"""
)
def schema() -> None:
    """Print the JSON Schema of the sidecar."""
    from gradcam_cli.results.sidecar import schema_text

    click.echo(schema_text(), nl=False)
