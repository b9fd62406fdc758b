"""The report of `explain` for a CI system, made from the records of its images in bounded memory."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from gradcam_cli.results.ci_report import CiReport
from gradcam_cli.results.junit import CaseList
from gradcam_cli.results.markdown import Table, Worst
from gradcam_cli.results.sidecar import Record
from gradcam_cli.text import counted

HEAD = ("image", "class", "probability", "heat area")


@dataclass(eq=False)
class ExplainCi:
    """Collects the records of images, and makes a report from them.

    Attributes:
        images: a test case for each image.
        statuses: the number of images with each status.
        facts: the model, layer and method of the last record; '' if there was none.
        left: the number of images that were not reached.
    """

    images: CaseList = field(default_factory=CaseList)
    statuses: Counter[str] = field(default_factory=Counter)
    facts: str = ""
    left: int = 0
    _least: Worst[tuple[str, ...]] = field(default_factory=Worst)

    def add(self, record: Record) -> None:
        """Add the record of one image."""
        path, model = record["input"]["path"], record["model"]
        self.statuses[record["status"]] += 1
        self.facts = f"Model {model['name']}, layer {model['layer']}, method {record['method']['name']}."
        if record["status"] == "error":
            self.images.add_failed_image(path, record["reason"], record["message"])
            return
        self.images.add(path)
        if record["classes"]:
            self._keep_least(path, record["classes"][0])

    def report(self) -> CiReport:
        """Make the report from the records so far."""
        table = Table("Least probable", HEAD, tuple(self._least.rows()), self.statuses.total() - self.statuses["error"])
        stop = f"Stopped: {counted(self.left, 'image')} not reached." if self.left else ""
        notes = (self.facts,) if self.facts else ()
        return CiReport("explain", self.images, self._outcome(), notes=notes, tables=(table,), stop=stop)

    def _keep_least(self, path: str, best: dict[str, Any]) -> None:
        probability = best["probability"]
        if probability is not None:
            row = (path, str(best["label"] or best["index"]), f"{probability:.3f}", f"{best['area']:.3f}")
            self._least.add(-probability, row)

    def _outcome(self) -> str:
        words = {"ok": "ok", "flat": "flat", "error": "failed"}
        parts = [f"{self.statuses[status]} {word}" for status, word in words.items() if self.statuses[status]]
        return f"{counted(self.statuses.total(), 'image')}: {', '.join(parts) or 'none explained'}"
