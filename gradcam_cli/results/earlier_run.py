"""The results of earlier runs in an output folder, and which of them a run with other options replaces."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradcam_cli.errors import ImageError
from gradcam_cli.inputs.files import read_file
from gradcam_cli.inputs.shards import RUN_RECORD
from gradcam_cli.inputs.sources import SourceList
from gradcam_cli.results.output import SIDECAR_LIMITS, SIDECAR_SUFFIX, is_sidecar_name
from gradcam_cli.results.ownership import is_record, parsed
from gradcam_cli.results.run_folder import RunFolder
from gradcam_cli.results.sidecar import Record

MOST_CHANGES = 4


@dataclass(frozen=True)
class Replacement:
    """The effect of a run on the sidecars of earlier runs with other options.

    Attributes:
        changes: the options that differ from those of the last run, one line each.
        replaced: the number of sidecars that are replaced.
        others: the number of sidecars that are kept.
        is_of_last: whether the last run in the folder had other options; if False, only runs before it had.
    """

    changes: tuple[str, ...]
    replaced: int
    others: int
    is_of_last: bool = True


def run_record_of(root: Path, name: str = RUN_RECORD) -> Record | None:
    """Read the `run.json` of a folder, or the record of a shard; None if this program has written none."""
    try:
        record = parsed(read_file(os.fspath(root / name), SIDECAR_LIMITS))
    except (ImageError, ValueError):
        return None
    return record if is_record(record) and isinstance(record.get("options"), dict) else None


def replacement(
    folder: RunFolder, left: SourceList, options: Mapping[str, Any], options_sha256: str
) -> Replacement | None:
    """Find which results of runs with other options this run replaces; None if there are none.

    Results of other shards do not count.

    Args:
        folder: the output folder.
        left: the sources that this run will explain.
        options: the known options of this run, in the form of `run.json`, and its `model`.
        options_sha256: the hash of the options and of everything else that the results depend on.
    """
    before = record_before(folder)
    if before is None or before["options_sha256"] == options_sha256:
        older = _older(folder, left, options_sha256)
        return Replacement((), older, 0, is_of_last=False) if older else None
    replaced = listed = 0
    for source in left:
        if folder.has_sidecar(source):
            replaced += 1
            listed += is_sidecar_name(f"{source.relative}{SIDECAR_SUFFIX}")
    there = sum(is_sidecar_name(place) and _is_in_shard(place, folder) for place in folder.sidecars())
    others = there - listed
    if not replaced and not others:
        return None
    model = before.get("model", {})
    recorded = {
        **before["options"],
        "model": model.get("name"),
        **{name: model.get(name) for name in ("fit", "layer", "preprocess")},
    }
    found = changes({name: recorded.get(name) for name in options}, options)
    return Replacement(tuple(found), replaced, others)


def _older(folder: RunFolder, left: SourceList, options_sha256: str) -> int:
    """Count the sidecars with other options that a run replaces, if `run.json` does not record other options."""
    if folder.calls_at_once > 1 or next(folder.sidecars(), None) is None:
        # In an object store, this would need one more request for each sidecar.
        return 0
    known = map(folder.read_known, left)
    return sum(record is not None and record["options_sha256"] != options_sha256 for record in known)


def record_before(folder: RunFolder) -> Record | None:
    """Read the record of an earlier run; for a shard without a record, that of an earlier run of all images."""
    own = folder.read_record(folder.run_record)
    return folder.read_record(RUN_RECORD) if own is None and folder.shard else own


def _is_in_shard(place: str, folder: RunFolder) -> bool:
    return folder.shard is None or folder.shard.has(place.removesuffix(SIDECAR_SUFFIX))


def changes(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Name the options that differ, in the form `method: gradcam++, now gradcam`."""
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from changes(old, new, f"{name}.")
        else:
            yield f"{prefix}{name}: {old}, now {new}"
