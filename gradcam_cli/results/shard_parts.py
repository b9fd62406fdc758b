"""Read the shards of a run from their folders, and refuse shards that are not one complete run."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gradcam_cli.errors import ImageError, UsageError
from gradcam_cli.inputs.discovery import as_text
from gradcam_cli.inputs.files import sha256
from gradcam_cli.inputs.shards import Shard, index_of, is_run_record, shard_of_record
from gradcam_cli.results.earlier_run import MOST_CHANGES, changes
from gradcam_cli.results.manifest import manifests_in
from gradcam_cli.results.output import SIDECAR_LIMITS, SIDECAR_SUFFIX
from gradcam_cli.results.ownership import belongs_to
from gradcam_cli.results.part_index import place_in
from gradcam_cli.results.part_names import manifest_name
from gradcam_cli.results.parts import Parts
from gradcam_cli.results.pruning import files_right_in
from gradcam_cli.results.reading import record_in, run_record_in
from gradcam_cli.results.sidecar import EXPLAINED, Record, name_on_disk
from gradcam_cli.results.tree import Tree, in_order
from gradcam_cli.text import counted
from gradcam_cli.urls import Url

COUNTS: Final = frozenset({"asked", "done", "failed", "left", "total", "before"})
MOST_NAMES: Final = 8


@dataclass(frozen=True, eq=False)
class ShardPart:
    """The results of one shard in one folder: its record, and the places of its images in the output tree.

    `packed` reads its part files; None if its results are single files.
    """

    tree: Tree
    shard: Shard
    record: Record
    sha256: str
    packed: Parts | None = None
    places: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path | Url:
        """The folder."""
        return self.tree.root

    @property
    def path(self) -> Path | Url:
        """The path of the record."""
        return self.folder / self.shard.run_record

    def sidecar(self, place: str) -> Record:
        """Read the sidecar of an image.

        Raises:
            UsageError: the sidecar was removed during the merge.
        """
        name = f"{place}{SIDECAR_SUFFIX}"
        if self.packed is None:
            record = record_in(self.tree, name)
        else:
            found = self.packed.find(place)
            record = self.packed.sidecar(*found) if found else None
        if record is None:
            raise UsageError(f"{self.folder / name} was removed during the merge.")
        return record


def records_of_shards(tree: Tree) -> Iterator[ShardPart]:
    """Read the records of shards at the top of a folder, in the order of their names.

    Raises:
        UsageError: a record lacks a field, or belongs to another shard than its name says.
    """
    for name in tree.top_names():
        shard = shard_of_record(name)
        record = run_record_in(tree, name) if shard else None
        if shard and record is not None:
            _refuse_damaged(tree.root / name, record, shard)
            packed = Parts(tree.parts(), shard) if "format" in record else None
            yield ShardPart(tree, shard, record, sha256(tree.read(name, SIDECAR_LIMITS)), packed)


def _refuse_damaged(path: Path | Url, record: Record, shard: Shard) -> None:
    counts, given = record.get("counts"), record.get("inputs")
    whole = (
        isinstance(counts, dict)
        and counts.keys() >= COUNTS
        and all(isinstance(count, int) for count in counts.values())
        and isinstance(given, dict)
        and given.keys() >= {"paths", "list"}
        and isinstance(record.get("model"), dict)
        and isinstance(record.get("seconds"), (int, float))
        and isinstance(record.get("left_out"), dict)
    )
    if not whole or record.get("shard") != shard.as_record():
        raise UsageError(f"{path}: this is not the record of shard {shard}. Run the shard again.")


def parts_in(trees: Sequence[Tree]) -> list[ShardPart]:
    """Read the results of each shard in each folder, and check that they are one complete run.

    Returns:
        One object for each shard, in the order of the shards.

    Raises:
        UsageError: the shards are not one complete run.
    """
    found = [_found_in(tree) for tree in trees]
    parts = sorted((part for each in found for part in each), key=lambda part: part.shard)
    _refuse_several_formats(parts)
    _refuse_several_counts(parts)
    _refuse_differences(parts)
    _refuse_unfinished(parts)
    for each in found:
        _find_images(each)
    return _without_copies(parts)


def _found_in(tree: Tree) -> list[ShardPart]:
    parts = list(records_of_shards(tree))
    if not parts:
        raise UsageError(
            f"{tree.root}: there is no run.K-of-N.json, which each shard writes at its end. Name the output folders of "
            "`shard=K/N`."
        )
    return parts


def _refuse_several_formats(parts: Sequence[ShardPart]) -> None:
    first = parts[0]
    other = next((part for part in parts if format_of(part) != format_of(first)), None)
    if other:
        raise UsageError(
            f"{first.path} has results of `format={format_of(first)}`, and {other.path} of "
            f"`format={format_of(other)}`. Explain all shards with one `format`."
        )


def format_of(part: ShardPart) -> str:
    """Give the format of a shard's results."""
    return str(part.record.get("format", "files"))


def _refuse_several_counts(parts: Sequence[ShardPart]) -> None:
    last, first = parts[-1], parts[0]
    if first.shard.count != last.shard.count:
        raise UsageError(
            f"{first.path} and {last.path}: the two records have different numbers of shards. Remove the wrong record."
        )


def _refuse_differences(parts: Sequence[ShardPart]) -> None:
    """Refuse shards that differ in options, model or engine: they are not from one run."""
    first = parts[0]
    loaded = [part for part in parts if "layer" in part.record["model"]]
    for part in parts[1:]:
        if part.record["options_sha256"] != first.record["options_sha256"]:
            _refuse(first, part, changes(_facts(first), _facts(part)))
    for part in loaded[1:]:
        if part.record["model"] != loaded[0].record["model"]:
            _refuse(loaded[0], part, changes(loaded[0].record["model"], part.record["model"]))


def _facts(part: ShardPart) -> Mapping[str, Any]:
    record = part.record
    return {**record["options"], "model": record["model"].get("name"), "versions": record["versions"]}


def _refuse(first: ShardPart, other: ShardPart, found: Iterable[str]) -> None:
    named = "; ".join(list(found)[:MOST_CHANGES]) or "the model, its layer or its weights are different"
    raise UsageError(
        f"{other.path} has other options than {first.path} ({named}). Explain all shards with the same options and the "
        "same `engine`."
    )


def _refuse_unfinished(parts: Sequence[ShardPart]) -> None:
    count = parts[0].shard.count
    missing = sorted({*range(1, count + 1)} - {part.shard.index for part in parts})
    if missing:
        names = ", ".join(f"{index}/{count}" for index in missing[:MOST_NAMES])
        more = f" and {len(missing) - MOST_NAMES} more" if len(missing) > MOST_NAMES else ""
        noun = "Shard" if len(missing) == 1 else "Shards"
        verb = "has" if len(missing) == 1 else "have"
        raise UsageError(f"{noun} {names}{more} {verb} no record: run `shard={missing[0]}/{count}`, then merge again.")
    for part in parts:
        left = part.record["counts"]["left"]
        if left:
            raise UsageError(
                f"{part.path}: {counted(left, 'image')} not reached. Run `shard={part.shard.index}/{count}` again, "
                "then merge again."
            )


def _find_images(parts: Sequence[ShardPart]) -> None:
    """Find the images of the shards of one folder; images of other shards, options and runs are ignored.

    Raises:
        UsageError: there are fewer explained images than a record counts, or a file of an image is missing.
    """
    explained: Counter[int] = Counter()
    found = _packed_images(parts) if parts[0].packed else _images_in_files(parts)
    for part, place, status in found:
        part.places.append(place)
        explained[part.shard.index] += status in EXPLAINED
    for part in parts:
        part.places.sort()
        done, there = part.record["counts"]["done"], explained[part.shard.index]
        if there < done:
            raise UsageError(
                f"{part.path} counts {counted(done, 'explained image')}, but {counted(there, 'sidecar')} can be found "
                "in this folder. Copy the whole folder."
            )


def _images_in_files(parts: Sequence[ShardPart]) -> Iterator[tuple[ShardPart, str, str]]:
    """Give the shard, the place and the status of each image whose results are single files."""
    by_index = {part.shard.index: part for part in parts}
    count, tree = parts[0].shard.count, parts[0].tree

    def looked_at(place: str) -> tuple[str, Record | None]:
        return place, record_in(tree, f"{place}{SIDECAR_SUFFIX}")

    # A name with a backslash may be escaped; then only the sidecar gives its shard.
    names = (place for place in sorted(_places(tree)) if "\\" in place or index_of(place, count) in by_index)
    for name, sidecar in in_order(looked_at, names, tree):
        # Names of objects are Unicode, but the place of an image may contain other bytes.
        place = name if sidecar is None or not _has_text(sidecar, name) else place_in(sidecar)
        part = by_index.get(index_of(place, count))
        if sidecar is not None and part is not None and _belongs(sidecar, place, part.record):
            _refuse_missing(tree, place, sidecar)
            yield part, place, sidecar["status"]


def _has_text(sidecar: Record, name: str) -> bool:
    given = sidecar.get("input")
    return isinstance(given, dict) and given.get("path") == name


def _packed_images(parts: Sequence[ShardPart]) -> Iterator[tuple[ShardPart, str, str]]:
    """Give the shard, the place and the status of each image whose results are in part files."""
    for part in parts:
        packed = part.packed
        assert packed is not None  # noqa: S101 - all shards have one format
        _refuse_missing_parts(part)
        try:
            for name in packed.names:
                for entry in packed.entries(name):
                    if _belongs(entry.known, entry.place, part.record):
                        yield part, entry.place, entry.known["status"]
        except ImageError as error:
            raise UsageError(f"{part.folder}: {error}. Run `shard={part.shard}` again.") from error


def _refuse_missing_parts(part: ShardPart) -> None:
    sizes = part.tree.parts().sizes()
    for _, manifest in manifests_in(part.tree, [manifest_name(part.shard)]):
        lost = next((each["name"] for each in manifest["parts"] if sizes.get(each["name"]) != each.get("bytes")), None)
        if lost is not None:
            raise UsageError(f"{part.folder}: {lost} is missing or different from its manifest. Copy the whole folder.")


def _places(tree: Tree) -> Iterator[str]:
    """Give the place of each image below a folder, without the images of other runs in subfolders."""
    names = list(tree.names())
    inner = {name.rpartition("/")[0] for name in names if "/" in name and is_run_record(name.rpartition("/")[2])}
    runs = tuple(f"{folder}/" for folder in inner if _has_run(tree, folder, names))
    for name in names:
        if name.endswith(SIDECAR_SUFFIX) and not is_run_record(name.rpartition("/")[2]) and not name.startswith(runs):
            yield name.removesuffix(SIDECAR_SUFFIX)


def _has_run(tree: Tree, folder: str, names: Sequence[str]) -> bool:
    records = (name for name in files_right_in(folder, names) if is_run_record(name.rpartition("/")[2]))
    return any(run_record_in(tree, name) for name in records)


def _belongs(sidecar: Record, place: str, run: Record) -> bool:
    """Whether a sidecar belongs to this place and to this run."""
    given = sidecar.get("input")
    same_place = isinstance(given, dict) and given.get("path") == as_text(place)
    return same_place and bool(sidecar["options_sha256"] == run["options_sha256"]) and "status" in sidecar


def _refuse_missing(tree: Tree, place: str, sidecar: Record) -> None:
    """Refuse a sidecar whose files are missing or have another size, or that names files of other images."""
    path = tree.root / f"{place}{SIDECAR_SUFFIX}"
    folder, slash, image = place.rpartition("/")
    try:
        for file in sidecar["files"]:
            name = name_on_disk(sidecar, file["name"])
            if not belongs_to(name, image):
                # This file could replace another file in the merged folder.
                raise UsageError(f"{path}: {file['name']} is not a file of this image. Remove this sidecar.")
            size = tree.size(folder + slash + name)
            if size is None:
                raise UsageError(f"{path}: a file of this sidecar is missing. Run gradcam-cli verify on this folder.")
            if size != file["bytes"]:
                raise UsageError(
                    f"{path}: {file['name']} is different from its sidecar. Run gradcam-cli verify on this folder."
                )
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise UsageError(
            f"{path}: a file of this sidecar is missing. Run gradcam-cli verify on this folder."
        ) from error


def _without_copies(parts: Sequence[ShardPart]) -> list[ShardPart]:
    """Keep one object for each shard, if several folders contain the same results of a shard."""
    kept: dict[Shard, ShardPart] = {}
    for part in parts:
        first = kept.setdefault(part.shard, part)
        if first is not part and (place := _first_difference(first, part)) is not None:
            raise UsageError(
                f"{first.folder} and {part.folder} hold different results of shard {part.shard}: {as_text(place)!r} "
                "is the first. Name only one of these folders."
            )
    return list(kept.values())


def _first_difference(first: ShardPart, other: ShardPart) -> str | None:
    """Give the first image that differs between two folders, or that only one of them has; None if all are equal."""
    if first.places != other.places:
        return min(set(first.places) ^ set(other.places))

    def is_same(place: str) -> bool:
        return _content(first.sidecar(place)) == _content(other.sidecar(place))

    # If one of the folders is in a store, several sidecars are read at the same time.
    slower = max(first.tree, other.tree, key=lambda tree: tree.calls_at_once)
    same = zip(first.places, in_order(is_same, first.places, slower), strict=True)
    return next((place for place, equal in same if not equal), None)


def _content(sidecar: Record) -> Record:
    """Give a sidecar without the time and ETag of its input, which differ between two copies of one image."""
    return {**sidecar, "input": {**sidecar["input"], "mtime_ns": None, "etag": None}}
