"""The runs that a folder holds, by their `run.json`: which sidecars belong to which, and whether their inputs exist."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradcam_cli.inputs.discovery import STDIN
from gradcam_cli.inputs.walk import RUN_RECORD
from gradcam_cli.results.earlier_run import run_record_of
from gradcam_cli.results.output import SIDECAR_SUFFIX
from gradcam_cli.results.sidecar import Record


@dataclass(frozen=True)
class Places:
    """Where the inputs of a run are: folders, and the names of files that were given one by one."""

    folders: tuple[str, ...]
    files: frozenset[str]

    def has(self, relative: str) -> bool:
        """Whether the input with this place in the output tree is there."""
        if relative in self.files:
            return True
        # Names that are not UTF-8 stay str.
        return any(os.path.lexists(os.path.join(folder, relative)) for folder in self.folders)  # noqa: PTH118


class Runs:
    """The runs below a folder; a run inside of another one has the nearer `run.json`."""

    def __init__(self, root: Path, found: Sequence[str], inputs: tuple[str, ...] = ()) -> None:
        """Read every `run.json` among the files found; `inputs` stand for those of the run at the top."""
        tops = [name.removesuffix(RUN_RECORD) for name in found if name.rsplit("/", 1)[-1] == RUN_RECORD]
        self._records = {top: record for top in tops if (record := run_record_of(root / top)) is not None}
        self.remarks: list[str] = []
        self._places: dict[str, Places | None] = {}
        for top, record in self._records.items():
            given = {"paths": list(inputs)} if inputs and top == "" else record.get("inputs")
            self._places[top] = self._placed(top, given if isinstance(given, Mapping) else {})

    def _placed(self, top: str, given: Mapping[str, object]) -> Places | None:
        paths = given.get("paths")
        names = [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
        missing = [name for name in names if not os.path.lexists(name)]
        if STDIN in names or given.get("list") or not names:
            self._unverified(top, "its inputs came from stdin or a list, or run.json does not name them")
            return None
        if missing:
            self._unverified(top, f"{', '.join(missing)} cannot be found from this folder")
            return None
        folders = tuple(name for name in names if os.path.isdir(name))  # noqa: PTH112 - names that are not UTF-8 stay str
        files = frozenset(os.path.basename(name) for name in names if name not in folders)  # noqa: PTH119 - as above
        return Places(folders, files)

    def _unverified(self, top: str, why: str) -> None:
        self.remarks.append(f"{top or '.'}: {why}: not verified whether the inputs still exist")

    def around(self, relative: str) -> list[str]:
        """Give the folders of the runs that a file lies in, the nearest first, each with a slash at its end."""
        return sorted((top for top in self._records if relative.startswith(top)), key=len, reverse=True)

    def has_other_options(self, relative: str, record: Record) -> bool:
        """Whether a sidecar was made with other options than those of its run."""
        nearest = next(iter(self.around(relative)), None)
        return nearest is not None and self._records[nearest]["options_sha256"] != record["options_sha256"]

    def input_is_gone(self, relative: str) -> bool:
        """Whether the input of a sidecar was looked for and is not there."""
        nearest = next(iter(self.around(relative)), None)
        places = None if nearest is None else self._places[nearest]
        image = relative[len(nearest or "") :].removesuffix(SIDECAR_SUFFIX)
        return places is not None and not places.has(image)


def as_given(paths: Iterable[str], files_from: str | None, before: Record | None = None) -> Record:
    """Give what `run.json` records of the inputs: the paths as they were typed, and whether there was a list.

    What an earlier run into the same folder recorded stays: its sidecars are still there.
    """
    earlier = before.get("inputs") if before else None
    earlier = earlier if isinstance(earlier, dict) else {}
    known = earlier.get("paths")
    names = [*(known if isinstance(known, list) else []), *paths]
    return {"paths": list(dict.fromkeys(names)), "list": bool(files_from or earlier.get("list"))}
