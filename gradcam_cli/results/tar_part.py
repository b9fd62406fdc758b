"""Results as WebDataset tar files: the overlays and the sidecar of an image have the same key; the sidecar is last."""

import io
import tarfile
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.inputs.tar_reader import BLOCK, TarError, TarMember, members
from gradcam_cli.results.output import SIDECAR_LIMITS
from gradcam_cli.results.ownership import is_record, parsed
from gradcam_cli.results.part_index import FileEntry, PartEntry, entry_of, place_in
from gradcam_cli.results.part_names import SIDECAR_MEMBER, key_of, member_of, sidecar_member, split_member
from gradcam_cli.results.sidecar import Record, name_on_disk, to_json


class TarWriter:
    """Writes one tar; its headers do not depend on the machine or the time."""

    def __init__(self, file: BinaryIO) -> None:
        """Start an empty tar."""
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - finish closes it

    def add(self, place: str, files: Mapping[str, bytes], record: Record) -> PartEntry:
        """Add one image: its files, with the names of `member_of`, then its sidecar."""
        entries = [FileEntry(name, self._add(member_of(place, name), data), len(data)) for name, data in files.items()]
        data = to_json(record, indent=None).encode("ascii")
        return entry_of(record, self._add(sidecar_member(place), data), len(data), entries)

    def finish(self) -> None:
        """Write the end of the tar."""
        self._tar.close()

    def _add(self, name: str, data: bytes) -> int:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))
        return int(self._tar.offset) - -(-len(data) // BLOCK) * BLOCK


class TarPart:
    """Reads a tar of `TarWriter`."""

    def __init__(self, file: BinaryIO) -> None:
        """Store the file; nothing is read yet."""
        self._file = file

    def entries(self) -> Iterator[PartEntry]:
        """Give the entry of every image, from the headers of its members.

        Raises:
            ImageError: the tar is damaged, or has members that this program does not write.
        """
        waiting: dict[str, FileEntry] = {}
        key = None
        try:
            for member in members(self.bytes_at):
                found, name = split_member(member.name)
                if not member.is_plain or (key is not None and found != key):
                    raise TarError(f"{member.name} is not a member that this program writes")
                key = found
                if name != SIDECAR_MEMBER:
                    waiting[name] = FileEntry(name, member.at, member.size)
                    continue
                yield self._entry(key, member, waiting)
                key, waiting = None, {}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ImageError(Reason.UNREADABLE, f"the tar is damaged: {error}") from error
        if key is not None:
            raise ImageError(Reason.UNREADABLE, f"the tar is damaged: {key} has no sidecar")

    def _entry(self, key: str, member: TarMember, files: Mapping[str, FileEntry]) -> PartEntry:
        record = self._sidecar(member.at, member.size)
        named = {name_on_disk(record, file["name"]) for file in record["files"]}
        if key_of(place_in(record)) != key or not files.keys() <= named:
            raise TarError(f"the sidecar of {key} belongs to another image")
        return entry_of(record, member.at, member.size, files.values())

    def sidecar(self, entry: PartEntry) -> Record:
        """Read the sidecar of one image.

        Raises:
            ImageError: there is no sidecar at the position of the entry.
        """
        try:
            return self._sidecar(entry.at, entry.size)
        except ValueError as error:
            raise ImageError(Reason.UNREADABLE, f"the tar is damaged: {error}") from error

    def _sidecar(self, at: int, size: int) -> Record:
        if size > SIDECAR_LIMITS.max_file_bytes:
            raise TarError("a sidecar is too large")
        record = parsed(self.bytes_at(at, size))
        if not is_record(record):
            raise TarError("a member is not a sidecar of this program")
        return dict(record)

    def bytes_at(self, at: int, size: int) -> bytes:
        """Read `size` bytes of the tar from position `at`."""
        self._file.seek(at)
        return self._file.read(size)
