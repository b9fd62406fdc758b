"""The place of part files: a local folder, or a prefix of an object store."""

import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

from gradcam_cli.atomic import temporary_beside
from gradcam_cli.storage import Store
from gradcam_cli.urls import Url

# The number of bytes of an object in one request: the next read is often close to the one before.
READ_AHEAD = 256 * 1024


class PartPlace(Protocol):
    """Lists, reads, publishes and removes files at the top of a run's folder."""

    def sizes(self) -> dict[str, int]:
        """Give the name and the size of each file."""

    def size_of(self, name: str) -> int:
        """Give the size of one file.

        Raises:
            OSError, StorageError: the file does not exist.
        """

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading at any offset.

        Raises:
            OSError, StorageError: the file cannot be read.
        """

    def path_of(self, name: str) -> Path | None:
        """Give the path of a local file; None if it is an object of a store."""

    def temporary(self, owner: str) -> Path:
        """Give the path of a new local file, whose content can be published later."""

    def publish(self, path: Path, name: str) -> None:
        """Give a temporary file its name, atomically."""

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""


class LocalParts:
    """See `PartPlace`."""

    def __init__(self, root: Path) -> None:
        """Store the folder."""
        self._root = root

    def sizes(self) -> dict[str, int]:
        """Give the sizes of regular files, and of links to regular files."""
        if not self._root.is_dir():
            return {}
        with os.scandir(self._root) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}

    def size_of(self, name: str) -> int:
        """Give the size of one file."""
        return (self._root / name).stat().st_size

    def open(self, name: str) -> BinaryIO:
        """Open a file."""
        return (self._root / name).open("rb")

    def path_of(self, name: str) -> Path | None:
        """Give the path of a file."""
        return self._root / name

    def temporary(self, owner: str) -> Path:
        """Give a path in the same folder, so that publishing is a rename and not a copy."""
        return temporary_beside(self._root / "part", owner)

    def publish(self, path: Path, name: str) -> None:
        """Rename a file."""
        path.replace(self._root / name)

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self._root / name).unlink(missing_ok=True)


class StoredParts:
    """See `PartPlace`. A part is written to the local folder for temporary files, and uploaded when it is complete."""

    def __init__(self, store: Store, root: Url, check: Callable[[], None]) -> None:
        """Store the prefix; `check` raises an error if the run no longer holds its lock."""
        self._store = store
        self._root = root
        self._check = check

    def sizes(self) -> dict[str, int]:
        """List the objects directly below the prefix."""
        listed = self._store.list(self._root.text)
        return {place: stored.listed.size for place, stored in listed if "/" not in place and stored.listed is not None}

    def size_of(self, name: str) -> int:
        """Give the size of one object."""
        return self._store.stat((self._root / name).text).size

    def open(self, name: str) -> BinaryIO:
        """Open an object; ranges of it are requested when they are read."""
        url = (self._root / name).text
        return io.BufferedReader(_Ranges(self._store, url, self._store.stat(url).size), READ_AHEAD)

    def path_of(self, name: str) -> Path | None:
        """Give None: objects have no path."""
        del name
        return None

    def temporary(self, owner: str) -> Path:
        """Give a path in the folder for temporary files."""
        del owner
        descriptor, name = tempfile.mkstemp(prefix="gradcam-part-")
        os.close(descriptor)
        return Path(name)

    def publish(self, path: Path, name: str) -> None:
        """Upload the file as an object, and remove the file."""
        self._check()
        self._store.put_file((self._root / name).text, path)
        path.unlink()

    def remove(self, name: str) -> None:
        """Remove an object."""
        self._check()
        self._store.remove((self._root / name).text)


class _Ranges(io.RawIOBase):
    """An object of a store as a file that can be read at any offset."""

    def __init__(self, store: Store, url: str, size: int) -> None:
        self._store, self._url, self._size, self._at = store, url, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        data = self._store.read(self._url, self._at, end)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
