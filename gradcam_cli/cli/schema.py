"""`gradcam-cli schema`."""

import click

from gradcam_cli.cli.command import command, option
from gradcam_cli.cli.options import examples


@command(epilog=examples("gradcam-cli schema > sidecar.schema.json", "gradcam-cli schema --run > run.schema.json"))
@option(
    "--run", group="output", is_flag=True, help="Print the schema of run.json, which is also that of a shard's record."
)
def schema(run: bool) -> None:
    """Print the JSON Schema of the sidecar."""
    from gradcam_cli.results.sidecar import run_schema_text, schema_text

    click.echo(run_schema_text() if run else schema_text(), nl=False)
