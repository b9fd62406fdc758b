"""Photographs in tar files, such as the shards of a data set. They are found by the headers, and read one by one.

Nothing is unpacked to a disk. Links, devices, sparse members and names that lead out of the tar are never read.
"""

import errno
import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

from gradcam_cli.disk_table import DiskTable, Row, Value, key_of, text_of
from gradcam_cli.errors import Reason, StorageError
from gradcam_cli.inputs.gzip_reader import GzipError, GzipReader
from gradcam_cli.inputs.left_out import LeftOut, Why
from gradcam_cli.inputs.other_files import Others
from gradcam_cli.inputs.tar_reader import ReadAt, TarError, members
from gradcam_cli.inputs.walk import Rules, has_suffix, is_hidden, why_not
from gradcam_cli.storage import Stat, Stored, Stores
from gradcam_cli.urls import is_url

TAR_SUFFIXES: Final = (".tar", ".tar.gz", ".tgz")
# Each reader stores states of its decoder: 5 MB for a gzip file with 1 GB of contents.
OPEN_GZIPS: Final = 4
# The bytes of a tar in a store that one request reads while headers or compressed bytes are read in order.
AHEAD: Final = 2**20


def is_tar(path: str) -> bool:
    """Whether a path is an existing file with the name of a tar."""
    return is_tar_name(path) and os.path.isfile(path)  # noqa: PTH113 - names that are not UTF-8


def is_tar_name(name: str) -> bool:
    """Whether a name is that of a tar file."""
    return name.lower().endswith(TAR_SUFFIXES)


class MetMember(NamedTuple):
    """A photograph in a tar; `stored` is None if the tar is damaged, so that there may be more photographs."""

    relative: str
    stored: Stored | None


class TarFiles:
    """The tars of a run. They may be used by several threads."""

    def __init__(self) -> None:
        """Start without open tars."""
        self._gzips: OrderedDict[str, GzipReader] = OrderedDict()
        self._archives: dict[str, TarArchive] = {}
        self._lock = Lock()

    def find(self, path: str, rules: Rules, left_out: LeftOut, stored: Stored | None = None) -> Iterator[MetMember]:
        """Give the photographs of a tar by the rules of a folder. Of several members with one name, the last is used.

        A damaged tar gives the photographs before the damage, and then one member without a photograph. `stored` is a
        tar in an object store, and `path` is its URL. Only ranges of its bytes are read.

        Raises:
            StorageError: the store fails repeatedly, or refuses access.
        """
        archive = TarArchive(self, path, _identity(path) if stored is None else _identity_in(stored.stat()), stored)
        # A tar may have a million members, in any order.
        table = DiskTable()
        is_damaged = False
        try:
            table.put(_rows(archive, rules, left_out))
        except (TarError, GzipError, OSError):
            is_damaged = True
        others = Others(left_out)
        for key, _, span in table.rows():
            name = text_of(key)
            url = f"{path}/{name}"
            if has_suffix(name, rules.suffixes):
                others.taken(name)
                at, size = _span(span)
                # Many writers give all members the time 0, so the time of the tar is used.
                yield MetMember(name, Stored(archive, url, replace(archive.stat(url), size=size), at))
            else:
                others.add(name, url)
        others.close()
        if is_damaged:
            yield MetMember("", None)

    def archive(self, path: str, like: "Identity", stores: Stores) -> "TarArchive":
        """Give a tar that another process has found, perhaps on another machine, if its size and time are the same.

        If they differ, reading it fails. `stores` opens the tar if the path is a URL.
        """
        with self._lock:
            if path not in self._archives:
                stored = stores.object(path) if is_url(path) else None
                self._archives[path] = TarArchive(self, path, like if stored else _here(path, like), stored)
            return self._archives[path]

    def gzip(self, archive: "TarArchive") -> GzipReader:
        """Give the reader of a compressed tar. The most recently used readers are kept."""
        with self._lock:
            if archive.path not in self._gzips:
                self._gzips[archive.path] = GzipReader(archive.in_order())
                if len(self._gzips) > OPEN_GZIPS:
                    self._gzips.popitem(last=False)
            self._gzips.move_to_end(archive.path)
            return self._gzips[archive.path]


def _rows(archive: "TarArchive", rules: Rules, left_out: LeftOut) -> Iterator[Row]:
    """Give the rows of the members that may be inputs: their names, and the positions of their bytes."""
    is_plain = archive.path.lower().endswith(".tar")
    for member in members(archive.in_order() if is_plain else archive.bytes_at):
        name = member.name.removeprefix("./")
        why = _why_not(rules, name) if member.is_plain else Why.TAR_MEMBER
        if why is None:
            yield key_of(name), b"", f"{member.at} {member.size}".encode("ascii")
        else:
            left_out.add_file(why, f"{archive.path}/{name}")


def _span(value: Value) -> tuple[int, int]:
    assert isinstance(value, bytes)  # noqa: S101 - `_row` made it
    at, size = map(int, value.split())
    return at, size


def _why_not(rules: Rules, name: str) -> Why | None:
    folder, slash, base = name.rpartition("/")
    if not rules.hidden and any(is_hidden(part) for part in folder.split("/")):
        return Why.HIDDEN
    return why_not(rules, folder + slash, base)


class Identity(NamedTuple):
    """The properties that show that a file or an object is still the same."""

    device: int
    inode: int
    size: int
    mtime_ns: int | None
    etag: str | None = None


@dataclass(frozen=True, eq=False)
class TarArchive:
    """One tar as a store of its photographs, whose URLs are the tar's path and their names.

    `stored` is the tar itself if it is in an object store.
    """

    files: TarFiles
    path: str
    identity: Identity
    stored: Stored | None = None

    def stat(self, url: str) -> Stat:
        """Give the size, and the ETag or the time, of the tar."""
        del url
        return Stat(self.identity.size, self.identity.etag, self.identity.mtime_ns)

    def in_order(self) -> ReadAt:
        """Give a function that reads bytes of the file, for reads that are mostly close to the previous one."""
        return self.file_bytes if self.stored is None else _Ahead(self.file_bytes).read

    def read(self, url: str, start: int | None = None, end: int | None = None) -> bytes:
        """Read the bytes of the member with this URL: a range of the decompressed bytes of the tar.

        Raises:
            StorageError: the tar is damaged, truncated, or has changed.
        """
        first, last = start or 0, self.identity.size if end is None else end
        try:
            data = self.bytes_at(first, last - first)
        except (GzipError, OSError) as error:
            raise StorageError(Reason.UNREADABLE, f"{url}: the tar file cannot be read: {error}") from None
        if len(data) < last - first:
            raise StorageError(Reason.UNREADABLE, f"{url}: the tar file is truncated within it")
        return data

    def end(self) -> None:
        """Stop retries. A tar on this machine has no retries."""
        if self.stored is not None:
            self.stored.store.end()

    def bytes_at(self, at: int, count: int) -> bytes:
        """Read decompressed bytes of the tar."""
        if self.path.lower().endswith(".tar"):
            return self.file_bytes(at, count)
        return self.files.gzip(self).read(at, count)

    def file_bytes(self, at: int, count: int) -> bytes:
        """Read bytes of the file.

        Raises:
            OSError: the file cannot be read, or was replaced by another file.
            StorageError: the store fails repeatedly, or refuses access.
        """
        if at >= self.identity.size or count <= 0:
            return b""
        if self.stored is not None:
            return self.stored.store.read(self.path, at, min(at + count, self.identity.size))
        with Path(self.path).open("rb") as file:
            if _identity_of(os.fstat(file.fileno())) != self.identity:
                raise OSError(errno.ESTALE, "it changed during the run")
            file.seek(at)
            return file.read(count)


class _Ahead:
    """Reads ranges of an object in order with few requests. It must be used by one thread only."""

    def __init__(self, read: ReadAt) -> None:
        self._read, self._at, self._data = read, 0, b""

    def read(self, at: int, count: int) -> bytes:
        if not self._at <= at or at + count > self._at + len(self._data):
            self._at, self._data = at, self._read(at, max(count, AHEAD))
        return self._data[at - self._at : at - self._at + count]


def _identity_in(stat: Stat) -> Identity:
    return Identity(0, 0, stat.size, stat.mtime_ns, stat.etag)


def _identity(path: str) -> Identity:
    return _identity_of(os.stat(path))  # noqa: PTH116 - names that are not UTF-8 stay str


def _here(path: str, like: Identity) -> Identity:
    """Give the identity of a file on this machine; `like` if it is another file."""
    try:
        found = _identity(path)
    except OSError:
        return like
    return found if (found.size, found.mtime_ns) == (like.size, like.mtime_ns) else like


def _identity_of(found: os.stat_result) -> Identity:
    return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
