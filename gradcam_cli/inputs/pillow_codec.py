"""Pillow: the headers of most formats, the pixels of those that OpenCV decodes wrongly, and HEIC by a plugin."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.inputs.formats import HEAD_BYTES, format_of, refusal
from gradcam_cli.inputs.image_containers import png_content
from gradcam_cli.inputs.samples import Samples

FORMATS: Final = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
JPEG: Final = b"\xff\xd8\xff"
HEIF: Final = frozenset({"HEIC", "HEIF"})
ORIENTATION_TAG: Final = 0x0112
# Larger images are converted in strips of this many pixels.
STRIP: Final = 4 * 2**20
_LIMIT = threading.Lock()


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """Open an image of a known format without decoding its pixels.

    Raises:
        ImageError: `unsupported`: the file is a HEIC, and its extra is not installed.
        Exception: any error of Pillow's readers.
    """
    if format_of(data[:HEAD_BYTES]) in HEIF:
        with _heif(data) as image:
            yield image
        return
    with (_jpeg(data) if data.startswith(JPEG) else None) or _open(data) as image:
        yield image


def _jpeg(data: bytes) -> Image.Image | None:
    """Open a JPEG or MPO like `Image.open`, but without importing the readers of five other formats.

    If the file is refused, the result is None, and the error of `Image.open` is reported.
    """
    try:
        return JpegImagePlugin.jpeg_factory(io.BytesIO(data), "")
    except Exception:  # noqa: BLE001 - Pillow's readers raise any kind of error
        return None


def _open(data: bytes) -> Image.Image:
    """Open without Pillow's limit on pixels. The limit of this package is checked after the header is read.

    Pillow's limit is global in the process. It is removed while a header is read, by one thread at a time.
    """
    with _LIMIT:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(io.BytesIO(data), formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _heif(data: bytes) -> Image.Image:
    """Open a HEIC. The library applies the orientation, and sets that of EXIF to 1."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise refusal(data) from error
    image: Image.Image = HeifImageFile(io.BytesIO(data))
    return image


def orientation_of(image: Image.Image, data: bytes) -> int:
    """Read the EXIF orientation, 1 to 8; 1 if it is missing or damaged."""
    if image.format == "PNG" and "exif" not in image.info:
        # Otherwise Pillow would decode all pixels to find EXIF data after them.
        exif = png_content(data, b"eXIf")
        if exif is not None:
            image.info["exif"] = exif
    try:
        orientation = Image.Image.getexif(image).get(ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001 - damaged metadata does not damage the image
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def decode_by_pillow(data: bytes, *, alpha: bool, white: int | None = None) -> Samples:
    """Decode the first frame; `white` is the sample of full intensity if there are more than 8 bits.

    Raises:
        ImageError: `truncated_or_corrupt`.
        MemoryError: there is not enough memory.
    """
    try:
        with opened(data) as image:
            image.load()
            # Pillow applies the orientation of a TIFF when it loads it.
            upright = image.format == "TIFF"
            if image.mode.startswith("I"):
                return Samples(np.array(image, np.uint16)[:, :, None], white or 65535, upright=upright)
            return Samples(_converted(image, "RGBA" if alpha else "RGB"), 255, upright=upright)
    except (MemoryError, ImageError):
        raise
    except Exception as error:
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "the image data is truncated or corrupt") from error


def _converted(image: Image.Image, mode: str) -> NDArray[np.uint8]:
    if image.width * image.height <= STRIP:
        return np.array(image.convert(mode))
    pixels: NDArray[Any] = np.empty((image.height, image.width, len(mode)), np.uint8)
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        pixels[top:bottom] = image.crop((0, top, image.width, bottom)).convert(mode)
    return pixels
