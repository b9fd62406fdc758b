"""The interface of an output folder: a local folder, or a prefix of an object store."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TextIO

from gradcam_cli.inputs.shards import Shard
from gradcam_cli.inputs.sources import Source
from gradcam_cli.results.output import Names
from gradcam_cli.results.sidecar import Record
from gradcam_cli.urls import Url


class StudyFolder(Protocol):
    """The folder that an evaluation writes its measures to."""

    def held(self, record: str | None = None, rows: str | None = None) -> AbstractContextManager["StudyFolder"]:
        """Lock the folder until the block ends; see `OutputFolder.prepare`."""

    def rows(self, name: str) -> AbstractContextManager[TextIO]:
        """Open a JSON Lines file at the top; see `OutputFolder.rows`."""

    def write(self, name: str, data: bytes) -> None:
        """Write one file at the top.

        Raises:
            EnvironmentStop: nothing can be written any more.
        """


class RunFolder(Protocol):
    """The folder that a run writes its results to, and in which it finds the results of an earlier run.

    `calls_at_once` is the number of threads that read or write at the same time: more than one if each call waits for
    the network. `run_record` is the file name of the record of the run, or of its `shard`.
    """

    calls_at_once: int
    shard: Shard | None
    run_record: str

    @property
    def root(self) -> Path | Url:
        """The folder itself."""

    @property
    def exists(self) -> bool:
        """Whether the folder exists."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user; they are known after `held`."""

    @property
    def has_run_record(self) -> bool:
        """Whether an earlier run of all images, or of this shard, has written its record here."""

    def held(self) -> AbstractContextManager["RunFolder"]:
        """Lock the folder for this run, or for this shard, until the block ends.

        Raises:
            UsageError: the folder cannot be written, another run uses it, or it has a record of another program.
        """

    def close(self) -> None:
        """Close the files that were opened for reading; they are opened again when they are needed."""

    def where(self, source: Source) -> str:
        """Give the place of a source's sidecar, for messages."""

    def sidecars(self) -> Iterator[str]:
        """Give the places of all sidecars, relative to the folder."""

    def has_sidecar(self, source: Source) -> bool:
        """Whether a file exists in the place of a source's sidecar."""

    def read_sidecar(self, source: Source) -> Record | None:
        """Read a source's sidecar; None if it does not exist, is damaged, or is from another program."""

    def read_known(self, source: Source) -> Record | None:
        """Read at least the fields that decide whether the image is finished; None if `read_sidecar` gives None."""

    def read_record(self, name: str) -> Record | None:
        """Read the record of a run at the top; None if this program has written none."""

    def size_beside(self, source: Source, name: str) -> int | None:
        """Give the size in bytes of a file next to a source's sidecar; None if it does not exist."""

    def read_beside(self, source: Source, name: str, size: int) -> bytes:
        """Read a file of this size next to a source's sidecar.

        Raises:
            ImageError: the file cannot be read.
        """

    def write_image(self, names: Names, files: Mapping[str, bytes], record: Record) -> None:
        """Write one image's overlays and maps, then its sidecar; its files from an earlier run are removed.

        Raises:
            ImageError: a name of this image cannot be written, or a file of another program has this name.
            EnvironmentStop: nothing can be written any more.
        """

    def settle(self, record: Record) -> None:
        """Finish an image whose record was reported; records are reported in the order of the run.

        Raises:
            EnvironmentStop: nothing can be written any more.
        """

    def write_run(self, record: Mapping[str, Any]) -> None:
        """Write the run's own record at the top.

        Raises:
            EnvironmentStop: nothing can be written any more.
        """
