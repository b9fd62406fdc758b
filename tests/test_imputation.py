"""What stands in the place of removed pixels: literal pictures, and a dense solver for the linear system."""

import numpy as np
import pytest
from conftest import picture
from numpy.typing import NDArray

from gradcam_cli.evaluation.imputation import NOISE, colours_of, imputation, linear_fill, masked
from gradcam_cli.imaging.preprocessing import PREPROCESSINGS, Preprocessing
from gradcam_cli.settings import BASELINES, Baseline

UNIT = PREPROCESSINGS["unit"]


def random_mask(shape: tuple[int, int], share: float, seed: int = 0) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random(shape) < share


@pytest.mark.parametrize("preprocessing", PREPROCESSINGS.values(), ids=lambda p: p.name)
def test_masking_is_of_pixels(preprocessing: Preprocessing) -> None:
    pixels = picture(8, 6) // 2 * 2
    heat = np.random.default_rng(1).integers(0, 2, (6, 8)) / 2 + 0.5
    found = masked(preprocessing(pixels), heat.astype(np.float32), colours_of(preprocessing, 3))
    by_hand = preprocessing((pixels * heat[:, :, None]).astype(np.uint8))
    assert np.allclose(found, by_hand, atol=1e-4 * (preprocessing.range[1] - preprocessing.range[0]))


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_is_kept_is_kept(baseline: Baseline, channels: int) -> None:
    inputs = np.random.default_rng(2).random((9, 12, channels)).astype(np.float32)
    fill = imputation(baseline, inputs, colours_of(UNIT, channels))
    removed = random_mask((9, 12), 0.4)
    found = fill(removed)
    assert found.shape == inputs.shape
    assert found.dtype == np.float32
    assert np.array_equal(found[~removed], inputs[~removed])
    assert not np.isclose(found[removed], inputs[removed]).all()


def test_zero_mean_and_blur() -> None:
    inputs = UNIT(picture(60, 40))
    colours = colours_of(UNIT, 3)
    everything = np.ones((40, 60), np.bool_)
    assert not imputation("zero", inputs, colours)(everything).any()
    assert np.allclose(imputation("mean", inputs, colours)(everything), inputs.mean((0, 1)))
    blurred = imputation("blur", inputs, colours)(everything)
    assert 0 < blurred.std() < inputs.std()
    assert blurred.mean() == pytest.approx(inputs.mean(), abs=0.02)


def test_black_is_black_for_every_network() -> None:
    colours = colours_of(PREPROCESSINGS["caffe"], 3)
    assert np.allclose(colours.black, [-103.939, -116.779, -123.68])
    assert np.allclose(colours.white, [255 - 103.939, 255 - 116.779, 255 - 123.68])


def solved(inputs: NDArray[np.float32], removed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Rong et al.'s system, written out pixel by pixel and solved densely."""
    height, width, _ = inputs.shape
    places = [(y, x) for y in range(height) for x in range(width) if removed[y, x]]
    number = {place: i for i, place in enumerate(places)}
    matrix, right = np.zeros((len(places), len(places))), np.zeros((len(places), inputs.shape[2]))
    for i, (y, x) in enumerate(places):
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                near = (y + dy, x + dx)
                if (dy, dx) == (0, 0) or not (0 <= near[0] < height and 0 <= near[1] < width):
                    continue
                weight = 1 / 12 if dy and dx else 1 / 6
                matrix[i, i] += weight
                if near in number:
                    matrix[i, number[near]] -= weight
                else:
                    right[i] += weight * inputs[near]
    result = inputs.astype(np.float64)
    result[removed] = np.linalg.solve(matrix, right)
    return result


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.98])
def test_linear_imputation_solves_its_system(share: float) -> None:
    inputs = np.random.default_rng(4).random((13, 10, 3)).astype(np.float32)
    removed = random_mask((13, 10), share, seed=5)
    found = linear_fill(inputs, removed)
    assert np.abs(found - solved(inputs, removed)).max() < 0.01
    assert np.array_equal(found[~removed], inputs[~removed])


def test_a_slope_is_continued_over_a_large_hole() -> None:
    rows, columns = np.mgrid[0:224, 0:224] / 224
    inputs = np.stack([rows, columns, (rows + columns) / 2], axis=2).astype(np.float32)
    removed = np.zeros((224, 224), np.bool_)
    removed[20:200, 30:210] = True
    assert np.abs(linear_fill(inputs, removed) - inputs).max() < 0.02


def test_road_adds_the_same_noise_every_time() -> None:
    inputs = np.full((50, 60, 3), 0.5, np.float32)
    removed = random_mask((50, 60), 0.5)
    fill = imputation("road", inputs, colours_of(UNIT, 3))
    found = fill(removed)
    assert found[removed].std() == pytest.approx(NOISE, rel=0.1)
    assert np.array_equal(found, imputation("road", inputs, colours_of(UNIT, 3))(removed))
    assert fill(np.ones((50, 60), np.bool_)).mean() == pytest.approx(0.5, abs=0.01)
