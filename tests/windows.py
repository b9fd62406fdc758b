"""A stand-in for Windows on Linux: what Windows lacks is gone, and `msvcrt` locks bytes as it does there.

Names of files and the standard library stay those of Linux.
"""

import errno
import fcntl
import os
import pathlib
import signal
import struct
import subprocess
import sys
from types import ModuleType
from typing import Any

MODULES = ("fcntl", "resource", "termios", "grp", "pwd")
OF_OS = (
    *(
        "O_NONBLOCK",
        "O_NOFOLLOW",
        "O_DIRECTORY",
        "O_CLOEXEC",
        "O_SYNC",
        "fork",
        "forkpty",
        "killpg",
        "setsid",
        "setpgid",
    ),
    *("getuid", "geteuid", "getgid", "chown", "fchown", "fchmod", "mkfifo", "mknod", "sched_getaffinity", "sysconf"),
    *("statvfs", "fstatvfs", "pread", "pwrite", "posix_fadvise", "sendfile", "nice"),
)
OF_SIGNAL = ("SIGALRM", "SIGBUS", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1", "SIGUSR2", "alarm", "setitimer")


def msvcrt() -> Any:
    """Give a module that locks bytes from the current position on, by handle and for one handle alone."""
    module: Any = ModuleType("msvcrt")
    module.LK_NBLCK = 2

    def locking(descriptor: int, mode: int, count: int) -> None:
        assert mode == module.LK_NBLCK
        request = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_CUR, 0, count, 0)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, request)
        except BlockingIOError as error:
            raise PermissionError(errno.EACCES, "Permission denied") from error

    module.locking = locking
    return module


def pretend() -> None:
    """Take away what Windows lacks, before any other module is imported, and import what has to notice it."""
    sys.modules["msvcrt"] = msvcrt()
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for name in OF_OS:
        if hasattr(os, name):
            delattr(os, name)
    for name in OF_SIGNAL:
        delattr(signal, name)
    os.open = _open  # type: ignore[assignment]
    sys.platform = "win32"
    import gradcam_cli.system  # noqa: F401 - it asks once which system this is

    sys.platform = "linux"
    # The standard library, which is that of Linux, would take it for Windows.
    del sys.modules["msvcrt"]
    # That of Windows needs no signal.
    subprocess.Popen.kill = lambda self: self.send_signal(9)  # type: ignore[method-assign]


_posix_open = os.open


def _open(path: Any, flags: int, mode: int = 0o777) -> int:
    """Open a file, but no folder, and nothing relative to a descriptor."""
    if pathlib.Path(path).is_dir():
        raise PermissionError(errno.EACCES, "Permission denied", path)
    return _posix_open(path, flags, mode)
