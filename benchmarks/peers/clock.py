"""What the peers' scripts share: arguments, the clock, the records. Nothing but the standard library."""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

BATCH = 16

# Explains a batch of photographs, writes `NAME.overlay.jpg` for each, and gives their classes and scores.
Explain = Callable[[list[Path], Path], list[tuple[int, float]]]


def overlay_path(photo: Path, out: Path) -> Path:
    """Where the overlay of a photograph goes."""
    return out / f"{photo.name}.overlay.jpg"


def run(explain: Explain, distributions: tuple[str, ...]) -> None:
    """Explain the photographs of the folder argv[1] into the folder argv[2], and print seconds and versions as JSON.

    The clock runs from the first file to the last. Start-up is not counted: imports and the network's building are
    over, and one batch has gone through, so that traces and allocations of a first time are over too.
    """
    photos, out = sorted(Path(sys.argv[1]).iterdir()), Path(sys.argv[2])
    explain(photos[:BATCH], out)
    started = time.perf_counter()
    for start in range(0, len(photos), BATCH):
        batch = photos[start : start + BATCH]
        for photo, (index, score) in zip(batch, explain(batch, out), strict=True):
            (out / f"{photo.name}.json").write_text(json.dumps({"class": index, "score": score}))
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "versions": {name: version(name) for name in distributions}}))
