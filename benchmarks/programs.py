"""Runs of the program as it is used: whole processes, and folders of photographs."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.photos import scratch

BATCH = 16


def program_rate(photos: Path, options: list[str]) -> float:
    """Images a second of the program, files to files, start-up not counted, as its own run.json has it."""
    with scratch() as out:
        command = [sys.executable, "-m", "gradcam_cli", "explain", str(photos), "-o", out, "-q", *options]
        subprocess.run([*command, "--batch-size", str(BATCH)], check=True)
        return float(json.loads((Path(out) / "run.json").read_text())["images_per_second"])


@contextmanager
def weights_of(model: str) -> Iterator[Path | None]:
    """Random weights for a model whose own are not at hand; None where they are."""
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
    """The options that name a model."""
    return ["--model", model] + (["--weights", str(weights)] if weights else [])


# A process's peak counts what its parent held when it was forked: so a small one stands between.
MEASURED = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(json.dumps({"seconds": round(seconds, 3), "peak_mb": round(peak, 1)}))
"""


def process(args: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Wall time and peak memory of a whole process that runs Python with these arguments."""
    command = [sys.executable, "-c", MEASURED, sys.executable, *args]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))
