"""Sidecars and records of runs that are there: where they are, and what they say. Every reader of a run is here."""

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

# The keys of a sidecar are sorted: here those of the image end, and those of the run begin.
_RUN_START: Final = b',\n  "message": '


def read_sidecar(path: Path | str) -> Record | None:
    """Read a sidecar of this program; None if there is none, or none that is whole."""
    try:
        return _record(read_file(os.fspath(path), SIDECAR_LIMITS))
    except ImageError:
        return None


class KnownSidecars:
    """Reads many sidecars of runs with the same options in less time than `read_sidecar` takes.

    From `message` on, a sidecar tells of its run: model, method and versions. Mostly that text is the one of the
    sidecar before, and is not parsed again. The records are equal to those of `read_sidecar`. What they tell of the run
    is one object in many of them: they must not be changed. Any thread may read.
    """

    def __init__(self) -> None:
        """Know no run yet."""
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
        """Parse both parts; None where there are no two. JSON has no newline in a text, so the mark is within none.

        Raises:
            ValueError, RecursionError: one of them alone is no JSON.
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
    """Read a sidecar, or the record of a run; None if there is none of this program, or none that is whole.

    Raises:
        UsageError: the store refuses access.
        StorageError: the store fails again and again.
    """
    try:
        return _record(tree.read(name, SIDECAR_LIMITS))
    except ImageError:
        return None


def run_record_in(tree: Tree, name: str = RUN_RECORD) -> Record | None:
    """Read the `run.json` of a place, or the record of a shard; None if there is none. Errors: see `record_in`."""
    record = record_in(tree, name)
    return record if record is not None and isinstance(record.get("options"), dict) else None


def records_below(tree: Tree) -> Iterator[tuple[str, Record]]:
    """Read every sidecar below a place, sorted by its relative name; files that are not sidecars are passed over.

    Those in part files at the top have the name that they would have as files.

    Raises:
        UsageError: a part file is damaged, or the store refuses access.
        StorageError: the store fails again and again.
    """
    # A run that writes reads no part files.
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
