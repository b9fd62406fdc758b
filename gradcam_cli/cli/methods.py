"""`gradcam-cli methods`."""

from gradcam_cli.cli.command import command
from gradcam_cli.cli.console import show_list
from gradcam_cli.cli.options import examples, list_option
from gradcam_cli.cli.wording import as_options


@command(
    epilog=examples(
        "gradcam-cli methods",
        """gradcam-cli methods --json | jq -r '.[] | select(.head == "any") | .name'""",
        head="Example",
    )
)
@list_option()
def methods(as_json: bool) -> None:
    """List the methods: their maps, the number of forward passes for an image, and the head that they need."""
    from gradcam_cli.methods.listed import listed_methods, methods_table

    show_list(listed_methods(as_options), methods_table, as_json=as_json)
