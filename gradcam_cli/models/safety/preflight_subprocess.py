"""The preflight in a process of its own: of a damaged file, HDF5 may crash or never come to an end.

    python -m gradcam_cli.models.safety.preflight_subprocess model|weights OWN_NAMES FILE
    python -m gradcam_cli.models.safety.preflight_subprocess parts|fit OWN_NAMES ARCHITECTURE WEIGHTS

ends with 0 where nothing speaks against the file, or with 3 and the reason on stdout.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from gradcam_cli.errors import ModelError
from gradcam_cli.models.safety.fit import check_fit
from gradcam_cli.models.safety.preflight import check_model_file, check_parts, check_weights_file
from gradcam_cli.subprogram import subprogram
from gradcam_cli.system import inherited, limit_resources

Kind = Literal["model", "weights", "parts", "fit"]
CHECKS: Final[dict[str, Callable[..., None]]] = {
    "model": check_model_file,
    "weights": check_weights_file,
    "parts": check_parts,
    "fit": check_fit,
}
# Real models take a tenth of a second and a hundred megabytes.
SECONDS = 30
MEMORY = 4 * 2**30


def check_in_subprocess(
    kind: Kind,
    path: Path,
    *,
    descriptors: tuple[int, ...] = (),
    architecture: Path | None = None,
    own: frozenset[str] = frozenset(),
) -> None:
    """Check a model, or a file of weights, as `models.preflight` does.

    Args:
        kind: what the file is.
        path: of the file.
        descriptors: open ones that the path may lead to.
        own: names of classes and functions that the user gives code for.
        architecture: of the weights, where they are `parts` of one model, or should `fit`.

    Raises:
        ModelError: what the check says, or that it did not survive the file.
    """
    names = [path] if architecture is None else [architecture, path]
    program = subprogram(__name__, (kind, ",".join(sorted(own)), *map(os.fspath, names)))
    program.update(inherited(descriptors))
    try:
        done = subprocess.run(**program, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"{path}: the file is damaged or malicious: it was not read after {SECONDS} seconds. Refused."
        ) from error
    if done.returncode == ModelError.exit_code:
        raise ModelError(os.fsdecode(done.stdout))
    if done.returncode != 0:
        raise ModelError(f"{path}: the file is damaged or malicious: HDF5 crashes while reading it. Refused.")


def _main(kind: str, own: str, *names: str) -> int:
    # One second more than the parent waits for, in case that it is gone.
    limit_resources(MEMORY, SECONDS + 1)
    try:
        CHECKS[kind](*map(Path, names), own=frozenset(own.split(",")) - {""})
    except ModelError as error:
        sys.stdout.buffer.write(os.fsencode(str(error)))
        return ModelError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
