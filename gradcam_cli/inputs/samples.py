"""Convert samples of any depth to 8 bits and to RGB on white, in strips, so that copies stay small."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.settings import SampleRange

# The approximate number of samples in a strip of rows that is converted at a time.
STRIP: Final = 2**20
# A larger result is written into the memory of its input samples, which are no longer needed.
LARGE: Final = 64 * 2**20
# The limits of `percentile` in per cent, and the largest number of samples that it reads.
PERCENTILES: Final = (2.0, 98.0)
MOST_SAMPLED: Final = 4_000_000

Levels = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Samples:
    """Decoded samples (H, W, channels): grey, grey and opacity, RGB, or RGB and opacity.

    `white` is the sample of full intensity; None if it is not defined. If `inverted`, the highest sample is black. If
    `upright`, the orientation has been applied.
    """

    values: NDArray[Any]
    white: int | None
    inverted: bool = False
    upright: bool = False


def eight_bits(samples: Samples, sample_range: SampleRange | None) -> tuple[NDArray[np.uint8], Levels | None]:
    """Scale samples to 0..255, rounded: `255 * value / white`, or `255 * (value - low) / (high - low)` with a range.

    A range is used only for samples deeper than 8 bits and for floating point. Opacity is always scaled by `white`. NaN
    becomes 0.

    Returns:
        (H, W, channels) uint8, and (low, high) if a range was used.

    Raises:
        ImageError: `unsupported` if the samples have no defined range, or no finite value.
    """
    values, white = samples.values, samples.white
    if values.dtype == np.uint8 and white == 255:
        return (np.subtract(255, values, dtype=np.uint8) if samples.inverted else values), None
    deep = values.dtype.itemsize > 1 or white is None
    if white is None and sample_range is None:
        raise ImageError(
            Reason.UNSUPPORTED,
            f"samples of {_kind(values)} have no defined range: give the values of black and white with "
            "`sample_range`, or save the image with 8 or 16 bits",
        )
    levels = _levels(values, sample_range) if deep and sample_range is not None else None
    low, high = levels or (0.0, float(white or 1))
    out = _room(values)
    opacity = values.shape[2] in {2, 4}
    for rows in _strips(values.shape):
        strip = values[rows]
        scaled = _by_white(strip, white) if levels is None and white else _by_levels(strip, low, high)
        if samples.inverted:
            scaled = np.subtract(255, scaled, dtype=np.uint8)
        if opacity and (levels is not None or samples.inverted):
            scaled[:, :, -1] = _opacity(strip[:, :, -1], white)
        out[rows] = scaled
    return out, levels


def _kind(values: NDArray[Any]) -> str:
    names = {"f": "floating-point", "i": "signed", "u": "unsigned"}
    return f"{8 * values.dtype.itemsize}-bit {names.get(values.dtype.kind, values.dtype.name)} numbers"


def _room(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Give memory for the result. For large samples it is the start of their own memory, which is read first."""
    if values.size > LARGE and values.flags.c_contiguous and values.flags.writeable:
        room: NDArray[np.uint8] = values.reshape(-1).view(np.uint8)[: values.size].reshape(values.shape)
        return room
    return np.empty(values.shape, np.uint8)


def _strips(shape: tuple[int, ...]) -> list[slice]:
    rows = max(1, STRIP // max(1, shape[1] * shape[2]))
    return [slice(start, start + rows) for start in range(0, shape[0], rows)]


def _by_white(strip: NDArray[Any], white: int) -> NDArray[np.uint8]:
    if strip.dtype.kind == "f":
        return _by_levels(strip, 0.0, float(white))
    wide = strip.astype(np.uint64 if white > 2**23 else np.uint32)
    return np.asarray(np.minimum((wide * 255 + white // 2) // white, 255), np.uint8)


def _by_levels(strip: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    if high <= low:
        return np.where(strip > low, 255, 0).astype(np.uint8)
    wide = (np.clip(strip.astype(np.float64), low, high) - low) * (255.0 / (high - low))
    return np.asarray(np.floor(np.nan_to_num(wide, nan=0.0) + 0.5), np.uint8)


def _opacity(strip: NDArray[Any], white: int | None) -> NDArray[np.uint8]:
    return _by_levels(strip, 0.0, 1.0) if white is None else _by_white(strip, white)


def _levels(values: NDArray[Any], sample_range: SampleRange) -> Levels:
    """Give the samples that become 0 and 255."""
    if isinstance(sample_range, tuple):
        return sample_range
    colour = values[:, :, : values.shape[2] - (values.shape[2] in {2, 4})]
    if sample_range == "percentile":
        # The step is constant, so the same image always gives the same levels.
        colour = colour.reshape(-1)[:: max(1, colour.size // MOST_SAMPLED)]
    finite = colour if colour.dtype.kind != "f" else colour[np.isfinite(colour)]
    if finite.size == 0:
        raise ImageError(Reason.UNSUPPORTED, "it has no finite samples")
    if sample_range == "minmax":
        return float(finite.min()), float(finite.max())
    low, high = np.percentile(finite, PERCENTILES)
    return float(low), float(high)


def on_white(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert grey, grey and opacity, RGB, or RGB and opacity (H, W, 1 to 4) to RGB (H, W, 3) on white."""
    height, width, channels = values.shape
    if channels == 1:
        return np.repeat(values, 3, axis=2)
    if channels == 3:
        return values
    result = np.empty((height, width, 3), np.uint8)
    for rows in _strips(values.shape):
        colour = values[rows, :, :-1].astype(np.uint32)
        opacity = values[rows, :, -1:].astype(np.uint32)
        result[rows] = (colour * opacity + 255 * (255 - opacity) + 127) // 255
    return result


def with_opacity(values: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Give RGB and opacity (H, W, 4) of samples with opacity; None for others."""
    if values.shape[2] == 4:
        return values
    return values[:, :, [0, 0, 0, 1]] if values.shape[2] == 2 else None
