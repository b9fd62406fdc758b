"""`gradcam-cli layers MODEL`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from gradcam_cli.cli.console import download_bar
from gradcam_cli.cli.options import (
    custom_objects_options,
    image_input_option,
    input_size_option,
    output_option,
    token_grid_option,
)
from gradcam_cli.errors import ModelError
from gradcam_cli.process.streams import quiet_libraries
from gradcam_cli.settings import ModelSettings
from gradcam_cli.text import printable


@click.command(
    epilog="""\b
Example:
  gradcam-cli layers resnet50
  gradcam-cli layers my.keras --json | jq -r '.[] | select(.auto) | .path'
"""
)
@click.argument("model")
@input_size_option
@output_option
@image_input_option
@custom_objects_options[0]
@custom_objects_options[1]
@token_grid_option
@click.option("--json", "as_json", is_flag=True, help="A list for programs.")
@click.option("-v", "--verbose", is_flag=True, help="Let TensorFlow speak.")
def layers(
    model: str,
    input_size: tuple[int, int] | None,
    output_name: str | None,
    image_input: str | None,
    custom_objects: Path | None,
    trust_code: bool,
    token_grid: tuple[int, int] | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """List the layers of MODEL that can be explained, and the one that `auto` would choose.

    MODEL is a name (see `gradcam-cli models`) or a .keras or .h5 file. No weights are downloaded for it.
    """
    with quiet_libraries(verbose=verbose):
        from gradcam_cli.models import load_model
        from gradcam_cli.models.request import locate_model

        settings = ModelSettings(
            model=model,
            input_size=input_size,
            output_name=output_name,
            image_input=image_input,
            custom_objects=custom_objects,
            trust_code=trust_code,
            token_grid=token_grid,
        )
        request = locate_model(settings, download_bar, need_weights=False)
        if request.plan:
            raise ModelError(f"{model}: a plan is compiled for one layer. List those of the model it came from.")
        from gradcam_cli.engines.tracing import list_layers

        found = list_layers(load_model(request, need_weights=False))
    rows = [asdict(layer) for layer in found]
    click.echo(json.dumps(rows, indent=2) if as_json else printable(_table(rows)))


def _table(rows: list[dict[str, Any]]) -> str:
    """One line a layer; the one that `auto` would choose is marked with a star."""
    head = {"path": "PATH", "type": "TYPE", "size": "HxWxC", "calls": "CALLS", "note": "AUTO"}
    cells = [head, *(row | {"size": f"{row['height']}x{row['width']}x{row['channels']}"} for row in rows)]
    widths = {key: max(len(str(cell[key])) for cell in cells) for key in head}
    lines = []
    for cell in cells:
        mark = "* " if cell.get("auto") else "  "
        lines.append((mark + "  ".join(f"{cell[key]!s:<{widths[key]}}" for key in head)).rstrip())
    return "\n".join(lines)
