"""The formats of part files: the writer and the reader of each format."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Protocol

from gradcam_cli.requests import Packing
from gradcam_cli.results.parquet_part import ParquetPart, ParquetWriter, require_pyarrow
from gradcam_cli.results.part_index import PartEntry
from gradcam_cli.results.sidecar import Record
from gradcam_cli.results.tar_part import TarPart, TarWriter


class PartWriter(Protocol):
    """Writes one part."""

    def add(self, place: str, files: Mapping[str, bytes], record: Record) -> PartEntry:
        """Add one image, and give its entry."""

    def finish(self) -> None:
        """Write the end of the part."""


class Part(Protocol):
    """Reads one part."""

    def entries(self) -> Iterator[PartEntry]:
        """Give the entry of every image, without an index."""

    def sidecar(self, entry: PartEntry) -> Record:
        """Read the sidecar of an image."""

    def bytes_at(self, at: int, size: int) -> bytes:
        """Read the bytes of a file.

        Raises:
            ImageError: this format does not contain files.
        """


def _nothing() -> None:
    """Do nothing: the format needs no optional library."""


@dataclass(frozen=True)
class PartKind:
    """The writer and the reader of one format; `require` raises UsageError if the library of the format is missing."""

    writer: Callable[[Any], PartWriter]
    reader: Callable[[BinaryIO], Part]
    require: Callable[[], None] = _nothing


KINDS: Final[dict[Packing, PartKind]] = {
    "webdataset": PartKind(TarWriter, TarPart),
    "parquet": PartKind(ParquetWriter, ParquetPart, require_pyarrow),
}
