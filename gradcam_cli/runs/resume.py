"""What an earlier run has finished: the exact rule by which an image is not explained a second time.

An image is finished when its sidecar is one of this program's, its status is `ok` or `flat`, and all of these are as
the sidecar says: the input's size in bytes, its time of modification (of an object of a store its ETag) or else its
hash, the model's hash, the hash of the options, and the size of every file beside it. With `verify` the hashes of the
input and of those files have to agree as well.
Anything else is explained anew, and nothing of two runs is ever mixed.
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
    """What a run would write: the hash of its options, and of its model where that is known before it is loaded."""

    options_sha256: str
    model_sha256: str | None
    verify: bool = False


def is_finished(folder: RunFolder, source: Source, wanted: Wanted) -> bool:
    """Whether an earlier run with the same options has explained this very image, and its files are still there."""
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
    """Whether an earlier run could not explain this image, and said so in its sidecar; of folders it had none."""
    if source.errno is not None:
        return True
    record = folder.read_known(source)
    return record is not None and record.get("status") == "error"


def _same_run(record: Record, wanted: Wanted) -> bool:
    same_model = wanted.model_sha256 in {None, record["model"]["sha256"]}
    same_schema = record["schema_version"] == SCHEMA_VERSION and isinstance(record["files"], list)
    return same_schema and same_model and bool(record["options_sha256"] == wanted.options_sha256)


def _same_input(record: Record, source: Source, wanted: Wanted) -> bool:
    """Compare size and time, and the hash where the time differs: a checkout or a cache gives files a new time."""
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
    """Compare size and ETag, or the time where the store has no ETags, and the hash where they differ."""
    if found.size != recorded["bytes"]:
        return False
    known, mark = (recorded.get("etag"), found.etag) if found.etag else (recorded["mtime_ns"], found.mtime_ns)
    if mark is not None and mark == known and not wanted.verify:
        return True
    return bool(sha256(fetch(source, _limits(found.size)).data) == recorded["sha256"])


def _whole(record: Record, folder: RunFolder, source: Source, wanted: Wanted) -> bool:
    """Whether the files that a sidecar names are there, as long as it says, and with the hashes it says."""
    for file in record["files"]:
        name = name_on_disk(record, file["name"])
        if folder.size_beside(source, name) != file["bytes"]:
            return False
        if wanted.verify and sha256(folder.read_beside(source, name, file["bytes"])) != file["sha256"]:
            return False
    return True


def _limits(size: int) -> Limits:
    return Limits(max_file_bytes=max(1, size))
