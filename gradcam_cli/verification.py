"""Whether an output folder is whole: sidecars valid, files as their sidecars say, and nothing that nobody names."""

import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np

from gradcam_cli.atomic import PREFIX, TEMPORARY_SUFFIX
from gradcam_cli.discovery import as_text
from gradcam_cli.errors import ImageError, UsageError
from gradcam_cli.images import decode, read_file, sha256
from gradcam_cli.output import SIDECAR_LIMITS
from gradcam_cli.ownership import is_damaged_sidecar, is_ours, parsed
from gradcam_cli.settings import Limits
from gradcam_cli.sidecar import FIRST_VERSION, SCHEMA_VERSION, Record, name_on_disk, schema_text
from gradcam_cli.walk import MAP_SUFFIX, OVERLAY_SUFFIX, RUN_RECORD

# Overlays are as large as their photographs, which had limits of their own.
LIMITS = Limits(max_file_bytes=2**31, max_pixels=2**32)


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file, named relative to the folder."""

    file: str
    problem: str


@dataclass
class Findings:
    """What was looked at, and what is wrong with it."""

    sidecars: int = 0
    files: int = 0
    foreign: int = 0
    problems: list[Problem] = field(default_factory=list)

    def as_record(self) -> Record:
        """The findings as JSON."""
        problems = [{"file": problem.file, "problem": problem.problem} for problem in self.problems]
        return {"sidecars": self.sidecars, "files": self.files, "foreign": self.foreign, "problems": problems}


def verify_folder(root: Path) -> Findings:
    """Look at every file below a folder that a run has written to.

    Sidecars have to be valid by the schema of their version and to lie where their input's path says; the files they
    name have to have the size and the hash that they say, overlays have to decode and maps to be arrays; overlays, maps
    and temporaries that no sidecar names are orphans. JSON of other people is counted and left alone. A folder with a
    `run.json` of its own is a run of its own, whose sidecars lie where their inputs' paths say below that folder.

    Raises:
        UsageError: there is no such folder.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: there is no such folder.")
    findings = Findings()
    named: set[str] = set()
    validators = {version: _validator(version) for version in (FIRST_VERSION, SCHEMA_VERSION)}
    found = sorted(_walk(root, findings))
    runs = [name.removesuffix(RUN_RECORD) for name in found if name.rsplit("/", 1)[-1] == RUN_RECORD]
    for relative in (name for name in found if name.endswith(".json")):
        named |= _verify_json(root, relative, runs, validators, findings)
    for relative in found:
        name = relative.rsplit("/", 1)[-1]
        if name.startswith(PREFIX) and name.endswith(TEMPORARY_SUFFIX):
            _blame(findings, relative, "left by a run that was killed; the next run removes it")
        elif name.endswith((OVERLAY_SUFFIX, MAP_SUFFIX)) and relative not in named:
            _blame(findings, relative, "no sidecar names it")
    return findings


def _validator(version: int) -> Any:
    return jsonschema.Draft202012Validator(json.loads(schema_text(version)))


def _walk(root: Path, findings: Findings) -> Iterator[str]:
    """Every file below a folder, relative and with `/`; links to folders are not followed."""

    def blame(error: OSError) -> None:
        _blame(findings, os.path.relpath(error.filename, root), f"the folder cannot be listed: {error.strerror}")

    for folder, _, files in os.walk(root, onerror=blame):
        for name in files:
            path = os.path.join(folder, name)  # noqa: PTH118 - names that are not UTF-8 stay str
            yield os.path.relpath(path, root).replace(os.sep, "/")


def _blame(findings: Findings, relative: str, problem: str) -> None:
    findings.problems.append(Problem(as_text(relative), as_text(problem)))


def _verify_json(
    root: Path, relative: str, runs: list[str], validators: dict[int, Any], findings: Findings
) -> set[str]:
    """Verify one JSON file, and name the files it names, relative to the root."""
    try:
        data = read_file(os.fspath(root / relative), SIDECAR_LIMITS)
    except ImageError as error:
        _blame(findings, relative, str(error))
        return set()
    if not is_ours(data):
        findings.foreign += 1
        return set()
    if is_damaged_sidecar(data):
        _blame(findings, relative, "damaged: the sidecar is empty or cut off")
        return set()
    record = parsed(data)
    if _sums_up(record):
        return set()
    findings.sidecars += 1
    # True is 1 to Python, and no version.
    version = record["schema_version"] if type(record["schema_version"]) is int else SCHEMA_VERSION
    validator = validators.get(version, validators[SCHEMA_VERSION])
    invalid = jsonschema.exceptions.best_match(validator.iter_errors(record))
    if invalid is not None:
        where = "/".join(str(part) for part in invalid.absolute_path) or "the record"
        _blame(findings, relative, f"not valid by the schema: {where}: {invalid.message}")
        return set()
    place = f"{record['input']['path']}.json"
    if as_text(relative) not in {place, *(as_text(run) + place for run in runs if relative.startswith(run))}:
        _blame(findings, relative, f"it is the sidecar of {record['input']['path']}")
    return {name for file in record["files"] if (name := _verify_file(root, relative, record, file, findings))}


def _sums_up(record: Record) -> bool:
    """Whether a record is a `run.json` or an `evaluation.json`, which are of many images."""
    return "input" not in record and not record.keys().isdisjoint({"counts", "conventions"})


def _verify_file(root: Path, relative: str, record: Record, file: Record, findings: Findings) -> str | None:
    try:
        name = name_on_disk(record, file["name"])
    except ValueError as error:
        _blame(findings, relative, str(error))
        return None
    path = f"{relative.rpartition('/')[0]}/{name}".lstrip("/")
    findings.files += 1
    try:
        data = read_file(os.fspath(root / path), LIMITS)
        if sha256(data) != file["sha256"]:
            _blame(findings, path, "its contents are not those its sidecar tells of")
        elif name.endswith(OVERLAY_SUFFIX):
            decode(data, LIMITS)
        elif name.endswith(MAP_SUFFIX):
            np.load(io.BytesIO(data), allow_pickle=False)
    except (ImageError, ValueError, EOFError) as error:
        _blame(findings, path, str(error))
    return path
