"""The runs that a folder holds, by their records: which sidecars belong to which, and whether their inputs exist."""

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
    """Whether an input is where its run has found it; `UNKNOWN` where a folder on the way there cannot be searched."""

    THERE = auto()
    GONE = auto()
    UNKNOWN = auto()


@dataclass(frozen=True)
class Places:
    """Where the inputs of a run are: folders, names of files that were given one by one, and objects of stores."""

    folders: tuple[str, ...]
    files: frozenset[str]
    stored: tuple[StoredInputs, ...] = ()

    def look_for(self, relative: str) -> Presence:
        """Look for the input with this place in the output tree."""
        # Photographs of a tar are below its name.
        if relative in self.files or any(relative.startswith(f"{name}/") for name in self.files):
            return Presence.THERE
        if any(each.has(relative) for each in self.stored):
            return Presence.THERE
        # Names that are not UTF-8 stay str.
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
    """An input is there where one place has it, and gone where no place can have it."""
    seen = set(found)
    return next((presence for presence in (Presence.THERE, Presence.UNKNOWN) if presence in seen), Presence.GONE)


@dataclass(frozen=True)
class _Recorded:
    """One run, of all images or of a shard, by its record; `places` are None if its inputs cannot be looked for."""

    shard: Shard | None
    options_sha256: str
    places: Places | None


class Runs:
    """The runs below a folder; a run inside of another one has the nearer `run.json`, or records of shards."""

    def __init__(self, tree: Tree, found: Sequence[str], inputs: tuple[str, ...] = ()) -> None:
        """Read the record of every run among the files found; `inputs` stand for those of the runs at the top."""
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
        folders = tuple(name for name in local if os.path.isdir(name))  # noqa: PTH112 - names that are not UTF-8 stay str
        files = frozenset(os.path.basename(name) for name in local if name not in folders)  # noqa: PTH119 - as above
        return Places(folders, files, tuple(stored))

    def _unverified(self, top: str, why: str) -> None:
        remark = f"{top or '.'}: {why}: not checked whether the inputs still exist"
        if remark not in self.remarks:
            self.remarks.append(remark)

    def around(self, relative: str) -> list[str]:
        """Give the folders of the runs that a file lies in, the nearest first, each with a slash at its end."""
        return sorted((top for top in self._runs if relative.startswith(top)), key=len, reverse=True)

    def has_other_options(self, relative: str, record: Record) -> bool:
        """Whether a sidecar was made with other options than those of its run, or of its shard's run."""
        _, runs = self._of(relative, record)
        return bool(runs) and record["options_sha256"] not in {run.options_sha256 for run in runs}

    def look_for_input(self, relative: str, record: Record) -> Presence:
        """Look for the input of a sidecar; it is THERE where its run, or its shard, does not say where to look."""
        image, runs = self._of(relative, record)
        places = [run.places for run in runs]
        if not places or None in places:
            return Presence.THERE
        return _summed_up(place.look_for(image) for place in places if place)

    def _of(self, relative: str, record: Record) -> tuple[str, list[_Recorded]]:
        """Give the place of a sidecar's image in its folder, and the runs there that have it: of all, or its shard."""
        top = next(iter(self.around(relative)), "")
        image = relative[len(top) :].removesuffix(SIDECAR_SUFFIX)
        if image == record["input"]["path"]:
            # Names of objects are Unicode; the place of a photograph may not be.
            image = from_text(image, escaped="path_b64" in record["input"])
        runs = self._runs.get(top, [])
        return image, [run for run in runs if run.shard is None or run.shard.has(image)]


def as_given(paths: Iterable[str], files_from: str | None, before: Record | None = None) -> Record:
    """Give what `run.json` records of the inputs: the paths as they were typed, and whether there was a list.

    What an earlier run into the same folder recorded stays: its sidecars are still there.
    """
    earlier = before.get("inputs") if before else None
    earlier = earlier if isinstance(earlier, dict) else {}
    known = earlier.get("paths")
    names = [*(known if isinstance(known, list) else []), *paths]
    return {"paths": list(dict.fromkeys(names)), "list": bool(files_from or earlier.get("list"))}
