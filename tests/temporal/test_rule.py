"""The rule as a function: what it adds up, when it speaks, and what does not matter to it."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_detect.config import DecisionSettings
from stream_detect.temporal import Levels, RuleEvent, RuleState, judged_face, probability_of
from stream_detect.temporal.normal import TurnModel
from stream_detect.temporal.rule import forgetting
from stream_detect.types import FaceVerdict

SETTINGS = DecisionSettings()
LEVELS = Levels(drift=0.5, raise_at=2.0, spike_at=4.0, swap_at=1.0)
LLRS = st.one_of(st.none(), st.floats(-20, 20))
STEPS = st.lists(st.tuples(st.floats(0.0, 2.0), LLRS), max_size=60)


def face(llr, quality=1.0, experts=None):
    return FaceVerdict(1, (0.0, 0.0, 9.0, 9.0), None, llr, None, "real", (), experts or {}, quality)


def run(observations, rules=SETTINGS, state=None, levels=LEVELS):
    """The state and the events after (pts_s, llr) observations of good quality."""
    state, events = state or RuleState(), []
    for pts_s, llr in observations:
        state, news = judged_face(state, float(pts_s), face(llr), rules, levels)
        events += news
    return state, events


def steady(llr, start_s, stop_s, fps=25.0):
    return [(start_s + i / fps, llr) for i in range(round((stop_s - start_s) * fps))]


def test_a_steady_score_settles_at_looks_times_window_times_llr():
    state, _ = run(steady(1.0, 0, 30))
    assert state.score == pytest.approx(SETTINGS.looks_per_s * SETTINGS.window_s, rel=1e-6)


def test_a_change_is_raised_and_its_time_estimated():
    _, events = run(steady(-2.0, 0, 4) + steady(3.0, 4, 8))
    assert [event.kind for event in events] == ["raised"]
    assert events[0].started_s == pytest.approx(4.0, abs=0.1)
    assert 0.2 < events[0].pts_s - events[0].started_s < 2.5


def test_a_real_face_raises_nothing():
    assert run(steady(-1.0, 0, 60))[1] == []


def test_one_wild_frame_raises_nothing():
    assert run([*steady(-1.0, 0, 2), (2.0, 50.0), *steady(-1.0, 2.04, 4)])[1] == []


def test_an_alert_clears_only_after_the_hold():
    raised = steady(3.0, 0, 6)
    state, _ = run(raised)
    assert state.is_raised
    low_for_less = steady(-3.0, 6, 6 + SETTINGS.hold_s)  # the score needs a moment to fall
    assert run(low_for_less, state=state)[1] == []
    (cleared,) = run(steady(-3.0, 6, 12), state=state)[1]
    assert cleared.kind == "cleared"
    assert cleared.pts_s > 6 + SETTINGS.hold_s


def test_between_the_two_limits_nothing_happens():
    """Hysteresis: a score that sinks under the upper limit but not under the lower one keeps its alert."""
    state, _ = run(steady(3.0, 0, 6))
    between, events = run(steady(0.8, 6, 30), state=state)
    assert SETTINGS.clear_below < between.probability < 0.9
    assert between.is_raised
    assert events == []


def test_after_an_alert_the_track_is_quiet_for_the_cooldown():
    rules = replace(SETTINGS, cooldown_s=10.0)
    state, events = run(steady(3.0, 0, 6) + steady(-3.0, 6, 12), rules)
    cleared_s = events[-1].pts_s
    _, events = run(steady(3.0, 12, 30), rules, state)
    assert events[0].pts_s - cleared_s >= 10.0


def test_nothing_judged_leaves_the_score_as_it_is():
    state, _ = run(steady(1.5, 0, 3))
    paused, events = run([(3 + i, None) for i in range(100)], state=state)
    assert paused.score == state.score
    assert events == []
    resumed, _ = run([(102.04, 1.5)], state=paused)
    assert resumed.score == pytest.approx(run([(3.0, 1.5)], state=state)[0].score, rel=1e-3)


def test_time_in_which_nothing_was_judged_does_not_end_an_alert():
    state, _ = run(steady(3.0, 0, 6) + steady(-3.0, 6, 8))
    assert state.calm_s is not None
    assert run([(8 + i, None) for i in range(20)], state=state)[1] == []


def test_a_frame_of_low_quality_counts_as_not_judged():
    rules = replace(SETTINGS, min_quality=0.5)
    state, _ = judged_face(RuleState(pts_s=0.0), 0.04, face(5.0, 0.4), rules, LEVELS)
    assert state.score == 0.0


def test_a_gap_forgets_but_adds_only_the_longest_gap():
    state, _ = judged_face(RuleState(pts_s=0.0), 60.0, face(3.0), SETTINGS, LEVELS)
    most = 3.0 * SETTINGS.looks_per_s * SETTINGS.longest_gap_s
    assert 0 < state.score <= most


def test_a_stream_that_begins_again_keeps_its_score():
    state, _ = run(steady(3.0, 1000, 1006))
    again, events = run([(0.0, 3.0), (0.04, 3.0)], state=state)
    assert again.is_raised
    assert events == []
    assert again.probability == pytest.approx(state.probability, abs=0.01)


def test_nan_is_not_an_observation():
    state, _ = run([(0, 1.0), (1, math.nan)])
    assert state.score == 0.0


@pytest.mark.parametrize("llr", [-3.0, 0.4, 1.0, 3.0])
@pytest.mark.parametrize("fps", [5, 10, 30, 60])
def test_the_frame_rate_does_not_matter(fps, llr):
    expected, _ = run(steady(llr, 0, 4.2, fps=120))
    state, _ = run([*steady(llr, 0, 4.2, fps=fps), (expected.pts_s, llr)])
    assert state.score == pytest.approx(expected.score, abs=0.01)


@settings(deadline=None)
@given(STEPS)
def test_events_alternate_and_the_score_keeps_its_limits(steps):
    pts_s, observations = 0.0, []
    for step, llr in steps:
        pts_s += step
        observations.append((pts_s, llr))
    state, events = run(observations)
    kinds = [event.kind for event in events]
    assert kinds == (["raised", "cleared"] * len(kinds))[: len(kinds)]
    assert abs(state.score) <= SETTINGS.score_limit
    assert state.is_raised == (len(kinds) % 2 == 1)
    assert all(event.started_s <= event.pts_s for event in events)
    assert [event.pts_s for event in events] == sorted(event.pts_s for event in events)


@settings(deadline=None)
@given(STEPS, st.floats(0, 5))
def test_more_evidence_never_lowers_the_score(steps, more):
    low, high, pts_s = RuleState(), RuleState(), 0.0
    for step, llr in steps:
        pts_s += step
        low, _ = judged_face(low, pts_s, face(llr), SETTINGS, LEVELS)
        high, _ = judged_face(high, pts_s, face(None if llr is None else llr + more), SETTINGS, LEVELS)
        assert high.score >= low.score - 1e-9


@given(st.floats(-700, 700))
def test_the_probability_of_an_llr_stays_between_0_and_1(llr):
    assert 0 <= probability_of(llr) <= 1
    assert probability_of(llr) + probability_of(-llr) == pytest.approx(1)


def test_a_step_changes_nothing_that_it_was_given():
    state = RuleState(score=1.0, pts_s=0.0)
    judged_face(state, 1.0, face(3.0), SETTINGS, LEVELS)
    assert state == RuleState(score=1.0, pts_s=0.0)


def test_an_event_is_plain():
    assert RuleEvent("raised", 2.0, 1.0).kind == "raised"


TURN = TurnModel(bias=-1.0, of_llr=0.5, of_change={"mesonet": 1.0})
WITH_TURN = replace(LEVELS, raise_at=50.0, turn=TURN, turn_at=1.0)


def watched(odds, start_s, stop_s, state=None, llr=-3.0, quality=1.0, levels=WITH_TURN):
    """The state and the events where one expert says `odds` (log odds) all the time."""
    state, events = state or RuleState(), []
    for pts_s, _ in steady(llr, start_s, stop_s):
        looked = face(llr, quality, {"mesonet": probability_of(odds)})
        state, news = judged_face(state, pts_s, looked, SETTINGS, levels)
        events += news
    return state, events


def test_a_face_that_departs_from_its_own_normal_is_raised_though_its_score_is_that_of_a_real_one():
    state, quiet = watched(-3.0, 0, 5)
    state, events = watched(3.0, 5, 8, state)
    assert quiet == []
    assert [event.kind for event in events] == ["raised"]
    assert events[0].started_s == pytest.approx(5.0, abs=0.1)
    assert state.score < 0


def test_it_ends_when_the_face_is_itself_again():
    state, _ = watched(-3.0, 0, 5)
    state, _ = watched(3.0, 5, 8, state)
    _, events = watched(-3.0, 8, 16, state)
    assert [event.kind for event in events] == ["cleared"]


def test_it_lasts_as_long_as_the_face_is_another():
    """What is normal stands still meanwhile: a forgery does not become the normal."""
    state, _ = watched(-3.0, 0, 5)
    _, events = watched(3.0, 5, 120, state)
    assert [event.kind for event in events] == ["raised"]


def test_a_poor_picture_is_not_compared():
    state, _ = watched(-3.0, 0, 5)
    assert watched(3.0, 5, 8, state, quality=0.5)[1] == []


def test_in_another_scene_the_normal_is_learned_anew():
    state, _ = watched(-3.0, 0, 5)
    assert watched(3.0, 5, 8, forgetting(state))[1] == []


def test_an_expert_that_is_silent_leaves_the_score_alone():
    state, _ = watched(-3.0, 0, 5)
    for pts_s, _ in steady(-3.0, 5, 8):
        state, events = judged_face(state, pts_s, face(-3.0, 1.0, {"mesonet": None}), SETTINGS, WITH_TURN)
        assert events == ()


def test_a_spike_is_raised_before_a_sustained_change_would_be():
    levels = replace(LEVELS, raise_at=50.0, spike_at=3.0)
    _, events = run(steady(-3.0, 0, 5) + steady(3.0, 5, 6), levels=levels)
    assert [(event.kind, event.rule) for event in events] == [("raised", "spike")]
    assert 5.0 < events[0].pts_s < 6.0


def test_rules_that_are_left_out_raise_nothing():
    changed = steady(-3.0, 0, 5) + steady(3.0, 5, 12)
    assert run(changed, replace(SETTINGS, rules=("feed_swap",)))[1] == []
    assert {event.rule for event in run(changed, replace(SETTINGS, rules=("spike",)))[1]} == {"spike"}
