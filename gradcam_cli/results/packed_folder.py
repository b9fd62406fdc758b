"""A run's folder whose results are part files: many images in each, tar files of WebDataset or Parquet tables.

An image waits until its record was reported, so that images are in the order of the run, and the same run writes the
same bytes. A part takes its name when it is full, or when the run ends; a run that is killed loses the open part alone.
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
        """Pack what would be written to `base`: so many images in a file.

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
        """Whether there is such a folder."""
        return self.base.exists

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for people, which are known after it is held."""
        return self.base.notes

    @property
    def has_run_record(self) -> bool:
        """Whether a run, or that of the shard, came to its end here."""
        return self.base.has_run_record

    @contextmanager
    def held(self) -> Iterator["PackedFolder"]:
        """Lock the folder until the block ends; images that were reported are published at the end in any case.

        Raises:
            UsageError: it has results of another format, or is in use.
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
        """Give the folder: the part of an image is known only after it was written."""
        del source
        return str(self.root)

    def sidecars(self) -> Iterator[str]:
        """Give the places of all sidecars."""
        for name in self._parts.names:
            for entry in self._parts.entries(name):
                yield f"{entry.place}{SIDECAR_SUFFIX}"

    def has_sidecar(self, source: Source) -> bool:
        """Whether a part has the image."""
        return self._parts.find(source.relative) is not None

    def read_known(self, source: Source) -> Record | None:
        """Read what the index of a part says of an image."""
        try:
            found = self._parts.find(source.relative)
        except ImageError:
            return None
        return found[1].known if found else None

    def read_sidecar(self, source: Source) -> Record | None:
        """Read the sidecar of an image out of its part."""
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
        """Keep an image until its record was reported."""
        with self._lock:
            self._waiting[as_text(names.source.relative)] = names.source.relative, files, record

    def settle(self, record: Record) -> None:
        """Write the image of a record that was reported into the open part.

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
        """Copy part files of other folders, of each those images that are named; see `adopt_parts`.

        Raises:
            EnvironmentStop: a part is damaged, or cannot be written.
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
            # All parts are in the manifest now, and some may have been written again.
            for name in self._place.sizes():
                if SHARD_MANIFEST.fullmatch(name) and self._is_ours(name):
                    self._place.remove(name)

    def _is_ours(self, name: str) -> bool:
        with self._place.open(name) as file:
            return is_made_of_runs(file.read())

    def _publish(self) -> None:
        """Publish the open part, after its images are removed from parts of earlier runs: no image is there twice."""
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
