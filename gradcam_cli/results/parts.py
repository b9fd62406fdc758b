"""The part files of a run: write one after the other, read them back, and find images in them."""

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, BinaryIO, Final

from gradcam_cli.disk_table import DiskTable, Row, key_of
from gradcam_cli.errors import ImageError, Reason, StorageError
from gradcam_cli.inputs.shards import Shard
from gradcam_cli.results.part_index import (
    PartEntry,
    PartSummary,
    key_of_line,
    lines_of,
    read_entry,
    summary_of,
    written_index,
)
from gradcam_cli.results.part_kinds import KINDS, Part
from gradcam_cli.results.part_names import PartName, parts_among
from gradcam_cli.results.part_place import PartPlace
from gradcam_cli.results.sidecar import Record

# The number of files that are open at the same time. Consecutive inputs may be in different parts.
OPEN_PARTS: Final = 64
CHUNK: Final = 2**20
# The number of a part and an offset in its index are stored as one number: `part * OFFSETS + offset`.
OFFSETS: Final = 2**40


class OpenPart:
    """A part that is being written, under a temporary name."""

    def __init__(self, place: PartPlace, name: PartName, owner: str) -> None:
        """Start the part.

        Raises:
            OSError: the part cannot be written.
        """
        self._place, self.name, self._owner = place, name, owner
        self._path = place.temporary(owner)
        self._raw = self._path.open("wb")
        self._file = _Hashed(self._raw)
        self._writer = KINDS[name.packing].writer(self._file)
        self._entries: list[PartEntry] = []

    @property
    def places(self) -> set[str]:
        """The places of the images in the part."""
        return {entry.place for entry in self._entries}

    def __len__(self) -> int:
        """The number of images in the part."""
        return len(self._entries)

    def add(self, place: str, files: Mapping[str, bytes], record: Record) -> None:
        """Add one image."""
        self._entries.append(self._writer.add(place, files, record))

    def publish(self) -> None:
        """Write the end of the part and its index, then publish the index, and finally the part."""
        self._writer.finish()
        self._raw.close()
        index = self._place.temporary(self._owner)
        index.write_bytes(written_index(self._entries, self._file.tell(), self._file.sha256))
        self._place.publish(index, self.name.index)
        self._place.publish(self._path, str(self.name))

    def discard(self) -> None:
        """Remove the temporary file of the part."""
        with suppress(OSError):
            self._raw.close()
            self._path.unlink(missing_ok=True)


class Parts:
    """All parts of a folder or of a shard, as they are at the first read.

    There may be millions of images, so the table of their places is on disk. Threads may share the object.
    """

    def __init__(self, place: PartPlace, shard: Shard | None = None) -> None:
        """Store the arguments; nothing is read yet."""
        self.place = place
        self._shard = shard
        self._lock = threading.RLock()
        self._names: list[PartName] | None = None
        self._table: DiskTable | None = None
        # Several calls for the same image often follow each other.
        self._last: tuple[str, tuple[PartName, PartEntry] | None] | None = None
        # The start of the line after the last one: images are mostly looked up in the order of writing.
        self._next: tuple[PartName, BinaryIO, int] | None = None
        self._are_unique = False
        self._summaries: dict[PartName, PartSummary] = {}
        self._files: OrderedDict[PartName, tuple[BinaryIO, Part]] = OrderedDict()
        self._indexes: OrderedDict[PartName, BinaryIO] = OrderedDict()

    @property
    def names(self) -> list[PartName]:
        """The names of the parts, in order."""
        with self._lock:
            if self._names is None:
                found = parts_among(self.place.sizes())
                owner = self._shard.name if self._shard else None
                self._names = [name for name in found if owner in {None, name.owner}]
            return self._names

    def forget(self) -> None:
        """Forget everything, so that the next access reads the folder again."""
        with self._lock:
            self._names = self._table = self._last = self._next = None
            self._summaries = {}
            self.close()

    def close(self) -> None:
        """Close all files; they are opened again when they are needed."""
        with self._lock:
            for file in (*(file for file, _ in self._files.values()), *self._indexes.values()):
                file.close()
            self._files.clear()
            self._indexes.clear()
            self._next = None

    def find(self, place: str) -> tuple[PartName, PartEntry] | None:
        """Find the part and the entry of an image; None if there is no such image."""
        with self._lock:
            if self._last is None or self._last[0] != place:
                self._last = place, self._found(place)
            return self._last[1]

    def _found(self, place: str) -> tuple[PartName, PartEntry] | None:
        key = key_of(place)
        found = self._neighbour(key)
        if found is not None:
            return found
        line = self._looked_up().get(key)
        if not isinstance(line, int):
            return None
        number, offset = divmod(line, OFFSETS)
        name = self.names[number]
        index = self._index(name)
        index.seek(offset)
        data = index.readline()
        self._next = name, index, offset + len(data)
        return name, read_entry(data)

    def _neighbour(self, key: bytes) -> tuple[PartName, PartEntry] | None:
        """Look for an image in the line after the last one, without the table, if no image is in two lines."""
        if self._next is None or not self._are_unique:
            return None
        name, index, offset = self._next
        if index.closed:
            return None
        index.seek(offset)
        data = index.readline()
        if not data or key_of_line(data) != key:
            return None
        self._next = name, index, offset + len(data)
        return name, read_entry(data)

    def sidecar(self, name: PartName, entry: PartEntry) -> Record:
        """Read the sidecar of an image.

        Raises:
            ImageError: the part is damaged.
        """
        with self._lock:
            return self._open(name).sidecar(entry)

    def file(self, name: PartName, entry: PartEntry, file: str) -> bytes:
        """Read an overlay or a map of an image.

        Raises:
            ImageError: the image has no file of this name.
        """
        found = next((each for each in entry.files if each.name == file), None)
        if found is None:
            raise ImageError(Reason.VANISHED, f"{name} has no {file}")
        with self._lock:
            data = self._open(name).bytes_at(found.at, found.size)
        if len(data) != found.size:
            raise ImageError(Reason.UNREADABLE, f"{name} is truncated")
        return data

    def entries(self, name: PartName) -> Iterator[PartEntry]:
        """Give the images of one part in order, from its index.

        Raises:
            ImageError: the part is damaged.
        """
        for _, line in self._lines(name):
            yield read_entry(line)

    def scanned(self, name: PartName) -> Iterator[PartEntry]:
        """Give the images of one part from the part itself, without its index.

        Raises:
            ImageError: the part is damaged.
        """
        with self._lock:
            yield from self._open(name).entries()

    def summary(self, name: PartName) -> PartSummary:
        """Give the size, the hash and the counts of a part.

        Raises:
            ImageError: the part is damaged.
        """
        with self._lock:
            if name not in self._summaries:
                self._index(name)
            return self._summaries[name]

    def without(self, places: Iterable[str], owner: str) -> list[PartName]:
        """Rewrite all parts that contain one of these images, without these images; give the names of these parts.

        Raises:
            ImageError, OSError: a part is damaged or cannot be written.
        """
        gone: dict[PartName, set[str]] = {}
        for place in places:
            found = self.find(place)
            if found is not None:
                gone.setdefault(found[0], set()).add(place)
        for name, dropped in gone.items():
            self._rewrite(name, dropped, owner)
            self._renew(name, dropped)
        return list(gone)

    def _rewrite(self, name: PartName, dropped: set[str], owner: str) -> None:
        left = [entry for entry in self.entries(name) if entry.place not in dropped]
        if not left:
            self.place.remove(str(name))
            self.place.remove(name.index)
            return
        self.copy_entries(name, left, OpenPart(self.place, name, owner))

    def copy_entries(self, name: PartName, entries: Iterable[PartEntry], part: OpenPart) -> None:
        """Copy images of one part, with their files, into a new part, and publish it."""
        try:
            for entry in entries:
                files = {file.name: self.file(name, entry, file.name) for file in entry.files}
                part.add(entry.place, files, self.sidecar(name, entry))
            part.publish()
        finally:
            part.discard()

    def _renew(self, name: PartName, dropped: Iterable[str]) -> None:
        """Read a rewritten part again; it no longer contains the dropped images. The numbers of parts do not change."""
        with self._lock:
            table, self._last = self._looked_up(), None
            self._are_unique = False
            self.close()
            self._summaries.pop(name, None)
            for place in dropped:
                table.remove(key_of(place))
            if str(name) in self.place.sizes():
                table.put(self._rows(self.names.index(name)))

    def _looked_up(self) -> DiskTable:
        """Give the table that has, for each place, the part and the offset of its line in the index."""
        if self._table is None:
            table = DiskTable()
            lines = sum(table.put(self._rows(number)) for number in range(len(self.names)))
            self._table, self._are_unique = table, len(table) == lines
        return self._table

    def _rows(self, number: int) -> Iterator[Row]:
        for offset, line in self._lines(self.names[number]):
            yield key_of_line(line), b"", number * OFFSETS + offset

    def _lines(self, name: PartName) -> Iterator[tuple[int, bytes]]:
        with self._lock:
            index = self._index(name)
            index.seek(0)
            data = index.read()
        return lines_of(data)

    def _open(self, name: PartName) -> Part:
        if name not in self._files:
            try:
                file = self.place.open(str(name))
            except (OSError, StorageError) as error:
                raise ImageError(Reason.VANISHED, f"{name} cannot be read: {error}") from None
            try:
                part = KINDS[name.packing].reader(file)
            except BaseException:
                file.close()
                raise
            self._files[name] = file, part
            if len(self._files) > OPEN_PARTS:
                self._files.popitem(last=False)[1][0].close()
        self._files.move_to_end(name)
        return self._files[name][1]

    def _index(self, name: PartName) -> BinaryIO:
        with self._lock:
            if name not in self._indexes:
                self._indexes[name] = self._opened_index(name)
                if len(self._indexes) > OPEN_PARTS:
                    self._indexes.popitem(last=False)[1].close()
            self._indexes.move_to_end(name)
            return self._indexes[name]

    def _opened_index(self, name: PartName) -> BinaryIO:
        """Open the index of a part; if it is missing or belongs to another file, make it in memory."""
        try:
            size = self.place.size_of(str(name))
        except (OSError, StorageError) as error:
            raise ImageError(Reason.VANISHED, f"{name} cannot be read: {error}") from None
        with suppress(OSError, StorageError):
            file = self.place.open(name.index)
            summary = summary_of(file.readline(), size)
            if summary is not None:
                self._summaries[name] = summary
                return file
            file.close()
        made = io.BytesIO(written_index(self._open(name).entries(), size, self.hash(name)))
        summary = summary_of(made.readline(), size)
        assert summary is not None  # noqa: S101 - it was just made
        self._summaries[name] = summary
        return made

    def hash(self, name: PartName) -> str:
        """Give the SHA-256 hash of a part file."""
        with self.place.open(str(name)) as file:
            return hash_of_file(file)


def hash_of_file(file: BinaryIO) -> str:
    """Give the SHA-256 hash of a file, without reading all of it into memory."""
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


class _Hashed(io.RawIOBase):
    """Writes bytes to a file, and hashes them."""

    def __init__(self, file: BinaryIO) -> None:
        self._into, self._digest, self._bytes = file, hashlib.sha256(), 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._bytes

    def write(self, data: Any) -> int:
        count = self._into.write(data)
        self._digest.update(data)
        self._bytes += count
        return count

    def flush(self) -> None:
        if not self._into.closed:
            self._into.flush()
