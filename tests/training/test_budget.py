"""Alert levels from traces made by hand: what is fitted, what is counted, and what footage allows to be said."""

import functools
import math
from dataclasses import replace

import numpy as np
import pytest

from stream_detect.config import DecisionSettings
from stream_detect.errors import ConfigError
from stream_detect.temporal import Thresholds
from stream_detect.training import budget
from stream_detect.training.budget import (
    Peak,
    alerts_of,
    basis_of,
    excursions,
    fit_tail,
    fit_thresholds,
    poisson_bound,
    raised_at,
)
from stream_detect.training.traces import Trace, load_traces, save_traces
from stream_detect.training.turns import fit_turn, logistic

EXPERTS = ("color", "mesonet")
SETTINGS = DecisionSettings()
SUSTAINED = DecisionSettings(rules=("sustained",))
FPS = 5


def made(group, seconds=8.0, mean=-2.5, change_s=math.nan, rise=4.0, seed=0, wire="as it is", spread=0.6):
    """A trace of one face whose llr wanders about `mean`, and rises at `change_s`; experts say the same."""
    rng = np.random.default_rng([seed, len(group), *group.encode()])
    pts_s = np.arange(0, seconds, 1 / FPS)
    wander = np.convolve(rng.normal(0, spread * 2, len(pts_s) + 4), np.ones(5) / 5, "valid")
    llr = mean + wander + np.where(pts_s >= change_s, rise, 0.0)
    rows = len(pts_s)
    box = np.tile([100.0, 100.0, 200.0, 200.0], (rows, 1))
    logits = np.column_stack([llr / 2 + rng.normal(0, 0.3, rows), llr / 2 + rng.normal(0, 0.3, rows)])
    ones = np.ones(rows)
    return Trace(
        group, f"{group}.mp4", wire, seconds, pts_s, ones.astype(int), llr, ones, box, EXPERTS, logits, change_s
    )


PEOPLE = [made(f"person {k}", mean=-3.0 + 0.2 * k) for k in range(10)]


@functools.cache
def fitted():
    return fit_thresholds(PEOPLE, Thresholds())


def test_an_exponential_tail_is_found_again():
    rng = np.random.default_rng(0)
    peaks = [Peak(value, "a") for value in rng.exponential(0.5, 20000)]
    tail = fit_tail(peaks, hours=10.0)
    assert tail.scale == pytest.approx(0.5, rel=0.3)
    assert tail.at(1.0) == pytest.approx(0.5 * math.log(2000), rel=0.2)


def test_footage_that_never_moves_has_a_tail_of_the_least_scale():
    assert fit_tail([], hours=0.1).scale == budget.LEAST_SCALE
    assert fit_tail([Peak(0.5, "a")], hours=0.1).level == 0.5


def test_excursions_are_the_peaks_of_stretches_above_zero():
    assert list(excursions(iter([0.0, 1.0, 3.0, 0.0, 0.0, 2.0]))) == [3.0, 2.0]
    assert list(excursions(iter([0.0, 0.0]))) == []


def test_the_poisson_bound_is_the_rule_of_three():
    assert poisson_bound(0, 1.0) == pytest.approx(2.996, abs=0.001)
    assert poisson_bound(1, 0.5) == pytest.approx(2 * 4.744, abs=0.002)


def test_real_footage_stays_within_its_levels():
    assert [raised_at(one, fitted(), SETTINGS) for one in PEOPLE] == [[]] * len(PEOPLE)


def test_a_forgery_is_raised_soon_after_it_begins():
    (first, *_) = raised_at(made("victim", change_s=5.0, rise=7.0), fitted(), SETTINGS)
    assert 5.0 <= first < 7.5


def test_worse_footage_asks_for_higher_levels():
    calm = fitted().levels(SETTINGS)
    wild = fit_thresholds([replace(one, llr=one.llr + 2.0) for one in PEOPLE], Thresholds(), is_checked=False)
    assert wild.levels(SETTINGS).drift + wild.levels(SETTINGS).raise_at > calm.drift + calm.raise_at


def test_wires_make_no_further_people_nor_minutes():
    wired = [*PEOPLE, *(replace(one, wire="h264 300 kbit/s") for one in PEOPLE)]
    basis = basis_of(wired, alarms=0, budget=0.1)
    assert basis.identities == 10
    assert basis.minutes == pytest.approx(10 * 8 / 60, abs=0.01)
    assert basis.hours_replayed == pytest.approx(2 * 10 * 8 / 3600, abs=0.001)
    assert basis.bound_95_per_hour == poisson_bound(0, 10 * 8 / 3600)


def test_few_people_fail():
    with pytest.raises(ConfigError, match="clips of 5 people or more, got 4"):
        fit_thresholds(PEOPLE[:4], Thresholds())
    nothing = [replace(one, llr=np.full_like(one.llr, np.nan)) for one in PEOPLE]
    with pytest.raises(ConfigError, match="no face in the clips could be judged"):
        fit_thresholds(nothing, Thresholds())


def test_people_who_are_unlike_the_others_are_counted_when_they_are_left_out():
    odd = made("odd one", mean=2.5)
    assert fit_thresholds([*PEOPLE, odd], Thresholds()).basis.alarms >= 1
    assert fitted().basis.alarms == 0


def test_a_turn_is_learned_and_noticed_before_the_score_alone_tells():
    turning = [made(f"turned {k}", mean=-4.0, change_s=4.0, rise=4.2) for k in range(8)]
    model = fit_turn(PEOPLE, turning)
    assert all(weight > 0 for weight in model.of_change.values())
    compared = fit_thresholds(PEOPLE, Thresholds(turn=model), is_checked=False)
    victim = made("victim", seconds=12.0, mean=-4.0, change_s=6.0, rise=3.3)
    alone_s = min(raised_at(victim, fitted(), SUSTAINED), default=math.inf)
    (compared_s,) = raised_at(victim, compared, SUSTAINED)
    assert 6.0 <= compared_s < alone_s - 1.0
    assert [raised_at(one, compared, SETTINGS) for one in PEOPLE] == [[]] * len(PEOPLE)


def test_nothing_that_turns_forged_fails():
    with pytest.raises(ConfigError, match="a real face for over a second and then a forged one"):
        fit_turn(PEOPLE, [])


def test_a_logistic_regression_by_hand():
    """Two groups of one feature at 0 and 1 with known shares of labels: the log odds of these."""
    features = np.array([[0.0]] * 1000 + [[1.0]] * 1000)
    labels = np.array([False] * 800 + [True] * 200 + [False] * 300 + [True] * 700)
    found = logistic(features, labels, np.ones(2000))
    assert found[0] == pytest.approx(math.log(0.2 / 0.8), abs=0.02)
    assert found.sum() == pytest.approx(math.log(0.7 / 0.3), abs=0.02)


def test_traces_are_kept_and_read_again(tmp_path):
    save_traces(tmp_path / "t.npz", PEOPLE[:2])
    again = load_traces(tmp_path / "t.npz")
    assert [one.group for one in again] == ["person 0", "person 1"]
    assert again[1].experts == EXPERTS
    assert np.array_equal(again[1].llr, PEOPLE[1].llr)
    assert again[0].is_real


def test_lines_of_a_trace_are_those_of_a_decision():
    events = [alert.event for alert in alerts_of(made("victim", 20.0, change_s=8.0, rise=7.0), fitted(), SETTINGS)]
    assert events[0] == "raised"
    assert set(events[1:]) <= {"updated"}
