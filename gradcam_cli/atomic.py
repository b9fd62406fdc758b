"""Files that appear whole or not at all."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gradcam_cli.system import DEVICE_FILES, open_new

PREFIX = ".gradcam-"
TEMPORARY_SUFFIX = ".tmp"
RANDOM_BYTES = 8
# Nothing but a name of this very form is ever removed as a temporary file; the group is its owner, where it has one.
TEMPORARY = re.compile(rf"\.gradcam-(?:(\d+-of-\d+)-)?[0-9a-f]{{{2 * RANDOM_BYTES}}}\.tmp")


def temporary_beside(path: Path, owner: str = "") -> Path:
    """Name a file that is not there, in the folder of `path`.

    `owner` is the name of a shard, such as `2-of-8`, where several write into one folder.
    """
    prefix = f"{PREFIX}{owner}-" if owner else PREFIX
    return path.parent / f"{prefix}{os.urandom(RANDOM_BYTES).hex()}{TEMPORARY_SUFFIX}"


def refuse_device(path: Path) -> None:
    """Refuse what a file must not take the place of. Root could do that: `/dev/null` would be gone for all programs.

    Raises:
        OSError: `path` is a device, a pipe or a socket, or lies in /dev.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        mode = stat.S_IFREG
    special = not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    # /dev/stdout is a link, and leads to a regular file where stdout is one.
    if special or path.parent == DEVICE_FILES:
        raise OSError(errno.EEXIST, "Not a regular file", os.fspath(path))


@contextmanager
def atomically(path: Path, owner: str = "") -> Iterator[Path]:
    """Give a temporary name in the same folder; what was written there takes the place of `path` if all went well.

    A reader sees the old file or the new one, never half of one; after an error nothing is left. `owner` is that of
    `temporary_beside`.

    Raises:
        OSError: see `refuse_device`.
    """
    refuse_device(path)
    temporary = temporary_beside(path, owner)
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there yet, in three calls of the system.

    Raises:
        OSError: it is there, or cannot be written.
    """
    descriptor = open_new(path)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
    finally:
        os.close(descriptor)
