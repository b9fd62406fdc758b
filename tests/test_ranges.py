"""Samples of more than 8 bits mapped by a range: by definition, in every format, recorded, and part of the digest."""

import io
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from conftest import picture

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.inputs.samples import Samples, eight_bits, on_white
from gradcam_cli.settings import Limits, SampleRange

LIMITS = Limits()


def tiff(values: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def by_definition(values: Any, low: float, high: float) -> Any:
    shares = (np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low) - low) / (high - low)
    return np.clip(shares, 0, 1) * 255


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16, np.uint16, np.int32, np.uint32])
@pytest.mark.parametrize("asked", [(100.0, 900.0), "minmax", "percentile"])
def test_a_range_by_its_definition(dtype: Any, asked: SampleRange) -> None:
    values = (picture(50, 40)[:, :, 0].astype(np.float64) * 4.1).astype(dtype)
    levels = {
        "minmax": (float(values.min()), float(values.max())),
        "percentile": tuple(float(level) for level in np.percentile(values.astype(np.float64), [2, 98])),
    }.get(asked if isinstance(asked, str) else "", asked)
    assert isinstance(levels, tuple)
    photo = decode(tiff(values), LIMITS, None, asked)
    assert photo.levels == pytest.approx(levels, rel=1e-3)
    assert np.abs(photo.pixels[:, :, 0] - by_definition(values, *levels)).max() <= 1.01


def test_samples_that_are_no_number() -> None:
    values = np.array([[0, 0.5, 1, np.nan, np.inf, -np.inf]], np.float32)
    ranges: tuple[SampleRange, ...] = ((0.0, 1.0), "minmax")
    for asked in ranges:
        photo = decode(tiff(values), LIMITS, None, asked)
        assert photo.pixels[0, :, 0].tolist() == [0, 128, 255, 0, 255, 0]
        assert photo.levels == (0, 1)
    with pytest.raises(ImageError, match="finite") as caught:
        decode(tiff(np.full((4, 4), np.nan, np.float32)), LIMITS, None, "minmax")
    assert caught.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".ppm", ".jp2"])
def test_twelve_bits_stored_in_sixteen(suffix: str) -> None:
    values = picture(40, 30).astype(np.uint16) * 16
    if suffix == ".jp2":
        data = bytes(imagecodecs.jpeg2k_encode(values[:, :, ::-1].copy(), codecformat="jp2", reversible=True, level=0))
    else:
        data = cv2.imencode(suffix, values)[1].tobytes()
    dark, bright = decode(data, LIMITS), decode(data, LIMITS, None, (0.0, 4080.0))
    assert dark.pixels.max() < 20
    assert (dark.levels, bright.levels) == (None, (0, 4080))
    assert np.abs(bright.pixels[:, :, ::-1].astype(int) - picture(40, 30)).max() <= 1


def test_eight_bits_have_their_range() -> None:
    data = cv2.imencode(".png", picture())[1].tobytes()
    photo = decode(data, LIMITS, None, (0.0, 10.0))
    assert np.array_equal(photo.pixels, decode(data, LIMITS).pixels)
    assert photo.levels is None


def test_a_range_leaves_opacity_alone() -> None:
    values = np.array([[[100, 65535], [200, 0], [200, 65535]]], np.uint16)
    scaled, levels = eight_bits(Samples(values, 65535), (100.0, 200.0))
    assert scaled.tolist() == [[[0, 255], [255, 0], [255, 255]]]
    assert levels == (100.0, 200.0)
    assert on_white(scaled)[0, :, 0].tolist() == [0, 255, 255]


def test_white_is_zero_under_a_range() -> None:
    values = np.array([[100, 150, 200]], np.uint16)
    photo = decode(tiff(values, photometric="miniswhite"), LIMITS, None, (100.0, 200.0))
    assert photo.pixels[0, :, 0].tolist() == [255, 128, 0]


def test_a_picture_of_one_value() -> None:
    photo = decode(tiff(np.full((3, 3), 7.5, np.float32)), LIMITS, None, "minmax")
    assert photo.levels == (7.5, 7.5)
    assert not photo.pixels.any()


def test_large_samples_are_converted_in_their_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (301, 97, 4), dtype=np.uint16)
    apart, _ = eight_bits(Samples(values.copy(), 65535), None)
    monkeypatch.setattr("gradcam_cli.inputs.samples.LARGE", 1000)
    monkeypatch.setattr("gradcam_cli.inputs.samples.STRIP", 5000)
    own = values.copy()
    within, _ = eight_bits(Samples(own, 65535), None)
    assert np.shares_memory(own, within)
    assert np.array_equal(within, apart)
    assert np.array_equal(apart, ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
