"""Preprocessing by hand; tests/test_named.py compares it with Keras's own."""

import numpy as np
import pytest

from gradcam_cli.imaging.preprocessing import PREPROCESSINGS, other_order

PIXEL = np.array([[[255, 0, 127]]], np.uint8)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("caffe", [127 - 103.939, -116.779, 255 - 123.68]),
        ("tf", [1, -1, 127 / 127.5 - 1]),
        ("torch", [(1 - 0.485) / 0.229, -0.456 / 0.224, (127 / 255 - 0.406) / 0.225]),
        ("unit", [1, 0, 127 / 255]),
        ("none", [255, 0, 127]),
        ("lite", [1, -127 / 128, 0]),
        ("unit-bgr", [127 / 255, 0, 1]),
        ("none-bgr", [127, 0, 255]),
        ("tf-bgr", [127 / 127.5 - 1, -1, 1]),
    ],
)
def test_by_hand(name: str, expected: list[float]) -> None:
    result = PREPROCESSINGS[name](PIXEL)
    assert result.dtype == np.float32
    assert result.ravel().tolist() == pytest.approx(expected, abs=1e-5)


def test_the_preprocessing_of_the_other_order() -> None:
    pairs = {("unit", "unit-bgr"), ("none", "none-bgr"), ("tf", "tf-bgr")}
    for rgb, bgr in pairs:
        assert (other_order(rgb), other_order(bgr)) == (bgr, rgb)
    assert [other_order(name) for name in ("caffe", "torch", "lite")] == [None, None, None]
    assert not PREPROCESSINGS["unit-bgr"].takes(1)
    assert not PREPROCESSINGS["unit-bgr"].takes(4)
