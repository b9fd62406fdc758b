"""Verify an output folder: sidecars are valid, files agree with their sidecars, and no file is an orphan."""

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.util import find_spec

import numpy as np

from gradcam_cli.errors import EnvironmentStop, ImageError, UsageError, first_line
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.inputs.discovery import as_text
from gradcam_cli.inputs.files import sha256
from gradcam_cli.inputs.shards import RUN_RECORD
from gradcam_cli.inputs.walk import MAP_SUFFIX, OVERLAY_SUFFIX
from gradcam_cli.results.manifest import manifests_in
from gradcam_cli.results.output import SIDECAR_LIMITS, SIDECAR_SUFFIX, is_left_behind
from gradcam_cli.results.ownership import is_damaged_sidecar, is_made_of_runs, is_ours, parsed
from gradcam_cli.results.part_index import PartEntry
from gradcam_cli.results.part_names import PartName, part_name
from gradcam_cli.results.parts import Parts
from gradcam_cli.results.pruning import files_right_in, prune_files, prune_parts
from gradcam_cli.results.runs_found import Presence, Runs
from gradcam_cli.results.sidecar import FIRST_VERSION, SCHEMA_VERSION, Record, name_on_disk, schema_text
from gradcam_cli.results.tree import Tree, existing, in_order
from gradcam_cli.settings import Limits
from gradcam_cli.text import counted, printable
from gradcam_cli.urls import Url, place

# Gives the first error of a record, or None if the record is valid.
Validation = Callable[[Record], str | None]
# Overlays are as large as their images, which were limited when they were explained.
LIMITS = Limits(max_file_bytes=2**31, max_pixels=2**32)


@dataclass(frozen=True)
class Problem:
    """A problem of one file; the name of the file is relative to the folder."""

    file: str
    problem: str

    def line(self) -> str:
        """The file, a tab and the problem, in one line; control characters are escaped."""
        return f"{json.dumps(self.file)[1:-1]}\t{printable(self.problem)}"


@dataclass
class Findings:
    """The result of a verification: the numbers of verified files, and the problems.

    Attributes:
        sidecars: the number of sidecars.
        files: the number of other files of the run: overlays, maps and part files.
        foreign: the number of JSON files of other programs.
        problems: all problems.
        images: the sidecars, relative to the folder and without their suffix.
        gone: the sidecars, relative to the folder, whose input no longer exists.
        gone_in_parts: the same for sidecars in part files: for each folder, the places of the images.
        unchecked: remarks on checks that were not possible.
        pruned: the number of removed sidecars.
    """

    sidecars: int = 0
    files: int = 0
    foreign: int = 0
    problems: list[Problem] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    gone_in_parts: dict[str, list[str]] = field(default_factory=dict)
    unchecked: list[str] = field(default_factory=list)
    pruned: int = 0

    def add(self, other: "Findings") -> None:
        """Add the result of another file."""
        self.sidecars += other.sidecars
        self.files += other.files
        self.foreign += other.foreign
        self.problems += other.problems
        self.images += other.images
        self.gone += other.gone

    @property
    def exit_status(self) -> int:
        """1 if there is a problem, else 0."""
        return 1 if self.problems else 0

    def as_record(self) -> Record:
        """Give the result as a JSON object."""
        problems = [{"file": problem.file, "problem": problem.problem} for problem in self.problems]
        counts = {"sidecars": self.sidecars, "files": self.files, "foreign": self.foreign}
        return {**counts, "problems": problems, "unchecked": self.unchecked, "pruned": self.pruned}

    def verdict(self) -> str:
        """Summarise the result in one line."""
        others = f", {counted(self.foreign, 'JSON file')} of other programs" if self.foreign else ""
        problems = counted(len(self.problems), "problem") if self.problems else "no problems"
        pruned = f"; {counted(self.pruned, 'sidecar')} removed" if self.pruned else ""
        return f"{counted(self.sidecars, 'sidecar')}, {counted(self.files, 'file')}{others}: {problems}{pruned}"


def verify_folder(root: str | os.PathLike[str] | Url, inputs: tuple[str, ...] = (), *, prune: bool = False) -> Findings:
    """Verify every file below the output folder of a run, or below a prefix of an object store.

    The checks are:

    - A sidecar is valid by the schema of its version, and its place agrees with the path of its input.
    - The files that it names have the recorded hash; overlays can be decoded, and maps are arrays.
    - A sidecar has the options of its `run.json`, and its input still exists.
    - A part file is listed in a manifest with its hash.
    - Every overlay and map is named by a sidecar, and there are no temporary files of killed runs.

    JSON files of other programs are counted and not changed. A subfolder with its own `run.json` is a run of its own:
    the places of its sidecars are relative to that subfolder.

    Args:
        root: the output folder, or its URL.
        inputs: the inputs of the run, if they were moved since the run.
        prune: remove the outputs of inputs that no longer exist, then verify the remaining files.

    Raises:
        UsageError: the folder does not exist, or no object is below the prefix; the store refuses access; with
            `prune`, a run is writing to the folder.
        StorageError: the store fails again and again.
        EnvironmentStop: with `prune`, an output cannot be removed.
    """
    where = place(root)
    if not prune:
        return _verified(existing(where), inputs)
    tree = existing(where)
    with tree.held():
        findings = _verified(tree, inputs)
        removed = _prune(tree, findings)
    return replace(_verified(existing(where), inputs), pruned=removed)


def _verified(tree: Tree, inputs: tuple[str, ...]) -> Findings:
    findings = Findings()
    named: set[str] = set()
    found = sorted(tree.names(lambda folder, why: _blame(findings, folder, f"the folder cannot be listed: {why}")))
    runs = Runs(tree, found, inputs)
    findings.unchecked.extend(runs.remarks)
    first_error = _validation(findings)

    def verified(relative: str) -> tuple[Findings, set[str]]:
        own = Findings()
        return own, _verify_json(tree, relative, runs, first_error, own)

    for own, files in in_order(verified, [name for name in found if name.endswith(".json")], tree):
        findings.add(own)
        named |= files
    for top in sorted({relative.removesuffix(name) for relative, name in _parts_in(found)}):
        _verify_parts(tree, top, manifests_in(tree, files_right_in(top, found)), runs, first_error, findings)
    for relative in found:
        name = relative.rsplit("/", 1)[-1]
        if is_left_behind(name):
            _blame(findings, relative, "temporary file of a killed run; the next run removes it")
        elif name.endswith((OVERLAY_SUFFIX, MAP_SUFFIX)) and relative not in named:
            _blame(findings, relative, "no sidecar contains this name")
    return findings


def _prune(tree: Tree, findings: Findings) -> int:
    """Remove the outputs of inputs that no longer exist, and give the number of removed sidecars."""
    try:
        removed = prune_files(tree, findings.gone)
        return removed + sum(prune_parts(tree, top, places) for top, places in findings.gone_in_parts.items())
    except OSError as error:
        raise EnvironmentStop(f"{tree.root}: a result cannot be removed: {error.strerror}.") from error


def _validation(findings: Findings) -> Validation:
    """Give the function that validates a record by its schema; without jsonschema, it checks only the main fields."""
    if find_spec("jsonschema") is None:
        findings.unchecked.append("jsonschema is not installed, so only the main fields of the sidecars were checked")
        return _main_fields
    import jsonschema

    validators = {
        version: jsonschema.Draft202012Validator(json.loads(schema_text(version)))
        for version in (FIRST_VERSION, SCHEMA_VERSION)
    }

    def first_error(record: Record) -> str | None:
        # In Python, True equals 1, but it is not a version.
        version = record["schema_version"] if type(record["schema_version"]) is int else SCHEMA_VERSION
        validator = validators.get(version, validators[SCHEMA_VERSION])
        invalid = jsonschema.exceptions.best_match(validator.iter_errors(record))
        if invalid is None:
            return None
        where = "/".join(str(part) for part in invalid.absolute_path) or "the record"
        return f"{where}: {invalid.message}"

    return first_error


def _main_fields(record: Record) -> str | None:
    try:
        texts = [record["status"], record["input"]["path"], *(file["name"] for file in record["files"])]
    except (LookupError, TypeError) as error:
        return f"{first_line(error)} is missing"
    return None if all(isinstance(text, str) for text in texts) else "a name is not text"


def _blame(findings: Findings, relative: str, problem: str) -> None:
    findings.problems.append(Problem(as_text(relative), as_text(problem)))


def _verify_json(tree: Tree, relative: str, runs: Runs, first_error: Validation, findings: Findings) -> set[str]:
    """Verify one JSON file, and give the files that it names, relative to the root."""
    try:
        data = tree.read(relative, SIDECAR_LIMITS)
    except ImageError as error:
        _blame(findings, relative, str(error))
        return set()
    if not is_ours(data):
        findings.foreign += not is_made_of_runs(data)
        return set()
    if is_damaged_sidecar(data):
        _blame(findings, relative, "damaged: the sidecar is empty or truncated")
        return set()
    record = parsed(data)
    if _sums_up(record) or not _verify_sidecar(relative, record, runs, first_error, findings):
        return set()
    return {name for file in record["files"] if (name := _verify_file(tree, relative, record, file, findings))}


def _parts_in(found: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Give the relative path and the name of each part file among all files."""
    for relative in found:
        name = relative.rsplit("/", 1)[-1]
        if part_name(name):
            yield relative, name


def _verify_parts(
    tree: Tree,
    top: str,
    manifests: Iterable[tuple[str, Record]],
    runs: Runs,
    first_error: Validation,
    findings: Findings,
) -> None:
    """Verify the part files of one folder: their manifests, and every sidecar and overlay in them."""
    with closing(Parts(tree.parts(top))) as parts:
        listed = {part["name"]: part["sha256"] for _, manifest in manifests for part in manifest["parts"]}
        seen: set[str] = set()
        for name in parts.names:
            findings.files += 1
            try:
                is_listed = listed.pop(str(name), None) == parts.hash(name)
                if not is_listed:
                    _blame(findings, f"{top}{name}", "no manifest lists it with this content")
                for entry in parts.scanned(name):
                    relative = f"{top}{entry.place}{SIDECAR_SUFFIX}"
                    if entry.place in seen:
                        _blame(findings, relative, f"{name} and another part file both contain it")
                    seen.add(entry.place)
                    own = Findings()
                    _verify_entry(relative, parts, name, entry, runs, first_error, own)
                    if own.gone and is_listed:
                        # A changed part is not rewritten, because the new manifest would hide the change.
                        findings.gone_in_parts.setdefault(top, []).append(entry.place)
                    findings.add(replace(own, gone=[]))
            except (ImageError, UsageError) as error:
                _blame(findings, f"{top}{name}", str(error))
        for missing in sorted(listed):
            _blame(findings, f"{top}{missing}", "the manifest lists it, but it is missing")


def _verify_entry(
    relative: str,
    parts: Parts,
    part: PartName,
    entry: PartEntry,
    runs: Runs,
    first_error: Validation,
    findings: Findings,
) -> None:
    record = parts.sidecar(part, entry)
    if not _verify_sidecar(relative, record, runs, first_error, findings):
        return
    for file in record["files"]:
        findings.files += 1
        path = f"{relative.rpartition('/')[0]}/{file['name']}".lstrip("/")
        try:
            name = name_on_disk(record, file["name"])
            _verify_bytes(path, parts.file(part, entry, name), file, findings)
        except (ImageError, ValueError, EOFError) as error:
            _blame(findings, path, str(error))


def _verify_bytes(path: str, data: bytes, file: Record, findings: Findings) -> None:
    """Verify the content of an overlay or a map.

    Raises:
        ImageError, ValueError, EOFError: the content cannot be decoded.
    """
    if sha256(data) != file["sha256"]:
        _blame(findings, path, "its content is different from the hash in its sidecar")
    elif path.endswith(OVERLAY_SUFFIX):
        decode(data, LIMITS)
    elif path.endswith(MAP_SUFFIX):
        np.load(io.BytesIO(data), allow_pickle=False)


def _verify_sidecar(relative: str, record: Record, runs: Runs, first_error: Validation, findings: Findings) -> bool:
    """Verify a sidecar without its files; True if it is valid by its schema."""
    findings.sidecars += 1
    findings.images.append(as_text(relative).removesuffix(SIDECAR_SUFFIX))
    invalid = first_error(record)
    if invalid is not None:
        _blame(findings, relative, f"not valid by the schema: {invalid}")
        return False
    _verify_run(relative, record, runs, findings)
    return True


def _verify_run(relative: str, record: Record, runs: Runs, findings: Findings) -> None:
    """Compare a sidecar with the run that it belongs to."""
    place = f"{record['input']['path']}{SIDECAR_SUFFIX}"
    if as_text(relative) not in {place, *(as_text(run) + place for run in runs.around(relative))}:
        _blame(findings, relative, f"it is the sidecar of {record['input']['path']}")
        return
    if runs.has_other_options(relative, record):
        _blame(findings, relative, f"its options differ from those in {RUN_RECORD}: it is from an earlier run")
    presence = runs.look_for_input(relative, record)
    if presence is Presence.GONE:
        findings.gone.append(relative)
        _blame(findings, relative, "its input no longer exists")
    elif presence is Presence.UNKNOWN:
        # The input may still exist, so its outputs are not removed.
        _blame(findings, relative, "its input cannot be checked: the folder of the input cannot be read")


def _sums_up(record: Record) -> bool:
    """Whether a record is a `run.json` or an `evaluation.json`, which describe many images."""
    return "input" not in record and not record.keys().isdisjoint({"counts", "conventions"})


def _verify_file(tree: Tree, relative: str, record: Record, file: Record, findings: Findings) -> str | None:
    try:
        name = name_on_disk(record, file["name"])
    except ValueError as error:
        _blame(findings, relative, str(error))
        return None
    path = f"{relative.rpartition('/')[0]}/{tree.own_name(name)}".lstrip("/")
    findings.files += 1
    try:
        _verify_bytes(path, tree.read(path, LIMITS), file, findings)
    except (ImageError, ValueError, EOFError) as error:
        _blame(findings, path, str(error))
    return path
