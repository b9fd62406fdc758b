"""Find and read existing sidecars and records of runs."""

import heapq
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from gradcam_cli.errors import ImageError
from gradcam_cli.inputs.files import read_file
from gradcam_cli.inputs.shards import RUN_RECORD
from gradcam_cli.results.output import SIDECAR_LIMITS, is_sidecar_name
from gradcam_cli.results.ownership import SIDECAR_START, is_record, parsed
from gradcam_cli.results.sidecar import Record
from gradcam_cli.results.tree import Tree, in_order

# The keys of a sidecar are sorted. At this text, the keys of the image end and the keys of the run begin.
_RUN_START: Final = b',\n  "message": '


def read_sidecar(path: Path | str) -> Record | None:
    """Read a sidecar of this program; None if it does not exist or is damaged."""
    try:
        return _record(read_file(os.fspath(path), SIDECAR_LIMITS))
    except ImageError:
        return None


class KnownSidecars:
    """Reads many sidecars of runs with the same options, in less time than `read_sidecar` takes.

    The text of a sidecar from `message` on describes its run: model, method and versions. This text is mostly the same
    as in the previous sidecar, and then it is not parsed again. The records are equal to those of `read_sidecar`. Many
    records share the objects that describe the run, so the records must not be changed. Threads may share the reader.
    """

    def __init__(self) -> None:
        """Start without a known run."""
        self._last: tuple[bytes, Record] = b"", {}

    def read(self, path: str) -> Record | None:
        """Read a sidecar; see `read_sidecar`."""
        try:
            data = read_file(path, SIDECAR_LIMITS)
        except ImageError:
            return None
        try:
            record = self._joined(data)
        except (ValueError, RecursionError):
            record = None
        return record if record is not None and is_record(record) else _record(data)

    def _joined(self, data: bytes) -> Record | None:
        """Parse both parts of a sidecar separately; None if it cannot be divided.

        `_RUN_START` contains a newline, and JSON strings do not, so it is never found inside a string.

        Raises:
            ValueError, RecursionError: one of the parts is not JSON.
        """
        at = data.find(_RUN_START) if data.startswith(SIDECAR_START) else -1
        if at < 0:
            return None
        end = data[at + 1 :]
        known, of_run = self._last
        if end != known:
            of_run = json.loads(b"{" + end)
            self._last = end, of_run
        image: Record = json.loads(data[:at].decode("utf-8", "surrogatepass") + "}")
        return {**image, **of_run}


def record_in(tree: Tree, name: str) -> Record | None:
    """Read a sidecar or the record of a run; None if it does not exist, is damaged, or is from another program.

    Raises:
        UsageError: the store refuses access.
        StorageError: the store fails again and again.
    """
    try:
        return _record(tree.read(name, SIDECAR_LIMITS))
    except ImageError:
        return None


def run_record_in(tree: Tree, name: str = RUN_RECORD) -> Record | None:
    """Read the `run.json` of a place, or the record of a shard; None if there is none.

    Raises:
        UsageError, StorageError: as for `record_in`.
    """
    record = record_in(tree, name)
    return record if record is not None and isinstance(record.get("options"), dict) else None


def records_below(tree: Tree) -> Iterator[tuple[str, Record]]:
    """Read every sidecar below a place, sorted by its relative name; files that are not sidecars are skipped.

    Sidecars in part files at the top have the name that they would have as single files.

    Raises:
        UsageError: a part file is damaged, or the store refuses access.
        StorageError: the store fails again and again.
    """
    # A run that writes does not read part files, so it does not need this import.
    from gradcam_cli.results.packed_reading import packed_records
    from gradcam_cli.results.part_names import parts_among

    names = list(tree.names())
    has_parts = bool(parts_among(name for name in names if "/" not in name))
    packed = packed_records(tree.parts(), str(tree.root)) if has_parts else iter(())
    yield from heapq.merge(_file_records(tree, names), packed, key=lambda pair: pair[0])


def _file_records(tree: Tree, names: Iterable[str]) -> Iterator[tuple[str, Record]]:
    sidecars = sorted(filter(is_sidecar_name, names))
    for name, record in in_order(lambda name: (name, record_in(tree, name)), sidecars, tree):
        if record is not None and "input" in record:
            yield name, record


def _record(data: bytes) -> Record | None:
    try:
        record = parsed(data)
    except ValueError:
        return None
    return record if is_record(record) else None
