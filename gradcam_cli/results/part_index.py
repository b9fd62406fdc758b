"""The index of a part file: one line for each image, with the facts that decide whether the image is finished.

The index is written before the part gets its name, and contains the size and the hash of the part. If the index is
missing or belongs to another file, it is made again from the part.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gradcam_cli.disk_table import key_of
from gradcam_cli.inputs.discovery import from_text
from gradcam_cli.results.sidecar import EXPLAINED, Record

INDEX_VERSION: Final = 1


@dataclass(frozen=True)
class FileEntry:
    """One overlay or map in a part: its name in the sidecar, and the position and number of its bytes."""

    name: str
    at: int
    size: int


@dataclass(frozen=True)
class PartEntry:
    """One image in a part.

    In a tar, `at` and `size` are the position and number of the sidecar's bytes; in a table, `at` is the row. `known`
    contains the fields of the sidecar that a later run needs, in the form of the sidecar.
    """

    place: str
    at: int
    size: int
    files: tuple[FileEntry, ...]
    known: Record

    @property
    def is_explained(self) -> bool:
        """Whether the image has an explanation."""
        return self.known["status"] in EXPLAINED


@dataclass(frozen=True)
class PartSummary:
    """The summary of a part in the first line of its index."""

    bytes: int
    sha256: str
    images: int
    explained: int


def place_in(record: Mapping[str, Any]) -> str:
    """Give the place of a sidecar's image in the output tree."""
    given = record["input"]
    return from_text(given["path"], escaped="path_b64" in given)


def entry_of(record: Mapping[str, Any], at: int, size: int, files: Iterable[FileEntry] = ()) -> PartEntry:
    """Make the entry of one image from its sidecar.

    Raises:
        LookupError, TypeError: the record is not a sidecar.
    """
    given = record["input"]
    known = {
        "schema_version": record["schema_version"],
        "status": record["status"],
        "options_sha256": record["options_sha256"],
        "model": {"sha256": record["model"]["sha256"]},
        "input": {name: given.get(name) for name in ("path", "bytes", "mtime_ns", "etag", "sha256")},
        "files": [{"name": file["name"], "bytes": file["bytes"]} for file in record["files"]],
    }
    if "path_b64" in given:
        known["input"]["path_b64"] = given["path_b64"]
    return PartEntry(place_in(record), at, size, tuple(files), known)


def written_index(entries: Iterable[PartEntry], bytes_: int, sha256: str) -> bytes:
    """Write the index of a part: a summary line, then one line for each image. The same part gives the same bytes."""
    entries = list(entries)
    head = {
        "gradcam_index": INDEX_VERSION,
        "bytes": bytes_,
        "sha256": sha256,
        "images": len(entries),
        "explained": sum(entry.is_explained for entry in entries),
    }
    lines = [head, *(_line(entry) for entry in entries)]
    return "".join(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n" for line in lines).encode("ascii")


def _line(entry: PartEntry) -> Record:
    files = [[file.name, file.at, file.size] for file in entry.files]
    return {"at": entry.at, "size": entry.size, "place": entry.place, "files": files, "known": entry.known}


def summary_of(line: bytes, part_bytes: int) -> PartSummary | None:
    """Read the first line of an index; None if it is not such a line, or belongs to another file."""
    try:
        head = json.loads(line)
        found = PartSummary(head["bytes"], head["sha256"], head["images"], head["explained"])
    except (ValueError, LookupError, TypeError):
        return None
    return found if head.get("gradcam_index") == INDEX_VERSION and found.bytes == part_bytes else None


def read_entry(line: bytes) -> PartEntry:
    """Read one line of an index.

    Raises:
        ValueError, LookupError, TypeError: the bytes are not such a line.
    """
    # For bytes, json would guess the encoding.
    found = json.loads(line.decode("utf-8"))
    files = tuple([FileEntry(*file) for file in found["files"]])
    return PartEntry(found["place"], found["at"], found["size"], files, found["known"])


def key_of_line(line: bytes) -> bytes:
    """Read the key of the place, see `key_of`, without parsing the rest of the line.

    The place ends at the next quote, because quotes in the place are escaped.

    Raises:
        ValueError: the bytes are not a line of an index.
    """
    start, end = line.rindex(b'"place":') + len(b'"place":'), line.rindex(b',"size":')
    quoted = line[start:end]
    is_plain = quoted.isascii() and b"\\" not in quoted and quoted.startswith(b'"') and quoted.endswith(b'"')
    return quoted[1:-1] if is_plain else key_of(str(json.loads(quoted)))


def lines_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the lines of an index after the first one, each with its offset in bytes."""
    at = data.find(b"\n") + 1
    while at < len(data):
        end = data.find(b"\n", at) + 1 or len(data)
        yield at, data[at:end]
        at = end
