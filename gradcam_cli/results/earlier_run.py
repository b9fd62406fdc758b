"""What an output folder holds of an earlier run, and what of it a run with other options would replace."""

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
    """What a run does to the sidecars of earlier runs with other options: some are replaced, others stay.

    `is_of_last` is whether the last run there had other options; if not, only runs before it had.
    """

    changes: tuple[str, ...]
    replaced: int
    others: int
    is_of_last: bool = True


def run_record_of(root: Path, name: str = RUN_RECORD) -> Record | None:
    """Read the `run.json` of a folder, or the record of a shard; None if there is none of this program."""
    try:
        record = parsed(read_file(os.fspath(root / name), SIDECAR_LIMITS))
    except (ImageError, ValueError):
        return None
    return record if is_record(record) and isinstance(record.get("options"), dict) else None


def replacement(
    folder: RunFolder, left: SourceList, options: Mapping[str, Any], options_sha256: str
) -> Replacement | None:
    """Tell what this run replaces of runs with other options; None if there is nothing of the kind.

    What belongs to other shards is no part of it.

    Args:
        folder: the output folder.
        left: the sources that are going to be explained.
        options: the options of this run, as `run.json` records them, as far as they are known, and its `model`.
        options_sha256: their hash, with all else that the results depend on.
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
    """Count what a run replaces of sidecars with other options, where `run.json` does not say that there are any."""
    if folder.calls_at_once > 1 or next(folder.sidecars(), None) is None:
        # Reading each sidecar once more would be as many requests.
        return 0
    known = map(folder.read_known, left)
    return sum(record is not None and record["options_sha256"] != options_sha256 for record in known)


def record_before(folder: RunFolder) -> Record | None:
    """Read what an earlier run of all, or of the shard, has left; for a shard that has not run, what one of all has."""
    own = folder.read_record(folder.run_record)
    return folder.read_record(RUN_RECORD) if own is None and folder.shard else own


def _is_in_shard(place: str, folder: RunFolder) -> bool:
    return folder.shard is None or folder.shard.has(place.removesuffix(SIDECAR_SUFFIX))


def changes(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Name the options that differ, as `method: gradcam++, now gradcam`."""
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from changes(old, new, f"{name}.")
        else:
            yield f"{prefix}{name}: {old}, now {new}"
