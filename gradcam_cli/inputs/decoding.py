"""Decode the bytes of a file to upright RGB pixels."""

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.imaging.geometry import Size
from gradcam_cli.inputs.bitfields import decode_bitfields
from gradcam_cli.inputs.image_header import Inspected, inspect
from gradcam_cli.inputs.opencv_codec import REDUCTIONS, decode_by_opencv, encode_jpeg
from gradcam_cli.inputs.photo import Admit, Header, Needed, Photo, at_once
from gradcam_cli.inputs.pillow_codec import decode_by_pillow
from gradcam_cli.inputs.samples import Samples, eight_bits, on_white, with_opacity
from gradcam_cli.inputs.tiff_codec import decode_jpeg, decode_tiff
from gradcam_cli.settings import Limits, SampleRange

__all__ = ["decode", "encode_jpeg"]


def decode(
    data: bytes,
    limits: Limits,
    needed: Needed | None = None,
    sample_range: SampleRange | None = None,
    admit: Admit = at_once,
) -> Photo:
    """Decode the first frame of an image file to upright RGB (H, W, 3) uint8.

    Samples of more or fewer than 8 bits are scaled to 8 (of 16 bits, 65535 becomes 255), or by the `sample_range`.
    Transparency is composited on white, grey becomes RGB, and the EXIF orientation is applied. A JPEG larger than
    `needed` is decoded at 1/2, 1/4 or 1/8 of its size, which is faster by about the same factor.

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
    """Give the largest reduction of a JPEG decoder that leaves an image of the needed size."""
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
            f"its header declares {named.width} x {named.height}, its pixels are {size.width} x {size.height}",
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
    """Apply the EXIF orientation: values 5 to 8 transpose the image, and each value has its own flips."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return pixels
