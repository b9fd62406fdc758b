"""Refuse mixed formats: a folder has either a file for each overlay and sidecar, or part files of one format."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from gradcam_cli.errors import UsageError
from gradcam_cli.inputs.shards import Shard
from gradcam_cli.requests import Packing
from gradcam_cli.results.part_names import parts_among
from gradcam_cli.results.sidecar import Record
from gradcam_cli.urls import Url


class Holding(Protocol):
    """The methods of an output folder that the check needs."""

    shard: Shard | None
    run_record: str

    @property
    def root(self) -> Path | Url:
        """The folder itself."""

    def sidecars(self) -> Iterator[str]:
        """Give the places of all sidecars that are single files."""

    def read_record(self, name: str) -> Record | None:
        """Read the record of a run."""


def refuse_other_format(folder: Holding, names: Iterable[str], packing: Packing | None) -> None:
    """Refuse a folder with results of another format; `names` are the names of the files at its top.

    Raises:
        UsageError: the folder has such results, or a shard would write next to parts of a run of all images.
    """
    parts = parts_among(names)
    others = {part.packing for part in parts} - {packing}
    if others:
        _refuse(folder, f"part files of `format={others.pop()}`")
    if packing is None:
        return
    if folder.shard and any(not part.owner for part in parts):
        raise UsageError(
            f"{folder.root}: this folder has a run without shards. Explain all images in it, or choose another folder."
        )
    if not parts and (_has_files(folder) or next(folder.sidecars(), None) is not None):
        _refuse(folder, "sidecars as single files")


def _has_files(folder: Holding) -> bool:
    record = folder.read_record(folder.run_record)
    return record is not None and "format" not in record


def _refuse(folder: Holding, what: str) -> None:
    raise UsageError(f"{folder.root}: this folder has {what}. Choose another folder, or the `format` of this folder.")
