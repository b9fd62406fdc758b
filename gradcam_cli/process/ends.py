"""The end of the command: the exit code and the message for each error, and for missing memory.

A native library may report missing memory in any way, or not at all.
"""

import errno
import os
import sys
from collections.abc import Callable

from gradcam_cli import system
from gradcam_cli.errors import STAYS, EnvironmentStop, GradcamError
from gradcam_cli.extras import install_hint
from gradcam_cli.process.signals import PIPE_CLOSED
from gradcam_cli.system import STOPPING

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}

# Parts of the messages of the loader, NumPy, TensorFlow and OpenVINO about missing memory; some raise no MemoryError.
OUT_OF_MEMORY_TEXTS = (
    "cannot allocate memory",
    "failed to map segment",
    "can't start new thread",
    "bad_alloc",
    "oom when",
    "resource temporarily unavailable",
)
OUT_OF_MEMORY_TYPES = ("ResourceExhaustedError",)
# A second signal ends the process at once.
STOPPED = frozenset(128 + number for number in STOPPING)


def stop_of(error: BaseException) -> tuple[int, str] | None:
    """Give the exit code and the message of an error with a known cause; None for a bug."""
    stop = memory_stop(error)
    if stop:
        return stop
    if isinstance(error, GradcamError):
        return error.exit_code, str(error)
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED, ""
    if isinstance(error, OSError) and error.errno in FULL:
        return EnvironmentStop.exit_code, f"{error.strerror}."
    if isinstance(error, ImportError):
        hint = f"To install everything that models need: {install_hint()}; a compiled .plan needs less."
        return EnvironmentStop.exit_code, f"{error}. {hint}"
    return None


def leave(code: int) -> None:
    """End the process at once, without releasing the memory of TensorFlow, which takes half a second.

    All files are already written and all threads joined.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # The reader has closed the pipe, as `head` does, or the disk is full.
            code = code or 1
    os._exit(code)


def memory_stop(error: BaseException) -> tuple[int, str] | None:
    """Give the exit code and the message if an error of any type means that there is not enough memory."""
    current: BaseException | None = error
    if isinstance(error, EnvironmentStop):
        # An EnvironmentStop has a better message, unless a library could not be loaded into memory.
        current = error.__cause__ if isinstance(error.__cause__, ImportError) else None
    while current is not None:
        if _is_out_of_memory(current):
            return EnvironmentStop.exit_code, _message()
        current = current.__cause__
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ in OUT_OF_MEMORY_TYPES:
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    said = str(error).lower() if isinstance(error, (ImportError, RuntimeError)) else ""
    return any(text in said for text in OUT_OF_MEMORY_TEXTS)


def _message() -> str:
    limit = system.address_limit()
    known = f" (this process may use {limit / 1e6:.0f} MB of address space: see ulimit -v)" if limit else ""
    return f"There is not enough memory{known}. {STAYS}"


def watched(run: Callable[[], int]) -> int:
    """Run the program, and give its exit code; under a limit of address space, in a child process.

    If there is not enough memory, a native library may abort without a message. The parent then prints one.
    """
    if system.address_limit() is None or not system.can_run_in_child():
        return run()
    code, by_itself = system.run_in_child(run)
    if by_itself or code in STOPPED:
        return code
    if code < 0 and -code not in system.DEADLY:
        return 128 - code
    sys.stderr.write(f"Error: {_message()}\n")
    return EnvironmentStop.exit_code
