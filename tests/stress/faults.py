"""`make stress`: what takes too long for a test: faults, kills, signals, full disks, memory.

    python tests/stress/faults.py [SECTION...]

Runs the program as a stranger does, with EfficientNet-Lite0 over many links to a few photographs, and prints a line a
section: what was tried, what came of it. Ends with 1 if anything was not as promised.
"""

import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "sample_images").glob("*.jpg"))
MODEL = ("--model", "efficientnetlite0", "-q")
KILLED_AFTER = (0.5, 1, 2, 3, 5, 8)

Contents = dict[str, bytes]


class BrokenPromiseError(AssertionError):
    """The program did not do what docs/reliability.md says."""


def promise(kept: bool, what: str) -> None:
    if not kept:
        raise BrokenPromiseError(what)


def command(*args: str | Path) -> list[str]:
    return [sys.executable, "-m", "gradcam_cli", *map(str, args)]


def run(*args: str | Path, code: int = 0, seconds: float = 300) -> subprocess.CompletedProcess[bytes]:
    started = time.monotonic()
    done = subprocess.run(command(*args), capture_output=True, check=False, timeout=seconds)
    promise(done.returncode == code, f"exit {done.returncode}, not {code}, after {time.monotonic() - started:.1f} s")
    return done


def peak_mb(*args: str | Path) -> float:
    """Peak memory of a run, measured by a small process between: a peak counts what was held at the fork."""
    measured = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=False, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    done = subprocess.run([sys.executable, "-c", measured, *command(*args)], capture_output=True, check=True)
    return int(done.stdout) / 1024


def photographs(folder: Path, count: int) -> Path:
    folder.mkdir()
    for i in range(count):
        shutil.copyfile(SAMPLES[i % len(SAMPLES)], folder / f"{i:05}.jpg")
    return folder


def contents(folder: Path) -> Contents:
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if name != "run.json"}


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gradcam-stress-") as folder:
        yield Path(folder)


def bomb(side: int) -> bytes:
    """A small PNG of side x side grey pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def faults(folder: Path) -> dict[str, str | None]:
    """Make what may lie in a folder of pictures; gives the reason for which each is refused, None for good ones."""
    good = SAMPLES[0].read_bytes()
    files = {
        "good.jpg": (good, None),
        "named_wrongly.png": (good, None),
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"this is no picture\n" * 50, "not_an_image"),
        "zeros.png": (bytes(100_000), "not_an_image"),
        "head_only.jpg": (good[:200], "truncated_or_corrupt"),
        "half.jpg": (good[: len(good) // 2], "truncated_or_corrupt"),
        "nearly.jpg": (good[:-2000], "truncated_or_corrupt"),
        "bomb.png": (bomb(30_000), "too_many_pixels"),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    expected = {name: reason for name, (_, reason) in files.items()}
    os.mkfifo(folder / "pipe.jpg")
    (folder / "folder.jpg").mkdir()
    with (folder / "sparse.jpg").open("wb") as file:
        file.truncate(300 * 2**20)
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "inside.jpg").symlink_to("good.jpg")
    return expected | {
        "pipe.jpg": "not_regular",
        "sparse.jpg": "too_large",
        "inside.jpg": None,
        "loop.jpg": "not_regular",
    }


def section_1_faults() -> str:
    with scratch() as root:
        (root / "faults").mkdir()
        expected = faults(root / "faults")
        started = time.monotonic()
        lines = run("explain", root / "faults", "-o", root / "out", "--jsonl", "-", *MODEL, code=1).stdout.splitlines()
        took = time.monotonic() - started
        records = {record["input"]["path"]: record for record in map(json.loads, lines)}
        found = {name: record["reason"] for name, record in records.items()}
        promise(found == expected, f"{found} is not {expected}")
        overlays = {path.name for path in (root / "out").glob("*.overlay.jpg")}
        promise(overlays == {f"{name}.overlay.jpg" for name, reason in expected.items() if not reason}, f"{overlays}")
        run("verify", root / "out")
        peak = peak_mb("explain", root / "faults", "-o", root / "with", *MODEL)
        for heavy in ("bomb.png", "sparse.jpg"):
            (root / "faults" / heavy).unlink()
        without = peak_mb("explain", root / "faults", "-o", root / "without", *MODEL)
        promise(peak - without < 100, f"{peak:.0f} MB with the bomb, {without:.0f} MB without")
        return f"{len(expected)} inputs in {took:.1f} s, every reason as expected, {peak - without:+.0f} MB by the bomb"


def section_5_kill_and_resume() -> str:
    with scratch() as root:
        photos = photographs(root / "photos", 600)
        run("explain", photos, "-o", root / "whole", *MODEL)
        whole = contents(root / "whole")
        finished = []
        for seconds in KILLED_AFTER:
            out = root / f"killed_{seconds}"
            process = subprocess.Popen(command("explain", photos, "-o", out, *MODEL), stderr=subprocess.DEVNULL)
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
            process.kill()
            process.wait()
            finished.append(len(list(out.glob("*.json"))) if out.exists() else 0)
            run("explain", photos, "-o", out, *MODEL)
            resumed = contents(out)
            different = [name for name in whole.keys() | resumed.keys() if whole.get(name) != resumed.get(name)]
            promise(not different, f"after {seconds} s: {len(different)} files differ, such as {sorted(different)[:3]}")
            run("verify", out)
        return f"killed after {KILLED_AFTER} s with {finished} images done: byte for byte as a run that was not"


def section_7_signals() -> str:
    told = []
    with scratch() as root:
        photos = photographs(root / "photos", 3000)
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            out = root / number.name
            process = subprocess.Popen(command("explain", photos, "-o", out, *MODEL), stderr=subprocess.DEVNULL)
            while not (out.exists() and len(list(out.glob("*.json"))) > 20):
                time.sleep(0.05)
            process.send_signal(number)
            started = time.monotonic()
            promise(process.wait(30) == code, f"{number.name} gave {process.returncode}")
            took = time.monotonic() - started
            promise(took < 5, f"{number.name} took {took:.1f} s")
            promise(json.loads((out / "run.json").read_text())["interrupted"] is True, "run.json")
            promise(not list(out.glob(".gradcam-*")), "temporaries are left")
            run("verify", out)
            told.append(f"{number.name}: {code} after {took:.1f} s")
    return ", ".join(told)


def section_8_full_disk() -> str:
    if shutil.which("unshare") is None:
        return "not tried: there is no unshare here"
    with scratch() as root:
        photos = photographs(root / "photos", 100)
        (root / "disk").mkdir()
        explain = " ".join(command("explain", photos, "-o", root / "disk" / "out", *MODEL))
        script = (
            f"mount -t tmpfs -o size=1m none {root}/disk && {explain}; code=$?; "
            f"{' '.join(command('verify', root / 'disk' / 'out'))}; echo verify=$?; exit $code"
        )
        done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, check=False, timeout=120)
        if b"mount:" in done.stderr or b"unshare:" in done.stderr:
            return f"not tried: {done.stderr.decode().splitlines()[0]}"
        promise(done.returncode == 4, f"exit {done.returncode}: {done.stderr.decode()[-500:]}")
        promise(b"verify=0" in done.stdout, f"what was finished is not valid: {done.stdout.decode()[-500:]}")
        return f"exit 4 on a disk of 1 MB, what was finished is valid: {done.stderr.decode().strip().splitlines()[-1]}"


def section_9_unwritable() -> str:
    with scratch() as root:
        photos = photographs(root / "photos", 2)
        (root / "file").write_text("no folder")
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-X", "importtime", *command("explain", photos, "-o", root / "file" / "out", "-v")[1:]],
            capture_output=True,
            check=False,
            timeout=60,
        )
        took = time.monotonic() - started
        promise(done.returncode == 2, f"exit {done.returncode}")
        promise(b"tensorflow" not in done.stderr, "TensorFlow was imported")
        promise(took < 2, f"{took:.1f} s")
        return f"exit 2 after {took:.2f} s, TensorFlow not imported"


def section_10_two_runs() -> str:
    with scratch() as root:
        photos = photographs(root / "photos", 2000)
        first = subprocess.Popen(command("explain", photos, "-o", root / "out", *MODEL), stderr=subprocess.DEVNULL)
        while not list(root.glob("out/*.json")):
            time.sleep(0.05)
        second = run("explain", photos, "-o", root / "out", *MODEL, code=2)
        first.terminate()
        promise(first.wait(30) == 143, "the first run was disturbed")
        return second.stderr.decode().strip()


def section_11_memory() -> str:
    with scratch() as root:
        peaks = []
        for count in (1000, 10_000):
            photos = root / str(count)
            photos.mkdir()
            for i in range(count):
                (photos / f"{i:05}.jpg").hardlink_to(_copy(root, i % len(SAMPLES)))
            peaks.append(peak_mb("explain", photos, "-o", root / f"out{count}", *MODEL))
        promise(peaks[1] <= 1.1 * peaks[0], f"{peaks}")
        return f"{peaks[0]:.0f} MB at 1,000 photographs, {peaks[1]:.0f} MB at 10,000"


def _copy(root: Path, i: int) -> Path:
    copy = root / SAMPLES[i].name
    if not copy.exists():
        shutil.copyfile(SAMPLES[i], copy)
    return copy


def section_12_vanishing() -> str:
    with scratch() as root:
        photos = photographs(root / "photos", 1000)
        process = subprocess.Popen(
            command("explain", photos, "-o", root / "out", *MODEL), stderr=subprocess.PIPE, text=True
        )
        while not list(root.glob("out/*.json")):
            time.sleep(0.02)
        (photos / "00990.jpg").unlink()
        said = process.communicate(timeout=300)[1]
        promise(process.returncode == 1, f"exit {process.returncode}")
        record = json.loads((root / "out/00990.jpg.json").read_text())
        promise(record["reason"] == "vanished", record["reason"])
        counts = json.loads((root / "out/run.json").read_text())["counts"]
        promise((counts["ok"], counts["error"]) == (999, 1), f"{counts}")
        return said.strip()


SECTIONS: dict[str, Callable[[], str]] = {
    name.removeprefix("section_"): function for name, function in globals().items() if name.startswith("section_")
}


def main(wanted: list[str], sections: dict[str, Callable[[], str]]) -> int:
    broken = 0
    for name, section in sections.items():
        if wanted and not any(word in name.split("_") for word in wanted):
            continue
        try:
            print(f"{name}: {section()}", flush=True)
        except (BrokenPromiseError, subprocess.TimeoutExpired) as error:
            broken += 1
            print(f"{name}: BROKEN: {error}", flush=True)
    return min(broken, 1)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main(sys.argv[1:], SECTIONS))
