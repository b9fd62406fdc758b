"""How many cores this process may use."""

import os
from typing import Final

from gradcam_cli.system import cores_of_process

# In the environment of a worker: its share of the cores.
CORE_LIMIT: Final = "_GRADCAM_CORES"


def available_cores() -> int:
    """Cores this process may use: those of its affinity mask where the system has one, or its share as a worker."""
    cores = cores_of_process()
    return min(cores, core_limit() or cores)


def core_limit() -> int | None:
    """Give the share of the cores that this process has as a worker; None for other processes."""
    given = os.environ.get(CORE_LIMIT, "")
    return max(1, int(given)) if given.isdigit() else None
