"""The entries of the cache of compiled models, and their removal."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gradcam_cli.engines.cache import UNFIT, cached_files, entry_bytes, leftovers, remove
from gradcam_cli.engines.layer_names import layers_folder
from gradcam_cli.engines.plan import read_plan
from gradcam_cli.errors import ModelError
from gradcam_cli.text import age_text, columns, counted, size_text

SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class CacheEntry:
    """One entry of the cache: a compiled plan, a model that needs TensorFlow, or a damaged file.

    `bytes` includes the networks that were compiled from a plan for this machine. `days` is the time since its last
    use.
    """

    file: str
    kind: str
    bytes: int
    days: float
    model: str
    layer: str


@dataclass(frozen=True)
class Removed:
    """The number of removed plans, and of removed notes about models that need TensorFlow."""

    plans: int
    notes: int

    def summary(self) -> str:
        """Describe the removed entries in one sentence."""
        also = f", and {counted(self.notes, 'note')} about models that need TensorFlow" if self.notes else ""
        return f"{counted(self.plans, 'plan')} removed{also}."


def cache_entries() -> list[CacheEntry]:
    """List the compiled models and the models that need TensorFlow, the least recently used first."""
    return [_entry(path) for path in cached_files()]


def cache_table(entries: Iterable[CacheEntry]) -> str:
    """Format the entries as a table."""
    rows = [(e.kind, size_text(e.bytes), age_text(e.days), e.model, e.layer, e.file) for e in entries]
    return columns([("KIND", "SIZE", "USED", "MODEL", "LAYER", "FILE"), *rows])


def clear_cache(older_than: float | None = None) -> Removed:
    """Remove all entries, or those that were not used for `older_than` days."""
    newest = time.time() - (older_than or 0) * SECONDS_A_DAY
    files = [path for path in cached_files() if older_than is None or path.stat().st_mtime < newest]
    names = [] if older_than else list(layers_folder().glob("*.json"))
    for path in (*files, *leftovers(), *names):
        remove(path)
    notes = sum(path.suffix == UNFIT for path in files)
    return Removed(len(files) - notes, notes)


def _entry(path: Path) -> CacheEntry:
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
    return CacheEntry(path.name, kind, entry_bytes(path), round(days, 3), model, layer)
