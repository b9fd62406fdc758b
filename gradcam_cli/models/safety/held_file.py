"""A file that is hashed, checked and loaded at different times, and must be the same bytes every time.

Keras opens files by their names, and a name may lead to another file later. So each reader gets a link to a descriptor
that is open, and the file's identity, which every write changes, is compared before and after.
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

# Two writes within one tick of a file system's clock have one time. FAT's tick takes two seconds.
TICK_NS = 2 * 10**9


@dataclass(frozen=True)
class Identity:
    """What changes whenever a file is written or replaced."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True)
class HashedFile:
    """A file as it was when it was hashed. `settled` is False where a later write might leave its times as they are."""

    path: Path
    sha256: str
    identity: Identity
    settled: bool


@dataclass(frozen=True)
class OpenFile:
    """A file that is open. `link` leads to it, whatever becomes of `path`; on some systems it is `path` itself."""

    path: Path
    link: Path
    descriptor: int


def hash_file(path: Path) -> HashedFile:
    """Hash a file.

    Raises:
        ModelError: it cannot be read, or it is written at the same time.
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
    """Open a file for readers that take names, and make sure that they read the bytes that were hashed.

    Errors that are raised inside name the link; they leave with the file's own name. With `name` the link is called so,
    for readers that tell formats by their suffix.

    Raises:
        ModelError: the file is another one now, or was changed while it was open.
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
        # To replace a file by its name changes its times, too, but not what was read.
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
    """Give a link of the file's own name, or another, to an open descriptor; the path if there are no such links."""
    link = path
    with ExitStack() as folders:
        with suppress(OSError):
            if DESCRIPTOR_LINKS.is_dir():
                folder = folders.enter_context(tempfile.TemporaryDirectory(prefix="gradcam-"))
                link = Path(folder) / (name or path.name)
                link.symlink_to(DESCRIPTOR_LINKS / str(descriptor))
        yield link if link.exists() else path
