"""Pictures that a specification allows and few programs write: what one decoder refuses is read by another."""

import io
import struct
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.settings import Limits

LIMITS = Limits()
COLOURS = [(10, 20, 30), (255, 0, 0), (0, 255, 0), (0, 0, 255)]


def run_lengths(width: int, height: int, body: bytes, bits: int = 8) -> bytes:
    """A BMP with run lengths; the lowest line comes first."""
    palette = b"".join(struct.pack("<BBBB", blue, green, red, 0) for red, green, blue in COLOURS)
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 8 // bits, len(body), 0, 0, len(COLOURS), 0)
    start = 14 + len(sizes) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + sizes + palette + body


def indices(data: bytes) -> list[list[int]]:
    return [[COLOURS.index(tuple(pixel)) for pixel in line] for line in decode(data, LIMITS).pixels.tolist()]


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b"\4\1\0\0\2\2\2\3\0\1", [[2, 2, 3, 3], [1, 1, 1, 1]]),
        # The bitmap ends in a line, and behind the first line.
        (b"\4\1\0\0\2\2\0\1", [[2, 2, 0, 0], [1, 1, 1, 1]]),
        (b"\4\1\0\1", [[0, 0, 0, 0], [1, 1, 1, 1]]),
        (b"\0\1", [[0, 0, 0, 0], [0, 0, 0, 0]]),
        # A line ends early; a delta of 1 to the right and 1 up; pixels one by one.
        (b"\2\1\0\0\4\2\0\1", [[2, 2, 2, 2], [1, 1, 0, 0]]),
        (b"\1\1\0\2\1\1\2\2\0\1", [[0, 0, 2, 2], [1, 0, 0, 0]]),
        (b"\0\3\1\2\3\0\1\1\0\0\4\2\0\1", [[2, 2, 2, 2], [1, 2, 3, 1]]),
    ],
)
def test_run_lengths_of_a_bmp_may_end_before_the_picture(body: bytes, lines: list[list[int]]) -> None:
    assert indices(run_lengths(4, 2, body)) == lines


def test_a_bmp_whose_run_lengths_are_cut_is_truncated() -> None:
    whole = run_lengths(4, 3, b"\4\1\0\0\4\2\0\0\2\3\0\1")
    assert indices(whole) == [[3, 3, 0, 0], [2, 2, 2, 2], [1, 1, 1, 1]]
    for length in range(len(whole) - 11, len(whole)):
        with pytest.raises(ImageError) as caught:
            decode(whole[:length], LIMITS)
        assert caught.value.reason is Reason.TRUNCATED_OR_CORRUPT


def test_run_lengths_of_four_bits() -> None:
    assert indices(run_lengths(4, 2, b"\4\x12\0\0\4\x33\0\1", bits=4)) == [[3, 3, 3, 3], [1, 2, 1, 2]]


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        (b"P1\n3 1\n1 0 1", [[0] * 3, [255] * 3, [0] * 3]),
        (b"P1\n3 1\n101", [[0] * 3, [255] * 3, [0] * 3]),
        (b"P2\n3 1\n255\n1 2 255", [[1] * 3, [2] * 3, [255] * 3]),
        (b"P2\n2 1\n15\n0 15 # white", [[0] * 3, [255] * 3]),
        (b"P3\n1 1\n255\n1 2 255", [[1, 2, 255]]),
        (b"P3\n1 1\n65535\n257 0 65535", [[1, 0, 255]]),
    ],
)
def test_a_text_pnm_may_end_without_a_line_end(data: bytes, pixels: list[list[int]]) -> None:
    assert decode(data, LIMITS).pixels.tolist() == [pixels]


@pytest.mark.parametrize("data", [b"P1\n3 1\n1 0", b"P2\n3 1\n255\n1 2", b"P2\n3 1\n255\n1 2 ", b"P3\n1 1\n255\n1 2"])
def test_a_text_pnm_without_all_its_numbers_is_truncated(data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        decode(data, LIMITS)
    assert caught.value.reason is Reason.TRUNCATED_OR_CORRUPT


# Where the sizes are in a JPEG 2000, behind the mark of its code stream: of the grid, of the origin, of the first tile.
ENDS, ORIGINS, TILES = (8, 12), (16, 20), (32, 36)


def shifted(data: bytes, by: int, places: tuple[int, ...]) -> bytes:
    """Move a picture on its grid. Moved by 2^15 with its tiles, nothing else of its code stream differs."""
    start, moved = data.index(b"\xff\x4f\xff\x51"), bytearray(data)
    for place in places:
        struct.pack_into(">I", moved, start + place, struct.unpack_from(">I", moved, start + place)[0] + by)
    return bytes(moved)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("codec", ["jp2", "j2k"])
def test_a_jpeg_2000_may_begin_anywhere_on_its_grid(codec: str, channels: int, bits: int) -> None:
    shape = (9, 11, channels) if channels > 1 else (9, 11)
    values = np.random.default_rng(3).integers(0, 2**bits, shape).astype(np.uint8 if bits == 8 else np.uint16)
    data = bytes(imagecodecs.jpeg2k_encode(values, codecformat=codec, bitspersample=bits, reversible=True, level=0))
    plain, moved = decode(data, LIMITS), decode(shifted(data, 2**15, (*ENDS, *ORIGINS, *TILES)), LIMITS)
    assert np.array_equal(moved.with_channels(max(channels, 3)), plain.with_channels(max(channels, 3)))


def test_a_tiled_jpeg_2000_of_sixteen_bits_may_begin_within_its_first_tile() -> None:
    """As Pillow reads it, whose rounding is right for one channel."""
    values = np.random.default_rng(4).integers(0, 2**16, (40, 50)).astype(np.uint16)
    buffer = io.BytesIO()
    options: dict[str, Any] = {"tile_size": (16, 16), "offset": (5, 3), "tile_offset": (2, 1)}
    Image.fromarray(values).save(buffer, "JPEG2000", **options)
    with Image.open(io.BytesIO(buffer.getvalue())) as image:
        expected = np.asarray(image) / 257
    assert np.abs(decode(buffer.getvalue(), LIMITS).pixels - expected[:, :, None]).max() <= 1
