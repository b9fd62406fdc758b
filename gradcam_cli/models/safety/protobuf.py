"""Read the wire format of Protocol Buffers: fields by their numbers, without copies and without a schema.

ONNX files are protobuf messages, https://protobuf.dev/programming-guides/encoding/. This is enough to check one:
neither the package onnx nor its native code is needed for that.
"""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
LONGEST_VARINT = 10
Field = tuple[int, int | memoryview]


def fields(message: memoryview) -> Iterator[Field]:
    """Give the number and the value of each field: an integer, or the bytes of a text, of numbers or of a message.

    Raises:
        ValueError: the message is truncated, or is none.
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
    """Give the integers of a repeated field: one, or several that are packed.

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
    """Give a field's bytes.

    Raises:
        ValueError: the field is a number.
    """
    if isinstance(value, int):
        raise ValueError("a message is expected, but there is a number")  # noqa: TRY004 - the file is damaged, not the call
    return value


def number(value: int | memoryview) -> int:
    """Give a field's number.

    Raises:
        ValueError: the field is no integer.
    """
    if not isinstance(value, int):
        raise ValueError("a number is expected, but there is a message")  # noqa: TRY004 - as in `message`
    return value


def text(value: int | memoryview) -> str:
    """Give a field's text.

    Raises:
        ValueError: it is no UTF-8.
    """
    return bytes(message(value)).decode("utf-8")


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """Read seven bits of each byte, the lowest first; the highest bit says that another byte follows."""
    value = shift = 0
    for byte in data[position : position + LONGEST_VARINT]:
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("a number is truncated")
