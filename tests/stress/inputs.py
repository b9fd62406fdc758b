"""`make stress`, the part about inputs, shells and memory: odd trees, closed streams, planted files, signals, limits.

python tests/stress/inputs.py [SECTION...]
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import cv2
import faults
import numpy as np
from faults import MODEL, command, peak_mb, photographs, promise, run, scratch

MEGABYTES_OF_ADDRESSES = (200, 400, 650, 700, 750, 800, 850, 1500)
WITHOUT_PRIVILEGES = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
MOST_MB = 1500


def shell(line: str) -> int:
    return subprocess.run(["bash", "-c", line], capture_output=True, check=False, timeout=300).returncode


def section_streams() -> str:
    with scratch() as root:
        photos = photographs(root / "photos", 3)
        tried = ("2>&-", "2>/dev/full", "0<&- 1>&- 2>&-")
        for i, redirected in enumerate(tried):
            out = root / str(i)
            code = shell(f"{shlex.join(command('explain', photos, '-o', out, *MODEL))} {redirected}")
            promise(code == 0, f"{redirected}: exit {code}")
            promise(len(list(out.glob("*.overlay.jpg"))) == 3, f"{redirected}: the work was not done")
        return f"{len(tried)} ways of closing or filling streams, the work was done"


def section_links() -> str:
    with scratch() as root:
        photos = photographs(root / "data", 20)
        farm = root / "farm"
        farm.mkdir()
        for path in photos.iterdir():
            (farm / path.name).symlink_to(path)
        (farm / "folder").symlink_to(photos)
        (farm / "loop").symlink_to(farm)
        run("explain", farm, "-o", root / "files", *MODEL)
        run("explain", farm, "-o", root / "all", "--follow-links", *MODEL)
        counts = [json.loads((root / name / "run.json").read_text())["counts"]["ok"] for name in ("files", "all")]
        promise(counts == [20, 40], f"{counts}")
        return "a farm of 20 links, 40 with --follow-links, a loop ended"


def section_unreadable() -> str:
    if shutil.which(WITHOUT_PRIVILEGES[0]) is None:
        return "not tried: there is no setpriv here"
    with scratch() as root:
        photos = photographs(root / "photos", 2)
        locked = photographs(photos / "locked", 2)
        locked.chmod(0)
        args = [*WITHOUT_PRIVILEGES, *command("explain", photos, "-o", root / "out", *MODEL)]
        done = subprocess.run(args, capture_output=True, check=False, timeout=300)
        locked.chmod(0o755)
        promise(done.returncode == 1, f"exit {done.returncode}: {done.stderr.decode()[-300:]}")
        promise(b"permission" in done.stderr, "the folder was passed over in silence")
        return "a folder that cannot be listed: exit 1, named"


def section_removed() -> str:
    with scratch() as root:
        photos = photographs(root / "photos", 2000)
        for how in ("removed", "renamed"):
            out = root / how
            process = subprocess.Popen(command("explain", photos, "-o", out, *MODEL), stderr=subprocess.DEVNULL)
            while not list(out.glob("*.jpg.json")):
                time.sleep(0.05)
            out.rename(root / f"{how}_before")
            if how == "removed":
                shutil.rmtree(root / f"{how}_before", ignore_errors=True)
            promise(process.wait(60) == 4, f"{how}: exit {process.returncode}")
            promise(not out.exists(), f"{how}: the folder was made anew")
        return "output folder removed and renamed: exit 4, not made anew"


def section_planted() -> str:
    with scratch() as root:
        photos = photographs(root / "photos", 1)
        out = root / "out"
        run("explain", photos, "-o", out, *MODEL)
        sidecar = next(out.glob("*.jpg.json"))
        record = json.loads(sidecar.read_text())
        (out / "thesis.docx").write_text("mine")
        record["files"] = [{"name": name, "bytes": 1, "sha256": "0" * 64} for name in ("thesis.docx", "../photos")]
        sidecar.write_text(json.dumps(record))
        run("explain", photos, "-o", out, "--mask", "0.5", *MODEL)
        promise((out / "thesis.docx").exists(), "a file was removed because a sidecar named it")
        for text in ("[" * 100_000, '{"a": 1}\n{"a": 2}\n', "\xe4", '{"a": "\\u0000"} // mine'):
            sidecar.write_bytes(text.encode("latin-1"))
            run("explain", photos, "-o", out, *MODEL, code=1)
            promise(sidecar.read_bytes() == text.encode("latin-1"), f"{text[:20]!r} was replaced")
        return "planted names and foreign JSON: nothing was removed or replaced"


def section_interrupts() -> str:
    told = []
    with scratch() as root:
        photos = photographs(root / "photos", 64)
        for args in (("--smooth", "500"), ("--method", "scorecam", "--max-channels", "1000")):
            process = subprocess.Popen(
                command("explain", photos, "-o", root / "out", *MODEL, *args), stderr=subprocess.DEVNULL
            )
            time.sleep(6)
            process.send_signal(signal.SIGINT)
            started = time.monotonic()
            promise(process.wait(60) == 130, f"{args}: exit {process.returncode}")
            took = time.monotonic() - started
            promise(took < 5, f"{args}: {took:.1f} s")
            told.append(f"{took:.1f} s")
    return f"Ctrl-C in long batches: {', '.join(told)}"


def section_memory() -> str:
    """Sixteen pictures of 100 megapixels, each within every limit."""
    with scratch() as root:
        (root / "large").mkdir()
        pixels = np.zeros((10_000, 10_000, 3), np.uint8)
        for i in range(16):
            pixels[:] = (i * 15, 200 - i * 10, 30 + i)
            cv2.imwrite(os.fspath(root / "large" / f"{i:02}.png"), pixels)
        peak = peak_mb("explain", root / "large", "-o", root / "out", "--engine", "openvino", *MODEL)
        ok = json.loads((root / "out" / "run.json").read_text())["counts"]["ok"]
        promise(ok == 16, f"{ok} of 16")
        promise(peak < MOST_MB, f"{peak:.0f} MB")
        return f"16 pictures of 100 megapixels: {peak:.0f} MB"


def section_limits() -> str:
    if shutil.which("prlimit") is None:
        return "not tried: there is no prlimit here"
    told = []
    with scratch() as root:
        photos = photographs(root / "photos", 2)
        for size in MEGABYTES_OF_ADDRESSES:
            args = ["prlimit", f"--as={size * 10**6}", *command("explain", photos, "-o", root / str(size), *MODEL)]
            done = subprocess.run(args, capture_output=True, check=False, timeout=300)
            if done.returncode:
                promise(done.returncode == 4, f"{size} MB: exit {done.returncode}")
                promise(b"not enough memory" in done.stderr, f"{size} MB: {done.stderr.decode()[-200:]}")
            told.append(f"{size}: {done.returncode}")
    return f"exit codes by MB of address space: {', '.join(told)}"


SECTIONS: dict[str, Callable[[], str]] = {
    name.removeprefix("section_"): function for name, function in globals().items() if name.startswith("section_")
}


if __name__ == "__main__":
    sys.exit(faults.main(sys.argv[1:], SECTIONS))
