"""What a run needs of the place that it writes to: a folder of this machine, or a prefix of an object store."""

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
    """Where an evaluation writes its figures."""

    def held(self, record: str | None = None, rows: str | None = None) -> AbstractContextManager["StudyFolder"]:
        """Lock the folder until the block ends; see `OutputFolder.prepare`."""

    def rows(self, name: str) -> AbstractContextManager[TextIO]:
        """Open a file of JSON lines at the top; see `OutputFolder.rows`."""

    def write(self, name: str, data: bytes) -> None:
        """Write one file at the top.

        Raises:
            EnvironmentStop: nothing can be written any more.
        """


class RunFolder(Protocol):
    """Where a run writes its results, and finds those of an earlier run.

    `calls_at_once` is how many threads read or write there at the same time: more than one where each call waits for a
    network. `run_record` is the name of the file that sums up the run, or that of its `shard`.
    """

    calls_at_once: int
    shard: Shard | None
    run_record: str

    @property
    def root(self) -> Path | Url:
        """The folder itself."""

    @property
    def exists(self) -> bool:
        """Whether there is such a folder."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for people, which are known after it is held."""

    @property
    def has_run_record(self) -> bool:
        """Whether a run, or that of the shard, came to its end here."""

    def held(self) -> AbstractContextManager["RunFolder"]:
        """Lock the folder for this run, or for this shard, until the block ends.

        Raises:
            UsageError: it cannot be written, another run has it, or it has a record that is not this program's.
        """

    def close(self) -> None:
        """Close the files that were opened to read; they are opened again when they are needed."""

    def where(self, source: Source) -> str:
        """Name the place of a source's sidecar, for people."""

    def sidecars(self) -> Iterator[str]:
        """Give the places of all sidecars, relative to the folder."""

    def has_sidecar(self, source: Source) -> bool:
        """Whether there is a file in the place of a source's sidecar."""

    def read_sidecar(self, source: Source) -> Record | None:
        """Read a source's sidecar; None if there is none of this program, or none that is whole."""

    def read_known(self, source: Source) -> Record | None:
        """Read at least what decides whether a source's image is finished; None if `read_sidecar` gives None."""

    def read_record(self, name: str) -> Record | None:
        """Read the record of a run at the top; None if there is none of this program."""

    def size_beside(self, source: Source, name: str) -> int | None:
        """Give the size of a file beside a source's sidecar; None if there is none."""

    def read_beside(self, source: Source, name: str, size: int) -> bytes:
        """Read a file of this size beside a source's sidecar.

        Raises:
            ImageError: it cannot be read.
        """

    def write_image(self, names: Names, files: Mapping[str, bytes], record: Record) -> None:
        """Write one image's overlays and maps, then its sidecar; what an earlier run left of the image is removed.

        Raises:
            ImageError: this image's names cannot be written, or a file of other programs has one of these names.
            EnvironmentStop: nothing can be written any more.
        """

    def settle(self, record: Record) -> None:
        """Receive a record after it was reported; records are reported in the order of the run.

        Raises:
            EnvironmentStop: nothing can be written any more.
        """

    def write_run(self, record: Mapping[str, Any]) -> None:
        """Write the run's own record at the top.

        Raises:
            EnvironmentStop: nothing can be written any more.
        """
