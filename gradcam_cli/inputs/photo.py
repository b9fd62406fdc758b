"""The types for decoded images and for the arguments of decoders, without importing a decoder."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.geometry import Size
from gradcam_cli.inputs.samples import Levels
from gradcam_cli.settings import Limits, SampleRange

# Called before a pixel is decoded, with the bytes of memory that decoding takes. It may wait until memory is free.
Admit = Callable[[int], None]


@dataclass(frozen=True)
class Header:
    """The properties of a file before its pixels are decoded; `orientation` is that of EXIF, 1 to 8."""

    format: str
    size: Size
    orientation: int
    frames: int
    alpha: bool


@dataclass(frozen=True)
class Needed:
    """The smallest allowed size of an image decoded at a reduced scale: its longest side, its width and its height."""

    longest: int
    width: int
    height: int

    def allows(self, size: Size) -> bool:
        """Whether an image of this size is large enough."""
        large = max(size.width, size.height) >= self.longest
        return large and size.width >= self.width and size.height >= self.height


@dataclass(frozen=True, eq=False)
class Photo:
    """One decoded image: upright RGB (H, W, 3) uint8, with transparency composited on white.

    `rgba` (H, W, 4) is the image with its transparency, if it has any. `size` is that of the whole upright image. If it
    was decoded at the scale 1 / `reduction`, it has fewer pixels. `levels` are the samples that became 0 and 255, if a
    range was requested and used.
    """

    pixels: NDArray[np.uint8]
    header: Header
    size: Size
    rgba: NDArray[np.uint8] | None = None
    reduction: int = 1
    levels: Levels | None = None

    def with_channels(self, channels: int) -> NDArray[np.uint8]:
        """Give the image as grey (H, W, 1, by ITU-R BT.601), RGB (H, W, 3) or RGBA (H, W, 4)."""
        if channels == 1:
            # Imported here because a run uses this type before the decoders are imported.
            from gradcam_cli.inputs.opencv_codec import grey_of

            return grey_of(self.pixels)
        if channels == 3:
            return self.pixels
        if self.rgba is not None:
            return self.rgba
        return np.dstack([self.pixels, np.full(self.pixels.shape[:2], 255, np.uint8)])


# Decodes bytes within limits to at least the needed size, see `gradcam_cli.inputs.decoding.decode`.
Decode = Callable[[bytes, Limits, Needed | None, SampleRange | None, Admit], Photo]


def at_once(_: int) -> None:
    """Admit every image immediately."""
