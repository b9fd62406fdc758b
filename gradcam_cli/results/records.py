"""Records as lines: JSON Lines in a file or an object, and one line of text for the user."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from gradcam_cli.errors import STAYS, EnvironmentStop, StorageError
from gradcam_cli.results.sidecar import Record, to_json
from gradcam_cli.storage import Stores
from gradcam_cli.storage_errors import refusal
from gradcam_cli.urls import is_url

STDOUT = "-"


@contextmanager
def lines_to(name: str | None, stdout: TextIO) -> Iterator[TextIO | None]:
    """Open a file of records for writing. The name `-` means `stdout`; None means no file, and gives None.

    An object of a store is uploaded as a whole. An empty object is uploaded at the start, to check that this is
    possible. The object with all lines is uploaded when the block ends, even after an error.

    Raises:
        EnvironmentStop: the file cannot be opened, or there is no space for a temporary file.
        UsageError: the library of the store is not installed, or the store refuses access.
        StorageError: the store fails again and again.
    """
    if name is None:
        yield None
    elif name == STDOUT:
        yield stdout
    elif is_url(name):
        stored = Stores().of(name)
        try:
            stored.put(name, b"")
        except StorageError as error:
            raise refusal(error) from None
        with spooled(lambda path: stored.put_file(name, path)) as lines:
            yield lines
    else:
        # Only errors of opening are converted: an OSError inside the block may have another cause.
        try:
            file = Path(name).open("w", encoding="ascii", newline="\n")  # noqa: SIM115 - closed below
        except OSError as error:
            raise EnvironmentStop(f"{name}: {error.strerror}.") from error
        try:
            yield file
        finally:
            # Each line was already flushed, so a write error was already reported.
            with suppress(OSError):
                file.close()


@contextmanager
def spooled(put: Callable[[Path], None]) -> Iterator[TextIO]:
    """Write lines to a temporary file; `put` uploads it to a store when the block ends, even after an error.

    Raises:
        EnvironmentStop: the temporary file cannot be created.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix="gradcam-lines-")
    except OSError as error:
        raise EnvironmentStop(f"The folder for temporary files cannot be written: {error.strerror}.") from error
    os.close(descriptor)
    path = Path(name)
    try:
        try:
            with path.open("w", encoding="ascii", newline="\n") as file:
                yield file
        finally:
            put(path)
    finally:
        path.unlink(missing_ok=True)


def write_line(lines: TextIO, record: Record, name: str | None) -> None:
    """Write a record as one line of JSON.

    Raises:
        BrokenPipeError: the reader has closed the pipe.
        EnvironmentStop: the file `name` cannot be written.
    """
    try:
        lines.write(to_json(record, indent=None))
        lines.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise EnvironmentStop(f"{name}: {error.strerror}. {STAYS}") from error


def line_of(record: Record) -> str:
    """Summarise the result of one image in one line, or give the reason why it has no explanation."""
    path = record["input"]["path"]
    if record["status"] == "error":
        return f"{path!r}: {record['reason']}: {record['message']}"
    seen = [f"{each['label'] or each['index']} {_told(each):.3f}" for each in record["classes"]]
    return f"{path!r}: {', '.join(seen)}"


def _told(entry: Mapping[str, Any]) -> float:
    number: float = entry["value"] if entry["probability"] is None else entry["probability"]
    return number
