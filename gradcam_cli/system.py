"""The differences between operating systems: calls of POSIX systems and their counterparts on Windows.

| what | Linux, macOS | Windows |
|---|---|---|
| lock of a folder | `flock` of the folder itself | `msvcrt.locking` of a file in it |
| limit of time of a decoder | SIGALRM | the watchdog thread of `faulthandler` |
| limits of memory and of processor time | `setrlimit` | none |
| a run under a limit of address space | in a child process, which the parent watches | no such limit |
| a link to an open descriptor | `/proc/self/fd` on Linux | none: files are compared before and after they are read |
| owner of a file | user id | none: a profile belongs to one user |
| names of files | all but `/` and NUL | see `refused_name` |

No other module imports `fcntl`, `resource` or `msvcrt`, or uses a signal or a flag of `os.open` by its name.
"""

import errno
import faulthandler
import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, Final


def _module(name: str) -> Any:
    """Import a module that exists only on some systems; None on the others."""
    try:
        return import_module(name)
    except ImportError:
        return None


IS_WINDOWS = sys.platform == "win32"
# The folder of device files of Linux and macOS.
DEVICE_FILES: Final = Path("/dev")
# A link in this folder leads to an open descriptor of this process, also if the file is renamed or removed.
DESCRIPTOR_LINKS: Final = Path("/proc/self/fd")
CPU_INFO: Final = Path("/proc/cpuinfo")

# Every system has these two: Ctrl-C, and the signal by which a service or a batch system ends a process.
INTERRUPT: Final = signal.SIGINT
TERMINATE: Final = signal.SIGTERM
# These stop a run; Windows has no SIGHUP, which ends the programs of a terminal that is closed.
STOPPING: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
# Signals by which a native library ends the process when there is not enough memory; Windows has exit codes.
DEADLY: Final = frozenset(
    number for name in ("SIGABRT", "SIGSEGV", "SIGBUS", "SIGKILL") if (number := getattr(signal, name, None))
)
# Maximum number of runs that share a folder on Windows.
MOST_SHARES: Final = 256
# Maximum length of a path on Windows, unless the machine is configured for more; a folder needs room for a file name.
MOST_CHARACTERS: Final = 248

_fcntl = _module("fcntl")
_resource = _module("resource")
_msvcrt: Any = None if _fcntl else _module("msvcrt")
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_READ: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_RESERVED: Final = frozenset(
    (
        "con",
        "prn",
        "aux",
        "nul",
        "conin$",
        "conout$",
        *(f"{port}{n}" for port in ("com", "lpt") for n in "123456789¹²³"),
    )
)
_FORBIDDEN: Final = frozenset('<>:"|?*\\')


def open_to_read(path: str | Path) -> int:
    """Open a file as a descriptor of its bytes, never waiting for the writer of a FIFO.

    Raises:
        OSError: the file cannot be opened.
    """
    return os.open(path, _READ)


def open_new(path: str | Path) -> int:
    """Create a new file and open it as a descriptor of its bytes.

    Raises:
        OSError: the file already exists, or cannot be created.
    """
    return os.open(path, _NEW, 0o666)


def open_nowhere() -> int:
    """Open a descriptor that reads nothing and discards everything that is written."""
    return os.open(os.devnull, os.O_RDWR)


def can_lock() -> bool:
    """Whether this system has locks that end with their process."""
    return bool(_fcntl or _msvcrt)


def open_to_lock(path: Path) -> int:
    """Open the file of a lock, and create it if it does not exist. The owner of the folder can open it too.

    Raises:
        OSError: the file cannot be opened.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def open_folder_to_lock(folder: Path, file: str) -> tuple[int, Path | None]:
    """Open a folder to lock it: the folder itself, or on Windows, which opens no folders, a file of this name in it.

    Returns:
        The descriptor, and the path of the file, if any. The file is removed by `close_lock`.

    Raises:
        OSError: the file cannot be opened.
    """
    if _fcntl:
        return os.open(folder, os.O_RDONLY), None
    return open_to_lock(folder / file), folder / file


def lock(descriptor: int, *, shared: bool = False) -> None:
    """Lock a folder or a file, for this process alone or together with others that share it.

    Some network file systems have no locks; nothing happens there. On Windows a lock is one of bytes, and no other
    process has the same: a shared lock takes one of `MOST_SHARES` bytes, an exclusive lock takes all of them.

    Raises:
        BlockingIOError: another process has the lock.
    """
    try:
        if _fcntl:
            _fcntl.flock(descriptor, (_fcntl.LOCK_SH if shared else _fcntl.LOCK_EX) | _fcntl.LOCK_NB)
        else:
            _lock_bytes(descriptor, shared=shared)
    except BlockingIOError:
        raise
    except OSError:
        return


def _lock_bytes(descriptor: int, *, shared: bool) -> None:
    for first in range(MOST_SHARES) if shared else (0,):
        os.lseek(descriptor, first, os.SEEK_SET)
        try:
            _msvcrt.locking(descriptor, _msvcrt.LK_NBLCK, 1 if shared else MOST_SHARES)
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.EDEADLK, errno.EAGAIN}:
                raise
        else:
            return
    raise BlockingIOError(errno.EAGAIN, "locked by another process")


def close_lock(descriptor: int, file: Path | None) -> None:
    """Release a lock and remove its file, if it has one.

    POSIX removes the file while it is locked, when its name cannot be that of another one. Windows refuses to remove a
    file that is open, here or in another process, so it is closed before.
    """
    if _fcntl:
        _remove(file)
        os.close(descriptor)
    else:
        os.close(descriptor)
        _remove(file)


def _remove(file: Path | None) -> None:
    if file:
        with suppress(OSError):
            file.unlink()


def cores_of_process() -> int:
    """Count the cores that this process may use: those of its affinity mask, if the system has one."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def physical_memory() -> int | None:
    """Give the bytes of memory of the machine; None if they are unknown, as on Windows."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def user_id() -> int | None:
    """Give the id of the user; None on Windows, where no user can write into the profile of another."""
    return os.getuid() if hasattr(os, "getuid") else None


def inherited(descriptors: Iterable[int]) -> dict[str, Any]:
    """Give the argument of `subprocess` that keeps descriptors open in the child; Windows does not need one."""
    kept = tuple(descriptors)
    return {"pass_fds": kept} if kept and not IS_WINDOWS else {}


def address_limit() -> int | None:
    """Give the limit of this process's address space in bytes, or None."""
    if _resource is None:
        return None
    limit: int = _resource.getrlimit(_resource.RLIMIT_AS)[0]
    return None if limit == _resource.RLIM_INFINITY else limit


def limit_resources(memory: int, seconds: int) -> None:
    """Limit this process's address space in bytes and its CPU time, if the system can do so."""
    if _resource is None:
        return
    with suppress(ValueError, OSError):  # macOS does not support a limit of address space
        _resource.setrlimit(_resource.RLIMIT_AS, (memory, memory))
    with suppress(ValueError, OSError):
        _resource.setrlimit(_resource.RLIMIT_CPU, (seconds, seconds))


def end_after(seconds: int | None) -> None:
    """End this process after a number of seconds, also during a native call; None cancels this."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds or 0)
    elif seconds is None:
        faulthandler.cancel_dump_traceback_later()
    else:
        # Its thread needs no Python to end the process. Descriptor 2 leads nowhere in a subprocess.
        faulthandler.dump_traceback_later(seconds, exit=True, file=2)


def ignore_terminal() -> None:
    """Ignore the signals that a terminal sends to all processes of a command: the parent decides when they end."""
    for number in STOPPING:
        if number != TERMINATE:
            signal.signal(number, signal.SIG_IGN)


def ending(code: int) -> str:
    """Describe how a process ended: the name of the signal, or the exit code. Windows has codes such as 0xC0000005."""
    if code >= 0:
        return f"exit code {code}" if code < 2**31 else f"exit code 0x{code:08X}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def can_run_in_child() -> bool:
    """Whether `run_in_child` is possible."""
    return hasattr(os, "fork")


def run_in_child(run: Callable[[], int]) -> tuple[int, bool]:
    """Run a function in a child process, which gets this one's SIGTERM and SIGHUP, and the terminal's Ctrl-C.

    It returns in both processes: in the child as soon as `run` has returned, in the parent after the child has ended.

    Returns:
        The exit code, negative for a signal; and whether `run` has returned.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return _wait(child), bool(os.read(reading, 1))
    os.close(reading)
    code = run()
    os.write(writing, b"ended by itself")
    return code, True


def _wait(child: int) -> int:
    def forward(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in STOPPING:
        # A terminal sends Ctrl-C to the child as well.
        signal.signal(number, signal.SIG_IGN if number == INTERRUPT else forward)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def refused_name(path: str) -> str | None:
    """Describe the part of a relative path with `/` that is not a valid file name on this system; None if all are.

    Windows takes `a:b` for a stream of the file `a`, `aux.jpg` for a device, and drops dots and spaces at the end: such
    a file would be lost without an error.
    """
    if not IS_WINDOWS:
        return None
    for part in path.split("/"):
        if _FORBIDDEN & set(part) or any(ord(character) < 32 for character in part):
            return f"Windows does not allow a character of the name {part!r}"
        if part.split(".", 1)[0].rstrip(" ").lower() in _RESERVED:
            return f"{part!r} is the name of a device of Windows"
        if part != part.rstrip(". "):
            return f"Windows removes the end of the name {part!r}"
    return None


def is_too_long(path: Path) -> bool:
    """Whether a path may be too long for Windows, which then reports that the file does not exist."""
    return IS_WINDOWS and len(os.path.abspath(path)) >= MOST_CHARACTERS  # noqa: PTH100 - names that are not UTF-8 stay str


def ignores_case(file: Path) -> bool:
    """Whether the file system of a file with a lower-case name ignores upper and lower case."""
    return file.with_name(file.name.upper()).exists()
