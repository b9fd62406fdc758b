"""`gradcam-cli cache`: list, clear, path."""

import click

from gradcam_cli.cli.command import FloatRange, Group, option
from gradcam_cli.cli.console import say, show_list
from gradcam_cli.cli.options import examples, list_option


@click.group(cls=Group, epilog=examples("gradcam-cli cache list"))
def cache() -> None:
    """Manage the cache of compiled models."""


@cache.command("list", epilog=examples("gradcam-cli cache list", "gradcam-cli cache list --json | jq '.[].model'"))
@list_option()
def list_(as_json: bool) -> None:
    """List the compiled models and the models that need TensorFlow, the least recently used first."""
    from gradcam_cli.engines.cache_entries import cache_entries, cache_table

    show_list(cache_entries(), cache_table, as_json=as_json)


@cache.command(epilog=examples("gradcam-cli cache clear", "gradcam-cli cache clear --older-than 30"))
@option(
    "--older-than",
    group="limits",
    type=FloatRange(min=0),
    metavar="DAYS",
    help="Remove only models that were not used for this number of days.",
)
def clear(older_than: float | None) -> None:
    """Remove compiled models. A model is compiled again when it is needed."""
    from gradcam_cli.engines.cache_entries import clear_cache

    say(clear_cache(older_than).summary())


@cache.command(epilog=examples('du -sh "$(gradcam-cli cache path)"'))
def path() -> None:
    """Print the folder of the compiled models."""
    from gradcam_cli.engines.cache import cache_folder

    click.echo(str(cache_folder()))
