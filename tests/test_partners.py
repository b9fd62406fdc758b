"""Partner pictures of models with several inputs: read by the same rules as the pictures that are explained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.inputs.other_inputs import ExtrasReader, GivenInput, OtherInput
from gradcam_cli.inputs.sources import Source
from gradcam_cli.settings import Limits, SampleRange

GIVEN = GivenInput("second", "pairs.csv", "0" * 64, partners={"a.png": "b.tif"})
OTHER = OtherInput("second", 1, (4, 6, 3), "float32", GIVEN)


def values(folder: Path, samples: Any, sample_range: SampleRange | None, limits: Limits = Limits()) -> tuple[Any, Any]:  # noqa: B008 - frozen
    """What the second input gets of a partner, and the bytes that were asked for."""
    tifffile.imwrite(folder / "b.tif", samples, photometric="rgb")
    other = replace(OTHER, given=replace(GIVEN, folder=folder))
    reader = ExtrasReader((other,), decode, PREPROCESSINGS["none"], "squash", limits, sample_range)
    asked: list[int] = []
    return reader(Source("a.png", "a.png"), asked.append)["second"], asked


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_the_range_is_that_of_the_run(tmp_path: Path, dtype: Any) -> None:
    samples = np.full((4, 6, 3), 3000, dtype)
    samples[:2] = 1000
    got, _ = values(tmp_path, samples, (1000.0, 3000.0))
    expected = np.where(np.arange(4)[:, None, None] < 2, 0, 255) * np.ones((4, 6, 3))
    np.testing.assert_array_equal(got, expected)


def test_without_a_range_floating_point_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"its second image 'b.tif'") as caught:
        values(tmp_path, np.ones((4, 6, 3), np.float32), None)
    assert caught.value.reason is Reason.UNSUPPORTED


def test_memory_is_asked_for_before_a_partner_is_read_and_decoded(tmp_path: Path) -> None:
    _, asked = values(tmp_path, np.zeros((400, 600, 3), np.uint8), None)
    assert asked[0] == (tmp_path / "b.tif").stat().st_size
    assert asked[-1] >= 400 * 600 * 3


def test_limits_hold_for_partners(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        values(tmp_path, np.zeros((40, 60, 3), np.uint8), None, Limits(max_pixels=1000))
    assert caught.value.reason is Reason.TOO_MANY_PIXELS
