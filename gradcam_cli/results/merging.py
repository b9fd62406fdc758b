"""Merge the shards of a run: their records are added up, and their outputs are linked into one folder."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from gradcam_cli.errors import ImageError, UsageError
from gradcam_cli.inputs.discovery import as_text
from gradcam_cli.inputs.shards import Shard
from gradcam_cli.inputs.sources import Source
from gradcam_cli.results.earlier_run import run_record_of
from gradcam_cli.results.folder_lock import FolderLock
from gradcam_cli.results.output import Names, OutputFolder
from gradcam_cli.results.run import Run, read_run
from gradcam_cli.results.runs_found import as_given
from gradcam_cli.results.shard_parts import ShardPart, parts_in, records_in
from gradcam_cli.results.sidecar import SCHEMA_VERSION, Record, name_on_disk
from gradcam_cli.text import counted

StrPath = str | os.PathLike[str]


def _ignore(text: str) -> None:
    del text


def merge_runs(
    folders: Iterable[StrPath], output: StrPath | None = None, *, note: Callable[[str], None] = _ignore
) -> Run:
    """Make one run of its shards.

    The record of the run is `run.json`: the counts and times of the shards are added up. With several folders, the
    outputs of all shards are linked into `output`, or copied where the file system has no links, each sidecar last.
    With one folder that all shards wrote to, nothing is copied, and the records of the shards are removed at the end. A
    later run of all images into the merged folder leaves out what the shards have explained.

    Args:
        folders: the output folders of the shards: one for all, or several.
        output: the folder of the merged run; with one folder it may be left out.
        note: takes a line where `output` holds a run with other options.

    Raises:
        UsageError: a shard is missing, or did not reach all of its images; the shards differ in options, model or
            count; two folders hold different results of one shard; outputs are missing; a folder is in use.
        EnvironmentStop: the machine stopped it. The same call goes on from there.

    Example:
        >>> run = merge_runs(["out-1", "out-2"], "out")  # doctest: +SKIP
        >>> run.counts["done"], len(run.record["shards"])  # doctest: +SKIP
        (40, 2)
    """
    roots = _distinct(folders)
    target = Path(output) if output is not None else _only(roots)
    in_place = len(roots) == 1 and _same(roots[0], target)
    folder = OutputFolder(target)
    with ExitStack() as stack:
        if in_place:
            stack.enter_context(folder.held())
            merged = _merged_before(target)
            if merged is not None:
                return merged
        else:
            _refuse_nested(roots, target)
            for root in roots:
                stack.enter_context(_unwritten(root))
        parts = parts_in(roots)
        before = run_record_of(target)
        if not in_place:
            stack.enter_context(folder.held())
            if before and before["options_sha256"] != parts[0].record["options_sha256"]:
                note(f"{target}: an earlier run there had other options. Only its results of other images stay.")
            _link(parts, folder)
        record = _summed(parts, before)
        folder.write_run(record)
        if in_place:
            _remove_records(parts)
    return Run(target, record["counts"], int(bool(record["counts"]["failed"])), record)


def _distinct(folders: Iterable[StrPath]) -> list[Path]:
    roots: list[Path] = []
    for root in map(Path, folders):
        if not root.is_dir():
            raise UsageError(f"{root}: there is no such folder.")
        if not any(_same(root, other) for other in roots):
            roots.append(root)
    if not roots:
        raise UsageError("Name the output folders of the shards, or the one that all wrote to.")
    return roots


def _only(roots: Sequence[Path]) -> Path:
    if len(roots) > 1:
        raise UsageError("Shards in several folders are brought into one: name it by `output`.")
    return roots[0]


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _refuse_nested(roots: Sequence[Path], target: Path) -> None:
    merged = os.path.realpath(target)
    for root in roots:
        real = os.path.realpath(root)
        if os.path.commonpath([real, merged]) in {real, merged}:
            raise UsageError(f"{target} and {root} lie in one another: name another folder by `output`.")


@contextmanager
def _unwritten(root: Path) -> Iterator[None]:
    """Lock a folder until the block ends, so that no run writes to it; nothing is written there."""
    lock = FolderLock(root)
    lock.take()
    try:
        yield
    finally:
        lock.release()


def _merged_before(root: Path) -> Run | None:
    """Give the run of a folder whose shards were merged; records that a killed merge has left are removed."""
    record = run_record_of(root)
    known = record.get("shards") if record else None
    if not isinstance(known, list):
        return None
    hashes = {Shard(len(known), each["index"]): each["sha256"] for each in known}
    found = list(records_in(root))
    if any(hashes.get(part.shard) != part.sha256 for part in found):
        return None
    _remove_records(found)
    return read_run(root)


def _link(parts: Iterable[ShardPart], folder: OutputFolder) -> None:
    for part in parts:
        for place in part.places:
            path, sidecar = part.sidecar_path(place), part.sidecar(place)
            names = [name_on_disk(sidecar, file["name"]) for file in sidecar["files"]]
            try:
                folder.link_image(
                    Names(Source(place, place), several=False), {name: path.with_name(name) for name in names}, path
                )
            except ImageError as error:
                raise UsageError(f"{folder.root}: {as_text(place)!r}: {error}.") from error


def _remove_records(parts: Iterable[ShardPart]) -> None:
    for part in parts:
        part.path.unlink(missing_ok=True)


def _summed(parts: Sequence[ShardPart], before: Record | None) -> Record:
    """Add up the records of all shards; what an earlier run of all recorded of its inputs stays."""
    records = [part.record for part in parts]
    origin = next((record for record in records if "layer" in record["model"]), records[0])
    counts = {name: sum(record["counts"][name] for record in records) for name in records[0]["counts"]}
    seconds = sum(record["seconds"] for record in records)
    explained = counts["total"] - counts["before"]
    return {
        "schema_version": SCHEMA_VERSION,
        "counts": counts,
        "inputs": _inputs(records, before),
        "images_per_second": round(explained / max(seconds, 1e-9), 3) if explained else 0.0,
        "seconds": round(seconds, 3),
        "interrupted": False,
        "left_out": _largest([record["left_out"] for record in records]),
        "shards": [_share(part) for part in parts],
        **{name: origin[name] for name in ("model", "options", "options_sha256", "versions")},
    }


def _inputs(records: Iterable[Record], before: Record | None) -> Record:
    given = [record["inputs"] for record in records]
    paths = [path for each in given for path in each["paths"]]
    return as_given(paths, "list" if any(each["list"] for each in given) else None, before)


def _share(part: ShardPart) -> Record:
    known = {name: part.record[name] for name in ("counts", "seconds")}
    return {"index": part.shard.index, "sha256": part.sha256, **known}


def _largest(counts: Sequence[Any]) -> Any:
    """Every shard walks all inputs and counts the same; where files were added meanwhile, the largest number counts."""
    if all(isinstance(count, Mapping) for count in counts):
        names = dict.fromkeys(name for count in counts for name in count)
        return {name: _largest([count[name] for count in counts if name in count]) for name in names}
    return max(counts)


def summary(merged: Run) -> str:
    """Say in one line what was merged."""
    counts = merged.counts
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    shards, images = counted(len(merged.record["shards"]), "shard"), counted(counts["total"], "image")
    return f"{shards}, {images}: {counts['done']} explained{failed} -> {merged.folder}"
