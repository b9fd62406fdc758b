"""What an earlier run has finished: the exact rule by which an image is not explained a second time.

An image is finished when its sidecar is one of this program's, its status is `ok` or `flat`, and all of these are as
the sidecar says: the input's size in bytes, its time of modification or else its hash, the model's hash, the hash of
the options, and the size of every file beside it. With `verify` the hashes of the input and of those files have to
agree as well.
Anything else is explained anew, and nothing of two runs is ever mixed.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from gradcam_cli.errors import ImageError
from gradcam_cli.inputs.decoding import read_file, sha256
from gradcam_cli.inputs.discovery import Source
from gradcam_cli.results.output import OutputFolder
from gradcam_cli.results.reading import read_sidecar
from gradcam_cli.results.sidecar import SCHEMA_VERSION, Record, name_on_disk
from gradcam_cli.settings import Limits

FINISHED = ("ok", "flat")


@dataclass(frozen=True)
class Wanted:
    """What a run would write: the hash of its options, and of its model where that is known before it is loaded."""

    options_sha256: str
    model_sha256: str | None
    verify: bool = False


def is_finished(folder: OutputFolder, source: Source, wanted: Wanted) -> bool:
    """Whether an earlier run with the same options has explained this very image, and its files are still there."""
    if source.is_stdin:
        return False
    path = folder.sidecar_path(source)
    record = read_sidecar(path)
    if record is None:
        return False
    try:
        return (
            record["status"] in FINISHED
            and _same_run(record, wanted)
            and _same_input(record, source, wanted)
            and _whole(record, path, wanted)
        )
    except (OSError, ImageError, LookupError, TypeError, AttributeError, ValueError):
        return False


def has_failed(folder: OutputFolder, source: Source) -> bool:
    """Whether an earlier run could not explain this image, and said so in its sidecar; of folders it had none."""
    if source.errno is not None:
        return True
    record = read_sidecar(folder.sidecar_path(source))
    return record is not None and record.get("status") == "error"


def _same_run(record: Record, wanted: Wanted) -> bool:
    same_model = wanted.model_sha256 in {None, record["model"]["sha256"]}
    same_schema = record["schema_version"] == SCHEMA_VERSION and isinstance(record["files"], list)
    return same_schema and same_model and bool(record["options_sha256"] == wanted.options_sha256)


def _same_input(record: Record, source: Source, wanted: Wanted) -> bool:
    """Compare size and time, and the hash where the time differs: a checkout or a cache gives files a new time."""
    found, recorded = os.stat(source.path), record["input"]  # noqa: PTH116 - names that are not UTF-8 stay str
    if found.st_size != recorded["bytes"]:
        return False
    if found.st_mtime_ns == recorded["mtime_ns"] and not wanted.verify:
        return True
    return bool(_sha256(source.path, found.st_size) == recorded["sha256"])


def _whole(record: Record, sidecar: Path, wanted: Wanted) -> bool:
    """Whether the files that a sidecar names are there, as long as it says, and with the hashes it says."""
    for file in record["files"]:
        path = sidecar.with_name(name_on_disk(record, file["name"]))
        if path.is_symlink() or path.stat().st_size != file["bytes"]:
            return False
        if wanted.verify and _sha256(os.fspath(path), file["bytes"]) != file["sha256"]:
            return False
    return True


def _sha256(path: str, size: int) -> str:
    return sha256(read_file(path, Limits(max_file_bytes=max(1, size))))
