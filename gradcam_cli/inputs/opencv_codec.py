"""OpenCV's codecs: the only module that decodes or encodes with cv2.

cv2 never gets a path. With a path, it accepts truncated files as complete, loses the cause of every failure, blocks
on a FIFO and crashes on some names. It gets bytes, in layouts for which it was verified (see `decoder_choice`).
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.imaging.opencv import cv2
from gradcam_cli.inputs.image_containers import png_content, png_still, pnm_top
from gradcam_cli.inputs.samples import Samples

JPEG_LONGEST_SIDE: Final = 65_500
REDUCTIONS: Final = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
PNM_TEXT: Final = frozenset({b"P1", b"P2", b"P3"})
# Channels are swapped in strips of this many rows, so that a large image is not copied.
ROWS: Final = 512


def decode_by_opencv(
    data: bytes, format_: str, *, alpha: bool, reduction: int = 1, white: int | None = None
) -> Samples:
    """Decode the first frame; a JPEG at 1 / `reduction` of its size.

    `white` is the sample of full intensity, if it is not the largest value of 8 or 16 bits.

    Raises:
        ImageError: `truncated_or_corrupt` or `unsupported`.
        MemoryError: there is not enough memory.
    """
    flags = cv2.IMREAD_UNCHANGED if alpha else REDUCTIONS.get(reduction, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if format_ == "PNG" and b"acTL" in data:
        # For a damaged animation, cv2 gives uninitialised memory. For a damaged still image, it gives nothing.
        data = png_still(data)
    if format_ == "PPM" and data[:2] in PNM_TEXT:
        # cv2 reads one character after the last number.
        data += b"\n"
    try:
        decoded: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError from error
        decoded = None
    if decoded is None:
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "the image data is truncated or corrupt")
    values = np.asarray(decoded)
    if values.dtype not in {np.dtype(np.uint8), np.dtype(np.uint16)}:
        raise ImageError(Reason.UNSUPPORTED, f"samples of type {values.dtype} have no defined range: use 8 or 16 bits")
    if alpha and format_ == "PNG" and values.ndim == 2:
        values = _without_key(values, data)
    values = values[:, :, None] if values.ndim == 2 else _to_rgb(values)
    top = pnm_top(data) if format_ == "PPM" else None
    # cv2 always applies the orientation of a TIFF.
    return Samples(values, white or top or int(np.iinfo(values.dtype).max), upright=format_ == "TIFF")


def _without_key(grey: NDArray[Any], data: bytes) -> NDArray[Any]:
    """Make the transparent shade of a grey PNG transparent, as BGRA. cv2 does this only for colour images."""
    depth = data[24]
    key = int.from_bytes((png_content(data, b"tRNS") or b"")[:2], "big")
    if depth < 8:
        key = key * 255 // (2**depth - 1)
    top = np.iinfo(grey.dtype).max
    return np.dstack([grey, grey, grey, np.where(grey == key, 0, top).astype(grey.dtype)])


def _to_rgb(values: NDArray[Any]) -> NDArray[Any]:
    """Swap blue and red (H, W, 3 or 4). A large image is changed in its own memory."""
    code = cv2.COLOR_BGR2RGB if values.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    if values.shape[0] <= 4 * ROWS:
        return np.asarray(cv2.cvtColor(values, code))
    for top in range(0, values.shape[0], ROWS):
        values[top : top + ROWS] = cv2.cvtColor(values[top : top + ROWS], code)
    return values


def grey_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert RGB (H, W, 3) to grey (H, W, 1), by ITU-R BT.601."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)[:, :, None]


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode RGB (H, W, 3) or RGBA (H, W, 4) uint8 as a PNG."""
    order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    done, encoded = cv2.imencode(".png", cv2.cvtColor(pixels, order))
    if not done:
        raise ImageError(Reason.UNSUPPORTED, "the image cannot be written as PNG")
    return encoded.tobytes()


def encode_jpeg(pixels: NDArray[np.uint8], quality: int, *, blue_first: bool = False) -> bytes:
    """Encode RGB (H, W, 3) uint8, or BGR with `blue_first`, as a JPEG without metadata.

    Raises:
        ImageError: `overlay_too_large` if a side is longer than a JPEG allows.
    """
    if max(pixels.shape[:2]) > JPEG_LONGEST_SIDE:
        raise ImageError(
            Reason.OVERLAY_TOO_LARGE,
            f"a JPEG can have at most {JPEG_LONGEST_SIDE:,} pixels per side: use `max_side` for a smaller overlay",
        )
    bgr = pixels if blue_first else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ImageError(Reason.UNSUPPORTED, "the overlay cannot be encoded as a JPEG")
    return encoded.tobytes()
