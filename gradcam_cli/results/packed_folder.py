"""An output folder whose results are part files with many images: WebDataset tar files or Parquet tables.

An image is kept in memory until its record is reported. So the images are in the order of the run, and the same run
writes the same bytes. A part gets its name when it is full or when the run ends. A killed run loses only the open part.
"""

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradcam_cli.errors import EnvironmentStop, ImageError
from gradcam_cli.inputs.discovery import as_text
from gradcam_cli.inputs.sources import Source
from gradcam_cli.requests import Packing
from gradcam_cli.results.adopted_parts import adopt_parts
from gradcam_cli.results.local_folder import LocalFolder
from gradcam_cli.results.manifest import manifest_of
from gradcam_cli.results.output import SIDECAR_SUFFIX, Names, translated
from gradcam_cli.results.ownership import is_made_of_runs
from gradcam_cli.results.part_kinds import KINDS
from gradcam_cli.results.part_names import PACKINGS, SHARD_MANIFEST, PartName, manifest_name
from gradcam_cli.results.part_place import PartPlace
from gradcam_cli.results.parts import OpenPart, Parts
from gradcam_cli.results.sidecar import Record
from gradcam_cli.results.stored_folder import StoredFolder
from gradcam_cli.urls import Url

Waiting = tuple[str, Mapping[str, bytes], Record]


class PackedFolder:
    """See `RunFolder`."""

    calls_at_once = 1

    def __init__(
        self, base: LocalFolder | StoredFolder, place: PartPlace, packing: Packing, images_per_file: int | None = None
    ) -> None:
        """Write the results to part files in `base`, with at most `images_per_file` images in each.

        Raises:
            UsageError: the library of the format is not installed.
        """
        KINDS[packing].require()
        self.base = base
        self.shard = base.shard
        self.run_record = base.run_record
        self._packing = packing
        self._per_file = images_per_file or PACKINGS[packing].images_per_file
        self._owner = base.shard.name if base.shard else ""
        self._place = place
        self._parts = Parts(place, base.shard)
        self._open: OpenPart | None = None
        self._waiting: dict[str, Waiting] = {}
        self._lock = threading.Lock()
        self._next = 0

    @property
    def root(self) -> Path | Url:
        """The folder itself."""
        return self.base.root

    @property
    def exists(self) -> bool:
        """Whether the folder exists."""
        return self.base.exists

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user; they are known after `held`."""
        return self.base.notes

    @property
    def has_run_record(self) -> bool:
        """Whether an earlier run of all images, or of this shard, has written its record here."""
        return self.base.has_run_record

    @contextmanager
    def held(self) -> Iterator["PackedFolder"]:
        """Lock the folder until the block ends; the reported images are always published at the end.

        Raises:
            UsageError: the folder has results of another format, or is in use.
        """
        with self.base.held():
            self._parts.forget()
            self._next = 1 + max((name.number for name in self._parts.names), default=-1)
            try:
                yield self
            finally:
                self._publish_rest()
                self.close()

    def close(self) -> None:
        """See `RunFolder`."""
        self._parts.close()

    def where(self, source: Source) -> str:
        """Give the folder, because the part of an image is known only after it is written."""
        del source
        return str(self.root)

    def sidecars(self) -> Iterator[str]:
        """Give the places of all sidecars."""
        for name in self._parts.names:
            for entry in self._parts.entries(name):
                yield f"{entry.place}{SIDECAR_SUFFIX}"

    def has_sidecar(self, source: Source) -> bool:
        """Whether a part contains the image."""
        return self._parts.find(source.relative) is not None

    def read_known(self, source: Source) -> Record | None:
        """Read the entry of an image in the index of its part."""
        try:
            found = self._parts.find(source.relative)
        except ImageError:
            return None
        return found[1].known if found else None

    def read_sidecar(self, source: Source) -> Record | None:
        """Read the sidecar of an image from its part."""
        try:
            found = self._parts.find(source.relative)
            return self._parts.sidecar(*found) if found else None
        except ImageError:
            return None

    def read_record(self, name: str) -> Record | None:
        """Read the record of a run."""
        return self.base.read_record(name)

    def size_beside(self, source: Source, name: str) -> int | None:
        """Give the size of an image's file."""
        found = self._parts.find(source.relative)
        return next((file.size for file in found[1].files if file.name == name), None) if found else None

    def read_beside(self, source: Source, name: str, size: int) -> bytes:
        """Read an image's file."""
        del size
        found = self._parts.find(source.relative)
        return self._parts.file(*found, name) if found else b""

    def write_image(self, names: Names, files: Mapping[str, bytes], record: Record) -> None:
        """Keep an image in memory until its record is reported."""
        with self._lock:
            self._waiting[as_text(names.source.relative)] = names.source.relative, files, record

    def settle(self, record: Record) -> None:
        """Write the image of a reported record to the open part.

        Raises:
            EnvironmentStop: nothing can be written any more.
        """
        with self._lock:
            found = self._waiting.pop(record["input"]["path"], None)
        if found is None:
            return
        try:
            if self._open is None:
                self._open = OpenPart(self._place, PartName(self._owner, self._next, self._packing), self._owner)
                self._next += 1
            self._open.add(*found)
            if len(self._open) >= self._per_file:
                self._publish()
        except OSError as error:
            if self._open is not None:
                self._open.discard()
            self._open = None
            raise self._stopped(error) from error

    def adopt(self, others: Iterable[tuple[Parts, Collection[str]]]) -> None:
        """Copy the named images of other folders, as part files; see `adopt_parts`.

        Raises:
            EnvironmentStop: a part is damaged or cannot be written.
        """
        try:
            adopt_parts(self._parts, others)
        except ImageError as error:
            raise EnvironmentStop(f"{self.root}: {error}") from error
        except OSError as error:
            raise self._stopped(error) from error

    def write_run(self, record: Mapping[str, Any]) -> None:
        """Publish the open part, write the run's own record, and then the manifest."""
        self._publish_rest()
        self.base.write_run({**record, "format": self._packing})
        self._parts.forget()
        try:
            manifest = manifest_of(self._parts, self._parts.names)
        except ImageError as error:
            raise EnvironmentStop(f"{self.root}: {error}") from error
        self.base.write_json(manifest_name(self.shard), manifest)
        if self.shard is None:
            # The manifest lists all parts. Some may have been rewritten, so the manifests of shards may be wrong.
            for name in self._place.sizes():
                if SHARD_MANIFEST.fullmatch(name) and self._is_ours(name):
                    self._place.remove(name)

    def _is_ours(self, name: str) -> bool:
        with self._place.open(name) as file:
            return is_made_of_runs(file.read())

    def _publish(self) -> None:
        """Remove the images of the open part from parts of earlier runs, then publish it: no image exists twice."""
        part, self._open = self._open, None
        if part is None:
            return
        try:
            self._parts.without(part.places, self._owner)
            part.publish()
        except ImageError as error:
            raise EnvironmentStop(f"{self.root}: {error}") from error
        finally:
            part.discard()

    def _publish_rest(self) -> None:
        try:
            self._publish()
        except OSError as error:
            raise self._stopped(error) from error

    def _stopped(self, error: OSError) -> EnvironmentStop:
        found = translated(error, Path(str(self.root)))
        return found if isinstance(found, EnvironmentStop) else EnvironmentStop(f"{self.root}: {found}")
