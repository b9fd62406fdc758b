"""`gradcam-cli models`."""

from gradcam_cli.cli.command import command
from gradcam_cli.cli.console import show_list
from gradcam_cli.cli.options import examples, list_option


@command(epilog=examples("gradcam-cli models --json | jq '.[] | select(.weights_at_hand) | .name'"))
@list_option()
def models(as_json: bool) -> None:
    """List the named models, their input sizes, and whether their weights are on this machine."""
    from gradcam_cli.models.listed import listed_models, models_table

    show_list(listed_models(), models_table, as_json=as_json)
