"""`gradcam-cli models`."""

import json
from typing import Any

import click

from gradcam_cli.cli.options import list_option
from gradcam_cli.settings import ModelSettings


@click.command(
    epilog="""\b
Example:
  gradcam-cli models --json | jq '.[] | select(.weights_at_hand) | .name'
"""
)
@list_option()
def models(as_json: bool) -> None:
    """List the models that have a name, their input sizes, and whether their weights are at hand."""
    from gradcam_cli.models.named import NAMED_MODELS
    from gradcam_cli.models.weights import weights_at_hand

    rows = [
        {
            "name": model.name,
            "input_size": {"width": model.size, "height": model.size},
            "preprocess": model.preprocess,
            "weights_at_hand": weights_at_hand(model),
            "default": model.name == ModelSettings().model,
        }
        for model in NAMED_MODELS.values()
    ]
    click.echo(json.dumps(rows, indent=2) if as_json else _table(rows))


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'NAME':<20} {'INPUT':<9} {'PREPROCESS':<11} WEIGHTS"]
    for row in rows:
        size = f"{row['input_size']['height']}x{row['input_size']['width']}"
        weights = "at hand" if row["weights_at_hand"] else "downloaded when first used"
        default = " (the default)" if row["default"] else ""
        lines.append(f"{row['name']:<20} {size:<9} {row['preprocess']:<11} {weights}{default}")
    return "\n".join(lines)
