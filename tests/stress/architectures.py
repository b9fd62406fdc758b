"""Every architecture of keras.applications with every usual head: whether its saved file is served, and at what cost.

    python tests/stress/architectures.py [NAME...]

Builds each architecture with random weights, saves it with four heads as .keras files, checks each file, and runs
`layers` on it. Building and reading happen in processes of their own. Prints a line a file: served or refused, the CPU
seconds of reading its config and its tensors' headers, and those that the checks take beside. Ends with 1 if any file
was refused. All forty take about an hour on two cores, so `make stress` leaves this out.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from gradcam_cli.models.named import LITE0, NAMED_MODELS

# The last stage of every architecture is a map of several cells of such an input.
SIDE = 128
CLASSES = 3
HEADS = {
    "GAP": ("GlobalAveragePooling2D",),
    "GMP": ("GlobalMaxPooling2D",),
    "Flatten": ("Flatten",),
    "GAP-Flatten": ("GlobalAveragePooling2D", "Flatten"),
}
BUILD, READ = "--build", "--read"


def build(name: str, folder: Path) -> None:
    """Save one architecture with each head."""
    import keras

    body = getattr(keras.applications, NAMED_MODELS[name].builder)(
        weights=None, include_top=False, input_shape=(SIDE, SIDE, 3)
    )
    for head, layers in HEADS.items():
        x = body.output
        for layer in layers:
            x = getattr(keras.layers, layer)()(x)
        x = keras.layers.Dense(CLASSES, activation="softmax")(x)
        keras.Model(body.input, x).save(folder / f"{name}.{head}.keras")


def read(path: Path) -> bool:
    """Check one file and list its layers; prints what came of it."""
    reading, checks = preflight_seconds(path)
    done = listing(path)
    told = "served" if done[0] == 0 else f"REFUSED: {done[1].strip()}"
    print(f"{path.stem:32} reading {reading:5.2f} s, checks {checks:5.2f} s: {told}", flush=True)
    return done[0] == 0


def preflight_seconds(path: Path) -> tuple[float, float]:
    """CPU seconds of reading the config and the tensors' headers, and those of checking both."""
    from gradcam_cli.models.safety.config import check_config
    from gradcam_cli.models.safety.preflight import stored_weights

    started = time.process_time()
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        version = json.loads(archive.read("metadata.json"))["keras_version"]
    stored = stored_weights(path)
    was_read = time.process_time()
    check_config(path, config, stored, version)
    return was_read - started, time.process_time() - was_read


def listing(path: Path) -> tuple[int, str]:
    """Exit code and output of `gradcam-cli layers`."""
    from click.testing import CliRunner

    from gradcam_cli.cli import program

    done = CliRunner().invoke(program, ["layers", str(path)])
    return done.exit_code, done.output if done.exception is None else f"{done.output} {done.exception!r}"


def tried(name: str) -> int:
    """Build and read one architecture in two processes, one after the other; gives the number of heads not served."""
    with tempfile.TemporaryDirectory(prefix="gradcam-stress-") as folder:
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        this = [sys.executable, __file__]
        subprocess.run([*this, BUILD, name, folder], env=quiet, check=True, stderr=subprocess.DEVNULL)
        files = sorted(Path(folder).glob("*.keras"))
        return abs(subprocess.run([*this, READ, *map(str, files)], env=quiet, check=False).returncode)


def main(arguments: list[str]) -> int:
    """Run the part that the arguments ask for; gives the exit code."""
    if arguments[:1] == [BUILD]:
        build(arguments[1], Path(arguments[2]))
        return 0
    if arguments[:1] == [READ]:
        return sum(not read(Path(file)) for file in arguments[1:])
    names = arguments or sorted(set(NAMED_MODELS) - {LITE0})
    refused = sum(tried(name) for name in names)
    print(f"{len(names)} architectures with {len(HEADS)} heads each: {refused} not served")
    return min(refused, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
