"""Recognise a file by its first bytes: names of formats for messages, and which of them are images.

No decoder is used and nothing is decoded. So a name says what a file claims to be, not that the file is complete.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.extras import install_hint

# The mark of a tar archive is at 257, that of a NIfTI volume at 344. The first directory of a raw
# photograph is within the first 4 kB.
HEAD_BYTES: Final = 4096
# The formats that every installation decodes, by the names of `format_of`.
PICTURES: Final = frozenset({"JPEG", "PNG", "WebP", "TIFF", "BigTIFF", "BMP", "GIF", "PNM", "JPEG 2000", "AVIF"})
LFS_POINTER: Final = "Git LFS pointer"
ANNEX_POINTER: Final = "git-annex pointer"

# The end can be matched in only one way, so that the time for many comments is proportional to their bytes.
_COMMENT: Final = rb"<!--(?:(?!-->).)*-->"
# A Targa file has no mark. Its kind of palette, kind of image, position, size and depth are checked instead.
_TARGA: Final = (
    rb".(?:\0[\x02\x03\x0a\x0b]\0{5}|\x01[\x01\x09].{4}[\x0f\x10\x18\x20]).{4}"
    rb"(?:[^\0].|\0[^\0])(?:[^\0].|\0[^\0])[\x08\x0f\x10\x18\x20][\0-\x3f]"
)
_BYTES: Final = (
    ("JPEG", rb"\xff\xd8\xff"),
    ("PNG", rb"\x89PNG\r\n\x1a\n"),
    ("GIF", rb"GIF8[79]a"),
    ("WebP", rb"RIFF....WEBP"),
    # A DIB header of one of the known lengths follows the 14 bytes of the file's header.
    ("BMP", rb"BM.{12}(?:[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0)"),
    ("PNM", rb"P[1-6](?:\s|#[^\n]*\n)+\d"),
    ("JPEG 2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    ("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
    ("JPEG XR", rb"II\xbc\x01"),
    ("raw image (CR2)", rb"(?:II\*\0|MM\0\*).{4}CR\x02"),
    ("raw image (CRW)", rb"II.{4}HEAPCCDR"),
    ("raw image (ORF)", rb"IIR[OS]|MMOR"),
    ("raw image (RW2)", rb"IIU\0"),
    ("raw image (RAF)", rb"FUJIFILMCCD-RAW"),
    ("raw image (X3F)", rb"FOVb"),
    ("raw image (MRW)", rb"\0MRM"),
    ("TIFF", rb"II\*\0|MM\0\*"),
    ("BigTIFF", rb"II\+\0|MM\0\+"),
    ("DICOM", rb".{128}DICM"),
    ("PDF", rb"(?:\xef\xbb\xbf)?\s*%PDF-"),
    ("PostScript", rb"%!PS|\xc5\xd0\xd3\xc6"),
    ("Photoshop document", rb"8BPS"),
    ("GIMP image", rb"gimp xcf"),
    ("OpenEXR", rb"\x76\x2f\x31\x01"),
    ("Radiance HDR", rb"#\?(?:RADIANCE|RGBE)"),
    ("QOI", rb"qoif"),
    ("PAM", rb"P7\n"),
    ("PFM", rb"P[fF]\s+\d"),
    ("DirectDraw surface", rb"DDS "),
    ("FITS", rb"SIMPLE  ="),
    ("NIfTI volume", rb".{344}n[i+]1\0"),
    ("PCX", rb"\x0a[\0\x02-\x05][\0\x01][\x01\x02\x04\x08]"),
    ("SGI image", rb"\x01\xda[\0\x01][\x01\x02]"),
    ("Sun raster", rb"\x59\xa6\x6a\x95"),
    ("farbfeld", rb"farbfeld"),
    ("FLIF", rb"FLIF"),
    ("BPG", rb"BPG\xfb"),
    ("DjVu", rb"AT&TFORM"),
    ("MNG", rb"\x8aMNG"),
    ("JNG", rb"\x8bJNG"),
    ("Windows icon", rb"\0\0\x01\0[\x01-\xff]\0"),
    ("Windows cursor", rb"\0\0\x02\0[\x01-\xff]\0"),
    ("Apple icon", rb"icns"),
    ("Windows metafile", rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF"),
    ("AppleDouble file (metadata of macOS, not an image)", rb"\0\x05\x16[\0\x07]"),
    ("folder settings of macOS", rb"\0\0\0\x01Bud1"),
    ("Windows shortcut", rb"L\0\0\0\x01\x14\x02\0"),
    ("AVI video", rb"RIFF....AVI "),
    ("WAV sound", rb"RIFF....WAVE"),
    ("MP4 or QuickTime video", rb"\0.{3}(?:moov|mdat|wide|skip|free)"),
    ("Matroska or WebM video", rb"\x1a\x45\xdf\xa3"),
    ("MPEG video", rb"\0\0\x01[\xba\xb3]"),
    ("Flash video", rb"FLV\x01"),
    ("Ogg file", rb"OggS"),
    ("MP3 sound", rb"ID3[\x02-\x04]"),
    ("ZIP archive", rb"PK(?:\x03\x04|\x05\x06)"),
    ("gzip archive", rb"\x1f\x8b\x08"),
    ("bzip2 archive", rb"BZh[1-9]1AY"),
    ("xz archive", rb"\xfd7zXZ\0"),
    ("Zstandard archive", rb"\x28\xb5\x2f\xfd"),
    ("7z archive", rb"7z\xbc\xaf\x27\x1c"),
    ("RAR archive", rb"Rar!\x1a\x07"),
    ("tar archive", rb".{257}ustar"),
    ("HDF5 file", rb"\x89HDF\r\n\x1a\n"),
    ("NumPy array", rb"\x93NUMPY"),
    ("Parquet file", rb"PAR1"),
    ("SQLite database", rb"SQLite format 3\0"),
    ("program", rb"\x7fELF|MZ.{58}"),
    ("SVG", rb"(?:\xef\xbb\xbf)?(?:<\?xml[^>]*>|" + _COMMENT + rb"|<!DOCTYPE svg[^>]*>|\s)*<svg[\s>]"),
    (
        "HTML page",
        rb"(?i:(?:\xef\xbb\xbf)?(?:<\?xml[^>]*>|" + _COMMENT + rb"|\s)*<(?:!doctype html|html|head|body|title)\b)",
    ),
    ("XML file", rb"(?:\xef\xbb\xbf)?\s*<\?xml\s"),
    ("JSON file", rb"(?=[\t\n\r\x20-\xff]*\Z)(?:\xef\xbb\xbf)?\s*(?:\{\s*[\"}]|\[\s*[\[{\"\d\]-])"),
    (LFS_POINTER, rb"version https://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/v1"),
    (ANNEX_POINTER, rb"/annex/objects/"),
    ("script", rb"#!\s*/"),
    (
        "Targa",
        _TARGA,
    ),
)
# Brands of the ISO base media file format. The first known one decides.
_BRANDS: Final = MappingProxyType(
    {
        **dict.fromkeys((b"avif", b"avis"), "AVIF"),
        **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"), "HEIC"),
        b"crx ": "raw image (CR3)",
        **dict.fromkeys((b"jp2 ", b"jpx "), "JPEG 2000"),
        b"qt  ": "QuickTime video",
    }
)
_GENERIC_BRANDS: Final = MappingProxyType(dict.fromkeys((b"mif1", b"msf1", b"mif2", b"miaf"), "HEIF"))
_OTHER_BRAND: Final = "MP4 video"
_TEXT: Final = re.compile(rb"[\t\n\f\r\x20-\x7e\x80-\xff]+")
_DNG_VERSION, _SUB_DIRECTORIES, _MAKE, _REDUCED = 50706, 330, 271, 254
_RAW_MAKES: Final = MappingProxyType({b"NIKON": "NEF", b"SONY": "ARW", b"PENTAX": "PEF", b"SAMSUNG": "SRW"})


@dataclass(frozen=True)
class Advice:
    """The advice for a file in a format that is not decoded; `picture` says whether it is an image."""

    picture: bool
    text: str


_CONVERT: Final = Advice(picture=True, text="convert it to PNG or JPEG")
_CONVERTIBLE: Final = (
    "JPEG XL",
    "JPEG XR",
    "Photoshop document",
    "GIMP image",
    "OpenEXR",
    "Radiance HDR",
    "QOI",
    "PAM",
    "PFM",
    "DirectDraw surface",
    "FITS",
    "PCX",
    "SGI image",
    "Sun raster",
    "farbfeld",
    "FLIF",
    "BPG",
    "DjVu",
    "MNG",
    "JNG",
    "Windows icon",
    "Windows cursor",
    "Apple icon",
    "Windows metafile",
    "Targa",
)
_PICTURE_ADVICE: Final[Mapping[str, Advice]] = MappingProxyType(
    {
        **dict.fromkeys(("HEIC", "HEIF"), Advice(picture=True, text=install_hint("heif"))),
        "DICOM": Advice(picture=True, text="export its pixels as PNG or TIFF, with the window that you view it with"),
        **dict.fromkeys(("PDF", "PostScript"), Advice(picture=True, text="export its pages as PNG")),
        "SVG": Advice(picture=True, text="convert it to PNG first"),
        "NIfTI volume": Advice(picture=True, text="export its slices as PNG or TIFF"),
        **dict.fromkeys(_CONVERTIBLE, _CONVERT),
    }
)
_OTHER_ADVICE: Final[Mapping[str, str]] = MappingProxyType(
    {
        LFS_POINTER: "the image itself is missing: run git lfs pull",
        ANNEX_POINTER: "the image itself is missing: run git annex get",
        "HTML page": "a download may have saved an error page instead of the image",
        "XML file": "a download may have saved an error message instead of the image",
        "JSON file": "a download may have saved an error message instead of the image",
        "only zero bytes": "a copy or a download was probably interrupted",
    }
)


def format_of(head: bytes) -> str | None:
    """Name the format of a file by its first `HEAD_BYTES` bytes; None if it is unknown."""
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    for name, pattern in _BYTES:
        # Most images are of the first formats. The module `re` caches the compiled patterns.
        if re.match(pattern, head, re.DOTALL):
            return _by_directory(head) or name if name == "TIFF" else name
    if head and not head.strip(b"\0"):
        return "only zero bytes"
    return "text file" if _TEXT.fullmatch(head) and _is_utf8(head) else None


def is_picture(name: str | None) -> bool:
    """Whether a format of `format_of` is one of images, decoded or not."""
    return name is not None and (name in PICTURES or name in _PICTURE_ADVICE or name.startswith("raw image"))


def advice(name: str) -> str:
    """Say what to do with an image in a format that is not decoded."""
    return _PICTURE_ADVICE.get(name, _CONVERT).text


def refusal(head: bytes) -> ImageError:
    """Say what a file is that no decoder accepts, and what to do.

    The reason is `unsupported` for an image in a format that is not decoded, `truncated_or_corrupt` for a file that
    begins like a decoded format, and `not_an_image` otherwise.
    """
    name = format_of(head[:HEAD_BYTES])
    if name is None:
        return ImageError(Reason.NOT_AN_IMAGE, "not an image in a known format")
    if name in PICTURES:
        message = f"it begins like a {name}, but is truncated, corrupt, or of an unsupported kind"
        return ImageError(Reason.TRUNCATED_OR_CORRUPT, message)
    if is_picture(name):
        return ImageError(Reason.UNSUPPORTED, f"{name}: {advice(name)}")
    remedy = _OTHER_ADVICE.get(name, "")
    return ImageError(Reason.NOT_AN_IMAGE, f"not an image but: {name}{remedy and f'. {remedy[0].upper()}{remedy[1:]}'}")


def _by_brand(head: bytes) -> str:
    """Name an ISO base media file by its brands: first the major brand, then the compatible ones."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[start : start + 4] for start in range(16, length - 3, 4))]
    for table in (_BRANDS, _GENERIC_BRANDS):
        for brand in brands:
            if brand in table:
                return table[brand]
    return _OTHER_BRAND


def _by_directory(head: bytes) -> str | None:
    """Recognise a raw photograph, which is a TIFF, by the tags of its first directory; None for any other TIFF."""
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"

    def number(start: int, size: int) -> int:
        return int.from_bytes(head[start : start + size], order)

    start = number(4, 4)
    entries = range(start + 2, min(start + 2 + 12 * number(start, 2), len(head) - 11), 12)
    tags = {number(entry, 2): entry for entry in entries}
    if _DNG_VERSION in tags:
        return "raw image (DNG)"
    # In other raw formats, the first directory is a small preview, and a sub-directory has the sensor's samples.
    if _SUB_DIRECTORIES in tags and _MAKE in tags and _REDUCED in tags and number(tags[_REDUCED] + 8, 4) == 1:
        place = number(tags[_MAKE] + 8, 4)
        return next((f"raw image ({kind})" for make, kind in _RAW_MAKES.items() if head.startswith(make, place)), None)
    return None


def _is_utf8(head: bytes) -> bool:
    """Whether the bytes are UTF-8. The last character may be cut off."""
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and error.reason == "unexpected end of data"
    return True
