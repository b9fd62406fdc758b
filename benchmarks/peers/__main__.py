"""`make peers`: compare this program with other libraries on the same images in one run.

The other libraries (peers) have their own virtual environments. In each round, every program runs once. The best round
of each program is used, so the engine openvino uses the plan that its first round has stored in the cache. The results
are printed as a table and written as JSON.
"""

import json
import os
import platform
import subprocess
import sys
import time
import venv
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click

from benchmarks.peers.clock import BATCH
from benchmarks.photos import ROOT, SAMPLES, photographs, scratch

HERE = Path(__file__).parent
PEERS = {"pytorch_grad_cam": "torch", "torch_cam": "torch", "tf_keras_vis": "tf", "xplique": "tf"}
OURS = (("tensorflow", "float32"), ("openvino", "float32"), ("openvino", "bfloat16"))


@dataclass(frozen=True)
class Round:
    """One run of one program: images per second from the first to the last file, and seconds of the whole process."""

    images_per_second: float
    process_seconds: float
    versions: dict[str, str]


def environment(folder: Path, name: str) -> Path:
    """Give the Python interpreter of a virtual environment; the environment is created if it does not exist."""
    home = folder / name
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        click.echo(f"making {home} (several gigabytes)", err=True)
        venv.create(home, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", HERE / f"requirements-{name}.txt"], check=True)
    return python


def peer(python: Path, script: str, photos: Path) -> Round:
    """Run the script of a peer; the time of its first batch, which is not measured, is subtracted from its process."""
    with scratch() as out:
        started = time.perf_counter()
        told = json.loads(_run([str(python), "-m", f"benchmarks.peers.{script}", str(photos), out]).splitlines()[-1])
        elapsed = time.perf_counter() - started
    rate = len(list(photos.iterdir())) / told["seconds"]
    return Round(rate, elapsed - BATCH / rate, told["versions"])


def ours(engine: str, precision: str, weights: Path, photos: Path) -> Round:
    """Run this program with one engine and precision."""
    choice = ["--weights", str(weights), "--engine", engine, "--precision", precision, "--batch-size", str(BATCH)]
    with scratch() as out:
        started = time.perf_counter()
        command = [sys.executable, "-m", "gradcam_cli", "explain", str(photos), "-o", out, "-q", *choice]
        _run(command, XDG_CACHE_HOME=str(weights.parent))
        elapsed = time.perf_counter() - started
        record = json.loads((Path(out) / "run.json").read_text())
    return Round(record["images_per_second"], elapsed, record["versions"])


def random_weights(target: Path) -> None:
    """Write the initial random weights of a ResNet50, in a subprocess."""
    make = "import keras, sys; keras.utils.set_random_seed(0); "
    make += "keras.applications.ResNet50(weights=None).save_weights(sys.argv[1])"
    _run([sys.executable, "-c", make, str(target)])


def _run(command: list[str], **environment: str) -> str:
    """Run a program and give its stdout; its stderr is shown only if it fails."""
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def measure(photos: Path, pythons: dict[str, Path], rounds: int) -> dict[str, list[Round]]:
    """Run all programs in each round; give the results of each program by its name."""
    with scratch() as folder:
        weights = Path(folder) / "random.weights.h5"
        random_weights(weights)
        programs = {f"gradcam-cli {e} {p}": partial(ours, e, p, weights, photos) for e, p in OURS}
        programs |= {script: partial(peer, pythons[name], script, photos) for script, name in PEERS.items()}
        results: dict[str, list[Round]] = {name: [] for name in programs}
        for _ in range(rounds):
            for name, program in programs.items():
                results[name].append(program())
                click.echo(f"{name}: {results[name][-1].images_per_second:.1f} images/s", err=True)
    return results


def table(results: dict[str, list[Round]]) -> str:
    """Make the table: rates, times of whole processes, and the speed of each engine of this program as a ratio."""
    rates = {name: max(r.images_per_second for r in rounds) for name, rounds in results.items()}
    yardsticks = {name: rate for name, rate in rates.items() if name.startswith("gradcam-cli")}
    lines = [f"{'':<32} {'images/s':>9} {'process':>9}    each gradcam-cli is so many times as fast"]
    for name, rate in rates.items():
        process = min(r.process_seconds for r in results[name])
        ratios = " ".join(f"{yardstick / rate:>6.1f}" for yardstick in yardsticks.values())
        lines.append(f"{name:<32} {rate:>9.1f} {process:>7.1f} s   {ratios}")
    return "\n".join(lines)


@click.command()
@click.option("--photos", type=click.Path(path_type=Path, exists=True), default=SAMPLES, show_default=True)
@click.option("--count", default=192, show_default=True, help="Photographs; full batches of 16 spare a second trace.")
@click.option("--rounds", default=2, show_default=True)
@click.option("--venvs", type=click.Path(path_type=Path), default=ROOT / ".peers", help="Where environments are kept.")
@click.option("--json", "target", type=click.Path(path_type=Path), default=HERE / "results.json")
def main(photos: Path, count: int, rounds: int, venvs: Path, target: Path) -> None:
    """Measure this program and its peers, and print a table."""
    pythons = {name: environment(venvs.resolve(), name) for name in sorted(set(PEERS.values()))}
    with photographs(photos, count) as links:
        results = measure(links, pythons, rounds)
    click.echo(table(results))
    machine = {"cores": len(os.sched_getaffinity(0)), "machine": platform.machine(), "python": sys.version.split()[0]}
    record = {
        "machine": machine,
        "images": count,
        "rounds": {name: [asdict(r) for r in rounds] for name, rounds in results.items()},
    }
    target.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
