"""Read the properties of a file before its pixels are decoded, and the memory that decoding will take."""

from dataclasses import dataclass
from typing import Final

from PIL import Image, UnidentifiedImageError

from gradcam_cli.errors import ImageError, Reason, first_line
from gradcam_cli.imaging.geometry import Size
from gradcam_cli.inputs.bitfields import read_bitfields
from gradcam_cli.inputs.decoder_choice import Decoder, jpeg2000_decoder, jpeg_decoder, tiff_decoder
from gradcam_cli.inputs.formats import HEAD_BYTES, format_of, refusal
from gradcam_cli.inputs.image_containers import (
    Jpeg2000Frame,
    check_parts,
    gif_frames,
    iso_size,
    jpeg2000_frame,
    jpeg_frame,
    jpeg_is_ended,
)
from gradcam_cli.inputs.photo import Header
from gradcam_cli.inputs.pillow_codec import opened, orientation_of
from gradcam_cli.inputs.tiff_header import TiffLayout, read_tiff
from gradcam_cli.settings import Limits

TIFFS: Final = frozenset({"TIFF", "BigTIFF"})
# OpenCV decodes still images in these formats correctly, in all their depths.
BY_OPENCV: Final = frozenset({"PNG", "PPM", "WEBP"})
# Run lengths of 8 bits in a BMP. OpenCV does not read those of 4 bits if lines are missing.
RLE8: Final = 1
# Pillow stores RGB in four bytes per pixel, in addition to the array that is made of it.
PILLOW_BYTES: Final = 4
TURNED: Final = 5


@dataclass(frozen=True)
class Inspected:
    """A header, the decoder to use, and the size of the decoded samples.

    `channels` of `sample_bytes` each are decoded. `description` is the layout for messages. `white` is the sample of
    full intensity, if it is not the largest value of 8 or 16 bits.
    """

    header: Header
    decoder: Decoder
    channels: int
    sample_bytes: int
    description: str
    tiff: TiffLayout | None = None
    white: int | None = None

    @property
    def decoded_bytes(self) -> int:
        """The number of bytes of the decoded samples."""
        return self.header.size.width * self.header.size.height * self.channels * self.sample_bytes

    @property
    def cost(self) -> int:
        """The most bytes of memory that decoding to 8-bit RGB takes, with all copies that exist at the same time."""
        pixels = self.header.size.width * self.header.size.height
        converted = self.channels * pixels if self.sample_bytes > 1 else 0
        laid_on_white = 3 * pixels if self.channels != 3 else 0
        before = PILLOW_BYTES * pixels if self.decoder == "pillow" else 0
        if self.decoder == "tifffile":
            before = self.decoded_bytes
        return self.decoded_bytes + max(converted + laid_on_white, before)


def inspect(data: bytes, limits: Limits) -> Inspected:
    """Read size, orientation, frames and transparency without decoding a pixel, and choose the decoder.

    Raises:
        ImageError: `not_an_image`, `too_many_pixels`, `truncated_or_corrupt` or `unsupported`.
    """
    check_parts(data)
    name = format_of(data[:HEAD_BYTES])
    if name is not None and name.startswith("raw image"):
        # Otherwise the small preview in a raw photograph would be decoded, because it is a TIFF.
        raise refusal(data)
    if name in TIFFS:
        inspected = _tiff(data, limits)
    else:
        own = {"JPEG": _deep_jpeg, "BMP": _masked_bmp}.get(name or "")
        inspected = (own(data, limits) if own else None) or _by_pillow(data, limits)
    if inspected.decoded_bytes > limits.max_decoded_bytes:
        size = inspected.header.size
        raise ImageError(
            Reason.TOO_MANY_PIXELS,
            f"{size.width} x {size.height} pixels of {inspected.channels} samples of {8 * inspected.sample_bytes} bits"
            f" are {inspected.decoded_bytes:,} bytes, more than {limits.max_decoded_bytes:,}: save it with 8 bits",
        )
    return inspected


def _tiff(data: bytes, limits: Limits) -> Inspected:
    layout, pages = read_tiff(data)
    _refuse_too_large(layout.width, layout.height, limits)
    _refuse_too_large(*layout.segment, limits)
    orientation = layout.orientation if 1 <= layout.orientation <= 8 else 1
    stored = Size(layout.width, layout.height)
    # The size of a TIFF is that of the upright image, because its decoders apply the orientation.
    size = stored if orientation < TURNED else Size(stored.height, stored.width)
    header = Header("TIFF", size, orientation, pages, layout.alpha is not None)
    channels = layout.samples if layout.depth > 1 else 1
    return Inspected(header, tiff_decoder(layout), channels, max(1, layout.depth // 8), layout.describe(), tiff=layout)


def _deep_jpeg(data: bytes, limits: Limits) -> Inspected | None:
    """Inspect a JPEG that Pillow cannot open; None for all others."""
    frame = jpeg_frame(data)
    if frame is None or jpeg_decoder(frame) != "imagecodecs":
        return None
    if not jpeg_is_ended(data):
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, "a JPEG without its end mark")
    _refuse_too_large(frame.width, frame.height, limits)
    header = Header("JPEG", Size(frame.width, frame.height), 1, 1, alpha=False)
    kind = "lossless JPEG" if frame.precision == 8 else f"{frame.precision}-bit JPEG"
    return Inspected(
        header,
        "imagecodecs",
        frame.components,
        1 if frame.precision == 8 else 2,
        kind,
        white=2**frame.precision - 1,
    )


def _masked_bmp(data: bytes, limits: Limits) -> Inspected | None:
    """Inspect a BMP with colour masks in its header; None for all others."""
    fields = read_bitfields(data)
    if fields is None:
        return None
    _refuse_too_large(fields.width, fields.height, limits)
    header = Header("BMP", Size(fields.width, fields.height), 1, 1, alpha=fields.masks[3] != 0)
    return Inspected(header, "bitfields", 4 if header.alpha else 3, 1, f"{fields.bits}-bit BMP with bit masks")


def _by_pillow(data: bytes, limits: Limits) -> Inspected:
    try:
        with opened(data) as image:
            _refuse_too_large(image.width, image.height, limits)
            header = Header(
                format=image.format or "",
                size=Size(*image.size),
                orientation=orientation_of(image, data),
                frames=gif_frames(data) if image.format == "GIF" else int(getattr(image, "n_frames", 1)),
                alpha=image.has_transparency_data,
            )
            return _described(image, data, header)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        _refuse_too_large(*iso_size(data), limits)
        raise refusal(data) from error
    except Exception as error:  # Pillow's readers raise any kind of error
        _refuse_too_large(*iso_size(data), limits)
        raise ImageError(Reason.TRUNCATED_OR_CORRUPT, f"the header cannot be read: {first_line(error)}") from error


def _described(image: Image.Image, data: bytes, header: Header) -> Inspected:
    if image.mode == "F":
        raise ImageError(
            Reason.UNSUPPORTED,
            "floating-point samples in a PFM file have no defined range: save it as a TIFF, or with 8 bits",
        )
    frame2000 = jpeg2000_frame(data) if header.format == "JPEG2000" else None
    if frame2000 is not None:
        return _of_jpeg2000(frame2000, header)
    decoder: Decoder = "pillow"
    if header.format == "BMP" and image.info.get("compression") == RLE8:
        # Pillow refuses an image that ends before its last line. OpenCV fills the rest with the first colour.
        decoder = "opencv"
    if header.format in BY_OPENCV and not (header.format == "WEBP" and header.frames > 1):
        decoder = "opencv"
    if header.format in {"JPEG", "MPO"}:
        frame = jpeg_frame(data)
        decoder = "pillow" if frame is None else jpeg_decoder(frame)
    deep = image.mode.startswith("I") or (header.format == "PNG" and data[24] == 16)
    channels = 4 if header.alpha else 3
    return Inspected(header, decoder, channels, 2 if deep else 1, f"{header.format} of mode {image.mode}")


def _of_jpeg2000(frame: Jpeg2000Frame, header: Header) -> Inspected:
    decoder = jpeg2000_decoder(frame)
    white = 2**frame.precision - 1
    description = f"{frame.precision}-bit JPEG 2000 of {frame.components} components"
    if decoder == "pillow" and frame.precision > 8:
        white <<= 16 - frame.precision  # Pillow moves samples to the upper bits
    channels = 4 if header.alpha else 3
    deep = decoder != "pillow" or frame.precision > 8
    return Inspected(header, decoder, channels, 2 if deep else 1, description, white=white if deep else None)


def _refuse_too_large(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        raise ImageError(Reason.TOO_MANY_PIXELS, f"{width} x {height} is more than {limits.max_pixels:,} pixels")
