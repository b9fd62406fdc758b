"""One input, and all inputs of a run. They are sorted by their place in the output, and stored on a disk."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from gradcam_cli.disk_table import DiskTable, Row, key_of, text_of
from gradcam_cli.storage import ObjectReader, Stat, Stored

STDIN: Final = "-"


@dataclass(frozen=True, order=True)
class Source:
    """One input: its path, and its place in the output tree (relative, POSIX).

    With an `errno`, the source is a folder that could not be listed for this reason. It gets a record, but no files.
    `content` has the bytes of an image in memory: then `path` is empty. `stored` is an object of a store: then `path`
    is its URL.
    """

    relative: str
    path: str
    errno: int | None = field(default=None, compare=False)
    content: bytes | None = field(default=None, compare=False, repr=False)
    stored: Stored | None = field(default=None, compare=False, repr=False)

    @property
    def is_stdin(self) -> bool:
        """Whether the image is read from stdin."""
        return self.path == STDIN

    @property
    def is_file(self) -> bool:
        """Whether it is a file on this machine."""
        return self.content is None and self.stored is None and not self.is_stdin

    @property
    def is_kept(self) -> bool:
        """Whether it can be read again: it is a file, or an object of a store."""
        return self.content is None and not self.is_stdin


class SourceList(Protocol):
    """Inputs in order. They can be iterated several times."""

    def __len__(self) -> int:
        """Give the number of inputs."""

    def __iter__(self) -> Iterator[Source]:
        """Iterate over the inputs in order."""


class Sources:
    """The inputs of a run, sorted by place and then by path, each once. They may be used by several threads.

    A run needs all its inputs before it starts, because only then are their order and any collisions of places known. A
    list of a million inputs would take more memory than everything else in a run, so they are stored in a `DiskTable`
    with about 100 bytes each. Sources with `content` cannot be stored in it.
    """

    def __init__(self, sources: Iterable[Source] = ()) -> None:
        """Store the sources, which may be in any order."""
        self._table = DiskTable()
        # The stores of objects, and the number of each in the rows of the table.
        self._stores: list[ObjectReader] = []
        self._numbers: dict[ObjectReader, int] = {}
        self._table.put(self._row(source) for source in sources)
        self._count = len(self._table)

    @property
    def have_objects(self) -> bool:
        """Whether some inputs are objects of stores."""
        return bool(self._stores)

    def __len__(self) -> int:
        """Give the number of inputs."""
        return self._count

    def __iter__(self) -> Iterator[Source]:
        """Iterate over the inputs in order."""
        return map(self._source, self._table.rows())

    def sharing_places(self) -> Iterator[list[Source]]:
        """Give the sources of each place that several sources share."""
        return ([self._source(row) for row in rows] for rows in self._table.sharing())

    def remove(self, source: Source) -> None:
        """Remove one source."""
        self._table.remove(key_of(source.relative), key_of(source.path))
        self._count -= 1

    def _row(self, source: Source) -> Row:
        return key_of(source.relative), key_of(source.path), self._value(source)

    def _value(self, source: Source) -> bytes | int | None:
        """Give the third value of a row: None for most files, the `errno` of a folder, or the data of an object."""
        if source.stored is None:
            return source.errno
        store, listed = source.stored.store, source.stored.listed
        if store not in self._numbers:
            self._numbers[store] = len(self._stores)
            self._stores.append(store)
        stat = (listed.size, listed.etag, listed.mtime_ns) if listed else None
        return json.dumps([self._numbers[store], source.stored.at, stat]).encode("ascii")

    def _source(self, row: Row) -> Source:
        relative, path, value = text_of(row[0]), text_of(row[1]), row[2]
        if not isinstance(value, bytes):
            return Source(relative, path, value)
        number, at, stat = json.loads(value)
        listed = Stat(*stat) if stat else None
        return Source(relative, path, stored=Stored(self._stores[number], path, listed, at))
