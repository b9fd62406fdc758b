"""From pixels 0..255 to the input values of a network: one affine step per channel, and the channel order."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Preprocessing:
    """`(x - mean) / scale` per channel, after reversing the channels if the network uses BGR."""

    name: str
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    bgr: bool = False

    def takes(self, channels: int) -> bool:
        """Whether it is defined for this number of channels: three, or any number if all channels are treated alike."""
        return channels == 3 or (not self.bgr and self.alike)

    @property
    def alike(self) -> bool:
        """Whether all channels are treated alike."""
        return len({*self.mean}) == len({*self.scale}) == 1

    @property
    def range(self) -> tuple[float, float]:
        """Give the smallest and the largest value that it can produce."""
        low = min(-mean / scale for mean, scale in zip(self.mean, self.scale, strict=True))
        high = max((255 - mean) / scale for mean, scale in zip(self.mean, self.scale, strict=True))
        return low, high

    def black(self, channels: int) -> NDArray[np.float32]:
        """Give the values of a black pixel: (channels,)."""
        return self(np.zeros((1, 1, channels), np.uint8)).reshape(channels)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn RGB (height, width, channels) uint8 into the network's input, float32 of the same shape."""
        # A run knows this type before OpenCV is imported.
        from gradcam_cli.imaging.opencv import cv2

        ordered = np.ascontiguousarray(pixels[..., ::-1] if self.bgr else pixels)
        return np.asarray(cv2.LUT(ordered, self._table(pixels.shape[-1])), np.float32).reshape(pixels.shape)

    @cache  # noqa: B019 - there are nine of these, and they live as long as the program
    def _table(self, channels: int) -> NDArray[np.float32]:
        """Give the result for each of 256 values: (1, 256, channels). A lookup is four times faster than arithmetic."""
        mean = np.asarray(self.mean if channels == 3 else self.mean[:1] * channels, np.float32)
        scale = np.asarray(self.scale if channels == 3 else self.scale[:1] * channels, np.float32)
        values = np.arange(256, dtype=np.float32)[:, None]
        return np.asarray((values - mean) / scale, np.float32)[None]


# The reason of a preprocessing that the user chose.
ASKED_FOR = "asked for"

PREPROCESSINGS = {
    p.name: p
    for p in (
        # Caffe's ResNet and VGG: BGR, ImageNet's mean taken off, not scaled.
        Preprocessing("caffe", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0), bgr=True),
        # TensorFlow's Inception line: [-1, 1].
        Preprocessing("tf", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
        # PyTorch's torchvision: ImageNet's mean and deviation of [0, 1].
        Preprocessing(
            "torch",
            (0.485 * 255, 0.456 * 255, 0.406 * 255),
            (0.229 * 255, 0.224 * 255, 0.225 * 255),
        ),
        # [0, 1].
        Preprocessing("unit", (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
        # Raw values 0..255, for networks that scale their input.
        Preprocessing("none", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        # EfficientNet-Lite: nearly [-1, 1], with integer mean and scale.
        Preprocessing("lite", (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
        # Images as OpenCV reads them, in BGR.
        Preprocessing("unit-bgr", (0.0, 0.0, 0.0), (255.0, 255.0, 255.0), bgr=True),
        Preprocessing("none-bgr", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), bgr=True),
        Preprocessing("tf-bgr", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5), bgr=True),
    )
}


def other_order(name: str) -> str | None:
    """Name the preprocessing that differs only in the channel order; None if there is none."""
    own = PREPROCESSINGS[name]
    found = (p for p in PREPROCESSINGS.values() if (p.mean, p.scale, p.bgr) == (own.mean, own.scale, not own.bgr))
    return next((p.name for p in found), None)
