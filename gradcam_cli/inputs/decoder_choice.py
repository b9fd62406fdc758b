"""Choose a decoder that is correct for a layout of pixels, by the headers. A test compares it with second decoders.

OpenCV decodes layouts that it does not know to wrong pixels without an error. It is the fastest, so it gets the layouts
for which it was verified. Pillow gets the next ones. If neither is correct, tifffile and imagecodecs are used, or the
file is refused.
"""

from typing import Final, Literal

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.extras import install_hint
from gradcam_cli.inputs.image_containers import Jpeg2000Frame, JpegFrame
from gradcam_cli.inputs.tiff_header import (
    ASSOCIATED_ALPHA,
    BLACK_IS_ZERO,
    CIELAB,
    OLD_JPEG,
    PALETTE,
    RGB,
    SEPARATED,
    UNASSOCIATED_ALPHA,
    UNSIGNED,
    WHITE_IS_ZERO,
    YCBCR,
    TiffLayout,
)

Decoder = Literal["opencv", "pillow", "tifffile", "imagecodecs", "bitfields"]

_PACKBITS: Final = 32773
# None, LZW, deflate by both its numbers, PackBits: every build of libtiff decodes them.
_PLAIN: Final = frozenset({1, 5, 8, 32946, _PACKBITS})
_FAX: Final = frozenset({2, 3, 4})
_JPEG: Final = 7
_GREYS: Final = frozenset({WHITE_IS_ZERO, BLACK_IS_ZERO})
# Photometric, samples per pixel, extra samples; and the depths that Pillow reads for them.
_PILLOW_JPEG: Final = frozenset({(YCBCR, 3, ()), (BLACK_IS_ZERO, 1, ())})
_PILLOW_DEPTHS: Final = {
    (WHITE_IS_ZERO, 1, ()): (1, 2, 4, 8),
    (BLACK_IS_ZERO, 1, ()): (1, 2, 4, 8),
    (PALETTE, 1, ()): (1, 2, 4, 8),
    (RGB, 3, ()): (8,),
    (BLACK_IS_ZERO, 2, (UNASSOCIATED_ALPHA,)): (8,),
    (RGB, 4, (UNASSOCIATED_ALPHA,)): (8,),
    (RGB, 4, (ASSOCIATED_ALPHA,)): (8,),
    (SEPARATED, 4, ()): (8,),
    (CIELAB, 3, ()): (8,),
}
# Baseline, extended and progressive frames with Huffman coding, and the same with arithmetic coding.
_JPEG_BY_HUFFMAN: Final = frozenset({0xC0, 0xC1, 0xC2})
_JPEG_ARITHMETIC: Final = frozenset({0xC9, 0xCA})
_JPEG_LOSSLESS: Final = 0xC3
_JPEG_LS: Final = 0xF7


def jpeg_decoder(frame: JpegFrame) -> Decoder:
    """Choose the decoder of a JPEG by its frame.

    Raises:
        ImageError: `unsupported`: the frame has an unsupported kind, depth or number of components.
    """
    if frame.kind == _JPEG_LS:
        raise ImageError(Reason.UNSUPPORTED, "a JPEG-LS: save it as PNG or TIFF")
    if frame.components not in {1, 3, 4}:
        raise ImageError(Reason.UNSUPPORTED, f"a JPEG of {frame.components} components")
    if frame.precision == 8 and frame.kind in _JPEG_BY_HUFFMAN:
        return "opencv" if frame.components != 4 else "pillow"
    if frame.precision == 8 and frame.kind in _JPEG_ARITHMETIC:
        return "pillow"
    if frame.kind == _JPEG_LOSSLESS or (frame.precision == 12 and frame.kind in _JPEG_BY_HUFFMAN):
        return "imagecodecs"
    raise ImageError(Reason.UNSUPPORTED, f"{frame.precision}-bit JPEG with a frame of kind {frame.kind:#x}")


def jpeg2000_decoder(frame: Jpeg2000Frame) -> Decoder:
    """Choose the decoder of a JPEG 2000 by its code stream's header.

    Pillow is correct with 8 bits and with palettes. With more bits its rounding overflows, and OpenCV is correct.

    Raises:
        ImageError: `unsupported`: components differ in depth or size, are signed, or have no defined colours.
    """
    if not frame.is_uniform:
        raise ImageError(Reason.UNSUPPORTED, "a JPEG 2000 whose components differ in depth or size, or are signed")
    if frame.precision == 8 or frame.palette:
        return "pillow"
    if frame.precision < 8 and not frame.luminance and frame.components <= 4:
        # Pillow gives unscaled values or refuses them, and OpenCV refuses them.
        return "imagecodecs"
    # OpenCV refuses an image that does not begin at the origin.
    by_opencv: Decoder = "imagecodecs" if frame.shifted else "opencv"
    if frame.components == 3 and not frame.luminance:
        return by_opencv
    if frame.components == 1:
        return by_opencv if frame.boxed else "pillow"
    if frame.components in {2, 4} and not frame.luminance:
        return "imagecodecs"
    raise ImageError(Reason.UNSUPPORTED, f"a {frame.precision}-bit JPEG 2000 of {frame.components} components")


def tiff_decoder(layout: TiffLayout) -> Decoder:
    """Choose the decoder of a TIFF by its layout.

    Raises:
        ImageError: `unsupported`: the colours or the predictor are not defined, or the samples differ in depth.
    """
    _refuse_unknown_colours(layout)
    if layout.compression == _PACKBITS and layout.predictor != 1:
        # libtiff ignores the predictor, and tifffile reverses it.
        raise ImageError(
            Reason.UNSUPPORTED, f"{layout.describe()}: a predictor, which is not defined for this compression"
        )
    if not layout.is_uniform:
        raise ImageError(Reason.UNSUPPORTED, f"{layout.describe()}: its samples differ in depth")
    if _is_for_opencv(layout):
        return "opencv"
    return "pillow" if _is_for_pillow(layout) else "tifffile"


def _refuse_unknown_colours(layout: TiffLayout) -> None:
    colours = {RGB: 3, PALETTE: 1, SEPARATED: 4, YCBCR: 3, CIELAB: 3, WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1}
    expected = colours.get(layout.photometric)
    if expected is None or layout.samples < expected:
        raise ImageError(Reason.UNSUPPORTED, f"{layout.describe()}: its colours are not defined")
    extra = layout.samples - expected
    if layout.photometric in _GREYS and extra and not (extra == 1 and layout.alpha == 1):
        message = f"{layout.describe()}: it does not define which samples are red, green and blue. Save it as RGB"
        raise ImageError(Reason.UNSUPPORTED, message)
    if layout.photometric in {PALETTE, SEPARATED, YCBCR, CIELAB} and extra:
        raise ImageError(Reason.UNSUPPORTED, f"{layout.describe()}: it has additional samples")
    if layout.photometric == YCBCR and layout.depth > 12:
        raise ImageError(Reason.UNSUPPORTED, f"{layout.describe()}: YCbCr is read with 8 and 12 bits only")
    if layout.photometric == YCBCR and layout.compression not in {_JPEG, OLD_JPEG}:
        raise ImageError(Reason.UNSUPPORTED, f"{layout.describe()}: YCbCr is read with JPEG compression only")


def _is_for_opencv(layout: TiffLayout) -> bool:
    plain = layout.compression in _PLAIN and layout.fill_order == 1 and layout.sample_format == UNSIGNED
    contiguous = layout.samples == 1 or not layout.planar
    colours = (layout.photometric, layout.samples) in {(BLACK_IS_ZERO, 1), (RGB, 3)}
    # OpenCV does not apply the orientation to 16-bit samples, and refuses small tiles of 8 bits.
    depths = {8, 16} - ({16} if layout.orientation != 1 else set()) - ({8} if layout.tiled else set())
    return plain and contiguous and colours and layout.depth in depths and layout.predictor < 3


def _is_for_pillow(layout: TiffLayout) -> bool:
    if layout.big_big_endian:
        # Pillow passes them to libtiff without the offsets of their strips.
        return False
    if layout.compression == OLD_JPEG:
        return layout.depth == 8
    known = layout.sample_format == UNSIGNED and layout.predictor < 3 and (layout.samples == 1 or not layout.planar)
    colours = (layout.photometric, layout.samples, layout.extra_samples)
    if layout.compression in _FAX:
        return known and layout.depth == 1 and layout.photometric in _GREYS
    known = known and layout.fill_order == 1
    if layout.compression == _JPEG:
        return known and layout.depth == 8 and colours in _PILLOW_JPEG
    return known and layout.compression in _PLAIN and layout.depth in _PILLOW_DEPTHS.get(colours, ())


def missing(layout: str) -> ImageError:
    """Say that a layout needs libraries that are not installed."""
    return ImageError(Reason.UNSUPPORTED, f"{layout}: {install_hint('tiff')}")
