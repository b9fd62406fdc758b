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
from conftest import ROOT, jpeg, picture
from PIL import Image

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.images import Needed, decode, encode_jpeg, read_file
from gradcam_cli.settings import Limits

LIMITS = Limits()


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
    image = Image.fromarray(stored(upright, orientation)).convert(mode)
    photo = decode(encoded(image, format_, exif=exif, quality=95), LIMITS)
    assert photo.pixels.shape == (32, 48, 3)
    assert np.abs(photo.pixels.astype(int) - upright).mean() < 4
    assert photo.header.orientation == orientation


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    data = cv2.imencode(".png", values)[1].tobytes()
    assert decode(data, LIMITS).pixels[0, :, 0].tolist() == [0, 1, 128, 255]


def test_transparency_is_laid_on_white() -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], np.uint8)
    photo = decode(encoded(Image.fromarray(rgba), "PNG"), LIMITS)
    assert photo.pixels.tolist() == [[[10, 20, 30], [255, 255, 255], [127, 127, 127]]]
    assert photo.header.alpha


def test_palette_and_grey_transparency() -> None:
    palette = Image.fromarray(picture()).convert("P")
    palette.info["transparency"] = 0
    assert decode(encoded(palette, "PNG", transparency=0), LIMITS).header.alpha
    grey = encoded(Image.new("LA", (2, 1), (0, 0)), "PNG")
    assert (decode(grey, LIMITS).pixels == 255).all()


def test_cmyk_becomes_rgb() -> None:
    pixels = np.full((16, 16, 3), (200, 50, 50), np.uint8)
    decoded = decode(encoded(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=95), LIMITS).pixels
    assert decoded[8, 8, 0] > 150
    assert decoded[8, 8, 1] < 100


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_of_many_frames(format_: str) -> None:
    first, second = (Image.new("RGB", (20, 10), colour) for colour in ("white", "black"))
    photo = decode(encoded(first, format_, save_all=True, append_images=[second]), LIMITS)
    assert (photo.pixels > 250).all()
    assert photo.header.frames == 2


def test_every_truncation_is_told() -> None:
    data = jpeg(64, 48)
    for length in range(len(data) - 1, 200, -max(1, len(data) // 40)):
        assert reason_of(data[:length]) is Reason.TRUNCATED_OR_CORRUPT
    png = encoded(Image.fromarray(picture()), "PNG")
    assert reason_of(png[: len(png) // 2]) is Reason.TRUNCATED_OR_CORRUPT


def test_what_is_no_picture() -> None:
    assert reason_of(b"hello\n") is Reason.NOT_AN_IMAGE
    assert reason_of(b"\xff\xd8\xff") in {Reason.NOT_AN_IMAGE, Reason.TRUNCATED_OR_CORRUPT}


def test_a_bomb_is_refused_by_its_header() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

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
    levels: list[int] = []
    switch = SimpleNamespace(setLogLevel=levels.append)
    four = SimpleNamespace(setLogLevel=levels.append, setNumThreads=lambda _: None, utils=SimpleNamespace())
    five = SimpleNamespace(setNumThreads=lambda _: None, utils=SimpleNamespace(logging=switch))
    monkeypatch.setitem(sys.modules, "cv2", {4: four, 5: five}[major])
    runpy.run_path(str(ROOT / "gradcam_cli" / "opencv.py"))
    assert levels == [0]
