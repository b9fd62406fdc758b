"""`gradcam-cli cache`: list, clear, path."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from gradcam_cli.cli.console import say
from gradcam_cli.errors import ModelError
from gradcam_cli.text import counted, printable

SECONDS_A_DAY = 86_400
UNITS = ("B", "kB", "MB", "GB")


@dataclass(frozen=True)
class Entry:
    """One file of the cache: a compiled plan, a model that needs TensorFlow, or a damaged file."""

    file: str
    kind: str
    bytes: int
    days: float
    model: str
    layer: str


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
@click.option("--json", "as_json", is_flag=True, help="A list for programs.")
def list_(as_json: bool) -> None:
    """List the compiled models, and the models that need TensorFlow; the least recently used first."""
    from gradcam_cli.engines.cache import cached_files

    entries = [_entry(path) for path in cached_files()]
    click.echo(json.dumps([asdict(entry) for entry in entries], indent=2) if as_json else printable(_table(entries)))


def _entry(path: Path) -> Entry:
    from gradcam_cli.engines.cache import UNFIT
    from gradcam_cli.engines.plan import read_plan

    kind, model, layer = "plan", "", ""
    stats = path.stat()
    if path.suffix == UNFIT:
        kind, model = "needs TensorFlow", path.read_text(encoding="utf-8", errors="replace").partition(": ")[0]
    else:
        try:
            plan = read_plan(path)
            model, layer = plan.name, plan.layer.path
        except ModelError:
            kind = "damaged"
    days = max(0.0, time.time() - stats.st_mtime) / SECONDS_A_DAY
    return Entry(path.name, kind, stats.st_size, round(days, 3), model, layer)


def _table(entries: list[Entry]) -> str:
    head = ("KIND", "SIZE", "USED", "MODEL", "LAYER", "FILE")
    rows = [head, *((e.kind, _size(e.bytes), _age(e.days), e.model, e.layer, e.file) for e in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)


def _size(count: float) -> str:
    for unit in UNITS:
        if count < 1000 or unit == UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == UNITS[0] else f"{count:.1f} {unit}"


def _age(days: float) -> str:
    return "today" if days < 1 else f"{counted(int(days), 'day')} ago"


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
    from gradcam_cli.engines.cache import UNFIT, cached_files, leftovers

    newest = time.time() - (older_than or 0) * SECONDS_A_DAY
    files = [path for path in cached_files() if older_than is None or path.stat().st_mtime < newest]
    for path in (*files, *leftovers()):
        path.unlink(missing_ok=True)
    markers = sum(path.suffix == UNFIT for path in files)
    also = f", and {counted(markers, 'note')} about models that need TensorFlow" if markers else ""
    say(f"{counted(len(files) - markers, 'plan')} removed{also}.")


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
