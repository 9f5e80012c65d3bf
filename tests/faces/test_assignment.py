"""The assignment of least cost: SciPy's total on any costs, and what can be worked out by hand."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from stream_detect.faces.assignment import assign


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 5), (5, 1), (3, 3), (4, 9), (9, 4), (64, 64)])
@pytest.mark.parametrize("seed", range(5))
def test_no_assignment_costs_less(rows: int, columns: int, seed: int) -> None:
    costs = np.random.default_rng(seed).random((rows, columns)) * 3
    pairs = assign(costs)
    assert len(pairs) == min(rows, columns)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    assert pairs == sorted(pairs)
    least = costs[linear_sum_assignment(costs)].sum()
    assert sum(costs[pair] for pair in pairs) == pytest.approx(least, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_refused_pairs_and_ties_are_no_trouble(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = np.where(rng.random((12, 10)) < 0.6, 1e6, rng.integers(0, 3, (12, 10)).astype(float))
    least = costs[linear_sum_assignment(costs)].sum()
    assert sum(costs[pair] for pair in assign(costs)) == pytest.approx(least)


def test_the_cheapest_pair_gives_way_where_that_is_cheaper_in_all() -> None:
    assert assign(np.array([[0.0, 1.0], [0.5, 5.0]])) == [(0, 1), (1, 0)]


def test_nobody_is_nobody() -> None:
    assert assign(np.zeros((0, 3))) == assign(np.zeros((3, 0))) == []
