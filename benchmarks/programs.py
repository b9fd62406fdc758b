"""Run the program for measurements: whole processes, and folders of images."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.photos import scratch

BATCH = 16


def program_rate(photos: Path, options: list[str]) -> float:
    """Give the images per second of the program, from files to files, without start-up, from its `run.json`."""
    with scratch() as out:
        command = [sys.executable, "-m", "gradcam_cli", "explain", str(photos), "-o", out, "-q", *options]
        subprocess.run([*command, "--batch-size", str(BATCH)], check=True)
        return float(json.loads((Path(out) / "run.json").read_text())["images_per_second"])


@contextmanager
def weights_of(model: str) -> Iterator[Path | None]:
    """Give a file of random weights for a model; None if a Python package contains its weights."""
    from gradcam_cli.models.named import NAMED_MODELS

    if NAMED_MODELS[model].weights is None:
        yield None
        return
    import keras

    with scratch() as folder:
        weights = Path(folder) / "random.weights.h5"
        keras.utils.set_random_seed(0)
        getattr(keras.applications, NAMED_MODELS[model].builder)(weights=None).save_weights(weights)
        yield weights


def named(model: str, weights: Path | None) -> list[str]:
    """Give the options that select a model."""
    return ["--model", model] + (["--weights", str(weights)] if weights else [])


# The peak memory of a process includes the memory of its parent at the fork, so a small process starts it.
MEASURED = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(json.dumps({"seconds": round(seconds, 3), "peak_mb": round(peak, 1)}))
"""


def process(args: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Measure the wall time (`seconds`) and peak memory (`peak_mb`) of a process that runs Python with arguments."""
    command = [sys.executable, "-c", MEASURED, sys.executable, *args]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))
