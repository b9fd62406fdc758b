"""The rule by which an image counts as finished and is not explained again.

An image is finished if its sidecar was written by this program with the status `ok` or `flat`, and all of these agree
with the sidecar: the input's size in bytes; its modification time (the ETag of an object) or else its hash; the model's
hash; the hash of the options; and the size of every file of the image. With `verify` the hashes of the input and of
these files must agree too. All other images are explained again, so the results of different options are never mixed.
"""

import os
from dataclasses import dataclass

from gradcam_cli.errors import ImageError
from gradcam_cli.inputs.files import read_file, sha256
from gradcam_cli.inputs.reading import fetch
from gradcam_cli.inputs.sources import Source
from gradcam_cli.results.run_folder import RunFolder
from gradcam_cli.results.sidecar import EXPLAINED, SCHEMA_VERSION, Record, name_on_disk
from gradcam_cli.settings import Limits
from gradcam_cli.storage import Stat


@dataclass(frozen=True)
class Wanted:
    """The hashes that a run would write: of its options, and of its model if that is known before it is loaded."""

    options_sha256: str
    model_sha256: str | None
    verify: bool = False


def is_finished(folder: RunFolder, source: Source, wanted: Wanted) -> bool:
    """Whether an earlier run with the same options has explained the same image, and its files still exist."""
    if source.is_stdin:
        return False
    record = folder.read_sidecar(source) if wanted.verify else folder.read_known(source)
    if record is None:
        return False
    try:
        return (
            record["status"] in EXPLAINED
            and _same_run(record, wanted)
            and _same_input(record, source, wanted)
            and _whole(record, folder, source, wanted)
        )
    except (OSError, ImageError, LookupError, TypeError, AttributeError, ValueError):
        return False


def has_failed(folder: RunFolder, source: Source) -> bool:
    """Whether the sidecar of an earlier run reports a failure of this image. Folders have no sidecars."""
    if source.errno is not None:
        return True
    record = folder.read_known(source)
    return record is not None and record.get("status") == "error"


def _same_run(record: Record, wanted: Wanted) -> bool:
    same_model = wanted.model_sha256 in {None, record["model"]["sha256"]}
    same_schema = record["schema_version"] == SCHEMA_VERSION and isinstance(record["files"], list)
    return same_schema and same_model and bool(record["options_sha256"] == wanted.options_sha256)


def _same_input(record: Record, source: Source, wanted: Wanted) -> bool:
    """Compare size and time, and the hash if the time differs: a checkout or a cache changes the time of files."""
    recorded = record["input"]
    if source.stored is not None:
        return _same_object(recorded, source, source.stored.stat(), wanted)
    found = os.stat(source.path)  # noqa: PTH116 - names that are not UTF-8 stay str
    if found.st_size != recorded["bytes"]:
        return False
    if found.st_mtime_ns == recorded["mtime_ns"] and not wanted.verify:
        return True
    return bool(sha256(read_file(source.path, _limits(found.st_size))) == recorded["sha256"])


def _same_object(recorded: Record, source: Source, found: Stat, wanted: Wanted) -> bool:
    """Compare size and ETag, or the time if the store has no ETags, and the hash if they differ."""
    if found.size != recorded["bytes"]:
        return False
    known, mark = (recorded.get("etag"), found.etag) if found.etag else (recorded["mtime_ns"], found.mtime_ns)
    if mark is not None and mark == known and not wanted.verify:
        return True
    return bool(sha256(fetch(source, _limits(found.size)).data) == recorded["sha256"])


def _whole(record: Record, folder: RunFolder, source: Source, wanted: Wanted) -> bool:
    """Whether the files that a sidecar names exist with the sizes, and on request the hashes, of the sidecar."""
    for file in record["files"]:
        name = name_on_disk(record, file["name"])
        if folder.size_beside(source, name) != file["bytes"]:
            return False
        if wanted.verify and sha256(folder.read_beside(source, name, file["bytes"])) != file["sha256"]:
            return False
    return True


def _limits(size: int) -> Limits:
    return Limits(max_file_bytes=max(1, size))
