"""Run the preflight in a separate process, because HDF5 may crash or never return on a damaged file.

    python -m gradcam_cli.models.safety.preflight_subprocess model|weights OWN_NAMES FILE
    python -m gradcam_cli.models.safety.preflight_subprocess parts|fit OWN_NAMES ARCHITECTURE WEIGHTS

It exits with 0 if the file passes, or with 3 and the reason on stdout.
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
# Real models take 0.1 seconds and 100 MB.
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
    """Check a model, or a file of weights, by `models.safety.preflight` in another process.

    Args:
        kind: what the file is.
        path: the path of the file.
        descriptors: open descriptors that the path may refer to.
        own: names of classes and functions in the user's code.
        architecture: the file of the architecture, if the weights are `parts` of one model or should `fit`.

    Raises:
        ModelError: the file is refused, or the check crashed or took too long.
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
    # One second more than the parent waits, in case the parent has ended.
    limit_resources(MEMORY, SECONDS + 1)
    try:
        CHECKS[kind](*map(Path, names), own=frozenset(own.split(",")) - {""})
    except ModelError as error:
        sys.stdout.buffer.write(os.fsencode(str(error)))
        return ModelError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
