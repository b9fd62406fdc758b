"""Whether this program wrote a file in an output folder. All other files belong to the user and are kept.

The content of the file decides: a file is from this program if it is a JSON object with the keys of its records, or
the beginning of a damaged sidecar. Text that is not valid JSON, in any encoding, belongs to the user.
"""

import json
import re
from typing import Any

# Every record has all of these keys; a file of another program is unlikely to have them.
RECORD_KEYS = frozenset({"schema_version", "versions", "options_sha256"})
EVALUATION_KEYS = frozenset({"schema_version", "versions", "conventions"})
# The keys of a sidecar are sorted and indented by two spaces, so each sidecar begins with these bytes.
SIDECAR_START = b'{\n  "classes": ['
# The lines of `evaluation.jsonl`.
ROW_KEYS = frozenset({"kind", "file"})
# The JSON files that this program makes from runs each have one of these keys: comparisons, snapshots, the list of a
# report's thumbnails, and manifests.
COMPARISON_MARK = "gradcam_comparison"
SNAPSHOT_MARK = "gradcam_snapshot"
REPORT_MARK = "gradcam_report"
MANIFEST_MARK = "gradcam_manifest"
OWN_MARKS = frozenset({COMPARISON_MARK, SNAPSHOT_MARK, REPORT_MARK, MANIFEST_MARK})
OWN_FILES = re.compile(r"(\.\d+)?(\.overlay\.jpg|\.map\.npy)")


def parsed(data: bytes) -> Any:
    """Parse JSON of any origin.

    Raises:
        ValueError: the data is not JSON, or is nested deeper than any record of this program.
    """
    try:
        # Sidecars of this program are UTF-8, so the encoding is not guessed.
        return json.loads(data.decode("utf-8", "surrogatepass") if data.startswith(SIDECAR_START) else data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def is_record(value: Any) -> bool:
    """Whether parsed JSON is a sidecar, a `run.json` or an `evaluation.json` of this program."""
    return isinstance(value, dict) and (value.keys() >= RECORD_KEYS or value.keys() >= EVALUATION_KEYS)


def is_made_of_runs(data: bytes) -> bool:
    """Whether the bytes are a JSON file that this program makes from runs, other than the records of a run."""
    try:
        value = parsed(data)
    except ValueError:
        return False
    return isinstance(value, dict) and not OWN_MARKS.isdisjoint(value)


def is_ours(data: bytes) -> bool:
    """Whether the bytes are a record of this program, complete or damaged.

    This includes a file that is empty or contains only zero bytes, which a power failure can leave.
    """
    if is_damaged_sidecar(data):
        return True
    try:
        return is_record(parsed(data))
    except ValueError:
        return False


def is_damaged_sidecar(data: bytes) -> bool:
    """Whether the bytes are a damaged sidecar: only its beginning, or nothing."""
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
    """Whether this program writes a file of this name for the image with the name `image`."""
    return name.startswith(image) and OWN_FILES.fullmatch(name[len(image) :]) is not None
