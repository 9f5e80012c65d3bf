"""The CUSUM as a function, against numbers worked out by hand."""

import pytest

from stream_detect.temporal.sequential import Cusum, passed_over, taken


def after(looks, drift=0.5, most=10.0):
    """The test after looks (llr, seconds), one right after the other."""
    cusum, pts_s = Cusum(), 0.0
    for llr, lasted_s in looks:
        pts_s += lasted_s
        cusum = taken(cusum, pts_s, llr, lasted_s, drift, most)
    return cusum


def test_what_exceeds_the_drift_adds_up_by_time():
    cusum = after([(2.5, 0.5), (1.5, 1.0)])
    assert cusum.level == pytest.approx(2.0 * 0.5 + 1.0 * 1.0)


def test_less_than_the_drift_never_adds_up():
    assert after([(0.4, 1.0)] * 100).level == 0.0


def test_the_change_is_where_the_level_left_zero():
    cusum = after([(-2.0, 3.0), (2.0, 0.25), (2.0, 0.25)])
    assert cusum.started_s == pytest.approx(3.0)
    assert cusum.lasted_s == pytest.approx(0.5)


def test_the_mean_since_the_change_is_weighted_by_time():
    assert after([(-1.0, 1.0), (3.0, 1.0), (1.0, 3.0)]).mean == pytest.approx(1.5)


def test_the_level_has_an_upper_end():
    assert after([(3.0, 10.0)], most=4.0).level == 4.0


def test_many_short_looks_are_one_long_one():
    assert after([(2.0, 0.01)] * 100).level == pytest.approx(after([(2.0, 1.0)]).level)


def test_time_without_a_look_moves_the_change_only_while_the_level_is_zero():
    assert passed_over(Cusum(), 7.0).started_s == 7.0
    suspicious = after([(2.0, 1.0)])
    assert passed_over(suspicious, 7.0) == suspicious
