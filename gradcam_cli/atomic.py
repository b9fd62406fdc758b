"""Atomic writing: a file is complete or does not exist."""

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
# Only names of exactly this form are removed as temporary files. The group is the owner, if there is one.
TEMPORARY = re.compile(rf"\.gradcam-(?:(\d+-of-\d+)-)?[0-9a-f]{{{2 * RANDOM_BYTES}}}\.tmp")


def temporary_beside(path: Path, owner: str = "") -> Path:
    """Give an unused file name in the folder of `path`.

    `owner` is the name of a shard, such as `2-of-8`, if several shards write to one folder.
    """
    prefix = f"{PREFIX}{owner}-" if owner else PREFIX
    return path.parent / f"{prefix}{os.urandom(RANDOM_BYTES).hex()}{TEMPORARY_SUFFIX}"


def refuse_device(path: Path) -> None:
    """Refuse to replace a device, pipe or socket by a file: root could replace `/dev/null` for all programs.

    Raises:
        OSError: `path` is a device, a pipe or a socket, or is in /dev.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        mode = stat.S_IFREG
    special = not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    # /dev/stdout is a link to a regular file if stdout is redirected to one.
    if special or path.parent == DEVICE_FILES:
        raise OSError(errno.EEXIST, "Not a regular file", os.fspath(path))


@contextmanager
def atomically(path: Path, owner: str = "") -> Iterator[Path]:
    """Give a temporary name in the same folder; the file written there replaces `path` if no error occurs.

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
    """Write a new file with three system calls.

    Raises:
        OSError: the file already exists, or cannot be written.
    """
    descriptor = open_new(path)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
    finally:
        os.close(descriptor)
