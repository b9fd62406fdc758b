"""Every metric on literal values, and the laws that hold for all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gradcam_cli.evaluation.metrics import (
    adcc,
    area_under,
    coherency,
    complexity,
    drop,
    increase,
    pearson,
    removal_ranks,
    share_inside,
    spearman,
    win,
)

probabilities = st.floats(0, 1)
grids = arrays(np.float32, (4, 5), elements=st.integers(0, 20).map(lambda n: n / 20))
SHUFFLE = np.random.default_rng(3).permutation(20)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(0.8, 0.6, 25.0), (0.5, 0.0, 100.0), (0.5, 0.7, 0.0), (0.4, 0.4, 0.0), (0, 0.5, 0)],
)
def test_drop(before: float, after: float, expected: float) -> None:
    assert drop(before, after) == pytest.approx(expected)


def test_increase_and_win() -> None:
    assert [increase(0.5, after) for after in (0.4, 0.5, 0.6)] == [0, 0, 100]
    assert [win(after, 0.5) for after in (0.4, 0.4999, 0.500001, 0.5, 0.6)] == [0, 0, 50, 50, 100]


@given(probabilities, probabilities)
def test_what_one_wins_the_other_loses(a: float, b: float) -> None:
    assert win(a, b) + win(b, a) == 100


@given(probabilities, probabilities, probabilities)
def test_to_keep_more_never_drops_more(before: float, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert 0 <= drop(before, high) <= drop(before, low) <= 100
    assert increase(before, high) >= increase(before, low)


def test_complexity() -> None:
    assert complexity(np.asarray([[1, 0], [0.5, 0.1]], np.float32)) == pytest.approx(0.4)
    assert complexity(np.zeros((3, 3), np.float32)) == 0


def test_coherency() -> None:
    a = np.asarray([[0, 1], [2, 3]], np.float32)
    assert coherency(a, 5 * a + 2) == pytest.approx(1)
    assert coherency(a, 3 - a) == pytest.approx(0)
    assert coherency(a, np.asarray([[1, 0], [0, 1]], np.float32)) == pytest.approx(0.5)
    # Deviations (-1.5, -.5, .5, 1.5) and (-2.25, -.25, -.25, 2.75): r = 7.5 / sqrt(5 * 12.75).
    assert coherency(a, np.asarray([[0, 2], [2, 5]], np.float32)) == pytest.approx((1 + 7.5 / 63.75**0.5) / 2)


def test_coherency_with_a_constant_map_is_nothing() -> None:
    a = np.asarray([[0, 1], [2, 3]], np.float32)
    assert coherency(a, np.full((2, 2), 0.1, np.float32)) == 0
    assert coherency(np.zeros((2, 2), np.float32), a) == 0


def test_adcc() -> None:
    assert adcc(0.5, 0.5, 50) == pytest.approx(0.5)
    # Three by one, four thirds and five quarters.
    assert adcc(1.0, 0.25, 20) == pytest.approx(36 / 43)
    assert adcc(1.0, 0.25, 100) == adcc(0.0, 0.25, 20) == adcc(1.0, 1.0, 20) == 0


@given(probabilities, probabilities, st.floats(0, 100))
def test_adcc_lies_between_its_parts(a: float, b: float, loss: float) -> None:
    parts = (a, 1 - b, 1 - loss / 100)
    assert min(parts) - 1e-9 <= adcc(a, b, loss) <= max(parts) + 1e-9


def test_area_under() -> None:
    assert area_under(np.asarray([1, 0.5, 0])) == pytest.approx(0.5)
    assert area_under(np.asarray([1, 1, 0, 0, 0])) == pytest.approx(0.375)
    assert area_under(np.asarray([0.3, 0.3])) == pytest.approx(0.3)


@given(arrays(np.float64, 7, elements=probabilities), arrays(np.float64, 7, elements=probabilities))
def test_a_higher_curve_has_more_under_it(a: np.ndarray, b: np.ndarray) -> None:
    assert 0 <= area_under(np.minimum(a, b)) <= area_under(np.maximum(a, b)) <= 1


def test_the_hottest_go_first_and_equals_in_the_given_order() -> None:
    heat = np.asarray([[0.2, 0.9], [0.2, 0.5], [0.0, 0.2]], np.float32)
    ranks = removal_ranks(heat, np.asarray([5, 4, 3, 2, 1, 0]))
    assert ranks.tolist() == [[4, 0], [3, 1], [5, 2]]
    ranks = removal_ranks(heat, np.asarray([2, 5, 0, 1, 3, 4]))
    assert ranks.tolist() == [[4, 0], [2, 1], [5, 3]]


@given(grids)
def test_ranks_are_a_permutation_that_descends(heat: np.ndarray) -> None:
    ranks = removal_ranks(heat, SHUFFLE)
    assert sorted(ranks.ravel().tolist()) == list(range(20))
    assert (np.diff(heat.ravel()[np.argsort(ranks.ravel())]) <= 0).all()


def test_spearman_shares_the_ranks_of_equals() -> None:
    a, b = np.asarray([1.0, 2, 2, 4]), np.asarray([1.0, 3, 2, 40])
    # Ranks 0, 1.5, 1.5, 3 and 0, 2, 1, 3.
    assert spearman(a, b) == pytest.approx(4.5 / 22.5**0.5)
    assert spearman(a, -a) == pytest.approx(-1)
    assert spearman(a, np.ones(4)) is None


@given(grids, grids)
def test_spearman_knows_only_order(a: np.ndarray, b: np.ndarray) -> None:
    found, grown = spearman(a, b), spearman(np.exp(3 * a), b)
    assert (found is None) == (grown is None)
    if found is not None and grown is not None:
        assert -1 <= found <= 1
        assert found == pytest.approx(grown)


def test_pearson_of_a_constant_is_none() -> None:
    # 0.1 three times has a mean that is not 0.1.
    assert pearson(np.full(3, 0.1), np.asarray([1.0, 2, 3])) is None


def test_share_inside() -> None:
    heat = np.asarray([[1, 3], [4, 0]], np.float32)
    assert share_inside(heat, np.asarray([[True, False], [True, True]])) == pytest.approx(5 / 8)
    assert share_inside(np.zeros((2, 2), np.float32), np.ones((2, 2), np.bool_)) == 0


@given(grids, arrays(np.bool_, (4, 5)))
def test_a_region_and_the_rest_share_it_all(heat: np.ndarray, inside: np.ndarray) -> None:
    whole = share_inside(heat, inside) + share_inside(heat, ~inside)
    assert whole == pytest.approx(1 if heat.any() else 0)
