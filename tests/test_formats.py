"""What a file is, by its first bytes: files that Pillow writes, and signatures from the formats' own specifications."""

import io
import struct
import time

import numpy as np
import pytest
from conftest import picture
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.inputs.formats import HEAD_BYTES, PICTURES, format_of, is_picture, refusal
from gradcam_cli.inputs.pillow_codec import FORMATS
from gradcam_cli.settings import Limits

WRITTEN = {
    "JPEG": "JPEG",
    "PNG": "PNG",
    "GIF": "GIF",
    "WEBP": "WebP",
    "TIFF": "TIFF",
    "BMP": "BMP",
    "DIB": None,
    "PPM": "PNM",
    "JPEG2000": "JPEG 2000",
    "AVIF": "AVIF",
    "ICO": "Windows icon",
    "PCX": "PCX",
    "SGI": "SGI image",
    "TGA": "Targa",
    "DDS": "DirectDraw surface",
    "PDF": "PDF",
    "EPS": "PostScript",
    "QOI": "QOI",
    "MPO": "JPEG",
}


def ifd(entries: list[tuple[int, int]], tail: bytes = b"", order: str = "<") -> bytes:
    """A TIFF's header and first directory, of LONG entries; `tail` follows it."""
    body = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in entries)
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries)) + body + tail


LITERAL = [
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50), "HEIC", Reason.UNSUPPORTED),
    (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(50), "HEIC", Reason.UNSUPPORTED),
    (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf" + bytes(50), "HEIF", Reason.UNSUPPORTED),
    (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF", Reason.TRUNCATED_OR_CORRUPT),
    (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "QuickTime video", Reason.NOT_AN_IMAGE),
    (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "MP4 video", Reason.NOT_AN_IMAGE),
    (b"\0\0\0\x18ftypcrx \0\0\0\0crx isom", "raw image (CR3)", Reason.UNSUPPORTED),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL", Reason.UNSUPPORTED),
    (b"\xff\x0a\xfa\x1f", "JPEG XL", Reason.UNSUPPORTED),
    (bytes(128) + b"DICM" + bytes(40), "DICOM", Reason.UNSUPPORTED),
    (b"%PDF-1.7\n", "PDF", Reason.UNSUPPORTED),
    (b'<?xml version="1.0"?>\n<!-- by hand -->\n<svg xmlns="x"/>', "SVG", Reason.UNSUPPORTED),
    (b"<svg width='1'>", "SVG", Reason.UNSUPPORTED),
    (b"8BPS\0\x01", "Photoshop document", Reason.UNSUPPORTED),
    (b"II*\0\x10\0\0\0CR\x02\0", "raw image (CR2)", Reason.UNSUPPORTED),
    (ifd([(254, 1), (50706, 0x01040000)]), "raw image (DNG)", Reason.UNSUPPORTED),
    (
        ifd([(254, 1), (271, 58), (330, 90), (256, 1)], b"NIKON CORPORATION\0", ">"),
        "raw image (NEF)",
        Reason.UNSUPPORTED,
    ),
    (ifd([(254, 1), (271, 58), (330, 90), (256, 1)], b"SONY\0"), "raw image (ARW)", Reason.UNSUPPORTED),
    (ifd([(254, 0), (271, 58), (330, 90), (256, 1)], b"SONY\0"), "TIFF", Reason.TRUNCATED_OR_CORRUPT),
    (b"II+\0\x08\0\0\0", "BigTIFF", Reason.TRUNCATED_OR_CORRUPT),
    (b"FUJIFILMCCD-RAW 0201", "raw image (RAF)", Reason.UNSUPPORTED),
    (b"\x76\x2f\x31\x01\x02\0\0\0", "OpenEXR", Reason.UNSUPPORTED),
    (b"#?RADIANCE\n", "Radiance HDR", Reason.UNSUPPORTED),
    (b"PK\x03\x04\x14\0", "ZIP archive", Reason.NOT_AN_IMAGE),
    (b"<!DOCTYPE html><html>", "HTML page", Reason.NOT_AN_IMAGE),
    (b"\n <HTML><head>", "HTML page", Reason.NOT_AN_IMAGE),
    (b'{"error": "not found"}', "JSON file", Reason.NOT_AN_IMAGE),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied', "XML file", Reason.NOT_AN_IMAGE),
    (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n",
        "Git LFS pointer",
        Reason.NOT_AN_IMAGE,
    ),
    (b"/annex/objects/SHA256E-s12--4d7a.jpg\n", "git-annex pointer", Reason.NOT_AN_IMAGE),
    (
        b"\0\x05\x16\x07\0\x02\0\0Mac OS X",
        "AppleDouble file (metadata of macOS, not an image)",
        Reason.NOT_AN_IMAGE,
    ),
    (bytes(4096), "only zero bytes", Reason.NOT_AN_IMAGE),
    (b"Hello, world.\n", "text file", Reason.NOT_AN_IMAGE),
    ("Grüße, 世界".encode() * 9, "text file", Reason.NOT_AN_IMAGE),
    (b"\x93\xfe\x00\x07", None, Reason.NOT_AN_IMAGE),
    (b"BM is how this text begins, of 40 letters.", "text file", Reason.NOT_AN_IMAGE),
    (b"P1 is a plan", "text file", Reason.NOT_AN_IMAGE),
    (b"Get free pictures here", "text file", Reason.NOT_AN_IMAGE),
]


@pytest.mark.parametrize(("kind", "name"), WRITTEN.items())
def test_what_pillow_writes(kind: str, name: str | None) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, kind)
    assert format_of(buffer.getvalue()[:HEAD_BYTES]) == name


def test_all_that_is_decoded_has_a_name() -> None:
    assert {WRITTEN[kind] for kind in FORMATS if kind in WRITTEN} | {"BigTIFF"} == PICTURES


@pytest.mark.parametrize(
    ("head", "name", "reason"), LITERAL, ids=[f"{name}-{i}" for i, (_, name, _) in enumerate(LITERAL)]
)
def test_signatures(head: bytes, name: str | None, reason: Reason) -> None:
    assert format_of(head) == name
    error = refusal(head)
    assert error.reason is reason
    assert (name or "known format") in str(error)
    assert is_picture(name) == (reason is not Reason.NOT_AN_IMAGE)


@pytest.mark.parametrize("kind", ["L", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("options", [{}, {"compression": "tga_rle"}], ids=["plain", "rle"])
def test_targa_files(kind: str, options: dict[str, str]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture()).convert(kind).save(buffer, "TGA", **options)
    assert format_of(buffer.getvalue()) == "Targa"


def test_a_picture_in_a_format_that_is_not_decoded_is_named() -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "ICO")
    with pytest.raises(ImageError, match=r"^Windows icon: convert it to PNG or JPEG$") as caught:
        decode(buffer.getvalue(), Limits())
    assert caught.value.reason is Reason.UNSUPPORTED
    with pytest.raises(ImageError, match=r"Git LFS pointer\. The image itself is missing: run git lfs pull$"):
        decode(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", Limits())


@given(st.binary(max_size=700))
def test_any_bytes_have_an_answer(head: bytes) -> None:
    assert str(refusal(head))


@given(st.sampled_from([head for head, _, _ in LITERAL]), st.integers(0, 600), st.binary(max_size=9))
def test_any_part_of_a_head_has_an_answer(head: bytes, length: int, tail: bytes) -> None:
    assert str(refusal(head[:length] + tail))


@pytest.mark.parametrize(
    "head",
    [b"<!---->" * 600, b"<!--" * 1000, b" " * 4096, b"P5" + b"#\n" * 2000, b"<?xml>" * 700, b"[" * 4096, b"<svg" * 999],
)
def test_no_head_takes_long(head: bytes) -> None:
    begun = time.perf_counter()
    for _ in range(10):
        format_of(head[:HEAD_BYTES])
    assert time.perf_counter() - begun < 1


def test_noise_is_of_no_format() -> None:
    rng = np.random.default_rng(0)
    named = [name for name in (format_of(rng.bytes(HEAD_BYTES)) for _ in range(2000)) if name]
    assert len(named) <= 2, named
