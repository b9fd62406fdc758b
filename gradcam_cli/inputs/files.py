"""Read files as bytes, once, and hash them. An error says why a file cannot be read."""

import errno
import hashlib
import os
import stat
import sys
from typing import Final

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.settings import Limits
from gradcam_cli.system import open_to_read

# Suffixes of files that are read as images.
SUFFIXES: Final = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".tif",
        ".tiff",
        ".bmp",
        ".dib",
        ".gif",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".j2k",
        ".avif",
        ".heic",
        ".heif",
    }
)
_REASONS = {
    errno.ENOENT: Reason.VANISHED,
    errno.ENOTDIR: Reason.VANISHED,
    errno.EACCES: Reason.PERMISSION,
    errno.EPERM: Reason.PERMISSION,
    errno.ENXIO: Reason.NOT_REGULAR,
    errno.EISDIR: Reason.NOT_REGULAR,
    errno.ELOOP: Reason.NOT_REGULAR,
    errno.ENAMETOOLONG: Reason.NAME_TOO_LONG,
}


def read_file(path: str, limits: Limits) -> bytes:
    """Read a whole regular file, without waiting for a FIFO or a device.

    Raises:
        ImageError: the file does not exist, is not regular, cannot be read, is empty, or is larger than the limit.
    """
    try:
        descriptor = open_to_read(path)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(Reason.NOT_REGULAR, "not a regular file")
            if status.st_size > limits.max_file_bytes:
                raise _too_large(limits)
            data = _read(descriptor, status.st_size)
        finally:
            os.close(descriptor)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, Reason.UNREADABLE)
        if reason is Reason.VANISHED and os.path.islink(path):  # noqa: PTH114 - names that are not UTF-8 stay str
            raise ImageError(reason, f"a broken link: {_target(path)} does not exist") from error
        raise ImageError(reason, f"cannot be read: {error.strerror}") from error
    return _not_empty(data)


def _read(descriptor: int, size: int) -> bytes:
    """Read up to `size` bytes. One system call usually reads a whole image."""
    parts = []
    while size > 0 and (part := os.read(descriptor, size)):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _target(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - names that are not UTF-8 stay str
    except OSError:
        return "its target"


def unlistable(number: int) -> ImageError:
    """Say why a folder cannot be listed, by the number of the error."""
    reason = _REASONS.get(number, Reason.UNREADABLE)
    return ImageError(reason, f"the folder cannot be listed: {os.strerror(number)}; its contents were left out")


def modified_ns(path: str) -> int | None:
    """Give a file's modification time in nanoseconds; None if it cannot be read.

    It is read before the file, so that a file that changes in between is recognised as changed.
    """
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - names that are not UTF-8 stay str
    except OSError:
        return None


def file_size(path: str) -> int:
    """Give a file's size in bytes; 0 if it is unknown."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - names that are not UTF-8 stay str
    except OSError:
        return 0


def read_stdin(limits: Limits) -> bytes:
    """Read a whole image from stdin.

    Raises:
        ImageError: the image is empty or larger than the limit.
    """
    data = sys.stdin.buffer.read(limits.max_file_bytes + 1)
    if len(data) > limits.max_file_bytes:
        raise _too_large(limits)
    return _not_empty(data)


def _too_large(limits: Limits) -> ImageError:
    return ImageError(Reason.TOO_LARGE, f"larger than {limits.max_file_bytes:,} bytes")


def _not_empty(data: bytes) -> bytes:
    if not data:
        raise ImageError(Reason.EMPTY, "the file is empty")
    return data


def sha256(data: bytes) -> str:
    """Give the SHA-256 hash of an input's bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
