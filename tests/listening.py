"""What tests of workers see of a run: its records, and its files without what the clock changes."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from conftest import sources

from gradcam_cli.inputs.discovery import Found
from gradcam_cli.results.sidecar import Record
from gradcam_cli.runs.observer import RunObserver

OF_THE_CLOCK = ("seconds", "images_per_second")


@dataclass
class Listening(RunObserver):
    """Keeps records; raises after so many of them."""

    stop_after: int | None = None
    records: list[Record] = field(default_factory=list)
    total: int = 0

    def found(self, found: Found) -> None:
        del found

    def started(self, total: int) -> None:
        self.total = total

    def record(self, record: Record, *, before: bool) -> None:
        del before
        self.records.append(record)
        if len(self.records) == self.stop_after:
            raise KeyboardInterrupt


def files(root: Path) -> dict[str, bytes]:
    """All files of a run; of its record what the clock does not change."""
    found = {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
    record = {k: v for k, v in json.loads(found["run.json"]).items() if k not in OF_THE_CLOCK}
    return {**found, "run.json": json.dumps(record).encode()}


def pictures_and_one_bad(root: Path, count: int) -> Path:
    """Make a folder of so many pictures, and `bad.jpg`, which is none."""
    root.mkdir()
    sources(root, count)
    (root / "bad.jpg").write_bytes(b"no picture")
    return root


def white(path: Path) -> None:
    assert cv2.imwrite(str(path), np.full((20, 20, 3), 255, np.uint8))
