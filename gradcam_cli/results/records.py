"""Records one a line: as JSON in a file, and for people."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from gradcam_cli.errors import STAYS, EnvironmentStop
from gradcam_cli.results.sidecar import Record, to_json

STDOUT = "-"


@contextmanager
def lines_to(name: str | None, stdout: TextIO) -> Iterator[TextIO | None]:
    """Open a file of records for writing; None for none, - for `stdout`."""
    if name is None:
        yield None
    elif name == STDOUT:
        yield stdout
    else:
        # Only errors of this file are its own: what happens while records are made is caught where it arises.
        try:
            file = Path(name).open("w", encoding="ascii", newline="\n")  # noqa: SIM115 - closed below
        except OSError as error:
            raise EnvironmentStop(f"{name}: {error.strerror}.") from error
        try:
            yield file
        finally:
            # Each line was flushed: an error was reported when the line could not be written.
            with suppress(OSError):
                file.close()


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
    """Say in one line what was found in an image, or why it has no explanation."""
    path = record["input"]["path"]
    if record["status"] == "error":
        return f"{path!r}: {record['reason']}: {record['message']}"
    seen = [f"{each['label'] or each['index']} {_told(each):.3f}" for each in record["classes"]]
    return f"{path!r}: {', '.join(seen)}"


def _told(entry: Mapping[str, Any]) -> float:
    number: float = entry["value"] if entry["probability"] is None else entry["probability"]
    return number
