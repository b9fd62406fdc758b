"""Sidecars that are there: where they are, and what they say."""

import heapq
import os
from collections.abc import Iterator
from pathlib import Path

from gradcam_cli.errors import ImageError
from gradcam_cli.inputs.decoding import read_file
from gradcam_cli.results.output import SIDECAR_LIMITS, is_sidecar_name
from gradcam_cli.results.ownership import is_record, parsed
from gradcam_cli.results.packed_reading import below, packed_records
from gradcam_cli.results.part_place import LocalParts
from gradcam_cli.results.sidecar import Record


def read_sidecar(path: Path) -> Record | None:
    """Read a sidecar of this program; None where there is none, or none that is whole."""
    try:
        record = parsed(read_file(os.fspath(path), SIDECAR_LIMITS))
    except (ImageError, ValueError):
        return None
    return record if is_record(record) else None


def records_below(root: Path) -> Iterator[tuple[Path, Record]]:
    """Read every sidecar below a folder, sorted by path; files that are no sidecars are passed over.

    Those in part files at its top have the path that they would have as files.
    """
    packed = packed_records(LocalParts(root), below(root))
    for path, record in heapq.merge(_file_records(root), packed, key=lambda pair: pair[0]):
        yield Path(path), record


def _file_records(root: Path) -> Iterator[tuple[str, Record]]:
    for path in sorted(sidecars_below(root)):
        record = read_sidecar(Path(path))
        if record is not None and "input" in record:
            yield path, record


def sidecars_below(root: Path) -> Iterator[str]:
    """Give the path of each file below a folder that has the name of a sidecar."""
    for parent, _, files in os.walk(root):
        for name in files:
            if is_sidecar_name(name):
                yield os.path.join(parent, name)  # noqa: PTH118 - names that are not UTF-8 stay str
