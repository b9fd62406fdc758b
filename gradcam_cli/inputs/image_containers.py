"""Read the container of an image without a codec: its parts, in bounded time.

Codecs and Pillow read every part of a file, however many there are, and decode a JPEG's scans as often as it says. So a
small file can take them hours. This module counts the parts first. Nothing is decoded.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final

from gradcam_cli.errors import ImageError, Reason

# Real files have at most thousands of parts, and a JPEG of many scans has about twenty scans.
MOST_PARTS: Final = 1_000_000
MOST_SCANS: Final = 100

PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC: Final = b"\xff\xd8"
GIF_MAGIC: Final = b"GIF8"
# A JPEG marker: 0xff followed by anything except a stuffed zero, padding, or a restart mark.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_JPEG_START, _JPEG_END, _JPEG_SCAN, _JPEG_TEMPORARY = 0xD8, 0xD9, 0xDA, 0x01
# All of 0xc0 to 0xcf except Huffman tables, an extension, and the conditioning of arithmetic coding.
# JPEG-LS has its own frame.
_JPEG_FRAMES: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
# The property with an image's size in the ISO base media file format. It comes before the pixels.
ISO_HEAD: Final = 2**20
_ISO_SIZE = re.compile(rb"\0\0\0\x14ispe(?=.{12})", re.DOTALL)
# The marks at the beginning of a code stream and of its sizes.
_J2K_START: Final = b"\xff\x4f\xff\x51"
_PNM_GAP = rb"(?:\s|#[^\n]*\n)+"
_PNM_TOP = re.compile(rb"P[56]" + _PNM_GAP + rb"\d+" + _PNM_GAP + rb"\d+" + _PNM_GAP + rb"(\d+)")
_PNG_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
_GIF_EXTENSION, _GIF_FRAME, _GIF_END = 0x21, 0x2C, 0x3B


def check_parts(data: bytes) -> None:
    """Check the parts of a JPEG, PNG or GIF. Other formats are not checked.

    Raises:
        ImageError: `unsupported` if there are too many parts, `truncated_or_corrupt` if the end is missing.
    """
    if data.startswith(JPEG_MAGIC):
        _check_jpeg(data)
    elif data.startswith(PNG_MAGIC):
        png_chunks(data)
    elif data.startswith(GIF_MAGIC):
        gif_frames(data)


def _parts() -> Iterator[int]:
    for number in count():
        if number > MOST_PARTS:
            raise ImageError(Reason.UNSUPPORTED, f"it is in more than {MOST_PARTS:,} parts")
        yield number


@dataclass(frozen=True)
class JpegFrame:
    """The content of a JPEG's frame header: its marker, bits per sample, height, width and components."""

    kind: int
    precision: int
    height: int
    width: int
    components: int


def jpeg_frame(data: bytes) -> JpegFrame | None:
    """Find the first frame header of a JPEG; None if there is none."""
    position = len(JPEG_MAGIC)
    for _ in _parts():
        marker = _JPEG_MARKER.search(data, position)
        if marker is None:
            return None
        kind, position = marker[0][1], marker.end()
        if kind in _JPEG_FRAMES:
            header = data[position + 2 : position + 8]
            if len(header) < 6:
                return None
            height, width = int.from_bytes(header[1:3], "big"), int.from_bytes(header[3:5], "big")
            return JpegFrame(kind, header[0], height, width, header[5])
        if kind not in {_JPEG_START, _JPEG_TEMPORARY}:
            position += max(2, int.from_bytes(data[position : position + 2], "big"))
    return None


def jpeg_is_ended(data: bytes) -> bool:
    """Whether a JPEG has its end mark. Some decoders fill missing pixels with grey."""
    return _check_jpeg(data)


def _check_jpeg(data: bytes) -> bool:
    """Count scans, and say whether the end mark exists."""
    position, scans = 0, 0
    for _ in _parts():
        marker = _JPEG_MARKER.search(data, position)
        if marker is None or marker[0][1] == _JPEG_END:
            return marker is not None
        position = marker.end()
        if marker[0][1] in {_JPEG_START, _JPEG_TEMPORARY}:
            continue
        position += max(2, int.from_bytes(data[position : position + 2], "big"))
        scans += marker[0][1] == _JPEG_SCAN
        if scans > MOST_SCANS:
            raise ImageError(Reason.UNSUPPORTED, f"a JPEG of more than {MOST_SCANS} scans")
    return False


def png_chunks(data: bytes) -> list[tuple[bytes, memoryview]]:
    """List the chunks of a PNG: the kind, and the whole chunk with its length and checksum.

    Raises:
        ImageError: the file ends before its last chunk, or has too many chunks.
    """
    view, position = memoryview(data), len(PNG_MAGIC)
    found: list[tuple[bytes, memoryview]] = []
    for _ in _parts():
        end = position + 12 + int.from_bytes(view[position : position + 4], "big")
        if end > len(data):
            break
        found.append((bytes(view[position + 4 : position + 8]), view[position:end]))
        position = end
        if found[-1][0] == b"IEND":
            return found
    raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "it ends before its last chunk")


def png_content(data: bytes, kind: bytes) -> bytes | None:
    """Give the content of the first chunk of a kind; None if there is none."""
    return next((bytes(chunk[8:-4]) for name, chunk in png_chunks(data) if name == kind), None)


def png_still(data: bytes) -> bytes:
    """Remove the animation from a PNG, so that only its still image remains."""
    return PNG_MAGIC + b"".join(chunk for kind, chunk in png_chunks(data) if kind not in _PNG_ANIMATION)


def gif_frames(data: bytes) -> int:
    """Count the frames of a GIF.

    Raises:
        ImageError: the file ends before its last frame, or has too many blocks.
    """
    parts, position, frames = _parts(), 13, 0
    try:
        position += _colours(data[10])
        # If a file ends after a whole frame without the end mark, all readers accept it.
        while not (frames and position == len(data)) and (kind := data[position]) != _GIF_END:
            next(parts)
            if kind == _GIF_FRAME:
                frames += 1
                position += 11 + _colours(data[position + 9])
            elif kind == _GIF_EXTENSION:
                position += 2
            else:
                raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "it has a block of unknown kind")
            while (length := data[position]) != 0:
                next(parts)
                position += 1 + length
            position += 1
    except IndexError as error:
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "it ends before its last frame") from error
    return frames


def _colours(flags: int) -> int:
    """Give the size in bytes of the colour table that the flags of a GIF declare."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def pnm_top(data: bytes) -> int | None:
    """Find the value of white in a binary PGM or PPM. For those written as text, cv2 reads it."""
    found = _PNM_TOP.match(data)
    return int(found[1][:6]) if found else None


def iso_size(data: bytes) -> tuple[int, int]:
    """Find the largest width and height in an AVIF or HEIC; (0, 0) if there are none."""
    sizes = [struct.unpack_from(">II", data, found.end() + 4) for found in _ISO_SIZE.finditer(data[:ISO_HEAD])]
    return max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))


@dataclass(frozen=True)
class Jpeg2000Frame:
    """The components of a JPEG 2000. `boxed`: it is a JP2. `luminance`: luminance and two colours instead of RGB.

    `shifted`: the image does not begin at the origin of its grid. If there is a palette, `precision` is that of the
    palette indices.
    """

    components: int
    precision: int
    is_uniform: bool
    boxed: bool
    palette: bool
    luminance: bool
    shifted: bool = False


def jpeg2000_frame(data: bytes) -> Jpeg2000Frame | None:
    """Read the header of a JPEG 2000's code stream; None if there is none."""
    start = data.find(_J2K_START)
    if start < 0 or len(data) < start + 42:
        return None
    (components,) = struct.unpack_from(">H", data, start + 40)
    described = data[start + 42 : start + 42 + 3 * components]
    if components < 1 or len(described) < 3 * components:
        return None
    depths = {depth & 0x7F for depth in described[::3]}
    signed = any(depth & 0x80 for depth in described[::3])
    sizes = set(zip(described[1::3], described[2::3], strict=True))
    precision = max(depths) + 1
    # Pillow enlarges smaller components of 8 bits.
    uniform = len(depths) == 1 and not signed and (len(sizes) == 1 or precision == 8)
    boxes = data[:start]
    luminance = b"colr\1" in boxes and boxes[boxes.index(b"colr\1") + 7 :][:4] == b"\0\0\0\x12"
    shifted = any(data[start + 16 : start + 24])
    return Jpeg2000Frame(components, precision, uniform, start > 0, b"pclr" in boxes, luminance, shifted)
