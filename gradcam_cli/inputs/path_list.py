"""Read a list of paths: how it is separated, how it is encoded, and which of its lines mean a file."""

import codecs
import os

from gradcam_cli.errors import UsageError
from gradcam_cli.text import counted

_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def read_list(data: bytes, *, null_separated: bool) -> list[str]:
    """Split a list of paths at newlines, or at NUL bytes as `find -print0` writes them.

    A byte order mark, carriage returns at the ends of lines and empty lines are dropped. Spaces around a path are
    dropped where only the path without them exists.

    Raises:
        UsageError: it is separated the other way.
    """
    data = _utf8(data)
    if null_separated:
        return _split_at_nul(data)
    if b"\0" in data:
        raise UsageError("The list has NUL bytes, as find -print0 writes them: say so with -0.")
    lines = (os.fsdecode(line.removesuffix(b"\r")) for line in data.split(b"\n"))
    return [path for line in lines if (path := _trimmed(line))]


def _utf8(data: bytes) -> bytes:
    """Remove the mark of UTF-8, and turn UTF-16, as PowerShell writes it, into UTF-8."""
    encoding = _UTF16.get(data[:2])
    if encoding is None:
        return data.removeprefix(codecs.BOM_UTF8)
    try:
        return data[2:].decode(encoding).encode("utf-8")
    except UnicodeError as error:
        raise UsageError("The list begins like UTF-16, but is not UTF-16 to its end: save it as UTF-8.") from error


def _split_at_nul(data: bytes) -> list[str]:
    text = os.fsdecode(data)
    if "\0" not in text and "\n" in text and not os.path.lexists(text):
        raise UsageError(f"The list has {counted(len(text.splitlines()), 'line')} and no NUL bytes: leave out -0.")
    # What `echo` leaves behind the last NUL is no path.
    return [path for path in text.split("\0") if path.strip("\r\n")]


def _trimmed(line: str) -> str:
    """Drop spaces around a path, unless they are part of a name; '' for a line of nothing else."""
    trimmed = line.strip()
    if trimmed in {line, ""} or os.path.lexists(line):
        return line if trimmed else ""
    return trimmed if os.path.lexists(trimmed) else line
