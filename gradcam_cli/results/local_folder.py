"""A folder of this machine as a run needs it: what it writes there, and what it finds there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from gradcam_cli.inputs.decoding import read_file
from gradcam_cli.inputs.discovery import Source
from gradcam_cli.results.earlier_run import run_record_of
from gradcam_cli.results.output import OutputFolder
from gradcam_cli.results.reading import read_sidecar, sidecars_below
from gradcam_cli.results.sidecar import Record
from gradcam_cli.settings import Limits


class LocalFolder(OutputFolder):
    """See `RunFolder`."""

    calls_at_once = 1
    notes: tuple[str, ...] = ()

    @property
    def exists(self) -> bool:
        """Whether there is such a folder."""
        return self.root.is_dir()

    @contextmanager
    def held(self, record: str | None = None, rows: str | None = None) -> Iterator["LocalFolder"]:
        """See `OutputFolder.held`."""
        with super().held(record, rows):
            yield self

    def where(self, source: Source) -> str:
        """Give the path of a source's sidecar."""
        return os.fspath(self.sidecar_path(source))

    def sidecars(self) -> Iterator[str]:
        """Give the places of all sidecars, relative to the folder."""
        for path in sidecars_below(self.root):
            yield os.path.relpath(path, self.root).replace(os.sep, "/")

    def has_sidecar(self, source: Source) -> bool:
        """Whether there is a file in the place of a source's sidecar."""
        return self.sidecar_path(source).is_file()

    def read_sidecar(self, source: Source) -> Record | None:
        """Read a source's sidecar."""
        return read_sidecar(self.sidecar_path(source))

    def read_record(self, name: str) -> Record | None:
        """Read the record of a run."""
        return run_record_of(self.root, name)

    def size_beside(self, source: Source, name: str) -> int | None:
        """Give the size of a file beside a source's sidecar; a link is none."""
        path = self.sidecar_path(source).with_name(name)
        return path.stat().st_size if path.is_file() and not path.is_symlink() else None

    def read_beside(self, source: Source, name: str, size: int) -> bytes:
        """Read a file beside a source's sidecar."""
        path = self.sidecar_path(source).with_name(name)
        return read_file(os.fspath(path), Limits(max_file_bytes=max(1, size)))
