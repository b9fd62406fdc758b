"""Fuzz the decoder: every input gives a photograph of the right shape and type, or an ImageError.

    python tests/stress/fuzz_decoder.py --minutes 10

Seeds are small files of every format, made here. Of PNG files, half have their checksums put right after the mutation,
because nearly all would end at the first of them.
"""

import io
import random
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from fuzzing import fuzz, mutated
from PIL import Image

from gradcam_cli.errors import ImageError
from gradcam_cli.imaging.opencv import cv2
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.settings import Limits

LIMITS = Limits(max_pixels=1_000_000)
# A million pixels of four 16-bit channels, several times over.
MEMORY = 400 * 2**20
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def target(data: bytes) -> str:
    """Decode; gives the format, or the reason why not."""
    try:
        photo = decode(data, LIMITS)
    except ImageError as error:
        if "memory" in str(error):
            raise MemoryError from error
        return error.reason.value
    height, width = photo.pixels.shape[:2]
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.shape == (height, width, 3)
    assert 0 < height * width <= LIMITS.max_pixels
    assert {height, width} == {photo.header.size.height, photo.header.size.width}
    assert photo.rgba is None or photo.rgba.shape == (height, width, 4)
    assert 1 <= photo.header.orientation <= 8
    assert photo.header.frames >= 0
    np.full(photo.pixels.size * 2, 0xA5, np.uint8)  # other bytes in the memory that is free now
    assert np.array_equal(decode(data, LIMITS).pixels, photo.pixels), "pixels that are not the file's"
    return f"a {photo.header.format}"


def change(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Mutate, and put the checksums of half of the PNG files right."""
    data = mutated(rng, data, seeds)
    return _with_checksums(data) if data.startswith(PNG_MAGIC) and rng.random() < 0.5 else data


def _with_checksums(data: bytes) -> bytes:
    position, pieces = len(PNG_MAGIC), [PNG_MAGIC]
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        body = data[position + 4 : position + 8 + length]
        pieces.append(data[position : position + 4] + body + struct.pack(">I", zlib.crc32(body)))
        position += 12 + length
    return b"".join(pieces)


def seeds() -> dict[str, bytes]:
    """Make a small file of every kind."""
    rng = np.random.default_rng(0)
    pixels = np.asarray(cv2.resize(rng.integers(0, 255, (5, 7, 3), dtype=np.uint8), (45, 33)), np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = image.convert("RGBA")
    alpha.putalpha(Image.fromarray(pixels[:, :, 0]))
    made = {
        "jpeg": _file(image, "JPEG", exif=exif),
        "jpeg-progressive": _file(image, "JPEG", progressive=True),
        "jpeg-grey": _file(image.convert("L"), "JPEG"),
        "jpeg-cmyk": _file(image.convert("CMYK"), "JPEG"),
        "jpeg-mpo": _file(image, "MPO", frames=3),
        "png": _file(image, "PNG", exif=exif),
        "png-palette": _file(image.convert("P"), "PNG", transparency=3),
        "png-grey-key": _file(image.convert("L"), "PNG", transparency=9),
        "png-bits": _file(image.convert("1"), "PNG"),
        "png-rgba": _file(alpha, "PNG"),
        "png-grey-alpha": _file(alpha.convert("LA"), "PNG"),
        "png-animated": _file(image, "PNG", frames=3),
        "webp": _file(image, "WEBP", exif=exif),
        "webp-lossless": _file(alpha, "WEBP", lossless=True),
        "webp-animated": _file(image, "WEBP", frames=3),
        "tiff": _file(image, "TIFF", exif=exif),
        "tiff-lzw": _file(alpha, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": _file(image, "TIFF", compression="tiff_adobe_deflate"),
        "tiff-jpeg": _file(image, "TIFF", compression="jpeg"),
        "tiff-packbits": _file(image.convert("P"), "TIFF", compression="packbits"),
        "tiff-fax": _file(image.convert("1"), "TIFF", compression="group4"),
        "tiff-grey-alpha": _file(alpha.convert("LA"), "TIFF"),
        "tiff-cmyk": _file(image.convert("CMYK"), "TIFF"),
        "tiff-float": _file(image.convert("F"), "TIFF"),
        "tiff-pages": _file(image, "TIFF", frames=3),
        "bmp": _file(image, "BMP"),
        "bmp-palette": _file(image.convert("P"), "BMP"),
        "bmp-bits": _file(image.convert("1"), "BMP"),
        "gif": _file(image, "GIF"),
        "gif-animated": _file(image, "GIF", frames=3),
        "ppm": _file(image, "PPM"),
        "pgm": _file(image.convert("L"), "PPM"),
        "pbm": _file(image.convert("1"), "PPM"),
        "pgm-text": b"P2\n# text\n4 4\n15\n" + b"1 2 3 15\n" * 4,
        "jp2": _file(image, "JPEG2000"),
        "jp2-alpha": _file(alpha, "JPEG2000"),
        "jp2-grey-alpha": _file(alpha.convert("LA"), "JPEG2000"),
        "j2k": _file(image, "JPEG2000", no_jp2=True),
        "avif": _file(image, "AVIF", exif=exif),
        "avif-alpha": _file(alpha, "AVIF"),
        "avif-animated": _file(image, "AVIF", frames=3),
    }
    wide = pixels.astype(np.uint16) * 257
    for suffix in (".png", ".tiff", ".ppm"):
        made[f"16-bit{suffix}"] = cv2.imencode(suffix, wide)[1].tobytes()
    return made


def _file(image: Image.Image, format_: str, frames: int = 1, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if frames > 1:
        options |= {"save_all": True, "append_images": [image.rotate(90 * turn) for turn in range(1, frames)]}
    # A copy: an image remembers how it was encoded the last time.
    image.copy().save(buffer, format_, **options)
    return buffer.getvalue()


if __name__ == "__main__":
    fuzz(target, seeds(), change, memory=MEMORY, description=__doc__)
