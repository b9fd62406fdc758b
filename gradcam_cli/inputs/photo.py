"""What decoding gives, and what it is told: the types alone, so that no decoder is imported with them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.imaging.geometry import Size
from gradcam_cli.inputs.samples import Levels
from gradcam_cli.settings import Limits, SampleRange

# Told, with the bytes of memory that decoding takes, before a pixel is decoded; it may wait until there is room.
Admit = Callable[[int], None]


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
    """What is needed of an image that may be decoded smaller than it is: its longest side, and each of its sides."""

    longest: int
    width: int
    height: int

    def allows(self, size: Size) -> bool:
        """Whether an image of this size is large enough."""
        large = max(size.width, size.height) >= self.longest
        return large and size.width >= self.width and size.height >= self.height


@dataclass(frozen=True, eq=False)
class Photo:
    """One decoded image: upright RGB (H, W, 3) uint8, transparency already laid on white.

    `rgba` (H, W, 4) has it as it was, where there is any. `size` is that of the whole upright image; where it was
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
        """The image as grey (H, W, 1, by ITU-R BT.601), RGB (H, W, 3) or RGBA (H, W, 4)."""
        if channels == 1:
            # A run knows this type before the decoders are imported.
            from gradcam_cli.inputs.opencv_codec import grey_of

            return grey_of(self.pixels)
        if channels == 3:
            return self.pixels
        if self.rgba is not None:
            return self.rgba
        return np.dstack([self.pixels, np.full(self.pixels.shape[:2], 255, np.uint8)])


# Decodes bytes within limits to at least what is needed, see `gradcam_cli.inputs.decoding.decode`.
Decode = Callable[[bytes, Limits, Needed | None, SampleRange | None, Admit], Photo]


def at_once(_: int) -> None:
    """Admit every image."""
