"""Read a network in a subprocess first, because OpenVINO may crash on a damaged file.

    python -m gradcam_cli.engines.exchange.reading_subprocess BYTES SIZE FILE [WEIGHTS]

BYTES is the size of all files together, SIZE is `HxW` or empty. The exit code is 0 if OpenVINO can read the file and
compute the shapes of all tensors. It is 3, with the reason on stdout, if the network is refused. Any other exit code
means a crash.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from gradcam_cli.errors import ModelError, first_line
from gradcam_cli.subprogram import subprogram
from gradcam_cli.system import inherited, limit_resources

# Reading a usual model takes one second. A large file gets more time and memory, because folding constants copies them.
SECONDS = 60
BYTES_A_SECOND = 20 * 2**20
MEMORY = 4 * 2**30
COPIES = 8


def check_reading(
    files: Sequence[Path], descriptors: tuple[int, ...], total: int, size: tuple[int, int] | None
) -> None:
    """Read a model that has passed the preflight with OpenVINO, in a subprocess with limits of time and memory.

    Args:
        files: the model, and its weights if it is in OpenVINO's format.
        descriptors: open file descriptors that the paths may refer to.
        total: the size of the model and of all its weights in bytes.
        size: the height and width of the image, if the user has given them.

    Raises:
        ModelError: OpenVINO refuses the file, crashes, or does not finish in time.
    """
    wanted = f"{size[0]}x{size[1]}" if size else ""
    program = subprogram(__name__, (str(total), wanted, *map(os.fspath, files)))
    seconds = _seconds(total)
    program.update(inherited(descriptors))
    try:
        done = subprocess.run(**program, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"{files[0]}: the file is damaged or malicious: OpenVINO did not finish reading it after {seconds} "
            "seconds. Refused."
        ) from error
    if done.returncode == ModelError.exit_code:
        raise ModelError(os.fsdecode(done.stdout))
    if done.returncode != 0:
        raise ModelError(
            f"{files[0]}: the file is damaged or malicious: OpenVINO crashes while reading it. Refused. If you made "
            "the model, export it again."
        )


def _seconds(total: int) -> int:
    return SECONDS + total // BYTES_A_SECOND


def _main(total: str, size: str, *names: str) -> int:
    # One second more than the timeout of the parent process: this limit is needed if the parent was killed.
    limit_resources(MEMORY + COPIES * int(total), _seconds(int(total)) + 1)
    from gradcam_cli.engines.exchange.picture import picture_input, static_copy
    from gradcam_cli.engines.exchange.reading import read_files

    height, _, width = size.partition("x")
    files = [Path(name) for name in names]
    try:
        model = read_files(files)
        picture = picture_input(model, files[0].name, (int(height), int(width)) if size else None)
        static_copy(model, picture, files[0].name)
    except ModelError as error:
        return _refused(str(error))
    except Exception as error:  # noqa: BLE001 - OpenVINO raises many types of errors; the file is always the cause
        return _refused(f"{files[0]}: OpenVINO cannot read this network ({first_line(error)}).")
    return 0


def _refused(reason: str) -> int:
    sys.stdout.buffer.write(os.fsencode(reason))
    return ModelError.exit_code


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
