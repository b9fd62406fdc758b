"""Decoding: formats, orientations, depth, transparency, and everything that is no picture."""

import io
import os
import runpy
import struct
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import ROOT, chunk, jpeg, picture, png
from PIL import Image

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.imaging.geometry import Size
from gradcam_cli.inputs.decoding import decode, encode_jpeg
from gradcam_cli.inputs.files import read_file
from gradcam_cli.inputs.image_containers import PNG_MAGIC
from gradcam_cli.inputs.photo import Needed
from gradcam_cli.inputs.pillow_codec import FORMATS
from gradcam_cli.settings import Limits

LIMITS = Limits()
# As exact as a format can be.
EXACT: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}, "JPEG": {"quality": 95}}


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def reason_of(data: bytes, limits: Limits = LIMITS) -> Reason:
    with pytest.raises(ImageError) as caught:
        decode(data, limits)
    return caught.value.reason


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF", "PPM", "GIF"])
def test_lossless_formats_give_the_pixels(format_: str) -> None:
    pixels = picture()
    assert np.array_equal(decode(encoded(Image.fromarray(pixels), format_), LIMITS).pixels, pixels)


@pytest.mark.parametrize(
    ("format_", "options"), [("WEBP", {"lossless": True}), ("JPEG2000", {}), ("AVIF", {"quality": 100})]
)
def test_other_formats_give_nearly_the_pixels(format_: str, options: dict[str, Any]) -> None:
    pixels = picture(64, 48)
    decoded = decode(encoded(Image.fromarray(pixels), format_, **options), LIMITS).pixels
    # AVIF shares colour between neighbours.
    assert np.abs(decoded.astype(int) - pixels).mean() < 6


def stored(upright: Any, orientation: int) -> Any:
    """The raster a camera stores for this orientation, from EXIF's definition of row 0 and column 0."""
    turned = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }
    return np.ascontiguousarray(turned[orientation](upright))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_orientation_is_undone(format_: str, orientation: int, mode: str) -> None:
    if format_ == "JPEG" and mode == "RGBA":
        mode = "CMYK"
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24], upright[:16, 24:], upright[16:, :24] = 250, 120, 60
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = EXACT.get(format_, {})
    image = Image.fromarray(stored(upright, orientation)).convert(mode)
    photo = decode(encoded(image, format_, exif=exif, **options), LIMITS)
    assert photo.header.orientation == orientation
    assert photo.pixels.shape == (32, 48, 3)
    assert np.abs(photo.pixels.astype(int) - upright).max() <= (2 if format_ == "JPEG" else 0)
    if mode == "RGBA":
        assert np.array_equal(photo.with_channels(4)[:, :, :3], upright)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_turned_by_its_own_marks(orientation: int) -> None:
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24], upright[:16, 24:], upright[16:, :24] = 250, 120, 60
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = decode(encoded(Image.fromarray(stored(upright, orientation)), "AVIF", exif=exif, quality=100), LIMITS)
    assert np.abs(photo.pixels.astype(int) - upright).max() <= 3


def test_orientation_behind_the_pixels_of_a_png() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    before = encoded(Image.fromarray(picture()), "PNG")
    behind = before[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + before[-12:]
    assert decode(behind, LIMITS).size == Size(30, 40)
    nonsense = before[:-12] + chunk(b"eXIf", b"MM\0*\0\0\0") + before[-12:]
    assert decode(nonsense, LIMITS).size == Size(40, 30)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    data = cv2.imencode(".png", values)[1].tobytes()
    assert decode(data, LIMITS).pixels[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".ppm"])
def test_sixteen_bits_of_colour(suffix: str) -> None:
    bgr = np.array([[[0, 257, 65535], [128 * 257, 1000, 64 * 257]]], np.uint16)
    data = cv2.imencode(suffix, bgr)[1].tobytes()
    assert decode(data, LIMITS).pixels.tolist() == [[[255, 1, 0], [64, 4, 128]]]


@pytest.mark.parametrize(
    ("data", "greys"),
    [
        (b"P5\n# said by hand\n4 1\n15\n\0\5\12\17", [0, 85, 170, 255]),
        (b"P2 4 1 15\n0 5 10 15\n", [0, 85, 170, 255]),
        (b"P2 4 1 255\n0 5 10 255\n", [0, 5, 10, 255]),
        (b"P5 4 1 1023\n\0\0\1\0\2\0\3\377", [0, 64, 128, 255]),
        (b"P5 4 1 65535\n\0\0\1\1\200\200\377\377", [0, 1, 128, 255]),
        (b"P5 4 1 15\n\0\5\12\377", [0, 85, 170, 255]),
        (b"P4 4 1\n\120", [255, 0, 255, 0]),
        (b"P1 4 1\n0 1 0 1\n", [255, 0, 255, 0]),
    ],
)
def test_white_is_what_a_pgm_says(data: bytes, greys: list[int]) -> None:
    assert decode(data, LIMITS).pixels[0, :, 0].tolist() == greys


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "BMP", "PPM", "GIF"])
def test_one_bit(format_: str) -> None:
    bits = Image.fromarray(np.array([[0, 255, 0, 0, 255, 255, 0, 255, 0]], np.uint8)).convert("1")
    assert decode(encoded(bits, format_), LIMITS).pixels[0, :, 1].tolist() == [0, 255, 0, 0, 255, 255, 0, 255, 0]


# Colour over white: c * a / 255 + 255 - a, by hand.
RGBA = [[[200, 100, 50, 255], [200, 100, 50, 0], [0, 0, 0, 128], [200, 100, 50, 128]]]
ON_WHITE = [[[200, 100, 50], [255, 255, 255], [127, 127, 127], [227, 177, 152]]]


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "WEBP", "JPEG2000"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_transparency_is_laid_on_white(format_: str, compression: str | None) -> None:
    options = {"compression": compression} if format_ == "TIFF" else EXACT.get(format_, {})
    photo = decode(encoded(Image.fromarray(np.array(RGBA, np.uint8)), format_, **options), LIMITS)
    assert photo.pixels.tolist() == ON_WHITE
    assert photo.header.alpha
    assert photo.with_channels(4)[0, :, 3].tolist() == [255, 0, 128, 128]


def test_transparency_in_sixteen_bits() -> None:
    wide = np.array(RGBA, np.uint16)[:, :, [2, 1, 0, 3]] * 257
    for suffix in (".png", ".tiff"):
        photo = decode(cv2.imencode(suffix, wide)[1].tobytes(), LIMITS)
        assert photo.pixels.tolist() == ON_WHITE
        assert photo.header.alpha


def test_transparency_in_a_bmp() -> None:
    pixels = np.array(RGBA, np.uint8)[:, :, [2, 1, 0, 3]].tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 4, 1, 1, 32, 3, 16, 0, 0, 0, 0) + masks + b"BGRs" + bytes(48)
    assert decode(b"BM" + struct.pack("<IHHI", 138, 0, 0, 122) + header + pixels, LIMITS).pixels.tolist() == ON_WHITE


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "WEBP", "JPEG2000", "AVIF"])
def test_grey_with_transparency(format_: str) -> None:
    grey = np.tile(np.array([[0, 0], [100, 255], [200, 128], [255, 255]], np.uint8), (4, 4, 1)).repeat(4, axis=1)
    options = EXACT.get(format_, {})
    photo = decode(encoded(Image.fromarray(grey), format_, **options), LIMITS)
    assert np.abs(photo.pixels[0, 1:16:4, 0].astype(int) - [255, 100, 227, 255]).max() <= (
        3 if format_ == "AVIF" else 0
    )
    assert photo.header.alpha


def test_a_palette_and_its_transparency() -> None:
    palette = Image.fromarray(np.array([[0, 1, 2, 3]], np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]
    for format_ in ("PNG", "GIF", "TIFF", "BMP"):
        assert decode(encoded(palette, format_), LIMITS).pixels[0].tolist() == colours
    colours[1] = [255, 255, 255]
    for format_ in ("PNG", "GIF"):
        photo = decode(encoded(palette, format_, transparency=1), LIMITS)
        assert photo.pixels[0].tolist() == colours
        assert photo.header.alpha
    colours[2] = [127, 127, 255]
    shades = encoded(palette, "PNG", transparency=bytes([255, 0, 128, 255]))
    assert decode(shades, LIMITS).pixels[0].tolist() == colours


@pytest.mark.parametrize(
    ("depth", "row", "key", "greys"),
    [
        (1, b"\x50", 1, [0, 255, 0, 255]),
        (2, b"\x1b", 1, [0, 255, 170, 255]),
        (4, b"\x05\xaf", 5, [0, 255, 170, 255]),
        (8, b"\0\x64\xc8\xff", 100, [0, 255, 200, 255]),
        (16, struct.pack(">4H", 0, 25701, 25700, 65535), 25701, [0, 255, 100, 255]),
    ],
)
def test_the_transparent_shade_of_a_grey_png(depth: int, row: bytes, key: int, greys: list[int]) -> None:
    photo = decode(png((4, 1), depth, 0, b"\0" + row, chunk(b"tRNS", struct.pack(">H", key))), LIMITS)
    assert photo.pixels[0, :, 0].tolist() == greys
    assert photo.with_channels(4)[0, 1, 3] == 0


def test_the_transparent_colour_of_a_png() -> None:
    rows = b"\0" + bytes([1, 2, 3, 4, 5, 6])
    photo = decode(png((2, 1), 8, 2, rows, chunk(b"tRNS", struct.pack(">3H", 4, 5, 6))), LIMITS)
    assert photo.pixels.tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_cmyk_becomes_rgb() -> None:
    pixels = np.full((16, 16, 3), (200, 50, 50), np.uint8)
    for format_ in ("JPEG", "TIFF"):
        decoded = decode(encoded(Image.fromarray(pixels).convert("CMYK"), format_), LIMITS).pixels
        assert np.abs(decoded.astype(int) - pixels).max() <= 4


@pytest.mark.parametrize("samples", [np.float32, np.float64, np.int32])
def test_samples_without_an_agreed_range(samples: Any) -> None:
    data = cv2.imencode(".tiff", np.array([[0, 0.25, 0.5, 1]], samples))[1].tobytes()
    assert reason_of(data) is Reason.UNSUPPORTED
    assert reason_of(b"Pf\n1 1\n-1.0\n\0\0\0\0") is Reason.UNSUPPORTED


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"])
def test_the_first_of_many_frames(format_: str) -> None:
    first, *more = (Image.new("RGB", (20, 10), colour) for colour in ("white", "black", "red"))
    photo = decode(encoded(first, format_, save_all=True, append_images=more), LIMITS)
    assert (photo.pixels > 250).all()
    assert photo.header.frames == 3


def truncated(format_: str) -> dict[str, bytes]:
    image = Image.fromarray(picture(64, 48))
    alpha = Image.fromarray(np.dstack([picture(64, 48), picture(64, 48, 1)[:, :, 0]]))
    several = {"save_all": True, "append_images": [image.rotate(180)]}
    return {
        "JPEG": lambda: {
            "plain": encoded(image, "JPEG"),
            "progressive": encoded(image, "JPEG", progressive=True),
            "grey": encoded(image.convert("L"), "JPEG"),
            "cmyk": encoded(image.convert("CMYK"), "JPEG"),
        },
        "PNG": lambda: {
            "plain": encoded(image, "PNG"),
            "alpha": encoded(alpha, "PNG"),
            "bits": encoded(image.convert("1"), "PNG"),
            "animated": encoded(image, "PNG", **several),
        },
        "WEBP": lambda: {
            "plain": encoded(image, "WEBP"),
            "lossless": encoded(alpha, "WEBP", lossless=True),
            "animated": encoded(image, "WEBP", **several),
        },
        "TIFF": lambda: {
            "plain": encoded(image, "TIFF"),
            "lzw": encoded(alpha, "TIFF", compression="tiff_lzw"),
            "jpeg": encoded(image, "TIFF", compression="jpeg"),
            "grey with alpha": encoded(alpha.convert("LA"), "TIFF"),
            "pages": encoded(image, "TIFF", **several),
        },
        "BMP": lambda: {"plain": encoded(image, "BMP"), "palette": encoded(image.convert("P"), "BMP")},
        "GIF": lambda: {"plain": encoded(image, "GIF"), "animated": encoded(image, "GIF", **several)},
        "PPM": lambda: {
            "ppm": encoded(image, "PPM"),
            "pgm": encoded(image.convert("L"), "PPM"),
            "pbm": encoded(image.convert("1"), "PPM"),
            "text": b"P2 3 2 255\n1 2 3 4 5 255\n",
        },
        "JPEG2000": lambda: {
            "plain": encoded(image, "JPEG2000"),
            "alpha": encoded(alpha, "JPEG2000"),
            "bare": encoded(image, "JPEG2000", no_jp2=True),
        },
        "AVIF": lambda: {"plain": encoded(image, "AVIF"), "animated": encoded(image, "AVIF", **several)},
    }[format_]()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning", "ignore:Truncated File Read:UserWarning")
@pytest.mark.parametrize("format_", FORMATS)
def test_every_truncation_is_told(format_: str) -> None:
    """No cut gives a picture: some sixty all over the file, and each of the last sixteen bytes."""
    for kind, data in truncated(format_).items():
        assert decode(data, LIMITS).size.width > 0
        cuts = {*np.linspace(1, len(data) - 1, 60).astype(int).tolist(), *range(max(1, len(data) - 16), len(data))}
        if kind == "pages":  # Pillow's last four bytes say that no page follows, and need not be there
            cuts -= set(range(len(data) - 4, len(data)))
        if format_ == "GIF":  # without the mark of its end, every frame is whole
            cuts -= {len(data) - 1}
        if kind == "text":  # without its line end, the last number is whole; nothing says how many digits it had
            cuts -= set(range(len(data) - 3, len(data)))
        for length in cuts:
            assert reason_of(data[:length]) in {Reason.TRUNCATED_OR_CORRUPT, Reason.NOT_AN_IMAGE}, (kind, length)


def test_a_damaged_animation_gives_nothing_from_memory() -> None:
    """From a PNG's damaged animation cv2 gives what happened to be in memory."""
    still, moving = Image.fromarray(picture(64, 48)), Image.fromarray(picture(64, 48, 1))
    data = encoded(still, "PNG", save_all=True, append_images=[moving])
    at = data.index(b"IDAT") + 4
    length = int.from_bytes(data[at - 8 : at - 4], "big")
    broken = zlib.compress(b"\1" * 100).ljust(length, b"\0")
    damaged = data[:at] + broken + struct.pack(">I", zlib.crc32(b"IDAT" + broken)) + data[at + length + 4 :]
    assert reason_of(damaged) is Reason.TRUNCATED_OR_CORRUPT


def test_an_animation_that_lies_about_its_depth_gives_nothing_from_memory() -> None:
    """To cv2 its samples have 16 bits, half of which it fills."""
    first, second = (Image.fromarray(picture(64, 48, seed)) for seed in (0, 1))
    data = encoded(first, "AVIF", save_all=True, append_images=[second])
    at = data.rindex(b"av1C") + 6
    lying = data[:at] + bytes([data[at] | 0x40]) + data[at + 1 :]
    assert np.array_equal(decode(lying, LIMITS).pixels, decode(data, LIMITS).pixels)


@pytest.mark.parametrize(
    "begin", [b"\xff\xd8\xff", PNG_MAGIC, b"GIF89a", b"II*\0", b"RIFF\0\0\0\0WEBP", b"\0\0\0 ftypavif"]
)
def test_the_mere_beginning_of_a_picture_is_a_truncated_one(begin: bytes) -> None:
    assert reason_of(begin) is Reason.TRUNCATED_OR_CORRUPT


def test_headers_that_lie_about_the_size() -> None:
    jpeg2000 = encoded(Image.fromarray(picture(64, 48)), "JPEG2000")
    at = jpeg2000.index(b"ihdr") + 4
    assert reason_of(jpeg2000[:at] + struct.pack(">II", 10, 10) + jpeg2000[at + 8 :]) is Reason.TRUNCATED_OR_CORRUPT
    rows = b"\0" + bytes(3 * 4)
    assert reason_of(png((4, 5), 8, 2, rows)) is Reason.TRUNCATED_OR_CORRUPT


def test_headers_that_are_read_in_two_ways() -> None:
    with pytest.raises(ImageError, match="its header declares 41 x 1, its pixels are 4 x 1"):
        decode(b"P2\n4#\n1 1\n255\n" + b"1 2 3 4 " * 20, LIMITS)


def test_what_a_jpeg_cannot_tell() -> None:
    """With its end mark put back, a shortened JPEG is whole by all that the format says; missing pixels are grey."""
    data = jpeg(64, 48)
    assert decode(data[: len(data) // 2] + b"\xff\xd9", LIMITS).size == Size(64, 48)


def test_what_is_no_picture() -> None:
    assert reason_of(b"hello\n") is Reason.NOT_AN_IMAGE
    assert reason_of(b"\xff\xd8\xff") in {Reason.NOT_AN_IMAGE, Reason.TRUNCATED_OR_CORRUPT}


def test_a_bomb_is_refused_by_its_header() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 1, 0, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    assert reason_of(bomb) is Reason.TOO_MANY_PIXELS
    assert reason_of(jpeg(40, 30), Limits(max_pixels=1199)) is Reason.TOO_MANY_PIXELS
    assert decode(jpeg(40, 30), Limits(max_pixels=1200)).size.width == 40


def test_reading_never_waits_and_always_says_why(tmp_path: Path) -> None:
    def reason(path: Path, limits: Limits = LIMITS) -> Reason:
        with pytest.raises(ImageError) as caught:
            read_file(str(path), limits)
        return caught.value.reason

    fifo, empty, full = tmp_path / "fifo.jpg", tmp_path / "empty.jpg", tmp_path / "full.jpg"
    os.mkfifo(fifo)
    empty.touch()
    full.write_bytes(b"12345")
    assert reason(fifo) is Reason.NOT_REGULAR
    assert reason(tmp_path) is Reason.NOT_REGULAR
    assert reason(Path("/dev/zero")) is Reason.NOT_REGULAR
    assert reason(tmp_path / "gone.jpg") is Reason.VANISHED
    assert reason(empty) is Reason.EMPTY
    assert reason(full, Limits(max_file_bytes=4)) is Reason.TOO_LARGE
    assert read_file(str(full), Limits(max_file_bytes=5)) == b"12345"


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.jpg"
    with sparse.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ImageError, match="larger than"):
        read_file(str(sparse), LIMITS)


def test_so_many_parts_have_no_pictures() -> None:
    """Each of these would keep Pillow or a codec busy for minutes if it were larger."""
    data = encoded(Image.fromarray(picture(64, 48)), "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    assert reason_of(data[:scan] + data[scan:-2] * 100 + data[-2:]) is Reason.UNSUPPORTED
    assert reason_of(data[:2] + b"\xff\xe9\0\2" * 1_000_001 + data[2:]) is Reason.UNSUPPORTED
    empty = chunk(b"teSt", b"")
    assert reason_of(png((1, 1), 8, 0, b"\0\0", empty * 1_000_001)) is Reason.UNSUPPORTED
    gif = encoded(Image.fromarray(picture(8, 8)), "GIF")
    assert reason_of(gif[:-1] + b"!\xfe" + b"\1a" * 1_000_001 + b"\0;") is Reason.UNSUPPORTED
    assert reason_of(tiff_of_pages(10_001)) is Reason.UNSUPPORTED
    assert decode(tiff_of_pages(7), LIMITS).header.frames == 7


def tiff_of_pages(pages: int) -> bytes:
    """One grey pixel, and directories that all name it."""
    tags = ((256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 4), (277, 1), (278, 1), (279, 1))
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    links = [8 + (len(body) + 4) * page for page in range(1, pages)] + [0]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(body + struct.pack("<I", link) for link in links)


def test_the_place_of_a_photograph_never_reaches_its_overlay() -> None:
    exif = Image.Exif()
    exif[0x010E] = "secret description"
    exif.get_ifd(0x8825)[1] = "N"
    photo = decode(encoded(Image.fromarray(picture()), "JPEG", exif=exif, comment=b"secret comment"), LIMITS)
    overlay = encode_jpeg(photo.pixels, 90)
    assert b"secret" not in overlay
    assert b"Exif" not in overlay


def test_overlays_carry_no_metadata_and_know_their_limit() -> None:
    data = encode_jpeg(picture(), 90)
    assert not Image.open(io.BytesIO(data)).getexif()
    with pytest.raises(ImageError) as caught:
        encode_jpeg(np.zeros((2, 65501, 3), np.uint8), 90)
    assert caught.value.reason is Reason.OVERLAY_TOO_LARGE


@pytest.mark.parametrize(
    ("longest", "side", "reduction"),
    [(800, 10, 1), (400, 10, 2), (399, 10, 2), (200, 10, 4), (100, 10, 8), (1, 10, 8), (1, 100, 4), (1, 301, 1)],
)
def test_a_jpeg_is_decoded_as_small_as_is_allowed(longest: int, side: int, reduction: int) -> None:
    photo = decode(jpeg(800, 600), LIMITS, Needed(longest, side, side))
    assert photo.reduction == reduction
    assert photo.pixels.shape == (600 // reduction, 800 // reduction, 3)
    assert (photo.size.width, photo.size.height) == (800, 600)


def test_a_reduced_jpeg_is_upright_and_looks_the_same() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(picture(803, 601)), "JPEG", quality=95, exif=exif)
    whole = decode(data, LIMITS)
    small = decode(data, LIMITS, Needed(100, 100, 100))
    assert small.size == whole.size
    assert small.pixels.shape[:2] == (201, 151)
    averaged = cv2.resize(whole.pixels, (151, 201), interpolation=cv2.INTER_AREA)
    assert np.abs(averaged.astype(int) - small.pixels).mean() < 2


def test_only_jpegs_are_reduced() -> None:
    photo = decode(encoded(Image.fromarray(picture(800, 600)), "PNG"), LIMITS, Needed(1, 1, 1))
    assert photo.reduction == 1
    assert photo.pixels.shape == (600, 800, 3)


@pytest.mark.parametrize("major", [4, 5])
def test_opencv_is_silenced_wherever_its_version_keeps_the_switch(monkeypatch: pytest.MonkeyPatch, major: int) -> None:
    """OpenCV 4 has the switch at the top, OpenCV 5 in a module; either is set back at the end of the block."""
    levels, threads = [3], [8]
    switch = SimpleNamespace(setLogLevel=levels.append, getLogLevel=lambda: levels[-1])
    counts = {"setNumThreads": threads.append, "getNumThreads": lambda: threads[-1]}
    four = SimpleNamespace(**vars(switch), **counts, utils=SimpleNamespace())
    five = SimpleNamespace(**counts, utils=SimpleNamespace(logging=switch))
    monkeypatch.setitem(sys.modules, "cv2", {4: four, 5: five}[major])
    module = runpy.run_path(str(ROOT / "gradcam_cli" / "imaging" / "opencv.py"))
    assert (levels, threads) == ([3], [8]), "nothing changes when it is imported"
    with module["quiet_single_thread"]():
        assert (levels[-1], threads[-1]) == (0, 1)
    assert (levels[-1], threads[-1]) == (3, 8)
