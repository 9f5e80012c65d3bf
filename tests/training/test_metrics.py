"""Figures that can be worked out by hand."""

import numpy as np
import pytest

from stream_detect.training.metrics import auc, average_precision, bootstrap, equal_error_rate, true_positive_rate

SCORES = np.array([0.1, 0.4, 0.35, 0.8])
FAKES = np.array([False, False, True, True])


def test_the_area_counts_pairs_in_the_right_order():
    assert auc(SCORES, FAKES) == 0.75
    assert auc(-SCORES, FAKES) == 0.25


def test_ties_count_half():
    assert auc(np.array([0.2, 0.5, 0.5, 0.9]), FAKES) == 0.875
    assert auc(np.ones(4), FAKES) == 0.5


def test_there_is_no_area_without_both_classes():
    assert np.isnan(auc(SCORES, np.ones(4, bool)))
    assert np.isnan(auc(SCORES, np.zeros(4, bool)))


def test_average_precision_by_hand():
    assert average_precision(SCORES, FAKES) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert np.isnan(average_precision(SCORES, np.zeros(4, bool)))


def test_the_order_of_tied_scores_changes_no_figure():
    for place in range(4):
        is_fake = np.arange(4) == place
        assert average_precision(np.ones(4), is_fake) == 0.25
        assert equal_error_rate(np.ones(4), is_fake) == 0.5


def test_the_equal_error_rate_lies_between_thresholds():
    assert equal_error_rate(np.array([0.1, 0.2, 0.8, 0.9]), FAKES) == 0
    assert equal_error_rate(np.array([0.8, 0.9, 0.1, 0.2]), FAKES) == 1
    assert equal_error_rate(SCORES, FAKES) == 0.5


def test_so_many_are_found_at_one_percent_of_false_alarms():
    scores = np.concatenate([np.arange(100) / 100, [0.995, 0.985, 0.5]])
    is_fake = np.arange(103) >= 100
    assert true_positive_rate(scores, is_fake) == pytest.approx(2 / 3)
    assert true_positive_rate(scores, is_fake, at=0.0) == pytest.approx(1 / 3)


def drawn_scores(people, faces_each, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(2 * people), faces_each)
    is_fake = groups >= people
    scores = is_fake + np.repeat(rng.normal(0, 1, 2 * people), faces_each) + rng.normal(0, 0.1, len(groups))
    return scores, is_fake, groups


def test_the_interval_holds_the_true_area():
    """Normal scores one deviation apart: the area is the normal distribution at 1 / sqrt(2), 0.76."""
    hits = 0
    for seed in range(20):
        scores, is_fake, groups = drawn_scores(60, 1, seed)
        low, high = bootstrap(lambda rows, s=scores, f=is_fake: auc(s[rows], f[rows]), groups, is_fake, 200)
        hits += low <= 0.76 <= high
    assert hits >= 15


def test_many_faces_of_few_people_are_not_many_people():
    scores, is_fake, groups = drawn_scores(8, 30)

    def width(of):
        low, high = bootstrap(lambda rows: auc(scores[rows], is_fake[rows]), of, is_fake, 200)
        return high - low

    assert width(groups) > 3 * width(np.arange(len(groups)))


def test_the_same_seed_draws_the_same_interval():
    scores, is_fake, groups = drawn_scores(10, 2)
    drawn = [bootstrap(lambda rows: auc(scores[rows], is_fake[rows]), groups, is_fake, 50, seed=3) for _ in range(2)]
    assert drawn[0] == drawn[1]


def test_a_figure_that_never_exists_has_no_interval():
    assert np.isnan(bootstrap(lambda rows: float("nan"), np.arange(4), FAKES, 10)).all()
