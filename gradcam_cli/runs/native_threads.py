"""Threads of native libraries during a run: the pipeline has threads of its own, and more would compete with them."""

import os
import threading
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from gradcam_cli.imaging.opencv import quiet_single_thread

# With one of these, the BLAS of NumPy was limited before NumPy was imported.
BLAS_LIMITS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


class _Shared(AbstractContextManager[None]):
    """A context that several runs share: entered by the first of them, left by the last."""

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


# The settings belong to the process, so their users are counted for the process.
_SHARED = _Shared()


def one_thread_each() -> AbstractContextManager[None]:
    """Let OpenCV and the BLAS of NumPy use one thread each until the block ends, then as many as before.

    Measured, the threads of a BLAS beside those of the pipeline cost a third of all images a second.
    """
    return _SHARED


def _limit_blas(stack: ExitStack) -> None:
    if any(os.environ.get(name) == "1" for name in BLAS_LIMITS):
        return
    from threadpoolctl import threadpool_limits

    limits: Any = threadpool_limits(limits=1, user_api="blas")
    stack.enter_context(limits)
