"""Read a list of paths: its separators, its encoding, and which of its lines are files."""

import codecs
import os
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import BinaryIO, Final

from gradcam_cli.errors import UsageError
from gradcam_cli.inputs.formats import HEAD_BYTES, PICTURES, format_of
from gradcam_cli.text import counted

CHUNK: Final = 2**20
# The first path of a list may begin like a PNM.
_NO_LISTS: Final = (PICTURES | {"HEIC", "HEIF"}) - {"PNM"}
_UTF16: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def read_list(file: BinaryIO, *, null_separated: bool) -> Iterator[str]:
    """Split a list of paths at newlines, or at NUL bytes as `find -print0` writes them. The list is read step by step.

    A byte order mark, carriage returns at the ends of lines and empty lines are removed. Spaces around a path are
    removed if only the path without them exists. Carriage returns without newlines end lines if a path between them
    exists.

    Raises:
        UsageError: the list has the other separator or both, or is an image.
    """
    pieces = _split(_utf8(file), b"\0" if null_separated else b"\n")
    return _between_nuls(pieces) if null_separated else _lines(pieces)


def _utf8(file: BinaryIO) -> Iterator[bytes]:
    """Give the bytes without the byte order mark of UTF-8. UTF-16, as PowerShell writes it, is converted to UTF-8."""
    first = file.read(CHUNK)
    name = format_of(first[:HEAD_BYTES])
    if name in _NO_LISTS and b"\0" in first:
        raise UsageError(f"The list is a {name}. It must be a text file with one path per line.")
    encoding = _UTF16.get(first[:2])
    if encoding is None:
        yield first.removeprefix(codecs.BOM_UTF8)
    else:
        try:
            yield (first + file.read())[2:].decode(encoding).encode("utf-8")
        except UnicodeError as error:
            raise UsageError(
                "The list begins with the mark of UTF-16, but is not valid UTF-16. Save it as UTF-8."
            ) from error
    while chunk := file.read(CHUNK):
        yield chunk


def _split(chunks: Iterable[bytes], separator: bytes) -> Iterator[bytes]:
    """Give the parts before, between and after the separators."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(separator)
        yield from whole
    yield rest


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    for piece in pieces:
        if b"\0" in piece:
            if _is_wide(piece):
                raise UsageError("The list is UTF-16 without a byte order mark: save it as UTF-8.")
            raise UsageError("The list has NUL bytes, as find -print0 writes them. Use -0.")
        for line in _at_returns(os.fsdecode(piece.removesuffix(b"\r"))):
            path = _trimmed(line)
            if path:
                yield path


def _is_wide(piece: bytes) -> bool:
    """Whether every second byte at the beginning is NUL, as in UTF-16."""
    return len(piece) > 3 and not (any(piece[:16:2]) and any(piece[1:16:2]))


def _at_returns(line: str) -> list[str]:
    """Split at carriage returns, which end lines on old systems, unless they are part of a name."""
    parts = line.split("\r")
    if len(parts) == 1 or os.path.lexists(line) or not any(map(os.path.lexists, parts)):
        return [line]
    return parts


def _between_nuls(pieces: Iterator[bytes]) -> Iterator[str]:
    first = next(pieces)
    second = next(pieces, None)
    if second is None and b"\n" in first and not os.path.lexists(os.fsdecode(first)):
        raise UsageError(f"The list has {counted(len(first.splitlines()), 'line')} and no NUL bytes. Do not use -0.")
    for piece in chain((first, second or b""), pieces):
        # `echo` writes a newline after the last NUL, which is not a path.
        if piece.strip(b"\r\n"):
            yield _one_path(os.fsdecode(piece))


def _one_path(text: str) -> str:
    """Give the text between two NUL bytes as one path, without newlines around it that are not part of the name.

    Raises:
        UsageError: the text has several lines, and some of them are paths.
    """
    if "\n" not in text or os.path.lexists(text):
        return text
    lines = text.strip("\r\n").splitlines()
    if len(lines) == 1:
        return lines[0] if os.path.lexists(lines[0]) else text
    found = next(filter(os.path.lexists, lines), None)
    if found is not None:
        raise UsageError(
            f"The list has both NUL bytes and lines: {found!r} is one of {len(lines)} lines between two NUL bytes. "
            "Separate its paths only by lines or only by NUL bytes."
        )
    return text


def _trimmed(line: str) -> str:
    """Remove spaces around a path, unless they are part of a name; '' for a line of only spaces."""
    trimmed = line.strip()
    if trimmed in {line, ""} or os.path.lexists(line):
        return line if trimmed else ""
    return trimmed if os.path.lexists(trimmed) else line
