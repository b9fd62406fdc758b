"""Whether a file in an output folder is one that this program wrote. Every other file is the user's, and stays.

A file counts as the program's only where its content proves it: a JSON object with the keys that its records have, or
the damaged beginning of a sidecar. Text that is not valid JSON, in any encoding, is the user's.
"""

import json
import re
from typing import Any

# All of these keys are in every record of the kind, and hardly in anything else.
RECORD_KEYS = frozenset({"schema_version", "versions", "options_sha256"})
EVALUATION_KEYS = frozenset({"schema_version", "versions", "conventions"})
# Sidecars have sorted keys and an indent of two: each begins with these bytes, also where its end was lost.
SIDECAR_START = b'{\n  "classes": ['
# The lines of `evaluation.jsonl`.
ROW_KEYS = frozenset({"kind", "file"})
# JSON that is made of runs has one of these keys: comparisons, snapshots, the list of a report's thumbnails, and
# that of the files of many images.
COMPARISON_MARK = "gradcam_comparison"
SNAPSHOT_MARK = "gradcam_snapshot"
REPORT_MARK = "gradcam_report"
MANIFEST_MARK = "gradcam_manifest"
OWN_MARKS = frozenset({COMPARISON_MARK, SNAPSHOT_MARK, REPORT_MARK, MANIFEST_MARK})
OWN_FILES = re.compile(r"(\.\d+)?(\.overlay\.jpg|\.map\.npy)")


def parsed(data: bytes) -> Any:
    """Parse JSON of any origin.

    Raises:
        ValueError: it is no JSON, or is nested deeper than any record of this program.
    """
    try:
        # The bytes of a sidecar of this program tell their encoding: nothing has to be guessed.
        return json.loads(data.decode("utf-8", "surrogatepass") if data.startswith(SIDECAR_START) else data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def is_record(value: Any) -> bool:
    """Whether parsed JSON is a sidecar, a `run.json` or an `evaluation.json` of this program."""
    return isinstance(value, dict) and (value.keys() >= RECORD_KEYS or value.keys() >= EVALUATION_KEYS)


def is_made_of_runs(data: bytes) -> bool:
    """Whether a file's bytes are JSON that this program makes of runs: no record of a run itself."""
    try:
        value = parsed(data)
    except ValueError:
        return False
    return isinstance(value, dict) and not OWN_MARKS.isdisjoint(value)


def is_ours(data: bytes) -> bool:
    """Whether a file's bytes are a record of this program, whole or damaged.

    A file that is empty or holds zero bytes only, as after a power failure, counts as well.
    """
    if is_damaged_sidecar(data):
        return True
    try:
        return is_record(parsed(data))
    except ValueError:
        return False


def is_damaged_sidecar(data: bytes) -> bool:
    """Whether a file is what is left of a sidecar: its beginning, or nothing."""
    if not data.strip(b"\0"):
        return True
    if not (data.startswith(SIDECAR_START) or SIDECAR_START.startswith(data)):
        return False
    try:
        parsed(data)
    except ValueError:
        return True
    return False


def are_rows(data: bytes) -> bool:
    """Whether a file is an `evaluation.jsonl` of this program: its first line is a row, or it is empty."""
    first = data.split(b"\n", 1)[0]
    if not first:
        return not data
    try:
        row = parsed(first)
    except ValueError:
        return False
    return isinstance(row, dict) and row.keys() >= ROW_KEYS


def belongs_to(name: str, image: str) -> bool:
    """Whether a file name is one that the program would write for the image of this name."""
    return name.startswith(image) and OWN_FILES.fullmatch(name[len(image) :]) is not None
