"""What is normal for one face, and how a frame departs from it."""

import pytest

from stream_detect.temporal.normal import (
    KNOWN_AFTER_S,
    MEMORY_S,
    MOST_SPREADS,
    NOTHING,
    USUAL_SPREAD,
    Normal,
    TurnModel,
    learned,
    log_odds,
)

MODEL = TurnModel(bias=-1.0, of_llr=0.5, of_change={"color": 2.0, "mesonet": 1.0})


def after(looks, every_s=0.1, against=None, normal=NOTHING):
    """What is normal after looks (log odds of each expert, seconds)."""
    for logits, seconds in looks:
        for _ in range(round(seconds / every_s)):
            normal = learned(normal, logits, against, every_s)
    return normal


def test_the_ratio_by_hand():
    normal = Normal({"color": -1.0, "mesonet": 0.0}, seen_s=5.0)
    assert MODEL.llr(2.0, normal, {"color": 0.5, "mesonet": -1.0}) == pytest.approx(-1.0 + 1.0 + 2.0 * 1.5 - 1.0)


def test_nothing_is_said_before_the_normal_is_known_or_where_an_expert_is_silent():
    said = {"color": 0.0, "mesonet": 0.0}
    assert MODEL.llr(2.0, Normal(said, seen_s=KNOWN_AFTER_S - 0.1), said) is None
    assert MODEL.llr(2.0, Normal(said, seen_s=5.0), {"color": 0.0}) is None


def test_at_first_the_normal_is_the_plain_mean():
    normal = after([({"color": 1.0}, 1.0), ({"color": 3.0}, 1.0)])
    assert normal.of["color"] == pytest.approx(2.0)
    assert normal.seen_s == pytest.approx(2.0)


def test_what_is_long_ago_fades():
    normal = after([({"color": 1.0}, 60.0), ({"color": 3.0}, 3 * MEMORY_S)])
    assert normal.of["color"] == pytest.approx(3.0, abs=0.15)


def test_little_evidence_has_the_usual_spread():
    assert Normal({}, compared_s=0.0).spread == pytest.approx(USUAL_SPREAD)


def test_a_quiet_face_departs_by_less():
    quiet = Normal({}, mean=-2.0, variance=0.01, compared_s=20.0)
    lively = Normal({}, mean=-2.0, variance=4.0, compared_s=20.0)
    assert quiet.departure(1.0) > 0 > lively.departure(1.0)


def test_what_speaks_for_a_real_face_never_departs():
    assert Normal({}, mean=-6.0, variance=0.01, compared_s=20.0).departure(-0.1) < 0


def test_one_look_departs_by_no_more_than_the_limit():
    assert Normal({}, mean=-2.0, variance=0.01, compared_s=20.0).departure(1000.0) == MOST_SPREADS


def test_what_departs_is_not_learned():
    normal = after([({"color": 1.0}, 5.0)], against=-2.0)
    assert normal.departure(3.0) > 0
    assert learned(normal, {"color": 9.0}, 3.0, 0.1) == normal


def test_the_experts_log_odds_have_limits():
    said = log_odds({"a": 0.5, "b": None, "c": 1.0, "d": 0.0})
    assert said == {"a": pytest.approx(0.0), "c": 6.0, "d": -6.0}
