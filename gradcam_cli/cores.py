"""The number of CPU cores that this process may use."""

import os
from typing import Final

from gradcam_cli.system import cores_of_process

# Environment variable of a worker: the number of its cores.
CORE_LIMIT: Final = "_GRADCAM_CORES"


def available_cores() -> int:
    """Count the cores that this process may use: its share as a worker, or its affinity mask if the system has one."""
    cores = cores_of_process()
    return min(cores, core_limit() or cores)


def core_limit() -> int | None:
    """Give the number of cores of this worker process; None for other processes."""
    given = os.environ.get(CORE_LIMIT, "")
    return max(1, int(given)) if given.isdigit() else None
