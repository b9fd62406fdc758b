"""Merge the shards of a run: add up their records, and link their outputs into one folder."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

from gradcam_cli.errors import ImageError, UsageError
from gradcam_cli.inputs.discovery import as_text
from gradcam_cli.inputs.shards import Shard
from gradcam_cli.inputs.sources import Source
from gradcam_cli.requests import Format
from gradcam_cli.results.folders import run_folder
from gradcam_cli.results.local_folder import LocalFolder
from gradcam_cli.results.output import SIDECAR_SUFFIX, Names
from gradcam_cli.results.packed_folder import PackedFolder
from gradcam_cli.results.reading import run_record_in
from gradcam_cli.results.run import Run, read_run
from gradcam_cli.results.run_folder import RunFolder
from gradcam_cli.results.runs_found import as_given
from gradcam_cli.results.shard_parts import ShardPart, parts_in, records_of_shards
from gradcam_cli.results.sidecar import SCHEMA_VERSION, Record, name_on_disk
from gradcam_cli.results.tree import Tree, existing, in_order, tree_of
from gradcam_cli.settings import Limits
from gradcam_cli.text import counted
from gradcam_cli.urls import Url, place

StrPath = str | os.PathLike[str] | Url


def _ignore(text: str) -> None:
    del text


def merge_runs(
    folders: Iterable[StrPath], output: StrPath | None = None, *, note: Callable[[str], None] = _ignore
) -> Run:
    """Merge the shards of a run into one run.

    The record of the run, `run.json`, contains the sums of the counts and times of the shards. With several folders,
    the outputs of all shards are linked into `output`, each sidecar last; if the file system has no links, they are
    copied. Tars and tables are linked or copied unchanged. With one folder that all shards wrote to, nothing is
    copied, and the records of the shards are removed at the end. A later run of all images into the merged folder
    skips the images that the shards have explained. Each folder may be the URL of a prefix in an object store.

    Args:
        folders: the output folders of the shards: one common folder, or several.
        output: the folder of the merged run; it may be left out if there is one folder.
        note: is called with one line of text if `output` contains a run with other options.

    Raises:
        UsageError: a shard is missing or did not reach all of its images; the shards differ in options, model,
            format or count; two folders contain different results of one shard; outputs are missing; a folder is in
            use; a store refuses access.
        EnvironmentStop: the machine or a store stopped the merge. The same call continues it.

    Example:
        >>> run = merge_runs(["out-1", "out-2"], "out")  # doctest: +SKIP
        >>> run.counts["done"], len(run.record["shards"])  # doctest: +SKIP
        (40, 2)
    """
    roots = _distinct(folders)
    target = place(output) if output is not None else _only(roots)
    if len(roots) == 1 and _same(roots[0].root, target):
        return _merged_in_place(target)
    _refuse_nested([tree.root for tree in roots], target)
    with ExitStack() as stack:
        for tree in roots:
            stack.enter_context(tree.held())
        parts = parts_in(roots)
        folder = _folder(target, parts[0])
        stack.enter_context(folder.held())
        before = run_record_in(tree_of(target))
        if before and before["options_sha256"] != parts[0].record["options_sha256"]:
            note(
                f"{target}: an earlier run in this folder had other options. Its results of the same images "
                "are replaced."
            )
        if isinstance(folder, PackedFolder):
            folder.adopt((part.packed, set(part.places)) for part in parts if part.packed)
        else:
            _bring(parts, folder)
        record = _summed(parts, before)
        folder.write_run(record)
        _close(parts)
    return _run(target, record)


def _merged_in_place(target: Path | Url) -> Run:
    """Merge the shards of one folder: only records and manifests are written."""
    tree = tree_of(target)
    first = next(records_of_shards(tree), None)
    folder = _folder(target, first) if first else _folder_of_a_run(target, run_record_in(tree))
    with folder.held():
        # The files may have changed before the folder was locked, so they are listed again.
        tree = tree_of(target)
        before = run_record_in(tree)
        if _is_merged(tree, before):
            return read_run(target)
        parts = parts_in([tree])
        record = _summed(parts, before)
        folder.write_run(record)
        _close(parts)
        _remove_records(parts)
    return _run(target, record)


def _folder(target: Path | Url, part: ShardPart) -> RunFolder:
    return _folder_of_a_run(target, part.record)


def _folder_of_a_run(target: Path | Url, record: Record | None) -> RunFolder:
    found: Format = next((name for name in get_args(Format) if record and record.get("format") == name), "files")
    return run_folder(target, format=found)


def _run(target: Path | Url, record: Record) -> Run:
    return Run(target, record["counts"], int(bool(record["counts"]["failed"])), record)


def _distinct(folders: Iterable[StrPath]) -> list[Tree]:
    trees: list[Tree] = []
    for root in map(place, folders):
        if not any(_same(root, other.root) for other in trees):
            trees.append(existing(root))
    if not trees:
        raise UsageError("Name the output folders of the shards, or the one output folder of all shards.")
    return trees


def _only(trees: Sequence[Tree]) -> Path | Url:
    if len(trees) > 1:
        raise UsageError("The shards are in several folders. Name the folder of the merged run with `output`.")
    return trees[0].root


def _same(one: Path | Url, other: Path | Url) -> bool:
    if isinstance(one, Path) and isinstance(other, Path):
        return os.path.realpath(one) == os.path.realpath(other)
    return one == other


def _refuse_nested(roots: Sequence[Path | Url], target: Path | Url) -> None:
    for root in roots:
        if _contains(root, target) or _contains(target, root):
            raise UsageError(
                f"{target} and {root}: one of these folders is inside the other. Choose another folder with `output`."
            )


def _contains(outer: Path | Url, inner: Path | Url) -> bool:
    if isinstance(outer, Path) and isinstance(inner, Path):
        real = os.path.realpath(outer)
        return os.path.commonpath([real, os.path.realpath(inner)]) == real
    if isinstance(outer, Url) and isinstance(inner, Url):
        return f"{inner.text}/".startswith(f"{outer.text}/")
    return False


def _is_merged(tree: Tree, record: Record | None) -> bool:
    """Whether the shards of a folder are already merged; the records that a killed merge has left are removed."""
    known = record.get("shards") if record else None
    if not isinstance(known, list):
        return False
    hashes = {Shard(len(known), each["index"]): each["sha256"] for each in known}
    found = list(records_of_shards(tree))
    if any(hashes.get(part.shard) != part.sha256 for part in found):
        return False
    if any(part.packed for part in found):
        # The merge may have been killed before it wrote the manifest.
        return False
    _remove_records(found)
    return True


def _bring(parts: Sequence[ShardPart], folder: RunFolder) -> None:
    """Link or copy the outputs of all images; several at the same time if one of the places is in a store."""
    images = [(part, place) for part in parts for place in part.places]

    def bring(image: tuple[ShardPart, str]) -> None:
        part, relative = image
        try:
            _bring_image(part, relative, folder)
        except ImageError as error:
            raise UsageError(f"{folder.root}: {as_text(relative)!r}: {error}.") from error

    trees = [tree_of(folder.root), *(part.tree for part in parts)]
    for _ in in_order(bring, images, max(trees, key=lambda tree: tree.calls_at_once)):
        pass


def _bring_image(part: ShardPart, relative: str, folder: RunFolder) -> None:
    sidecar = part.sidecar(relative)
    source = Source(relative, relative)
    inner = relative.rpartition("/")[0]
    sizes = {name_on_disk(sidecar, file["name"]): file["bytes"] for file in sidecar["files"]}
    names = {name: f"{inner}/{name}".lstrip("/") for name in sizes}
    origin = part.folder
    if isinstance(origin, Path) and isinstance(folder, LocalFolder):
        paths = {name: origin / path for name, path in names.items()}
        folder.link_image(Names(source, several=False), paths, origin / f"{relative}{SIDECAR_SUFFIX}")
        return
    same = folder.has_sidecar(source) and folder.read_sidecar(source) == sidecar
    if same and all(folder.size_beside(source, name) == size for name, size in sizes.items()):
        return
    files = {name: part.tree.read(path, Limits(max_file_bytes=max(1, sizes[name]))) for name, path in names.items()}
    folder.write_image(Names(source, several=False), files, sidecar)


def _close(parts: Iterable[ShardPart]) -> None:
    for part in parts:
        if part.packed:
            part.packed.close()


def _remove_records(parts: Iterable[ShardPart]) -> None:
    for part in parts:
        part.tree.remove(part.shard.run_record)


def _summed(parts: Sequence[ShardPart], before: Record | None) -> Record:
    """Add up the records of all shards; the inputs in the record of an earlier run of all images are kept."""
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
        **{name: origin[name] for name in ("format",) if name in origin},
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
    """Give the largest count: every shard counts all inputs, so the counts differ only if files were added later."""
    if all(isinstance(count, Mapping) for count in counts):
        names = dict.fromkeys(name for count in counts for name in count)
        return {name: _largest([count[name] for count in counts if name in count]) for name in names}
    return max(counts)


def summary(merged: Run) -> str:
    """Summarise the merged run in one line."""
    counts = merged.counts
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    shards, images = counted(len(merged.record["shards"]), "shard"), counted(counts["total"], "image")
    return f"{shards}, {images}: {counts['done']} explained{failed} -> {merged.folder}"
