"""Read the wire format of Protocol Buffers: fields by their numbers, without copies and without a schema.

ONNX files are protobuf messages, https://protobuf.dev/programming-guides/encoding/. This is enough to check a file
without the package onnx and its native code.
"""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
LONGEST_VARINT = 10
Field = tuple[int, int | memoryview]


def fields(message: memoryview) -> Iterator[Field]:
    """Give the number and the value of each field: an integer, or the bytes of a text, of numbers or of a message.

    Raises:
        ValueError: the message is truncated, or is not a protobuf message.
    """
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("a field has the number 0")
        if kind == VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if kind == BYTES:
            length, position = _varint(message, position)
        elif kind in {FIXED64, FIXED32}:
            length = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"a field has the unknown type {kind}")
        if length > end - position:
            raise ValueError("a field is longer than its message")
        yield number, message[position : position + length]
        position += length


def integers(value: int | memoryview) -> Iterator[int]:
    """Give the integers of a repeated field: a single one, or several packed ones.

    Raises:
        ValueError: they are truncated.
    """
    if isinstance(value, int):
        yield value
        return
    position = 0
    while position < len(value):
        found, position = _varint(value, position)
        yield found


def message(value: int | memoryview) -> memoryview:
    """Give the bytes of a field.

    Raises:
        ValueError: the field is a number.
    """
    if isinstance(value, int):
        raise ValueError("a message is expected, but there is a number")  # noqa: TRY004 - the file is damaged, not the call
    return value


def number(value: int | memoryview) -> int:
    """Give the number of a field.

    Raises:
        ValueError: the field is not an integer.
    """
    if not isinstance(value, int):
        raise ValueError("a number is expected, but there is a message")  # noqa: TRY004 - as in `message`
    return value


def text(value: int | memoryview) -> str:
    """Give the text of a field.

    Raises:
        ValueError: it is not UTF-8.
    """
    return bytes(message(value)).decode("utf-8")


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """Read seven bits of each byte, the lowest first. If the highest bit is set, another byte follows."""
    value = shift = 0
    for byte in data[position : position + LONGEST_VARINT]:
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("a number is truncated")
