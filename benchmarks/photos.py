"""The images that the benchmarks use."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "sample_images"
# Git ignores this folder, so the files of a killed benchmark are never committed.
SCRATCH = ROOT / "build"


@contextmanager
def scratch() -> Iterator[str]:
    """Give a temporary folder on the file system of the project; it is removed at the end."""
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        yield folder


@contextmanager
def photographs(folder: Path, count: int) -> Iterator[Path]:
    """Give a folder with `count` images: hard links to copies of the JPEG files of `folder`, repeated as needed."""
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
