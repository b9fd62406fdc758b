"""The shards of a run as folders hold them: read, and refused where they do not make one complete run."""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gradcam_cli.errors import UsageError
from gradcam_cli.inputs.decoding import read_file, sha256
from gradcam_cli.inputs.discovery import as_text
from gradcam_cli.inputs.shards import Shard, index_of, is_run_record, shard_of_record
from gradcam_cli.results.earlier_run import MOST_CHANGES, changes, run_record_of
from gradcam_cli.results.output import SIDECAR_LIMITS, SIDECAR_SUFFIX
from gradcam_cli.results.ownership import belongs_to
from gradcam_cli.results.reading import read_sidecar
from gradcam_cli.results.sidecar import EXPLAINED, Record, name_on_disk
from gradcam_cli.text import counted

COUNTS: Final = frozenset({"asked", "done", "failed", "left", "total", "before"})
MOST_NAMES: Final = 8


@dataclass(frozen=True, eq=False)
class ShardPart:
    """What one folder holds of one shard: its record, and the places of its images in the output tree."""

    folder: Path
    shard: Shard
    record: Record
    sha256: str
    places: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """Where the record is."""
        return self.folder / self.shard.run_record

    def sidecar_path(self, place: str) -> Path:
        """Where the sidecar of an image is."""
        return self.folder / f"{place}{SIDECAR_SUFFIX}"

    def sidecar(self, place: str) -> Record:
        """Read the sidecar of an image.

        Raises:
            UsageError: it is gone since it was looked for.
        """
        record = read_sidecar(self.sidecar_path(place))
        if record is None:
            raise UsageError(f"{self.sidecar_path(place)} was removed while the shards were merged.")
        return record


def records_in(root: Path) -> Iterator[ShardPart]:
    """Read the records of shards at the top of a folder, in the order of their names.

    Raises:
        UsageError: one lacks a field, or is that of another shard than its name says.
    """
    for path in sorted(root.iterdir()):
        shard = shard_of_record(path.name)
        record = run_record_of(root, path.name) if shard else None
        if shard and record is not None:
            _refuse_damaged(path, record, shard)
            yield ShardPart(root, shard, record, sha256(read_file(os.fspath(path), SIDECAR_LIMITS)))


def _refuse_damaged(path: Path, record: Record, shard: Shard) -> None:
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
        raise UsageError(f"{path}: this is not the record that shard {shard} has written. Run the shard again.")


def parts_in(roots: Sequence[Path]) -> list[ShardPart]:
    """Read what each folder holds of each shard, and refuse what is not a complete run.

    Returns:
        One part a shard, in the order of the shards.
    """
    found = [_found_in(root) for root in roots]
    parts = sorted((part for each in found for part in each), key=lambda part: part.shard)
    _refuse_packed(parts)
    _refuse_several_counts(parts)
    _refuse_differences(parts)
    _refuse_unfinished(parts)
    for each in found:
        _find_sidecars(each)
    return _without_copies(parts)


def _found_in(root: Path) -> list[ShardPart]:
    parts = list(records_in(root))
    if not parts:
        raise UsageError(
            f"{root}: there is no run.K-of-N.json, which the run of a shard writes at its end. Name the output folders "
            "of `shard=K/N`."
        )
    return parts


def _refuse_packed(parts: Sequence[ShardPart]) -> None:
    packed = next((part for part in parts if "format" in part.record), None)
    if packed:
        raise UsageError(
            f"{packed.path}: results of `format={packed.record['format']}` are not merged. Where all shards wrote to "
            "one folder, explain all images there without `shard`: what the shards have explained is taken as it is."
        )


def _refuse_several_counts(parts: Sequence[ShardPart]) -> None:
    last, first = parts[-1], parts[0]
    if first.shard.count != last.shard.count:
        raise UsageError(
            f"{first.path} and {last.path}: a run has one number of shards. Remove the record of those that do not "
            "count."
        )


def _refuse_differences(parts: Sequence[ShardPart]) -> None:
    """Refuse shards that one run cannot have made: other options, another model, or another engine."""
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
    named = "; ".join(list(found)[:MOST_CHANGES]) or "the model, its layer or its weights differ"
    raise UsageError(
        f"{other.path} has other options than {first.path} ({named}). Explain the shards with the same options, and "
        "`engine`."
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


def _find_sidecars(parts: Sequence[ShardPart]) -> None:
    """Find the sidecars of the shards of one folder; those of other shards, options and runs are ignored.

    Raises:
        UsageError: there are fewer than a record counts, or a file of one is missing.
    """
    by_index = {part.shard.index: part for part in parts}
    count, root = parts[0].shard.count, parts[0].folder
    explained: Counter[int] = Counter()
    for place in sorted(_places(root)):
        part = by_index.get(index_of(place, count))
        if part is None:
            continue
        path = part.sidecar_path(place)
        sidecar = read_sidecar(path)
        if sidecar is not None and _belongs(sidecar, place, part.record):
            _refuse_missing(path, sidecar)
            part.places.append(place)
            explained[part.shard.index] += sidecar["status"] in EXPLAINED
    for part in parts:
        done, there = part.record["counts"]["done"], explained[part.shard.index]
        if there < done:
            raise UsageError(
                f"{part.path} counts {counted(done, 'explained image')}, but {counted(there, 'sidecar')} can be found "
                "there. Was the folder copied whole?"
            )


def _places(root: Path) -> Iterator[str]:
    """Give the place of each image below a folder, without those of runs inside of it."""
    for parent, folders, files in os.walk(root):
        prefix = os.path.relpath(parent, root).replace(os.sep, "/")
        if prefix != "." and any(is_run_record(name) and run_record_of(Path(parent), name) for name in files):
            folders.clear()
            continue
        for name in files:
            if name.endswith(SIDECAR_SUFFIX) and not is_run_record(name):
                image = name.removesuffix(SIDECAR_SUFFIX)
                yield image if prefix == "." else f"{prefix}/{image}"


def _belongs(sidecar: Record, place: str, run: Record) -> bool:
    """Whether a sidecar is that of this place, and of this run."""
    given = sidecar.get("input")
    same_place = isinstance(given, dict) and given.get("path") == as_text(place)
    return same_place and bool(sidecar["options_sha256"] == run["options_sha256"]) and "status" in sidecar


def _refuse_missing(path: Path, sidecar: Record) -> None:
    """Refuse a sidecar whose files are missing or have another size, or that names files of others."""
    try:
        for file in sidecar["files"]:
            name = name_on_disk(sidecar, file["name"])
            if not belongs_to(name, path.name.removesuffix(SIDECAR_SUFFIX)):
                # It would replace another file in the merged folder.
                raise UsageError(f"{path}: {file['name']} is not a file of this image. Remove this sidecar.")
            found = path.with_name(name).lstat()
            if not stat.S_ISREG(found.st_mode) or found.st_size != file["bytes"]:
                raise UsageError(f"{path}: {file['name']} is not as its sidecar says. Run gradcam-cli verify there.")
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: a file of this sidecar is missing. Run gradcam-cli verify there.") from error


def _without_copies(parts: Sequence[ShardPart]) -> list[ShardPart]:
    """Keep one part a shard, where several folders hold the same results of one."""
    kept: dict[Shard, ShardPart] = {}
    for part in parts:
        first = kept.setdefault(part.shard, part)
        if first is not part and (place := _first_difference(first, part)) is not None:
            raise UsageError(
                f"{first.folder} and {part.folder} hold different results of shard {part.shard}: {as_text(place)!r} "
                "is the first. Name one of these folders."
            )
    return list(kept.values())


def _first_difference(first: ShardPart, other: ShardPart) -> str | None:
    """Give the first image whose results in two folders differ, or that only one of them has; None where all agree."""
    if first.places != other.places:
        return min(set(first.places) ^ set(other.places))
    same = (_content(first.sidecar(place)) == _content(other.sidecar(place)) for place in first.places)
    return next((place for place, equal in zip(first.places, same, strict=True) if not equal), None)


def _content(sidecar: Record) -> Record:
    """What a sidecar says apart from its input's time, which differs between two copies of one photograph."""
    return {**sidecar, "input": {**sidecar["input"], "mtime_ns": None}}
