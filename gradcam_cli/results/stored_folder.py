"""A prefix of an object store as the output folder of a run.

Objects are uploaded as a whole: overlays and maps first, the sidecar last. The objects below the prefix are listed
once, after the run has taken the lock. From then on, only this run changes them, so it knows without a request which
objects exist. A new image needs one request for each of its files.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

from gradcam_cli.disk_table import DiskTable, key_of, text_of
from gradcam_cli.errors import STAYS, EnvironmentStop, ImageError, Reason, StorageError, UsageError
from gradcam_cli.inputs.discovery import as_text
from gradcam_cli.inputs.shards import RUN_RECORD, Shard
from gradcam_cli.inputs.sources import Source
from gradcam_cli.requests import Packing
from gradcam_cli.results.other_format import refuse_other_format
from gradcam_cli.results.output import SIDECAR_LIMITS, SIDECAR_SUFFIX, TOO_LONG, Names, is_sidecar_name
from gradcam_cli.results.ownership import are_rows, belongs_to, is_made_of_runs, is_ours, is_record, parsed
from gradcam_cli.results.part_names import manifest_name
from gradcam_cli.results.part_place import StoredParts
from gradcam_cli.results.records import spooled
from gradcam_cli.results.sidecar import Record, files_of, to_json
from gradcam_cli.results.stored_lock import FOLDER, StoredLock
from gradcam_cli.storage import Stores
from gradcam_cli.storage_errors import refusal
from gradcam_cli.urls import Url

CALLS_AT_ONCE: Final = 16
LOCKS: Final = f"{FOLDER}/"
BEST_EFFORT: Final = (
    "this store cannot refuse to overwrite an object, so two runs that start at the same time may both write"
)


class StoredFolder:
    """See `RunFolder`."""

    calls_at_once = CALLS_AT_ONCE

    def __init__(
        self, root: Url, shard: Shard | None = None, stores: Stores | None = None, packing: Packing | None = None
    ) -> None:
        """Store the prefix, and the format of its part files; no request is made yet.

        Raises:
            UsageError: the URL is not a place in an object store, or the library of the store is not installed.
        """
        self.root = root
        self.shard = shard
        self.run_record = shard.run_record if shard else RUN_RECORD
        self._packing = packing
        self._store = (stores or Stores()).of(root.text)
        self._lock = StoredLock(self._store, root, shard)
        self._listed: Sizes | None = None

    @property
    def exists(self) -> bool:
        """Whether there is an object below the prefix."""
        return next(iter(self._sizes), None) is not None

    @property
    def notes(self) -> tuple[str, ...]:
        """A note if the store cannot guarantee an exclusive lock."""
        return () if self._lock.is_exclusive else (f"{self.root}: {BEST_EFFORT}.",)

    @property
    def has_run_record(self) -> bool:
        """Whether an earlier run of all images, or of this shard, has written its record here."""
        return self.run_record in self._sizes

    @contextmanager
    def held(self, record: str | None = None, rows: str | None = None) -> Iterator["StoredFolder"]:
        """Take the lock, list the objects, and release the lock when the block ends; see `OutputFolder.held`."""
        try:
            try:
                self._lock.take()
                self._listed = None
                self._refuse_foreign(record or self.run_record)
                if rows is not None:
                    self._refuse_foreign(rows, are_rows)
                refuse_other_format(self, [place for place in self._sizes if "/" not in place], self._packing)
                if self._packing:
                    self._refuse_foreign_manifest()
            except StorageError as error:
                raise refusal(error) from None
            except ImageError as error:
                raise UsageError(f"{self.root}: {error}. Choose another folder.") from error
            yield self
        finally:
            self._lock.release()

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def where(self, source: Source) -> str:
        """Give the URL of a source's sidecar."""
        return str(self.root / _sidecar(source))

    def sidecars(self) -> Iterator[str]:
        """Give the places of all sidecars, relative to the prefix."""
        return filter(is_sidecar_name, self._sizes)

    def has_sidecar(self, source: Source) -> bool:
        """Whether an object exists in the place of a source's sidecar."""
        return _sidecar(source) in self._sizes

    def read_sidecar(self, source: Source) -> Record | None:
        """Read a source's sidecar."""
        return self._read(_sidecar(source))

    def read_known(self, source: Source) -> Record | None:
        """Read a source's sidecar."""
        return self.read_sidecar(source)

    def settle(self, record: Record) -> None:
        """Do nothing: the image is already uploaded."""

    def read_record(self, name: str) -> Record | None:
        """Read the record of a run."""
        record = self._read(name)
        return record if record is not None and isinstance(record.get("options"), dict) else None

    def size_beside(self, source: Source, name: str) -> int | None:
        """Give the size in bytes of an object next to a source's sidecar."""
        return self._sizes.get(_beside(source, name))

    def read_beside(self, source: Source, name: str, size: int) -> bytes:
        """Read an object next to a source's sidecar."""
        del size
        try:
            return self._store.read((self.root / _beside(source, name)).text)
        except StorageError as error:
            raise ImageError(error.reason, str(error)) from None

    def write_image(self, names: Names, files: Mapping[str, bytes], record: Record) -> None:
        """Upload one image's overlays and maps, then its sidecar; its objects from an earlier run are removed."""
        source = names.source
        sidecar = _beside(source, names.sidecar)
        before = files_of(self._refuse_foreign(sidecar))
        if sidecar in self._sizes:
            # The sidecar is removed first, so that no overlay is ever next to the sidecar of another run.
            self._remove(sidecar)
        for name in before:
            # The old sidecar may name any object: only objects with names that this program writes are removed.
            if name not in files and belongs_to(name, names.sidecar.removesuffix(SIDECAR_SUFFIX)):
                self._remove(_beside(source, name))
        for name, data in files.items():
            self._put(_beside(source, name), data)
        self._put(sidecar, to_json(record).encode("ascii"))

    def write_run(self, record: Mapping[str, Any]) -> None:
        """Upload the run's own record to the top."""
        self.write_json(self.run_record, record)

    def write_json(self, name: str, record: Mapping[str, Any]) -> None:
        """Upload a JSON file to the top."""
        self.write(name, to_json(record).encode("ascii"))

    def write(self, name: str, data: bytes) -> None:
        """Upload one object to the top.

        Raises:
            EnvironmentStop: nothing can be written any more.
        """
        try:
            self._put(name, data)
        except ImageError as error:
            raise EnvironmentStop(f"{self.root / name}: {error}") from error

    @contextmanager
    def rows(self, name: str) -> Iterator[TextIO]:
        """Open a JSON Lines file, which is uploaded as one object when the block ends, even if it ends early.

        Raises:
            EnvironmentStop: the lines cannot be written.
        """
        with spooled(lambda path: self._put_file(name, path)) as lines:
            yield lines

    def _put_file(self, name: str, path: Path) -> None:
        self._lock.check()
        self._store.put_file((self.root / name).text, path)

    def parts_place(self) -> StoredParts:
        """Give the place of part files below the prefix; the lock is checked before each change."""
        return StoredParts(self._store, self.root, self._lock.check)

    def _refuse_foreign_manifest(self) -> None:
        name = manifest_name(self.shard)
        if name in self._sizes and not is_made_of_runs(self._store.read((self.root / name).text)):
            raise ImageError(Reason.OUTPUT_NOT_OURS, f"{name} already exists, and this program did not write it")

    @property
    def _sizes(self) -> "Sizes":
        """The size in bytes of each object below the prefix, by its relative name."""
        if self._listed is None:
            listed = self._store.list(self.root.text)
            self._listed = Sizes(
                (place, stored.listed.size)
                for place, stored in listed
                if stored.listed is not None and not place.startswith(LOCKS)
            )
        return self._listed

    def _read(self, place: str) -> Record | None:
        if not 0 < (self._sizes.get(place) or 0) <= SIDECAR_LIMITS.max_file_bytes:
            return None
        try:
            record = parsed(self._store.read((self.root / place).text))
        except StorageError as error:
            if error.is_transient:
                raise
            return None
        except ValueError:
            return None
        return record if is_record(record) else None

    def _refuse_foreign(self, place: str, ours: Callable[[bytes], bool] = is_ours) -> bytes:
        """Give the bytes of an object of this program; no bytes if it does not exist or is empty; refuse all others."""
        size = self._sizes.get(place) or 0
        name = place.rsplit("/", 1)[-1]
        if not size:
            return b""
        data = b"" if size > SIDECAR_LIMITS.max_file_bytes else self._store.read((self.root / place).text)
        if not data or not ours(data):
            raise ImageError(Reason.OUTPUT_NOT_OURS, f"{name} already exists, and this program did not write it")
        return data

    def _put(self, place: str, data: bytes) -> None:
        self._lock.check()
        try:
            self._store.put((self.root / place).text, data)
        except StorageError as error:
            raise _translated(error) from None
        self._sizes.put(place, len(data))

    def _remove(self, place: str) -> None:
        self._lock.check()
        try:
            self._store.remove((self.root / place).text)
        except StorageError as error:
            raise _translated(error) from None
        self._sizes.remove(place)


class Sizes:
    """The names of objects in order, and the size of each in bytes, in a table on disk: there may be millions.

    Threads may share the object.
    """

    def __init__(self, sizes: Iterable[tuple[str, int]]) -> None:
        """Store the names and sizes."""
        self._table = DiskTable()
        self._table.put((key_of(place), b"", size) for place, size in sizes)

    def __iter__(self) -> Iterator[str]:
        """Give the names in order."""
        return (text_of(key) for key, _, _ in self._table.rows())

    def __contains__(self, place: str) -> bool:
        """Whether there is an object of this name."""
        return self.get(place) is not None

    def get(self, place: str) -> int | None:
        """Give the size of an object in bytes; None if it does not exist."""
        size = self._table.get(key_of(place))
        return size if isinstance(size, int) else None

    def put(self, place: str, size: int) -> None:
        """Add an object, or change its size."""
        self._table.put([(key_of(place), b"", size)])

    def remove(self, place: str) -> None:
        """Remove an object."""
        self._table.remove(key_of(place))


def _sidecar(source: Source) -> str:
    return _beside(source, Names(source, several=False).sidecar)


def _beside(source: Source, name: str) -> str:
    """Give the place of a file next to a source's sidecar, escaped if needed: names of objects must be Unicode."""
    folder, slash, _ = source.relative.rpartition("/")
    return as_text(f"{folder}{slash}{name}")


def _translated(error: StorageError) -> ImageError | EnvironmentStop:
    if error.reason is Reason.NAME_TOO_LONG:
        return ImageError(Reason.NAME_TOO_LONG, TOO_LONG)
    return StorageError(error.reason, f"{error} {STAYS}")
