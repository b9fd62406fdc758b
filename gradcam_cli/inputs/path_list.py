"""Read a list of paths: how it is separated, how it is encoded, and which of its lines mean a file."""

import codecs
import os
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import BinaryIO, Final

from gradcam_cli.errors import UsageError
from gradcam_cli.text import counted

CHUNK: Final = 2**20
_UTF16: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def read_list(file: BinaryIO, *, null_separated: bool) -> Iterator[str]:
    """Split a list of paths at newlines, or at NUL bytes as `find -print0` writes them; the list is read as it is used.

    A byte order mark, carriage returns at the ends of lines and empty lines are dropped. Spaces around a path are
    dropped where only the path without them exists.

    Raises:
        UsageError: it is separated the other way.
    """
    pieces = _split(_utf8(file), b"\0" if null_separated else b"\n")
    return _between_nuls(pieces) if null_separated else _lines(pieces)


def _utf8(file: BinaryIO) -> Iterator[bytes]:
    """Give the bytes without the mark of UTF-8; UTF-16, as PowerShell writes it, as UTF-8."""
    first = file.read(CHUNK)
    encoding = _UTF16.get(first[:2])
    if encoding is None:
        yield first.removeprefix(codecs.BOM_UTF8)
    else:
        try:
            yield (first + file.read())[2:].decode(encoding).encode("utf-8")
        except UnicodeError as error:
            raise UsageError("The list begins like UTF-16, but is not UTF-16 to its end: save it as UTF-8.") from error
    while chunk := file.read(CHUNK):
        yield chunk


def _split(chunks: Iterable[bytes], separator: bytes) -> Iterator[bytes]:
    """Give what is before, between and after the separators."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(separator)
        yield from whole
    yield rest


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    for piece in pieces:
        if b"\0" in piece:
            raise UsageError("The list has NUL bytes, as find -print0 writes them: say so with -0.")
        path = _trimmed(os.fsdecode(piece.removesuffix(b"\r")))
        if path:
            yield path


def _between_nuls(pieces: Iterator[bytes]) -> Iterator[str]:
    first = next(pieces)
    second = next(pieces, None)
    if second is None and b"\n" in first and not os.path.lexists(os.fsdecode(first)):
        raise UsageError(f"The list has {counted(len(first.splitlines()), 'line')} and no NUL bytes: leave out -0.")
    for piece in chain((first, second or b""), pieces):
        # What `echo` leaves behind the last NUL is no path.
        if piece.strip(b"\r\n"):
            yield os.fsdecode(piece)


def _trimmed(line: str) -> str:
    """Drop spaces around a path, unless they are part of a name; '' for a line of nothing else."""
    trimmed = line.strip()
    if trimmed in {line, ""} or os.path.lexists(line):
        return line if trimmed else ""
    return trimmed if os.path.lexists(trimmed) else line
