"""The step between a quick and a slow mean."""

import pytest

from stream_detect.temporal.spike import KNOWN_AFTER_S, LEAST_FAST, Means, averaged


def after(looks, every_s=0.04):
    means = Means()
    for llr, seconds in looks:
        for _ in range(round(seconds / every_s)):
            means = averaged(means, llr, every_s)
    return means


def test_a_jump_shows_within_a_second():
    before = after([(-2.0, 5)])
    assert before.step == 0.0
    jumped = after([(-2.0, 5), (3.0, 0.6)])
    assert jumped.step == pytest.approx(jumped.fast - jumped.slow)
    assert jumped.step > 3.0


def test_a_steady_score_is_no_jump_whatever_it_is():
    assert after([(3.0, 10)]).step == pytest.approx(0.0, abs=1e-6)


def test_a_jump_between_two_real_scores_is_none():
    """From surely real to perhaps real: the quick mean does not speak for a forgery."""
    means = after([(-6.0, 5), (LEAST_FAST - 0.1, 1.0)])
    assert means.fast - means.slow > 2.0
    assert means.step == 0.0


def test_nobody_knows_what_is_normal_at_the_beginning():
    assert after([(-2.0, 0.2), (3.0, KNOWN_AFTER_S - 0.4)]).step == 0.0


def test_the_frame_rate_hardly_matters():
    slow, quick = (after([(-2.0, 5), (3.0, 0.6)], every_s) for every_s in (0.1, 0.02))
    assert slow.step == pytest.approx(quick.step, abs=0.05)
