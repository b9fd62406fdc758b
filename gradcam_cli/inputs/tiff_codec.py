"""Decode by tifffile and imagecodecs the layouts of TIFF and kinds of JPEG that OpenCV and Pillow decode wrongly."""

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.inputs.decoder_choice import missing
from gradcam_cli.inputs.samples import Samples
from gradcam_cli.inputs.tiff_header import (
    ASSOCIATED_ALPHA,
    BLACK_IS_ZERO,
    PALETTE,
    RGB,
    SEPARATED,
    UNSIGNED,
    WHITE_IS_ZERO,
    YCBCR,
    TiffLayout,
)

_CORRUPT: Final = "the image data is truncated or corrupt"


def decode_tiff(data: bytes, layout: TiffLayout) -> Samples:
    """Decode the first page of a TIFF. Its orientation is not applied.

    Raises:
        ImageError: `unsupported`, also if the extra is not installed, or `truncated_or_corrupt`.
        MemoryError: there is not enough memory.
    """
    if layout.photometric not in {WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED, YCBCR}:
        raise ImageError(Reason.UNSUPPORTED, f"{layout.describe()}: save it as 8-bit RGB")
    try:
        import imagecodecs  # noqa: F401 - tifffile needs it for compressed data

        tifffile = _tifffile()
    except ImportError as error:
        raise missing(layout.describe()) from error
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page: Any = file.pages[0]
            values: NDArray[Any] = page.asarray(squeeze=False, maxworkers=1)
            colours = getattr(page, "colormap", None)
    except MemoryError:
        raise
    except (NotImplementedError, KeyError) as error:
        raise ImageError(Reason.UNSUPPORTED, f"{layout.describe()}: save it as 8-bit RGB") from error
    except Exception as error:
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, f"{_CORRUPT}: {layout.describe()}") from error
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    # The axes are (planes, depth, height, width, samples of a plane).
    if values.ndim != 5 or values.shape[1] != 1 or values.dtype.kind not in "uif":
        raise ImageError(Reason.UNSUPPORTED, f"{layout.describe()}: not a two-dimensional image")
    values = values[:, 0]
    values = np.ascontiguousarray(np.moveaxis(values[..., 0], 0, -1)) if len(values) > 1 else values[0]
    return _samples(values, layout, colours)


def _tifffile() -> Any:
    """Import tifffile, and turn off its log messages: they do not name the file, and serious ones are raised here."""
    import logging

    import tifffile

    log = logging.getLogger("tifffile")
    if not log.handlers:
        log.addHandler(logging.NullHandler())

    return tifffile


def _samples(values: NDArray[Any], layout: TiffLayout, colours: NDArray[Any] | None) -> Samples:
    if layout.photometric == PALETTE:
        return _of_palette(values[:, :, 0], layout, colours)
    white = 2**layout.depth - 1 if layout.sample_format == UNSIGNED and layout.depth <= 16 else None
    if layout.photometric == SEPARATED:
        return _of_cmyk(values, white, layout)
    base = 3 if layout.photometric in {RGB, YCBCR} else 1
    alpha = layout.alpha
    if alpha is None:
        values = values[:, :, :base]
    else:
        if layout.extra_samples[alpha - base] == ASSOCIATED_ALPHA:
            values = _without_opacity(values, base, alpha, white)
        values = values[:, :, [*range(base), alpha]]
    return Samples(values, white, inverted=layout.photometric == WHITE_IS_ZERO)


def _of_palette(index: NDArray[Any], layout: TiffLayout, colours: NDArray[Any] | None) -> Samples:
    if colours is None or layout.sample_format != UNSIGNED or int(index.max()) >= colours.shape[-1]:
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "a TIFF without a colour palette")
    # Some writers store palettes of 8 bits instead of 16.
    table = colours.T if colours.max() < 256 else colours.T >> 8
    return Samples(np.asarray(table, np.uint8)[index], 255)


def _of_cmyk(values: NDArray[Any], white: int | None, layout: TiffLayout) -> Samples:
    """Convert CMYK to RGB without a profile: `(1 - colour) * (1 - black)`."""
    if white is None:
        raise ImageError(Reason.UNSUPPORTED, f"{layout.describe()}: save it as 8-bit RGB")
    light = 1.0 - values[:, :, :3].astype(np.float32) / white
    light *= 1.0 - values[:, :, 3:4].astype(np.float32) / white
    return Samples((light * 255 + 0.5).astype(np.uint8), 255)


def _without_opacity(values: NDArray[Any], base: int, alpha: int, white: int | None) -> NDArray[Any]:
    """Divide colours by the opacity that they were multiplied by. Full opacity is `white` if it is defined."""
    # Samples of 4 or 12 bits have a wider type, so its largest value is not their full opacity.
    top = float(white or (1 if values.dtype.kind == "f" else np.iinfo(values.dtype).max))
    share = values[:, :, alpha : alpha + 1].astype(np.float32) / top
    colour = np.divide(values[:, :, :base], share, out=np.zeros(values[:, :, :base].shape, np.float32), where=share > 0)
    values = values.copy()
    values[:, :, :base] = colour if values.dtype.kind == "f" else np.minimum(np.round(colour), top)
    return values


def decode_jpeg(data: bytes, format_: str, white: int, description: str) -> Samples:
    """Decode a JPEG of 12 bits, a lossless JPEG, or a JPEG 2000 of fewer than 8 bits or with opacity.

    Raises:
        ImageError: `unsupported` if the extra is not installed or the components are not supported, or
            `truncated_or_corrupt`.
        MemoryError: there is not enough memory.
    """
    try:
        import imagecodecs
    except ImportError as error:
        raise missing(description) from error
    try:
        read = imagecodecs.jpeg2k_decode if format_ == "JPEG2000" else imagecodecs.jpeg_decode
        values = np.array(read(data))
    except MemoryError:
        raise
    except Exception as error:
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, f"{_CORRUPT}: {description}") from error
    values = values[:, :, None] if values.ndim == 2 else values
    if values.shape[2] not in ({1, 2, 3, 4} if format_ == "JPEG2000" else {1, 3}):
        raise ImageError(Reason.UNSUPPORTED, f"{description} of {values.shape[2]} components")
    return Samples(values, white)
