"""A local folder as the output folder of a run."""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradcam_cli.errors import UsageError
from gradcam_cli.inputs.files import read_file
from gradcam_cli.inputs.shards import Shard
from gradcam_cli.inputs.sources import Source
from gradcam_cli.requests import Packing
from gradcam_cli.results.earlier_run import run_record_of
from gradcam_cli.results.other_format import refuse_other_format
from gradcam_cli.results.output import SIDECAR_SUFFIX, OutputFolder, is_sidecar_name
from gradcam_cli.results.ownership import is_made_of_runs
from gradcam_cli.results.part_names import manifest_name
from gradcam_cli.results.reading import KnownSidecars, read_sidecar
from gradcam_cli.results.sidecar import Record, to_json
from gradcam_cli.results.tree import LocalTree
from gradcam_cli.settings import Limits


class LocalFolder(OutputFolder):
    """See `RunFolder`."""

    calls_at_once = 1
    notes: tuple[str, ...] = ()

    @property
    def exists(self) -> bool:
        """Whether the folder exists."""
        return self.root.is_dir()

    def __init__(self, root: Path, shard: Shard | None = None, packing: Packing | None = None) -> None:
        """Store the folder, the shard that writes to it, and the format of its part files; None for single files."""
        super().__init__(root, shard)
        self._packing = packing
        self._known = KnownSidecars()
        self._below = os.path.join(root, "")  # noqa: PTH118 - a `Path` has no slash at its end

    @contextmanager
    def held(self, record: str | None = None, rows: str | None = None) -> Iterator["LocalFolder"]:
        """See `OutputFolder.held`.

        Raises:
            UsageError: as for `OutputFolder.held`, or the folder has results of another format.
        """
        with super().held(record, rows):
            refuse_other_format(self, (path.name for path in self.root.iterdir()), self._packing)
            if self._packing:
                self._refuse_foreign_manifest()
            yield self

    def _refuse_foreign_manifest(self) -> None:
        path = self.root / manifest_name(self.shard)
        if os.path.lexists(path) and not (path.is_file() and is_made_of_runs(path.read_bytes())):
            raise UsageError(f"{path} already exists, and this program did not write it. Choose another folder.")

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def where(self, source: Source) -> str:
        """Give the path of a source's sidecar."""
        return os.fspath(self.sidecar_path(source))

    def sidecars(self) -> Iterator[str]:
        """Give the places of all sidecars, relative to the folder."""
        yield from filter(is_sidecar_name, LocalTree(self.root).names())

    def has_sidecar(self, source: Source) -> bool:
        """Whether a file exists at the path of a source's sidecar."""
        return self.sidecar_path(source).is_file()

    def read_sidecar(self, source: Source) -> Record | None:
        """Read a source's sidecar."""
        return read_sidecar(self._sidecar(source))

    def read_known(self, source: Source) -> Record | None:
        """Read a source's sidecar."""
        return self._known.read(self._sidecar(source))

    def _sidecar(self, source: Source) -> str:
        # A later run does this for each image, and a path as a string takes a fifth of the time of a `Path`.
        return f"{self._below}{source.relative}{SIDECAR_SUFFIX}"

    def settle(self, record: Record) -> None:
        """Do nothing: the image is already written."""

    def write_json(self, name: str, record: Mapping[str, Any]) -> None:
        """Write a JSON file at the top."""
        self.write(name, to_json(record).encode("ascii"))

    def read_record(self, name: str) -> Record | None:
        """Read the record of a run."""
        return run_record_of(self.root, name)

    def size_beside(self, source: Source, name: str) -> int | None:
        """Give the size of a file next to a source's sidecar; None for a link."""
        folder, slash, _ = source.relative.rpartition("/")
        try:
            found = os.lstat(f"{self._below}{folder}{slash}{name}")
        except OSError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def read_beside(self, source: Source, name: str, size: int) -> bytes:
        """Read a file next to a source's sidecar."""
        path = self.sidecar_path(source).with_name(name)
        return read_file(os.fspath(path), Limits(max_file_bytes=max(1, size)))
