"""`gradcam-cli help`."""

import click

from gradcam_cli.cli.command import argument, command
from gradcam_cli.cli.options import examples


@command(epilog=examples("gradcam-cli help explain", "gradcam-cli help cache clear"))
@argument("names", metavar="[COMMAND]...", nargs=-1)
@click.pass_context
def help_(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Show the help of the program or of COMMAND."""
    shown = ctx.find_root()
    for name in names:
        if not isinstance(shown.command, click.Group):
            raise click.UsageError(f"{shown.command_path} has no sub-commands.", ctx)
        _, found, _ = shown.command.resolve_command(shown, [name])
        shown = click.Context(found or shown.command, shown, info_name=name)
    click.echo(shown.get_help())
