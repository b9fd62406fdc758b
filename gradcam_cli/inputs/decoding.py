"""From a file to upright RGB pixels. Bytes are read once, hashed, and those very bytes are decoded."""

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.imaging.geometry import Size
from gradcam_cli.inputs.bitfields import decode_bitfields
from gradcam_cli.inputs.image_header import Header, Inspected, inspect
from gradcam_cli.inputs.opencv_codec import REDUCTIONS, decode_by_opencv, encode_jpeg, grey_of
from gradcam_cli.inputs.pillow_codec import decode_by_pillow
from gradcam_cli.inputs.samples import Levels, Samples, eight_bits, on_white, with_opacity
from gradcam_cli.inputs.tiff_codec import decode_jpeg, decode_tiff
from gradcam_cli.settings import Limits, SampleRange
from gradcam_cli.system import open_to_read

__all__ = [
    "Admit",
    "Header",
    "Needed",
    "Photo",
    "at_once",
    "decode",
    "encode_jpeg",
    "file_size",
    "modified_ns",
    "read_file",
    "read_stdin",
    "sha256",
    "unlistable",
]

# Told, with the bytes of memory that decoding takes, before a pixel is decoded; it may wait until there is room.
Admit = Callable[[int], None]

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
        ".heic",
        ".heif",
    }
)
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
    decoded at a reduced scale, 1 / `reduction`, its pixels are fewer. `levels` are the samples that became 0 and 255
    where a range was asked for and used.
    """

    pixels: NDArray[np.uint8]
    header: Header
    size: Size
    rgba: NDArray[np.uint8] | None = None
    reduction: int = 1
    levels: Levels | None = None

    def with_channels(self, channels: int) -> NDArray[np.uint8]:
        """The picture as grey (H, W, 1, by ITU-R BT.601), RGB (H, W, 3) or RGBA (H, W, 4)."""
        if channels == 1:
            return grey_of(self.pixels)
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
        descriptor = open_to_read(path)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(Reason.NOT_REGULAR, "not a regular file")
            if status.st_size > limits.max_file_bytes:
                raise _too_large(limits)
            data = _read(descriptor, status.st_size)
        finally:
            os.close(descriptor)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, Reason.UNREADABLE)
        if reason is Reason.VANISHED and os.path.islink(path):  # noqa: PTH114 - names that are not UTF-8 stay str
            raise ImageError(reason, f"a broken link: {_target(path)} is not there") from error
        raise ImageError(reason, f"cannot be read: {error.strerror}") from error
    return _not_empty(data)


def _read(descriptor: int, size: int) -> bytes:
    """Read so many bytes, or as many as there are; one call of the system gives all of a usual picture."""
    parts = []
    while size > 0 and (part := os.read(descriptor, size)):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _target(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - names that are not UTF-8 stay str
    except OSError:
        return "its target"


def unlistable(number: int) -> ImageError:
    """Say why a folder cannot be listed, by the error's number; what is in it is not explained."""
    reason = _REASONS.get(number, Reason.UNREADABLE)
    return ImageError(reason, f"a folder that cannot be listed: {os.strerror(number)}; what is in it was left out")


def modified_ns(path: str) -> int | None:
    """Give a file's time of modification in nanoseconds, None where it has none to give.

    Asked before the file is read, so that one which changes in between is taken for changed.
    """
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - names that are not UTF-8 stay str
    except OSError:
        return None


def file_size(path: str) -> int:
    """Give a file's size in bytes, 0 where it cannot be known."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - names that are not UTF-8 stay str
    except OSError:
        return 0


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


def at_once(_: int) -> None:
    """Admit every picture."""


def decode(
    data: bytes,
    limits: Limits,
    needed: Needed | None = None,
    sample_range: SampleRange | None = None,
    admit: Admit = at_once,
) -> Photo:
    """Decode the first frame of an image file to upright RGB.

    Samples of more or fewer than 8 bits are scaled to 8 (of 16, 65535 becomes 255), or by the `sample_range`;
    transparency is composited on white, grey becomes RGB, and EXIF's orientation is applied. A JPEG larger than what is
    `needed` is decoded at 1/2, 1/4 or 1/8 of its size, which is quicker by about as much.

    Raises:
        ImageError: `not_an_image`, `too_many_pixels`, `truncated_or_corrupt`, `unsupported` or `out_of_memory`.
    """
    inspected = inspect(data, limits)
    header = inspected.header
    turned = header.orientation >= 5 and header.format != "TIFF"
    size = Size(header.size.height, header.size.width) if turned else header.size
    reducible = header.format in {"JPEG", "MPO"} and inspected.decoder == "opencv"
    reduction = _reduction(size, needed) if reducible and needed else 1
    admit(inspected.cost // reduction**2)
    try:
        samples = _decoded(data, inspected, reduction)
        _refuse_other_size(samples, inspected, reduction)
        return _photo(samples, header, size, reduction, sample_range)
    except MemoryError as error:
        message = f"there is not enough memory to decode {header.size.width} x {header.size.height} pixels"
        raise ImageError(Reason.OUT_OF_MEMORY, message) from error


def _reduction(size: Size, needed: Needed) -> int:
    """The largest of the scales a JPEG decoder has that leaves enough of a picture."""
    for reduction in REDUCTIONS:
        if needed.allows(Size(-(-size.width // reduction), -(-size.height // reduction))):
            return reduction
    return 1


def _decoded(data: bytes, inspected: Inspected, reduction: int) -> Samples:
    header = inspected.header
    if inspected.decoder == "opencv":
        return decode_by_opencv(data, header.format, alpha=header.alpha, reduction=reduction, white=inspected.white)
    if inspected.decoder == "tifffile" and inspected.tiff:
        return decode_tiff(data, inspected.tiff)
    if inspected.decoder == "bitfields":
        return decode_bitfields(data)
    if inspected.decoder == "imagecodecs":
        return decode_jpeg(data, header.format, inspected.white or 255, inspected.description)
    return decode_by_pillow(data, alpha=header.alpha, white=inspected.white)


def _refuse_other_size(samples: Samples, inspected: Inspected, reduction: int) -> None:
    size = Size(samples.values.shape[1], samples.values.shape[0])
    named = inspected.header.size
    if inspected.tiff and not samples.upright:
        named = Size(inspected.tiff.width, inspected.tiff.height)
    if size != Size(-(-named.width // reduction), -(-named.height // reduction)):
        raise ImageError(
            Reason.TRUNCATED_OR_CORRUPT,
            f"its header says {named.width} x {named.height}, its pixels are {size.width} x {size.height}",
        )


def _photo(samples: Samples, header: Header, size: Size, reduction: int, sample_range: SampleRange | None) -> Photo:
    turn = 1 if samples.upright else header.orientation
    values, levels = eight_bits(samples, sample_range)
    del samples
    pixels = np.ascontiguousarray(_upright(on_white(values), turn))
    rgba = with_opacity(values)
    if rgba is not None:
        rgba = np.ascontiguousarray(_upright(rgba, turn))
    return Photo(pixels, header, size, rgba, reduction, levels)


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo EXIF's orientation: 5 to 8 are transposed, and each value flips the axes its own way."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return pixels
