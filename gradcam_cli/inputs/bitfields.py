"""Decode BMP files with colour masks (the bits of each colour in a pixel), because other decoders guess them."""

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.inputs.samples import Samples

BITFIELDS: Final = 3
ALPHA_BITFIELDS: Final = 6
# A JPEG or a PNG inside a BMP, which is meant for printers.
EMBEDDED: Final = frozenset({4, 5})
INFO_HEADER: Final = 40
V2_HEADER: Final = 52
V3_HEADER: Final = 56


@dataclass(frozen=True)
class Bitfields:
    """A BMP's size, bits per pixel, first byte of its pixels, and masks of red, green, blue and opacity."""

    width: int
    height: int
    top_down: bool
    bits: int
    start: int
    masks: tuple[int, int, int, int]

    @property
    def row_bytes(self) -> int:
        """The number of bytes of a row, which is padded to a multiple of four."""
        return (self.width * self.bits // 8 + 3) // 4 * 4


def read_bitfields(data: bytes) -> Bitfields | None:
    """Read the header of a BMP with masks; None for a BMP without masks.

    Raises:
        ImageError: `truncated_or_corrupt` or `unsupported`.
    """
    if len(data) < 14 + INFO_HEADER or struct.unpack_from("<I", data, 14)[0] < INFO_HEADER:
        return None
    start, length, width, height = struct.unpack_from("<IIii", data, 10)
    bits, compression = struct.unpack_from("<HI", data, 28)
    if bits == 2 or compression in EMBEDDED:
        raise ImageError(
            Reason.UNSUPPORTED, f"a BMP of {bits} bits per pixel with compression {compression}: save it as PNG"
        )
    if compression not in {BITFIELDS, ALPHA_BITFIELDS} or bits not in {16, 32}:
        return None
    opacity = length >= V3_HEADER or (length == INFO_HEADER and compression == ALPHA_BITFIELDS)
    if width < 1 or height == 0 or len(data) < 14 + INFO_HEADER + (16 if opacity else 12):
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "a BMP without a size or without its masks")
    masks = struct.unpack_from("<3I", data, 14 + INFO_HEADER)
    alpha = struct.unpack_from("<I", data, 14 + V2_HEADER)[0] if opacity else 0
    fields = Bitfields(width, abs(height), height < 0, bits, start, (*masks, alpha))
    if not all(masks) or any(mask >> bits or not _is_one_run(mask) for mask in fields.masks):
        raise ImageError(Reason.UNSUPPORTED, "a BMP whose colour masks are empty or not contiguous")
    if start + fields.row_bytes * fields.height > len(data):
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "it ends before its pixels")
    return fields


def _is_one_run(mask: int) -> bool:
    filled = mask | (mask - 1) if mask else 0
    return filled & (filled + 1) == 0


def decode_bitfields(data: bytes) -> Samples:
    """Decode a BMP with masks to RGB, or to RGB and opacity. Each field is scaled from its own bits to 8."""
    fields = read_bitfields(data)
    if fields is None:
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "a BMP without masks")
    channels = 4 if fields.masks[3] else 3
    values = np.empty((fields.height, fields.width, channels), np.uint8)
    for row in range(fields.height):
        place = row if fields.top_down else fields.height - 1 - row
        pixels = np.frombuffer(data, f"<u{fields.bits // 8}", fields.width, fields.start + row * fields.row_bytes)
        for channel in range(channels):
            values[place, :, channel] = _field(pixels, fields.masks[channel])
    return Samples(values, 255)


def _field(pixels: NDArray[np.unsignedinteger], mask: int) -> NDArray[np.uint64]:
    shift = (mask & -mask).bit_length() - 1
    top = mask >> shift
    return ((pixels.astype(np.uint64) & np.uint64(mask)) >> np.uint64(shift)) * 255 // top
