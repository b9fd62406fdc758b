"""The number of threads of native libraries during a run: more would compete with those of the pipeline."""

import os
import threading
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from gradcam_cli.imaging.opencv import quiet_single_thread

# Variables that limit the BLAS of NumPy when NumPy is imported.
BLAS_LIMITS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


class _Shared(AbstractContextManager[None]):
    """A context that several runs share: the first run enters it, the last run leaves it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._stack = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._stack.enter_context(quiet_single_thread())
                _limit_blas(self._stack)
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._stack.close()


# The settings are global in the process, so the runs are counted globally.
_SHARED = _Shared()


def one_thread_each() -> AbstractContextManager[None]:
    """Limit OpenCV and the BLAS of NumPy to one thread each until the block ends.

    Measured: without this limit a run explains a third fewer images per second.
    """
    return _SHARED


def _limit_blas(stack: ExitStack) -> None:
    if any(os.environ.get(name) == "1" for name in BLAS_LIMITS):
        return
    from threadpoolctl import threadpool_limits

    limits: Any = threadpool_limits(limits=1, user_api="blas")
    stack.enter_context(limits)
