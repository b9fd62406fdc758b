"""The common part of the peers' scripts: arguments, measurement and records. It needs only the standard library."""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

BATCH = 16

# Explains a batch of images, writes `NAME.overlay.jpg` for each, and gives their classes and scores.
Explain = Callable[[list[Path], Path], list[tuple[int, float]]]


def overlay_path(photo: Path, out: Path) -> Path:
    """Give the path of the overlay of an image."""
    return out / f"{photo.name}.overlay.jpg"


def run(explain: Explain, distributions: tuple[str, ...]) -> None:
    """Explain the images of the folder argv[1], write to the folder argv[2], and print seconds and versions as JSON.

    The time is measured from the first file to the last. Start-up is not included: the imports and the construction of
    the network are complete, and one batch was explained before, so tracing and first allocations are complete too.
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
