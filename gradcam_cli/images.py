"""From bytes to RGB pixels and back: the only decoder and encoder.

cv2 is never given a path: from a path it takes truncated files for whole, loses the cause of every failure, hangs on
a FIFO and crashes on some names. Bytes are read once, hashed, and those very bytes are decoded.
"""

import errno
import hashlib
import io
import os
import stat
import sys
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from gradcam_cli.containers import check_parts, gif_frames, png_content, png_still, pnm_top
from gradcam_cli.errors import ImageError, Reason, first_line
from gradcam_cli.formats import refusal
from gradcam_cli.geometry import Size
from gradcam_cli.opencv import cv2
from gradcam_cli.settings import Limits

# Pillow reads headers only, and the limit on pixels is checked right after: its own would answer first, and differ.
Image.MAX_IMAGE_PIXELS = None

FORMATS: Final = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
SUFFIXES: Final = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".tif",
        ".tiff",
        ".bmp",
        ".dib",
        ".gif",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".j2k",
        ".avif",
    }
)
JPEG_LONGEST_SIDE = 65_500
REDUCTIONS: Final = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
ORIENTATION_TAG = 0x0112
# Where the pixels of a TIFF's page are: offsets and lengths, of strips or of tiles.
TIFF_PLACES = ((273, 279), (324, 325))
MOST_PAGES = 10_000
# cv2 multiplies a TIFF's colours by their alpha or drops it, and cannot read a grey JPEG 2000 with alpha; of an AVIF
# that lies about its depth, it gives whatever was in memory.
ALPHA_BY_PILLOW = frozenset({"TIFF", "JPEG2000"})
ALL_BY_PILLOW = frozenset({"AVIF"})

_REASONS = {
    errno.ENOENT: Reason.VANISHED,
    errno.ENOTDIR: Reason.VANISHED,
    errno.EACCES: Reason.PERMISSION,
    errno.EPERM: Reason.PERMISSION,
    errno.ENXIO: Reason.NOT_REGULAR,
    errno.EISDIR: Reason.NOT_REGULAR,
    errno.ELOOP: Reason.NOT_REGULAR,
    errno.ENAMETOOLONG: Reason.NAME_TOO_LONG,
}


@dataclass(frozen=True)
class Header:
    """What a file says of itself before its pixels are decoded; `orientation` is EXIF's 1 to 8."""

    format: str
    size: Size
    orientation: int
    frames: int
    alpha: bool


@dataclass(frozen=True)
class Needed:
    """What is needed of a picture that may be decoded smaller than it is: its longest side, and each of its sides."""

    longest: int
    width: int
    height: int

    def allows(self, size: Size) -> bool:
        """Whether a picture of this size is large enough."""
        large = max(size.width, size.height) >= self.longest
        return large and size.width >= self.width and size.height >= self.height


@dataclass(frozen=True, eq=False)
class Photo:
    """One decoded picture: upright RGB (H, W, 3) uint8, transparency already laid on white.

    `rgba` (H, W, 4) has it as it was, where there is any. `size` is that of the whole upright picture; where it was
    decoded at a reduced scale, 1 / `reduction`, its pixels are fewer.
    """

    pixels: NDArray[np.uint8]
    header: Header
    size: Size
    rgba: NDArray[np.uint8] | None = None
    reduction: int = 1

    def with_channels(self, channels: int) -> NDArray[np.uint8]:
        """The picture as grey (H, W, 1, by ITU-R BT.601), RGB (H, W, 3) or RGBA (H, W, 4)."""
        if channels == 1:
            return np.asarray(cv2.cvtColor(self.pixels, cv2.COLOR_RGB2GRAY), np.uint8)[:, :, None]
        if channels == 3:
            return self.pixels
        if self.rgba is not None:
            return self.rgba
        return np.dstack([self.pixels, np.full(self.pixels.shape[:2], 255, np.uint8)])


def read_file(path: str, limits: Limits) -> bytes:
    """Read a whole regular file, never waiting for a FIFO or a device.

    Raises:
        ImageError: it is not there, not regular, not readable, empty or larger than the limit.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(Reason.NOT_REGULAR, "not a regular file")
            if status.st_size > limits.max_file_bytes:
                raise _too_large(limits)
            data = file.read(status.st_size)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, Reason.UNREADABLE)
        raise ImageError(reason, f"cannot be read: {error.strerror}") from error
    return _not_empty(data)


def modified_ns(path: str) -> int | None:
    """Give a file's time of modification in nanoseconds, None where it has none to give.

    Asked before the file is read, so that one which changes in between is taken for changed.
    """
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - names that are not UTF-8 stay str
    except OSError:
        return None


def read_stdin(limits: Limits) -> bytes:
    """Read a whole picture from a pipe.

    Raises:
        ImageError: it is empty or larger than the limit.
    """
    data = sys.stdin.buffer.read(limits.max_file_bytes + 1)
    if len(data) > limits.max_file_bytes:
        raise _too_large(limits)
    return _not_empty(data)


def _too_large(limits: Limits) -> ImageError:
    return ImageError(Reason.TOO_LARGE, f"larger than {limits.max_file_bytes:,} bytes")


def _not_empty(data: bytes) -> bytes:
    if not data:
        raise ImageError(Reason.EMPTY, "the file is empty")
    return data


def sha256(data: bytes) -> str:
    """Hash the bytes of an input, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def decode(data: bytes, limits: Limits, needed: Needed | None = None) -> Photo:
    """Decode the first frame of an image file to upright RGB.

    Samples of more or fewer than 8 bits are scaled to 8 (of 16, 65535 becomes 255), transparency is composited on
    white, grey becomes RGB, and EXIF's orientation is applied. A JPEG larger than what is `needed` is decoded at 1/2,
    1/4 or 1/8 of its size, which is quicker by about as much.

    Raises:
        ImageError: `not_an_image`, `too_many_pixels`, `truncated_or_corrupt`, `unsupported` or `out_of_memory`.
    """
    header = read_header(data, limits)
    upright = header.size if header.orientation < 5 else Size(header.size.height, header.size.width)
    reduction = _reduction(upright, needed) if header.format == "JPEG" and needed else 1
    try:
        by_pillow = header.format in ALL_BY_PILLOW or (header.alpha and header.format in ALPHA_BY_PILLOW)
        stored = _by_pillow(data, header) if by_pillow else _by_cv2(data, header, reduction)
    except MemoryError as error:
        message = f"there is not enough memory to decode {header.size.width} x {header.size.height} pixels"
        raise ImageError(Reason.OUT_OF_MEMORY, message) from error
    _refuse_other_size(stored, header, reduction)
    # Both turn a TIFF upright whatever they are told (its header is upright, too), and leave other formats to us.
    turn = header.orientation if header.format != "TIFF" else 1
    pixels = np.ascontiguousarray(_upright(_rgb(stored), turn))
    size = upright if reduction > 1 else Size(pixels.shape[1], pixels.shape[0])
    if stored.ndim == 2 or stored.shape[2] != 4:
        return Photo(pixels, header, size, reduction=reduction)
    return Photo(pixels, header, size, np.ascontiguousarray(_upright(stored[:, :, [2, 1, 0, 3]], turn)))


def _reduction(size: Size, needed: Needed) -> int:
    """The largest of the scales a JPEG decoder has that leaves enough of a picture."""
    for reduction in REDUCTIONS:
        if needed.allows(Size(-(-size.width // reduction), -(-size.height // reduction))):
            return reduction
    return 1


def _by_cv2(data: bytes, header: Header, reduction: int) -> NDArray[np.uint8]:
    """Decode to grey (H, W), BGR or BGRA (H, W, 3 or 4)."""
    flags = cv2.IMREAD_UNCHANGED if header.alpha else REDUCTIONS.get(reduction, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if header.format == "PNG" and b"acTL" in data:
        # Of a damaged animation cv2 gives whatever was in memory; of a damaged picture it gives nothing.
        data = png_still(data)
    try:
        decoded: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError from error
        decoded = None
    if decoded is None:
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "the image data is truncated or corrupt")
    pixels = np.asarray(decoded)
    if header.alpha and header.format == "PNG" and pixels.ndim == 2:
        pixels = _without_key(pixels, data)
    return _eight_bits(pixels, pnm_top(data) if header.format == "PPM" else None)


def _by_pillow(data: bytes, header: Header) -> NDArray[np.uint8]:
    """Decode to BGR or BGRA (H, W, 3 or 4), as cv2 does."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pixels = np.asarray(image.convert("RGBA" if header.alpha else "RGB"))
            return np.ascontiguousarray(pixels[:, :, [2, 1, 0, 3] if header.alpha else [2, 1, 0]])
    except MemoryError:
        raise
    except Exception as error:
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "the image data is truncated or corrupt") from error


def _refuse_other_size(stored: NDArray[np.uint8], header: Header, reduction: int) -> None:
    size = Size(stored.shape[1], stored.shape[0])
    if size != Size(-(-header.size.width // reduction), -(-header.size.height // reduction)):
        raise ImageError(
            Reason.TRUNCATED_OR_CORRUPT,
            f"its header says {header.size.width} x {header.size.height}, its pixels are {size.width} x {size.height}",
        )


def read_header(data: bytes, limits: Limits) -> Header:
    """Read size, orientation, frames and transparency without decoding a pixel.

    Raises:
        ImageError: `not_an_image`, `too_many_pixels`, `truncated_or_corrupt` or `unsupported`.
    """
    check_parts(data)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _refuse_too_large(image, limits)
            _refuse_wide_samples(image)
            return Header(
                format=image.format or "",
                size=Size(*image.size),
                orientation=_orientation(image, data),
                frames=_frames(image, data),
                alpha=image.has_transparency_data,
            )
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise refusal(data) from error
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, f"the header cannot be read: {first_line(error)}") from error


def _refuse_too_large(image: Image.Image, limits: Limits) -> None:
    if image.width * image.height > limits.max_pixels:
        raise ImageError(
            Reason.TOO_MANY_PIXELS, f"{image.width} x {image.height} is more than {limits.max_pixels:,} pixels"
        )


def _refuse_wide_samples(image: Image.Image) -> None:
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise ImageError(
            Reason.UNSUPPORTED,
            "samples of floating point or 32 bits have no agreed range: save it with 8 or 16 bits",
        )


def _orientation(image: Image.Image, data: bytes) -> int:
    if image.format == "PNG" and "exif" not in image.info:
        # Pillow would decode all pixels to see whether EXIF follows them.
        exif = png_content(data, b"eXIf")
        if exif is not None:
            image.info["exif"] = exif
    try:
        orientation = Image.Image.getexif(image).get(ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001 - damaged notes on a picture do not damage the picture
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _frames(image: Image.Image, data: bytes) -> int:
    if image.format == "GIF":
        return gif_frames(data)
    if image.format == "TIFF":
        return _tiff_pages(image, len(data))
    return int(getattr(image, "n_frames", 1))


def _tiff_pages(image: Any, length: int) -> int:
    """Count the pages of a TIFF, and see that the pixels of each are in the file."""
    for page in range(MOST_PAGES + 1):
        try:
            image.seek(page)
        except EOFError:
            return page
        for offsets, lengths in TIFF_PLACES:
            places = zip(image.tag_v2.get(offsets, ()), image.tag_v2.get(lengths, ()), strict=False)
            if any(start + size > length for start, size in places):
                raise ImageError(Reason.TRUNCATED_OR_CORRUPT, f"it ends before the pixels of page {page + 1}")
    raise ImageError(Reason.UNSUPPORTED, f"a TIFF of more than {MOST_PAGES:,} pages")


def _without_key(grey: NDArray[Any], data: bytes) -> NDArray[Any]:
    """Make the one shade transparent that a grey PNG names, to BGRA; cv2 does it in colour only."""
    depth = data[24]
    key = int.from_bytes((png_content(data, b"tRNS") or b"")[:2], "big")
    if depth < 8:
        key = key * 255 // (2**depth - 1)
    top = np.iinfo(grey.dtype).max
    return np.dstack([grey, grey, grey, np.where(grey == key, 0, top).astype(grey.dtype)])


def _eight_bits(pixels: NDArray[Any], top: int | None) -> NDArray[np.uint8]:
    """Scale samples to 8 bits; `top` is the sample that means white, where it is not the type's largest."""
    if pixels.dtype not in {np.dtype(np.uint8), np.dtype(np.uint16)}:
        raise ImageError(Reason.UNSUPPORTED, f"samples of type {pixels.dtype} have no agreed range: use 8 or 16 bits")
    white = top or int(np.iinfo(pixels.dtype).max)
    if white == 255:
        return pixels.astype(np.uint8, copy=False)
    return np.minimum((pixels.astype(np.uint32) * 255 + white // 2) // white, 255).astype(np.uint8)


def _rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """From what cv2 decodes (grey, BGR, BGRA) to RGB, on white."""
    if pixels.ndim == 2:
        return np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.shape[2] == 3:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
    colour = pixels[:, :, 2::-1].astype(np.uint32)
    opacity = pixels[:, :, 3:].astype(np.uint32)
    return ((colour * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo EXIF's orientation: 5 to 8 are transposed, and each value flips the axes its own way."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return pixels


def encode_jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """Encode RGB (H, W, 3) uint8 as a JPEG without any metadata.

    Raises:
        ImageError: `overlay_too_large` where a side is longer than a JPEG can hold.
    """
    if max(pixels.shape[:2]) > JPEG_LONGEST_SIDE:
        raise ImageError(
            Reason.OVERLAY_TOO_LARGE,
            f"a JPEG ends at {JPEG_LONGEST_SIDE:,} pixels a side: use --max-side for a smaller overlay",
        )
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ImageError(Reason.UNSUPPORTED, "the overlay cannot be encoded as a JPEG")
    return encoded.tobytes()
