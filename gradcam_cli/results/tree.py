"""Files below a place: a local folder, or a prefix of an object store.

Code that reads runs, or writes files made from runs, uses this interface, so it is the same for both places.
"""

import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from gradcam_cli.atomic import atomically
from gradcam_cli.errors import EnvironmentStop, ImageError, Reason, StorageError, UsageError
from gradcam_cli.inputs.discovery import as_text
from gradcam_cli.inputs.files import read_file
from gradcam_cli.results.folder_lock import FolderLock
from gradcam_cli.results.part_place import LocalParts, PartPlace, StoredParts
from gradcam_cli.results.stored_lock import FOLDER, StoredLock
from gradcam_cli.settings import Limits
from gradcam_cli.storage import Stores
from gradcam_cli.storage_errors import refusal
from gradcam_cli.urls import Url

CALLS_AT_ONCE = 16
Item = TypeVar("Item")
Result = TypeVar("Result")
# Is called with the relative name of a folder that cannot be listed, and the reason.
Unlistable = Callable[[str, str], None]


class Tree(Protocol):
    """Lists, reads, writes and removes files below a place. Names are relative, with `/`.

    `calls_at_once` is the useful number of simultaneous calls: more than one if each call waits for the network.

    Raises:
        UsageError: in each method, if the store refuses access or the bucket does not exist.
        StorageError: in each method, if the store fails again and again.
    """

    calls_at_once: int

    @property
    def root(self) -> Path | Url:
        """The place itself."""

    @property
    def exists(self) -> bool:
        """Whether the folder exists, or an object below the prefix."""

    def names(self, unlistable: Unlistable | None = None) -> Iterator[str]:
        """Give the name of every file, in any order; links to folders are not followed."""

    def top_names(self) -> list[str]:
        """Give the names of the files directly at the top, sorted."""

    def own_name(self, name: str) -> str:
        """Give the form of a name at this place: a store escapes names that are not UTF-8."""

    def size(self, name: str) -> int | None:
        """Give the size of a file in bytes; None if it does not exist or is a link."""

    def read(self, name: str, limits: Limits) -> bytes:
        """Read a file.

        Raises:
            ImageError: the file does not exist, is empty or too large, or cannot be read.
        """

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically, and create its folder if needed.

        Raises:
            EnvironmentStop: the file cannot be written.
        """

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""

    def parts(self, top: str = "") -> PartPlace:
        """Give the place of the part files in a folder; `top` is its name with a `/`."""

    def held(self) -> AbstractContextManager[None]:
        """Lock the place until the block ends, so that no run writes to it.

        Raises:
            UsageError: a run writes to it.
        """

    def end(self) -> None:
        """Stop retries: from now on, a failing call raises its error at once."""


class LocalTree:
    """See `Tree`."""

    calls_at_once = 1

    def __init__(self, root: Path) -> None:
        """Store the folder."""
        self.root = root

    @property
    def exists(self) -> bool:
        """Whether the folder exists."""
        return self.root.is_dir()

    def names(self, unlistable: Unlistable | None = None) -> Iterator[str]:
        """Walk the folder."""

        def blame(error: OSError) -> None:
            if unlistable:
                unlistable(self._relative(os.fsdecode(error.filename)), error.strerror or "")

        for folder, _, files in os.walk(self.root, onerror=blame):
            relative = self._relative(folder)
            prefix = "" if relative == os.curdir else f"{relative}/"
            for name in files:
                yield prefix + name

    def top_names(self) -> list[str]:
        """List the folder."""
        return sorted(LocalParts(self.root).sizes())

    def own_name(self, name: str) -> str:
        """Give the name unchanged."""
        return name

    def size(self, name: str) -> int | None:
        """Give the size of the file, without following a link."""
        try:
            found = os.lstat(self.root / name)
        except OSError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def read(self, name: str, limits: Limits) -> bytes:
        """Read a file."""
        return read_file(os.fspath(self.root / name), limits)

    def write(self, name: str, data: bytes) -> None:
        """Write a file."""
        path = self.root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomically(path) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            raise EnvironmentStop(f"{path}: the file cannot be written: {error.strerror}.") from error

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self.root / name).unlink(missing_ok=True)

    def parts(self, top: str = "") -> PartPlace:
        """Give the folder of the part files."""
        return LocalParts(self.root / top)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder."""
        lock = FolderLock(self.root)
        lock.take()
        try:
            yield
        finally:
            lock.release()

    def end(self) -> None:
        """Do nothing: calls on local files are not retried."""

    def _relative(self, path: str) -> str:
        return os.path.relpath(path, self.root).replace(os.sep, "/")


class StoredTree:
    """See `Tree`. The prefix is listed once; later changes through this object are added to the list."""

    calls_at_once = CALLS_AT_ONCE

    def __init__(self, root: Url, stores: Stores | None = None) -> None:
        """Store the prefix; no request is made yet.

        Raises:
            UsageError: the URL is not a place in an object store, or the library of the store is not installed.
        """
        self.root = root
        self._store = (stores or Stores()).of(root.text)
        self._listed: dict[str, int] | None = None
        self._lock: StoredLock | None = None

    @property
    def exists(self) -> bool:
        """Whether there is an object below the prefix."""
        return bool(self._sizes)

    def names(self, unlistable: Unlistable | None = None) -> Iterator[str]:
        """List the prefix."""
        del unlistable
        yield from list(self._sizes)

    def top_names(self) -> list[str]:
        """Give the names of the objects directly below the prefix."""
        return sorted(name for name in self._sizes if "/" not in name)

    def own_name(self, name: str) -> str:
        """Give a name as Unicode."""
        return as_text(name)

    def size(self, name: str) -> int | None:
        """Give the size from the list; if the prefix is not listed yet, request this object only."""
        if self._listed is not None:
            return self._listed.get(as_text(name))
        try:
            return self._store.stat(self._url(name)).size
        except StorageError as error:
            if error.reason is Reason.VANISHED:
                return None
            raise refusal(error) from None

    def read(self, name: str, limits: Limits) -> bytes:
        """Read an object."""
        size = (self._listed or {}).get(as_text(name), 0)
        try:
            data = b"" if size > limits.max_file_bytes else self._store.read(self._url(name))
        except StorageError as error:
            if error.reason is Reason.VANISHED:
                raise ImageError(error.reason, str(error)) from None
            raise refusal(error) from None
        if max(size, len(data)) > limits.max_file_bytes:
            raise ImageError(Reason.TOO_LARGE, f"larger than {limits.max_file_bytes:,} bytes")
        if not data:
            raise ImageError(Reason.EMPTY, "the file is empty")
        return data

    def write(self, name: str, data: bytes) -> None:
        """Upload an object."""
        self._check()
        try:
            self._store.put(self._url(name), data)
        except StorageError as error:
            raise refusal(error) from None
        if self._listed is not None:
            self._listed[as_text(name)] = len(data)

    def remove(self, name: str) -> None:
        """Remove an object."""
        self._check()
        try:
            self._store.remove(self._url(name))
        except StorageError as error:
            raise refusal(error) from None
        (self._listed or {}).pop(as_text(name), None)

    def parts(self, top: str = "") -> PartPlace:
        """Give the prefix of the part files."""
        return StoredParts(self._store, Url(f"{self.root.text}/{top}"), self._check)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Create a lock below the prefix, and list the prefix again."""
        self._lock = StoredLock(self._store, self.root)
        try:
            try:
                self._lock.take()
            except StorageError as error:
                raise refusal(error) from None
            self._listed = None
            yield
        finally:
            self._lock.release()
            self._lock = None

    def end(self) -> None:
        """Stop retries."""
        self._store.end()

    @property
    def _sizes(self) -> dict[str, int]:
        if self._listed is None:
            try:
                listed = [(name, stored.listed) for name, stored in self._store.list(self.root.text)]
            except StorageError as error:
                raise refusal(error) from None
            self._listed = {
                name: stat.size for name, stat in listed if stat is not None and not name.startswith(f"{FOLDER}/")
            }
        return self._listed

    def _check(self) -> None:
        if self._lock is not None:
            self._lock.check()

    def _url(self, name: str) -> str:
        return (self.root / as_text(name)).text


def tree_of(place: Path | Url, stores: Stores | None = None) -> Tree:
    """Give the files below a folder or a prefix; `stores` opens its object store.

    Raises:
        UsageError: the URL is not a place in an object store, or the library of the store is not installed.
    """
    return StoredTree(place, stores) if isinstance(place, Url) else LocalTree(place)


def existing(place: Path | Url) -> Tree:
    """Give the files below an existing folder or prefix.

    Raises:
        UsageError: the place does not exist, or the store refuses access.
        StorageError: the store fails again and again.
    """
    tree = tree_of(place)
    if not tree.exists:
        what = "there is no object below this name" if isinstance(place, Url) else "there is no such folder"
        raise UsageError(f"{place}: {what}.")
    return tree


def in_order(call: Callable[[Item], Result], items: Iterable[Item], tree: Tree) -> Iterator[Result]:
    """Give the results of a call in the order of the items, like `map`; in a store, several calls run at once."""
    if tree.calls_at_once == 1:
        yield from map(call, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(tree.calls_at_once) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(call, item))
                if len(waiting) >= 2 * tree.calls_at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            # Calls that wait for their next attempt must not delay the end.
            tree.end()
            for each in waiting:
                each.cancel()
            raise
