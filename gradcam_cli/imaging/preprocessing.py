"""From pixels 0..255 to the numbers a network was trained on: one affine step per channel, and their order."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Preprocessing:
    """`(x - mean) / scale` per channel, after reversing the channels where the network wants BGR."""

    name: str
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    bgr: bool = False

    def takes(self, channels: int) -> bool:
        """Whether it has a meaning for pictures of so many channels: three, or any if all are treated alike."""
        return channels == 3 or (not self.bgr and self.alike)

    @property
    def alike(self) -> bool:
        """Whether all channels are treated alike, so that the numbers alone say nothing of the channels' order."""
        return len({*self.mean}) == len({*self.scale}) == 1

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest number it can give."""
        low = min(-mean / scale for mean, scale in zip(self.mean, self.scale, strict=True))
        high = max((255 - mean) / scale for mean, scale in zip(self.mean, self.scale, strict=True))
        return low, high

    def black(self, channels: int) -> NDArray[np.float32]:
        """What a black pixel becomes: (channels,)."""
        return self(np.zeros((1, 1, channels), np.uint8)).reshape(channels)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn RGB (height, width, channels) uint8 into the network's input, float32 of the same shape."""
        # A run knows this type before OpenCV is imported.
        from gradcam_cli.imaging.opencv import cv2

        ordered = np.ascontiguousarray(pixels[..., ::-1] if self.bgr else pixels)
        return np.asarray(cv2.LUT(ordered, self._table(pixels.shape[-1])), np.float32).reshape(pixels.shape)

    @cache  # noqa: B019 - there are nine of these, and they live as long as the program
    def _table(self, channels: int) -> NDArray[np.float32]:
        """What each of the 256 values becomes: (1, 256, channels). To look up is four times quicker than to compute."""
        mean = np.asarray(self.mean if channels == 3 else self.mean[:1] * channels, np.float32)
        scale = np.asarray(self.scale if channels == 3 else self.scale[:1] * channels, np.float32)
        values = np.arange(256, dtype=np.float32)[:, None]
        return np.asarray((values - mean) / scale, np.float32)[None]


# The reason of a preprocessing that a person chose.
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
        # Raw 0..255: the network scales for itself.
        Preprocessing("none", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        # EfficientNet-Lite's own: nearly [-1, 1], by whole numbers.
        Preprocessing("lite", (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
        # Pictures as OpenCV reads them, without a conversion to RGB.
        Preprocessing("unit-bgr", (0.0, 0.0, 0.0), (255.0, 255.0, 255.0), bgr=True),
        Preprocessing("none-bgr", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), bgr=True),
        Preprocessing("tf-bgr", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5), bgr=True),
    )
}


def other_order(name: str) -> str | None:
    """Name the preprocessing that differs in the order of the channels alone; None where there is none."""
    own = PREPROCESSINGS[name]
    found = (p for p in PREPROCESSINGS.values() if (p.mean, p.scale, p.bgr) == (own.mean, own.scale, not own.bgr))
    return next((p.name for p in found), None)
