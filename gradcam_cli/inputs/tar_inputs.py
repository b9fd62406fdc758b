"""Photographs in tar files, such as the shards of a data set: found by their headers, and read one by one.

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
# Each keeps states of its decoder: 5 MB for a gzip file with 1 GB of contents.
OPEN_GZIPS: Final = 4
# Bytes of a tar in a store that are asked for at once while its headers, or its compressed bytes, are read in order.
AHEAD: Final = 2**20


def is_tar(path: str) -> bool:
    """Whether a path is that of a tar file, by its name."""
    return is_tar_name(path) and os.path.isfile(path)  # noqa: PTH113 - names that are not UTF-8


def is_tar_name(name: str) -> bool:
    """Whether a name is that of a tar file."""
    return name.lower().endswith(TAR_SUFFIXES)


class MetMember(NamedTuple):
    """A photograph in a tar; `stored` is None if the tar is damaged and there may be more."""

    relative: str
    stored: Stored | None


class TarFiles:
    """The tars of a run. For any thread."""

    def __init__(self) -> None:
        """Open nothing yet."""
        self._gzips: OrderedDict[str, GzipReader] = OrderedDict()
        self._archives: dict[str, TarArchive] = {}
        self._lock = Lock()

    def find(self, path: str, rules: Rules, left_out: LeftOut, stored: Stored | None = None) -> Iterator[MetMember]:
        """Give the photographs of a tar by the rules of a folder; of several members of one name the last is taken.

        A tar that is damaged gives what is before the damage, and then its own name without a photograph. `stored` is
        a tar in an object store, whose URL the path is; of it only ranges of bytes are read.

        Raises:
            StorageError: the store fails again and again, or refuses access.
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
                # Many writers give all members the time 0: the tar has one.
                yield MetMember(name, Stored(archive, url, replace(archive.stat(url), size=size), at))
            else:
                others.add(name, url)
        others.close()
        if is_damaged:
            yield MetMember("", None)

    def archive(self, path: str, like: "Identity", stores: Stores) -> "TarArchive":
        """Give a tar that another process has found, perhaps on another machine, where only size and time agree.

        Where they do not, reading it fails. `stores` opens that of a URL.
        """
        with self._lock:
            if path not in self._archives:
                stored = stores.object(path) if is_url(path) else None
                self._archives[path] = TarArchive(self, path, like if stored else _here(path, like), stored)
            return self._archives[path]

    def gzip(self, archive: "TarArchive") -> GzipReader:
        """Give the reader of a compressed tar. The readers that were used last are kept."""
        with self._lock:
            if archive.path not in self._gzips:
                self._gzips[archive.path] = GzipReader(archive.in_order())
                if len(self._gzips) > OPEN_GZIPS:
                    self._gzips.popitem(last=False)
            self._gzips.move_to_end(archive.path)
            return self._gzips[archive.path]


def _rows(archive: "TarArchive", rules: Rules, left_out: LeftOut) -> Iterator[Row]:
    """Give the rows of the members that may be inputs: their names, and where their bytes are."""
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
    """What shows that a file, or an object, is still the same."""

    device: int
    inode: int
    size: int
    mtime_ns: int | None
    etag: str | None = None


@dataclass(frozen=True, eq=False)
class TarArchive:
    """One tar as the store of its photographs, whose URLs are the tar's path and their names.

    `stored` is the tar itself where it is in an object store.
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
        """Give what reads bytes of the file where the next read is mostly close to the one before."""
        return self.file_bytes if self.stored is None else _Ahead(self.file_bytes).read

    def read(self, url: str, start: int | None = None, end: int | None = None) -> bytes:
        """Read the bytes of the member with this URL: a range of those of the tar itself, decompressed.

        Raises:
            StorageError: the tar is damaged, cut off, or was changed.
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
        """Stop retries; reading a tar on this machine has none."""
        if self.stored is not None:
            self.stored.store.end()

    def bytes_at(self, at: int, count: int) -> bytes:
        """Read bytes of the tar itself, decompressed."""
        if self.path.lower().endswith(".tar"):
            return self.file_bytes(at, count)
        return self.files.gzip(self).read(at, count)

    def file_bytes(self, at: int, count: int) -> bytes:
        """Read bytes of the file.

        Raises:
            OSError: it cannot be read, or was replaced by another file.
            StorageError: the store fails again and again, or refuses access.
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
    """Reads ranges of an object in order with few requests; for one thread."""

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
    """Give the identity that a file has on this machine; `like` where it is another file."""
    try:
        found = _identity(path)
    except OSError:
        return like
    return found if (found.size, found.mtime_ns) == (like.size, like.mtime_ns) else like


def _identity_of(found: os.stat_result) -> Identity:
    return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
