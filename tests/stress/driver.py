"""Memory and time of whole runs over many records, with a stub in the place of the network.

    python tests/stress/driver.py 1000000                       # a folder of folders, into tables
    python tests/stress/driver.py 1000000 --inputs flat list tar --work /mnt/scratch
    python tests/stress/driver.py 1000000 --pool workers=2

Each count runs in a process of its own, and once more over the same output, where all images are finished. The highest
memory of the process may be 1.2 times that at 10,000 images.
"""

import argparse
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from fakes import FakeEngines  # noqa: E402 - found by the line above

from gradcam_cli.inputs.discovery import Found  # noqa: E402 - as above
from gradcam_cli.options import explain_request  # noqa: E402 - as above
from gradcam_cli.runs.explain import run_explain  # noqa: E402 - as above
from gradcam_cli.runs.observer import RunObserver  # noqa: E402 - as above

JSON = dict[str, Any]
SMALL = 10_000
IN_A_FOLDER = 1_000
# The file system takes so many links to one file, with room to spare.
LINKS = 30_000


def picture(seed: int) -> bytes:
    """Give a small photograph."""
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def make_links(root: Path, count: int, in_a_folder: int) -> None:
    """Make so many names of few pictures."""
    for i in range(count):
        folder = root / f"{i // in_a_folder:06}"
        if i % in_a_folder == 0:
            folder.mkdir(parents=True)
        first = root.parent / f"picture-{i // LINKS}.jpg"
        if i % LINKS == 0:
            first.write_bytes(picture(i // LINKS))
        os.link(first, folder / f"photograph-{i:09}.jpg")


def make_tars(root: Path, count: int) -> list[Path]:
    """Make tars of 10,000 pictures."""
    root.mkdir()
    data = picture(0)
    made = []
    for start in range(0, count, 10_000):
        made.append(root / f"{start // 10_000:05}.tar")
        with tarfile.open(made[-1], "w") as tar:
            for i in range(start, min(count, start + 10_000)):
                member = tarfile.TarInfo(f"photograph-{i:09}.jpg")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return made


def inputs_of(kind: str, root: Path, count: int) -> tuple[list[Path], JSON]:
    """Make inputs of one kind, and give what a request takes of them."""
    if kind == "tar":
        return make_tars(root / "tars", count), {}
    make_links(root / "photos", count, count if kind == "flat" else IN_A_FOLDER)
    if kind != "list":
        return [root / "photos"], {}
    with (root / "list.txt").open("w") as file:
        for folder in sorted((root / "photos").iterdir()):
            file.writelines(f"{path}\n" for path in sorted(folder.iterdir()))
    return [], {"files_from": str(root / "list.txt")}


class Watching(RunObserver):
    """Notes when which part of a run begins, and the memory until then."""

    def __init__(self) -> None:
        """Begin."""
        self.seen: JSON = {}
        self._began = time.perf_counter()

    def note_part(self, name: str) -> None:
        """Note the end of a part."""
        now = time.perf_counter()
        self.seen[name] = {"s": round(now - self._began, 1), "MB": memory()}
        self._began = now

    def found(self, found: Found) -> None:
        """Note the end of the listing."""
        self.seen["images"] = len(found.sources)
        self.note_part("listed")

    def started(self, total: int) -> None:
        """Note that it is known what is finished."""
        assert total == self.seen["images"]
        self.note_part("decided")


def memory() -> float:
    """Give the highest resident memory of this process so far, in MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def measure(paths: list[str], options: JSON, output: Path) -> JSON:
    """Run, and say how long each part took, and how much memory it needed."""
    watching = Watching()
    run = run_explain(explain_request(paths, output, options), watching, engines=FakeEngines())
    watching.note_part("explained")
    used = resource.getrusage(resource.RUSAGE_SELF)
    return watching.seen | {"counts": run.counts, "CPU s": round(used.ru_utime + used.ru_stime, 1)}


def run_one(paths: list[str], options: JSON, output: Path) -> JSON:
    """Measure in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    command = [sys.executable, __file__, "0", "--one", json.dumps([paths, options, str(output)])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    print(done.stdout.strip(), flush=True)
    found: JSON = json.loads(done.stdout)
    return found


def measure_kind(kind: str, options: JSON, count: int, work: Path) -> tuple[float, float]:
    """Give the highest memory of a run over so many images, and of a second run into the same folder."""
    root = Path(tempfile.mkdtemp(prefix="gradcam-driver-", dir=work))
    try:
        paths, more = inputs_of(kind, root, count)
        given = [str(path) for path in paths], {**options, **more}, root / "out"
        first, second = run_one(*given), run_one(*given)
    finally:
        shutil.rmtree(root)
    assert first["counts"]["ok"] + first["counts"]["flat"] == second["counts"]["before"] == count
    return first["explained"]["MB"], second["explained"]["MB"]


def main() -> int:
    """Compare the memory at COUNT with that at 10,000 images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--inputs", nargs="*", default=["folders"], choices=["folders", "flat", "list", "tar"])
    parser.add_argument("--format", default="parquet", choices=["parquet", "webdataset", "files"])
    parser.add_argument("--pool", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        paths, options, output = json.loads(given.one)
        print(json.dumps(measure(paths, options, Path(output))))
        return 0
    pool = dict(pair.split("=", 1) for pair in given.pool)
    options = {"format": given.format, "batch_size": 32, **{k: int(v) if v.isdigit() else v for k, v in pool.items()}}
    worst = 0.0
    for kind in given.inputs:
        small, large = (measure_kind(kind, options, count, given.work) for count in (SMALL, given.count))
        ratios = [round(there / here, 2) for here, there in zip(small, large, strict=True)]
        print(kind, "memory, of that at 10,000:", ratios, flush=True)
        worst = max(worst, *ratios)
    return int(worst > 1.2)


if __name__ == "__main__":
    sys.exit(main())
