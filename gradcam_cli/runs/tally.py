"""The counts of a run, and its exit code."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gradcam_cli.text import counted

OK, FAILED = 0, 1


@dataclass
class Tally:
    """Counts the records of a run; only the `last` record is kept.

    `asked` is the number of images of the run; `stopped` means that it stopped because too many failed.
    """

    asked: int = 0
    started: float = field(default_factory=time.monotonic)
    counts: Counter[str] = field(default_factory=Counter)
    before: int = 0
    last: Mapping[str, Any] | None = None
    stopped: bool = False
    nothing_likely: int = 0

    def add(self, record: Mapping[str, Any], *, before: bool = False) -> None:
        """Count one record by its status; `before` if an earlier run has made it."""
        self.counts[record["status"]] += 1
        self.before += before
        self.last = record
        self.nothing_likely += record["status"] != "error" and not record["classes"]

    @property
    def total(self) -> int:
        """The number of images that were explained or failed."""
        return self.counts.total()

    @property
    def left(self) -> int:
        """The number of images that were not processed."""
        return self.asked - self.total

    @property
    def images_per_second(self) -> float:
        """Images per second since the run began, without its start-up."""
        return (self.total - self.before) / self.seconds

    @property
    def seconds(self) -> float:
        """Time since the run began, without its start-up."""
        return max(time.monotonic() - self.started, 1e-9)

    @property
    def exit_code(self) -> int:
        """0 when every image was explained, 1 when at least one was not."""
        return FAILED if self.counts["error"] else OK

    def summary(self) -> str:
        """The run in one line."""
        parts = [f"{self.counts['ok']} ok"]
        parts += [
            f"{self.counts[key]} {word}" for key, word in (("flat", "flat"), ("error", "failed")) if self.counts[key]
        ]
        if not self.asked:
            return "no images"
        if not self.total:
            return f"none of {counted(self.asked, 'image')} was explained"
        if self.before == self.total == self.asked:
            return f"{counted(self.total, 'image')}: {', '.join(parts)}; all were done before"
        parts += [f"{self.before} of them before"] if self.before else []
        return f"{counted(self.total, 'image')}: {', '.join(parts)} ({self.images_per_second:.1f} images/s)"

    def as_record(self) -> dict[str, int]:
        """The counts for `run.json`."""
        counts = {key: self.counts[key] for key in ("ok", "flat", "error")}
        done = self.total - self.counts["error"]
        return {
            "asked": self.asked,
            "done": done,
            "failed": self.counts["error"],
            "left": self.left,
            "total": self.total,
            **counts,
            "before": self.before,
        }
