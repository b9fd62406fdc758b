"""JSON files that are made from runs: each has a key that shows that this program wrote it."""

from pathlib import Path

from gradcam_cli.errors import ImageError, Reason, UsageError
from gradcam_cli.results.ownership import parsed
from gradcam_cli.results.sidecar import Record
from gradcam_cli.results.tree import tree_of
from gradcam_cli.settings import Limits
from gradcam_cli.urls import Url

LIMITS = Limits(max_file_bytes=2**30)


def read_own(path: Path | Url, mark: str) -> Record | None:
    """Read a JSON object that has the key `mark`; None if the file is something else.

    Raises:
        ImageError: the file cannot be read; the reason is `vanished` if it does not exist.
    """
    data = tree_of(path.parent).read(path.name, LIMITS)
    try:
        record = parsed(data)
    except ValueError:
        return None
    return record if isinstance(record, dict) and mark in record else None


def write_own(path: Path | Url, text: str, mark: str) -> None:
    """Write a JSON object that has the key `mark` atomically; its folder is created.

    Raises:
        UsageError: the file exists and does not have this key, so it is not replaced.
        EnvironmentStop: the file cannot be written.
    """
    try:
        foreign = read_own(path, mark) is None
    except ImageError as error:
        foreign = error.reason not in {Reason.VANISHED, Reason.EMPTY}
    if foreign:
        raise UsageError(f"{path} already exists, and this program did not write it. Choose another file.")
    tree_of(path.parent).write(path.name, text.encode("ascii"))
