"""The photographs that benchmarks run on."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "sample_images"
# Git ignores it: what a benchmark that was killed leaves there is never committed.
SCRATCH = ROOT / "build"


@contextmanager
def scratch() -> Iterator[str]:
    """Give a folder on the file system of the project, which is removed at the end."""
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        yield folder


@contextmanager
def photographs(folder: Path, count: int) -> Iterator[Path]:
    """So many photographs: those of a folder (the samples unless told), hard-linked again and again."""
    originals = sorted(p for p in folder.iterdir() if p.suffix.lower() in {".jpg", ".jpeg"})
    with scratch() as root:
        copies = [Path(root) / p.name for p in originals]
        for original, copy in zip(originals, copies, strict=True):
            shutil.copyfile(original, copy)
        links = Path(root) / "photos"
        links.mkdir()
        for i in range(count):
            (links / f"{i:06}.jpg").hardlink_to(copies[i % len(copies)])
        yield links
