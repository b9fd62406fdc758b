"""A file that is hashed, checked and loaded at different times, and must have the same bytes each time.

Keras opens files by their names, and a name may refer to another file later. So each reader gets a link to an open
descriptor. The identity of the file, which every write changes, is compared before and after reading.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gradcam_cli.errors import ModelError
from gradcam_cli.system import DESCRIPTOR_LINKS, open_to_read

# Two writes within one clock tick of a file system have the same time. The tick of FAT is two seconds.
TICK_NS = 2 * 10**9


@dataclass(frozen=True)
class Identity:
    """The values that change whenever a file is written or replaced."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True)
class HashedFile:
    """A file when it was hashed. `settled` is False if a later write could leave the same times."""

    path: Path
    sha256: str
    identity: Identity
    settled: bool


@dataclass(frozen=True)
class OpenFile:
    """An open file. `link` refers to it even if `path` changes; on some systems it is `path` itself."""

    path: Path
    link: Path
    descriptor: int


def hash_file(path: Path) -> HashedFile:
    """Hash a file.

    Raises:
        ModelError: the file cannot be read, or is written at the same time.
    """
    with _descriptor(path) as descriptor:
        before = _identity(os.fstat(descriptor))
        digest = _sha256(descriptor)
        if _identity(os.fstat(descriptor)) != before:
            raise ModelError(f"{path}: the file changed while it was read. Wait until it is complete.")
    settled = time.time_ns() - max(before.modified_ns, before.changed_ns) > TICK_NS
    return HashedFile(path, digest, before, settled)


@contextmanager
def held(file: HashedFile, name: str | None = None) -> Iterator[OpenFile]:
    """Open a file for readers that take names, and check that they read the hashed bytes.

    Errors that are raised inside have the path of the link, which is replaced by the path of the file. `name` is the
    name of the link, for readers that recognise formats by the suffix.

    Raises:
        ModelError: the file has changed since it was hashed, or changes while it is open.
    """
    with _descriptor(file.path) as descriptor, _linked(file.path, descriptor, name) as link:
        before = _identity(os.fstat(descriptor))
        is_same = file.settled and before == file.identity
        if not is_same and _sha256(descriptor) != file.sha256:
            raise ModelError(f"{file.path}: the file changed after it was checked. It was not loaded.")
        try:
            yield OpenFile(file.path, link, descriptor)
        except ModelError as error:
            raise ModelError(str(error).replace(str(link), str(file.path))) from error
        after = os.fstat(descriptor) if link != file.path else file.path.stat()
        # Replacing a file by its name also changes its times, but not the bytes that were read.
        if _identity(after) != before and (link == file.path or _sha256(descriptor) != file.sha256):
            raise ModelError(f"{file.path}: the file changed while it was loaded. Run the command again.")


def _identity(found: os.stat_result) -> Identity:
    return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _sha256(descriptor: int) -> str:
    with open(descriptor, "rb", closefd=False) as stream:
        stream.seek(0)
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _descriptor(path: Path) -> Iterator[int]:
    try:
        descriptor = open_to_read(path)
    except OSError as error:
        raise ModelError(f"{path}: the file cannot be read: {error.strerror}.") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _linked(path: Path, descriptor: int, name: str | None) -> Iterator[Path]:
    """Give a link to an open descriptor, with the file's name or `name`; the path itself if such links do not exist."""
    link = path
    with ExitStack() as folders:
        with suppress(OSError):
            if DESCRIPTOR_LINKS.is_dir():
                folder = folders.enter_context(tempfile.TemporaryDirectory(prefix="gradcam-"))
                link = Path(folder) / (name or path.name)
                link.symlink_to(DESCRIPTOR_LINKS / str(descriptor))
        yield link if link.exists() else path
