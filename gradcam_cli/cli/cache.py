"""`gradcam-cli cache`: list, clear, path."""

import json
from dataclasses import asdict

import click

from gradcam_cli.cli.console import say
from gradcam_cli.cli.options import list_option
from gradcam_cli.text import age_text, columns, counted, printable, size_text


@click.group(
    epilog="""\b
Example:
  gradcam-cli cache list
"""
)
def cache() -> None:
    """Look after the cache of compiled models."""


@cache.command(
    "list",
    epilog="""\b
Examples:
  gradcam-cli cache list
  gradcam-cli cache list --json | jq '.[].model'
""",
)
@list_option()
def list_(as_json: bool) -> None:
    """List the compiled models, and the models that need TensorFlow; the least recently used first."""
    from gradcam_cli.engines.cache_entries import cache_entries

    entries = cache_entries()
    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in entries], indent=2))
        return
    rows = [(e.kind, size_text(e.bytes), age_text(e.days), e.model, e.layer, e.file) for e in entries]
    click.echo(printable(columns([("KIND", "SIZE", "USED", "MODEL", "LAYER", "FILE"), *rows])))


@cache.command(
    epilog="""\b
Examples:
  gradcam-cli cache clear
  gradcam-cli cache clear --older-than 30
"""
)
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Remove only what was not used for so many days.",
)
def clear(older_than: float | None) -> None:
    """Remove compiled models; a model is compiled again when it is needed."""
    from gradcam_cli.engines.cache_entries import clear_cache

    removed = clear_cache(older_than)
    also = f", and {counted(removed.notes, 'note')} about models that need TensorFlow" if removed.notes else ""
    say(f"{counted(removed.plans, 'plan')} removed{also}.")


@cache.command(
    epilog="""\b
Example:
  du -sh "$(gradcam-cli cache path)"
"""
)
def path() -> None:
    """Print the folder of the compiled models."""
    from gradcam_cli.engines.cache import cache_folder

    click.echo(str(cache_folder()))
