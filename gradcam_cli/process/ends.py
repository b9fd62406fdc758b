"""How the command ends: its exit code and message for each error, and when memory runs out.

A native library may report too little memory in any way, or not at all.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from gradcam_cli.errors import STAYS, EnvironmentStop, GradcamError
from gradcam_cli.extras import install_hint
from gradcam_cli.process.signals import PIPE_CLOSED, STOPPING

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}

# What the loader, NumPy, TensorFlow and OpenVINO say when memory cannot be had; some have no type for it.
OUT_OF_MEMORY_TEXTS = (
    "cannot allocate memory",
    "failed to map segment",
    "can't start new thread",
    "bad_alloc",
    "oom when",
    "resource temporarily unavailable",
)
OUT_OF_MEMORY_TYPES = ("ResourceExhaustedError",)
# How a native library ends the process when memory cannot be had.
DEADLY = frozenset({signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGKILL})
# A second signal ends the process at once.
STOPPED = frozenset(128 + number for number in STOPPING)


def stop_of(error: BaseException) -> tuple[int, str] | None:
    """Give the exit code and the message of an error that can happen to every user; None for a bug."""
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
        hint = f"All that models need: {install_hint()}; a compiled .plan needs less."
        return EnvironmentStop.exit_code, f"{error}. {hint}"
    return None


def leave(code: int) -> None:
    """End the process at once, without the half second in which TensorFlow's memory is released.

    All files are written and all threads joined by now.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # The reader has closed the pipe, as `head` does, or the disk is full.
            code = code or 1
    os._exit(code)


def memory_stop(error: BaseException) -> tuple[int, str] | None:
    """Give the exit code and the message where memory ran out, whatever type or text a library has for that."""
    current: BaseException | None = error
    if isinstance(error, EnvironmentStop):
        # A stop that was raised on purpose says more, unless a library could not be mapped into memory.
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


def _address_limit() -> int | None:
    """The limit of this process's address space in bytes, where there is one."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _message() -> str:
    limit = _address_limit()
    known = f" (this process may use {limit / 1e6:.0f} MB of address space: see ulimit -v)" if limit else ""
    return f"There is not enough memory{known}. {STAYS}"


def watched(run: Callable[[], int]) -> int:
    """Run the program, and give its exit code; under a limit of address space, in a child process.

    Where memory cannot be had, a native library may abort or exit without a word. The parent then says why.
    """
    if _address_limit() is None or not hasattr(os, "fork"):
        return run()
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return _wait(child, reading)
    os.close(reading)
    code = run()
    os.write(writing, b"ended by itself")
    return code


def _wait(child: int, reading: int) -> int:
    def forward(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in STOPPING:
        # A terminal sends Ctrl-C to the child as well.
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else forward)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if os.read(reading, 1) or code in STOPPED:
        return code
    if code < 0 and -code not in DEADLY:
        return 128 - code
    sys.stderr.write(f"Error: {_message()}\n")
    return EnvironmentStop.exit_code
