"""Find the members of a tar by its headers only. Nothing is extracted, and no header is trusted.

Headers are those of POSIX (ustar), with the long names of GNU tar and the records of pax. A member is marked if it is
not a regular file, is sparse, or has a name that leads out of the tar's tree. The caller counts such members.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

# Takes an offset and a count, and gives up to this number of bytes; fewer at the end.
ReadAt = Callable[[int, int], bytes]

BLOCK: Final = 512
# The limit of a long name or of pax records. PATH_MAX is 4096.
MOST_HEADER_BYTES: Final = 2**20
_REGULAR: Final = frozenset({b"0", b"\0", b"7"})
_LONG_NAME: Final = b"L"
_LONG_LINK: Final = b"K"
_PAX: Final = b"x"
_PAX_OF_ALL: Final = b"g"


class TarError(ValueError):
    """The tar is damaged from this position on, or the file is not a tar."""


@dataclass(frozen=True)
class TarMember:
    """One member: its stored name, the offset of its bytes, their number, and its modification time.

    `is_plain` says whether it is a regular file whose name stays below the folder in which the tar would be unpacked.
    """

    name: str
    at: int
    size: int
    mtime: int
    is_plain: bool


def members(read: ReadAt) -> Iterator[TarMember]:
    """Give the members in their order, without folders.

    Raises:
        TarError: a header is damaged, or the tar ends within one.
    """
    at, announced = 0, _Announced()
    while True:
        header = read(at, BLOCK)
        if not header.strip(b"\0"):
            # Two empty blocks end a tar. Some writers omit one or both.
            if at == 0:
                raise TarError("it is empty")
            return
        if len(header) < BLOCK or not _is_sound(header):
            raise TarError("it is damaged or truncated within a header")
        size, kind = _number(header[124:136]), header[156:157]
        at += BLOCK
        if kind in {_LONG_NAME, _LONG_LINK, _PAX, _PAX_OF_ALL}:
            if size > MOST_HEADER_BYTES:
                raise TarError("it has a header that is too large")
            data = read(at, size)
            if len(data) < size:
                raise TarError("it is truncated within a header")
            announced.add(kind, data)
        else:
            size = announced.size if announced.size is not None else size
            name = announced.name if announced.name is not None else _name(header)
            if kind != b"5" and not (kind in _REGULAR and name.endswith("/")):
                is_plain = kind in _REGULAR and not announced.is_sparse and is_safe(name)
                yield TarMember(name, at, size, _number(header[136:148]), is_plain)
            # Links and devices have no bytes, even if their size is not 0.
            size = size if kind not in {b"1", b"2", b"3", b"4", b"5", b"6"} else 0
            announced = _Announced()
        at += -(-size // BLOCK) * BLOCK


def is_safe(name: str) -> bool:
    """Whether a name stays below the folder in which a tar would be unpacked, and is valid on every system."""
    parts = name.removeprefix("./").split("/")
    return "\0" not in name and "\\" not in name and not {"", ".", ".."} & set(parts) and ":" not in parts[0]


@dataclass
class _Announced:
    """The data of a member in the headers before its own header: those of GNU tar and of pax."""

    name: str | None = None
    size: int | None = None
    is_sparse: bool = False

    def add(self, kind: bytes, data: bytes) -> None:
        if kind == _LONG_NAME:
            self.name = _decoded(data.rstrip(b"\0"))
        elif kind == _PAX:
            for key, value in _records(data):
                if key == b"path":
                    self.name = _decoded(value)
                elif key == b"size":
                    self.size = _decimal(value)
                elif key.startswith(b"GNU.sparse"):
                    self.is_sparse = True


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Read lines of `LENGTH KEY=VALUE`. The length is that of the whole line."""
    while data.strip(b"\0"):
        digits, space, _ = data.partition(b" ")
        length = _decimal(digits) if space else 0
        if not len(digits) < length <= len(data) or data[length - 1 : length] != b"\n":
            raise TarError("it has a damaged pax header")
        key, equals, value = data[len(digits) + 1 : length - 1].partition(b"=")
        if not equals:
            raise TarError("it has a damaged pax header")
        yield key, value
        data = data[length:]


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 15:
        raise TarError("it has a damaged number")
    return int(text)


def _number(field: bytes) -> int:
    """Read octal digits, or a binary number of GNU tar, whose first bit is set."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    try:
        return int(digits or b"0", 8)
    except ValueError:
        raise TarError("it has a damaged number") from None


def _is_sound(header: bytes) -> bool:
    try:
        expected = _number(header[148:156])
    except TarError:
        return False
    return expected == sum(header) - sum(header[148:156]) + 8 * 32


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    return _decoded(prefix + b"/" + name if prefix else name)


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
