"""Results of many images as tars and as tables: memory, rates, and how long a later run takes to see what is finished.

    python tests/stress/scale.py 100000            # of each format, in processes of their own
    python tests/stress/scale.py 1000000 --work /mnt/scratch

A stub takes the place of the network: each image has a record of a real run and an overlay of 8 kB. What is measured is
the way of a record into its part, the manifest, the index, and all records read back.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradcam_cli.inputs.sources import Source
from gradcam_cli.results.folders import run_folder
from gradcam_cli.results.output import Names
from gradcam_cli.results.reading import records_below
from gradcam_cli.results.sidecar import schema_text
from gradcam_cli.results.tree import tree_of

OVERLAY = bytes(range(256)) * 32
HEAT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v/w=="
FORMATS = ("webdataset", "parquet")
JSON = dict[str, Any]


def sources(count: int) -> Iterator[Source]:
    """Give inputs one by one, in the order of their names: 1,000 in a folder."""
    for i in range(count):
        place = f"{i // 1000:06}/{i:09}.jpg"
        yield Source(place, f"photos/{place}")


def record_of(source: Source, *, overlay: bool) -> JSON:
    """Give a record with the fields of a real run."""
    name = source.relative.rpartition("/")[2]
    file = {"name": f"{name}.overlay.jpg", "bytes": len(OVERLAY), "sha256": "b" * 64}
    seen = {
        "index": 281,
        "label": "tabby",
        "wnid": "n02123045",
        "logit": 9.125,
        "probability": 0.75,
        "value": None,
        "overlay": file["name"] if overlay else None,
        "map": None,
        "heat": {"height": 7, "width": 7, "uint8": HEAT},
        "peak": {"x": 100, "y": 90},
        "area": 0.125,
        "boxes": None,
        "flat": False,
    }
    given = dict.fromkeys(("orientation_applied", "frames", "alpha", "reduction", "range"))
    image = {"path": source.relative, "sha256": "a" * 64, "bytes": 1000, "mtime_ns": 1, "width": 500, "height": 375}
    text = dict.fromkeys(("layer_reason", "preprocess_reason", "output_reason"), "a sentence that says why")
    model = {"name": "resnet50", "sha256": "c" * 64, "layer": "conv5_block3_out", "engine": "openvino", **text}
    return {
        "schema_version": 2,
        "status": "ok",
        "reason": None,
        "message": None,
        "input": {**given, **image},
        "model": {**model, "preprocess": "caffe", "precision": "float32", "fit": "squash"},
        "method": {"name": "gradcam++", "score": "logit"},
        "options_sha256": "d" * 64,
        "versions": {"gradcam-cli": "1", "numpy": "2"},
        "classes": [seen],
        "files": [file] if overlay else [],
    }


def measure(packing: Any, count: int, root: Path) -> JSON:
    """Write, look up, and read back; memory is the process's highest so far."""
    found: JSON = {"format": packing, "images": count, "start MB": memory()}
    began = time.perf_counter()
    overlay = packing == "webdataset"
    with run_folder(root, format=packing).held() as folder:
        for source in sources(count):
            record = record_of(source, overlay=overlay)
            names = Names(source, several=False)
            folder.write_image(names, {names.overlay(281): OVERLAY} if overlay else {}, record)
            folder.settle(record)
        folder.write_run({"schema_version": 2, "options": {}, "options_sha256": "d" * 64, "versions": {}})
    found |= {"write s": lap(began), "write MB": memory()}
    began = time.perf_counter()
    with run_folder(root, format=packing).held() as folder:
        known = sum(is_known(folder.read_known(source)) for source in sources(count))
    found |= {"resume s": lap(began), "resume MB": memory(), "known": known}
    began = time.perf_counter()
    read = sum(record["status"] == "ok" for _, record in records_below(tree_of(root)))
    found |= {"read s": lap(began), "read MB": memory(), "read": read}
    sizes = [path.stat().st_size for path in root.iterdir()]
    return found | {"files": len(sizes), "bytes": sum(sizes)}


def is_known(known: JSON | None) -> bool:
    """Compare what a later run compares of a record."""
    if known is None or known["status"] != "ok" or known["options_sha256"] != "d" * 64:
        return False
    return bool(known["input"]["bytes"] == 1000 and known["input"]["mtime_ns"] == 1)


def lap(began: float) -> float:
    """Give the seconds since then."""
    return round(time.perf_counter() - began, 2)


def memory() -> float:
    """Give the highest resident memory of this process so far, in MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def main() -> int:
    """Measure both formats at 10,000 images and at COUNT, and compare their memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--formats", nargs="*", default=FORMATS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, given.count, given.work)))
        return 0
    failures = 0
    for packing in given.formats:
        small, large = (run_one(packing, count, given.work) for count in (10_000, given.count))
        ratios = {name: round(large[f"{name} MB"] / small[f"{name} MB"], 2) for name in ("write", "resume", "read")}
        print("memory, of that at 10,000:", ratios, flush=True)
        failures += not large["known"] == large["read"] == given.count or max(ratios.values()) > 1.2
    return int(failures > 0)


def run_one(packing: str, count: int, work: Path) -> JSON:
    """Measure in a process of its own."""
    root = Path(tempfile.mkdtemp(prefix="gradcam-scale-", dir=work))
    try:
        command = [sys.executable, __file__, str(count), "--one", packing, "--work", str(root)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    finally:
        shutil.rmtree(root)
    print(done.stdout.strip(), flush=True)
    found: JSON = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    assert schema_text(), "the package is installed"
    sys.exit(main())
