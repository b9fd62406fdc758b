"""Make sources of images that are not files: bytes, arrays and PIL images.

An array is written as a lossless image file in memory, so that limits, decoding and hashes are the same for all
images.
"""

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.errors import UsageError
from gradcam_cli.inputs.opencv_codec import encode_png
from gradcam_cli.inputs.sources import Source

if TYPE_CHECKING:
    from PIL import Image

# The modes to which other modes of Pillow are converted.
CONVERTED = {
    "1": "L",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
    "LAB": "RGB",
    "La": "RGBA",
    "LA": "RGBA",
    "RGBa": "RGBA",
}
TAKEN = "a path, bytes, a PIL image, or a uint8 array (H, W, 3) RGB, (H, W) grey or (H, W, 4) RGBA"


def source_of(picture: Any, number: int) -> Source:
    """Make a source of an image in any of the accepted forms.

    Args:
        picture: a path, the bytes of an image file, a PIL image, or a uint8 array: (H, W, 3) RGB, (H, W) grey, or
            (H, W, 4) RGBA.
        number: the index of the image. An image without a name is called `picture-0` and so on.

    Raises:
        UsageError: it is something else, such as an array of another dtype or shape. The message says how to
            convert it.
    """
    name = f"picture-{number}"
    if isinstance(picture, (str, os.PathLike)):
        path = os.fsdecode(picture)
        return Source(os.path.basename(path), path)  # noqa: PTH119 - names that are not UTF-8 stay str
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return Source(name, "", content=bytes(picture))
    if isinstance(picture, np.ndarray):
        return Source(name, "", content=_bytes_of_array(picture))
    if _is_pillow(picture):
        given = os.path.basename(os.fsdecode(getattr(picture, "filename", "") or ""))  # noqa: PTH119 - as above
        return Source(given or name, "", content=_bytes_of_pillow(picture))
    raise UsageError(f"An image must be {TAKEN}; this is a {type(picture).__name__}.")


def _is_pillow(picture: Any) -> bool:
    return any(base.__module__.startswith("PIL.") for base in type(picture).__mro__)


def _bytes_of_array(array: NDArray[Any]) -> bytes:
    """Write pixels as a PNM, or with opacity as a PNG. Both are lossless."""
    if array.dtype != np.uint8:
        raise UsageError(f"An array of {array.dtype} is not an image. {_conversion(array)}")
    if array.ndim == 4:
        raise UsageError(f"The array has the shape {array.shape}: give a list of its images.")
    if array.ndim == 3 and array.shape[0] in {1, 3, 4} and array.shape[2] not in {1, 3, 4}:
        raise UsageError(
            f"The array has the shape {array.shape}: the channels must be last. Convert: a.transpose(1, 2, 0)"
        )
    if array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[2] not in {1, 3, 4}) or not array.size:
        raise UsageError(
            f"An array of the shape {array.shape} is not an image. An image is (H, W, 3), (H, W) or (H, W, 4)."
        )
    height, width = array.shape[:2]
    channels = 1 if array.ndim == 2 else array.shape[2]
    if channels == 4:
        return encode_png(array)
    kind = "P5" if channels == 1 else "P6"
    return f"{kind}\n{width} {height}\n255\n".encode("ascii") + np.ascontiguousarray(array).tobytes()


def _conversion(array: NDArray[Any]) -> str:
    if array.dtype == np.bool_:
        return "Convert: a.astype(np.uint8) * 255"
    if array.dtype.kind != "f":
        return "Convert it to uint8, 0 to 255. From 16 bits: (a >> 8).astype(np.uint8)"
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if low >= 0 and high <= 1:
        return "Its values are 0 to 1. Convert: (a * 255).round().astype(np.uint8)"
    if low >= -1 and high <= 1:
        return "Its values are -1 to 1. Convert: ((a + 1) * 127.5).round().astype(np.uint8)"
    if low >= 0 and high <= 255:
        return "Its values are 0 to 255. Convert: a.round().astype(np.uint8)"
    return f"Its values are {low:.4g} to {high:.4g}. Give the image before preprocessing, as uint8."


def _bytes_of_pillow(image: "Image.Image") -> bytes:
    """Apply the EXIF orientation of an image, and write it without loss."""
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode == "P" or "transparency" in upright.info:
        upright = upright.convert("RGBA" if "transparency" in upright.info else "RGB")
    upright = upright.convert(CONVERTED.get(upright.mode, upright.mode))
    if upright.mode not in {"L", "RGB", "RGBA"}:
        raise UsageError(
            f"A PIL image of the mode {upright.mode} is not an 8-bit image. Convert it: image.convert('RGB'), "
            "or scale its samples to 0..255 first."
        )
    return _bytes_of_array(np.asarray(upright))
