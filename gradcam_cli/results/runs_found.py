"""Find the runs in a folder by their records, the run of each sidecar, and whether its input still exists."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from gradcam_cli.inputs.discovery import from_text
from gradcam_cli.inputs.shards import Shard, is_run_record, shard_of_record
from gradcam_cli.inputs.sources import STDIN
from gradcam_cli.results.output import SIDECAR_SUFFIX
from gradcam_cli.results.reading import run_record_in
from gradcam_cli.results.sidecar import Record
from gradcam_cli.results.stored_inputs import StoredInputs, opened
from gradcam_cli.results.tree import Tree
from gradcam_cli.urls import is_url


class Presence(Enum):
    """Whether an input still exists; `UNKNOWN` if a folder in its path cannot be searched."""

    THERE = auto()
    GONE = auto()
    UNKNOWN = auto()


@dataclass(frozen=True)
class Places:
    """The inputs of a run: folders, the names of files that were given one by one, and objects of stores."""

    folders: tuple[str, ...]
    files: frozenset[str]
    stored: tuple[StoredInputs, ...] = ()

    def look_for(self, relative: str) -> Presence:
        """Look for the input with this place in the output tree."""
        # The places of images in a tar begin with the name of the tar.
        if relative in self.files or any(relative.startswith(f"{name}/") for name in self.files):
            return Presence.THERE
        if any(each.has(relative) for each in self.stored):
            return Presence.THERE
        # Strings can contain names that are not UTF-8.
        return _summed_up(_presence(os.path.join(folder, relative)) for folder in self.folders)  # noqa: PTH118


def _presence(path: str) -> Presence:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Presence.GONE
    except OSError:
        return Presence.UNKNOWN
    return Presence.THERE


def _summed_up(found: Iterable[Presence]) -> Presence:
    """Combine the results of several places: THERE if one place has the input, GONE if all places lack it."""
    seen = set(found)
    return next((presence for presence in (Presence.THERE, Presence.UNKNOWN) if presence in seen), Presence.GONE)


@dataclass(frozen=True)
class _Recorded:
    """One run of all images or of a shard; `places` is None if the places of its inputs are unknown."""

    shard: Shard | None
    options_sha256: str
    places: Places | None


class Runs:
    """The runs below a folder. A sidecar belongs to the nearest folder above it that has a record of a run."""

    def __init__(self, tree: Tree, found: Sequence[str], inputs: tuple[str, ...] = ()) -> None:
        """Read the record of every run among the files; `inputs` replace the recorded inputs of the runs at the top."""
        self.remarks: list[str] = []
        self._runs: dict[str, list[_Recorded]] = {}
        for path in (path for path in found if is_run_record(path.rsplit("/", 1)[-1])):
            name = path.rsplit("/", 1)[-1]
            top = path.removesuffix(name)
            record = run_record_in(tree, path)
            if record is not None:
                given = {"paths": list(inputs)} if inputs and top == "" else record.get("inputs")
                places = self._placed(top, given if isinstance(given, Mapping) else {})
                run = _Recorded(shard_of_record(name), record["options_sha256"], places)
                self._runs.setdefault(top, []).append(run)

    def _placed(self, top: str, given: Mapping[str, object]) -> Places | None:
        paths = given.get("paths")
        names = [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
        stored, unreachable = opened(names)
        local = [name for name in names if not is_url(name)]
        missing = [name for name in local if not os.path.lexists(name)]
        if STDIN in names or given.get("list") or not names:
            self._unverified(top, "its inputs came from stdin or a list, or run.json does not contain their paths")
            return None
        if missing:
            self._unverified(top, f"{', '.join(missing)} cannot be found from this folder")
        for why in unreachable:
            self._unverified(top, why)
        if missing or unreachable:
            return None
        folders = tuple(name for name in local if os.path.isdir(name))  # noqa: PTH112 - a str can be a name in other bytes
        files = frozenset(os.path.basename(name) for name in local if name not in folders)  # noqa: PTH119 - as above
        return Places(folders, files, tuple(stored))

    def _unverified(self, top: str, why: str) -> None:
        remark = f"{top or '.'}: {why}: not checked whether the inputs still exist"
        if remark not in self.remarks:
            self.remarks.append(remark)

    def around(self, relative: str) -> list[str]:
        """Give the folders of runs that contain a file, the nearest first, each with a slash at its end."""
        return sorted((top for top in self._runs if relative.startswith(top)), key=len, reverse=True)

    def has_other_options(self, relative: str, record: Record) -> bool:
        """Whether the options of a sidecar differ from those of its run, or of the run of its shard."""
        _, runs = self._of(relative, record)
        return bool(runs) and record["options_sha256"] not in {run.options_sha256 for run in runs}

    def look_for_input(self, relative: str, record: Record) -> Presence:
        """Look for the input of a sidecar; THERE if the record of its run does not give the places of the inputs."""
        image, runs = self._of(relative, record)
        places = [run.places for run in runs]
        if not places or None in places:
            return Presence.THERE
        return _summed_up(place.look_for(image) for place in places if place)

    def _of(self, relative: str, record: Record) -> tuple[str, list[_Recorded]]:
        """Give the place of a sidecar's image in its folder, and the runs of all images or of its shard there."""
        top = next(iter(self.around(relative)), "")
        image = relative[len(top) :].removesuffix(SIDECAR_SUFFIX)
        if image == record["input"]["path"]:
            # Names of objects are Unicode, but the place of an image may contain other bytes.
            image = from_text(image, escaped="path_b64" in record["input"])
        runs = self._runs.get(top, [])
        return image, [run for run in runs if run.shard is None or run.shard.has(image)]


def as_given(paths: Iterable[str], files_from: str | None, before: Record | None = None) -> Record:
    """Make the record of the inputs for `run.json`: the paths as they were given, and whether there was a list.

    The inputs in the record of an earlier run into the same folder are kept, because its sidecars still exist.
    """
    earlier = before.get("inputs") if before else None
    earlier = earlier if isinstance(earlier, dict) else {}
    known = earlier.get("paths")
    names = [*(known if isinstance(known, list) else []), *paths]
    return {"paths": list(dict.fromkeys(names)), "list": bool(files_from or earlier.get("list"))}
