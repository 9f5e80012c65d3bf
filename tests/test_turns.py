"""Whose turn it is, and how much fits into one."""

from dataclasses import dataclass

import pytest

from stream_detect.turns import FIRST_GUESS_S, LONGEST_S, Effort, Turn, UsualDelay, in_turn


@dataclass
class Waiting:
    name: str
    served_s: float


def a_turn(frame_s=0.01, now_s=100.0, is_shared=False):
    return Turn(0.25, frame_s, now_s, is_shared)


def taken(turn, arrivals, now_s=100.0):
    """How many of the frames that arrived at these times fit into the turn."""
    for arrived_s in arrivals:
        if turn.fits(now_s, arrived_s):
            turn.take(arrived_s)
    return turn.frames


def test_who_was_served_longest_ago_comes_first():
    feeds = [Waiting("a", 3.0), Waiting("b", 1.0), Waiting("c", 2.0)]
    assert [feed.name for feed in in_turn(feeds)] == ["b", "c", "a"]


def test_everything_fits_where_frames_cost_little():
    assert taken(a_turn(frame_s=0.001), [99.98] * 40) == 40


def test_as_much_fits_as_can_be_told_before_it_is_too_old():
    assert taken(a_turn(frame_s=0.03), [100.0] * 40) == 5  # 0.7 x 250 ms


def test_the_oldest_frame_taken_says_when_the_turn_ends():
    assert taken(a_turn(frame_s=0.03), [99.9, *[100.0] * 40]) == 2


def test_a_frame_that_would_be_too_old_is_passed_over_for_newer_ones():
    turn = a_turn(frame_s=0.05)
    assert turn.fits(100.0, 100.0)
    turn.take(100.0)
    assert not turn.fits(100.0, 99.85)
    assert turn.fits(100.0, 99.99)


def test_frames_that_a_decoder_always_gives_late_share_a_turn_with_the_others():
    turn = a_turn(frame_s=0.002)
    for delay_s in [0.2] * 20 + [0.0] * 20:
        if turn.fits(100.0, 100.0 - delay_s, delay_s):
            turn.take(100.0 - delay_s, delay_s)
    assert turn.frames == 25  # what a fifth of the budget is long enough for


def test_one_frame_always_fits_however_long_it_takes():
    assert taken(a_turn(frame_s=5.0), [99.0, 100.0]) == 1


def test_frames_of_files_alone_have_no_end():
    turn = a_turn(frame_s=0.1)
    assert taken(turn, [None] * 50) == 50


def test_frames_of_files_leave_room_for_live_ones_that_come_meanwhile():
    assert taken(a_turn(frame_s=0.03, is_shared=True), [None] * 50) == 2  # half of that


def test_a_frame_is_stale_when_its_verdict_would_be():
    cheap, dear = a_turn(frame_s=0.0), a_turn(frame_s=0.1)
    assert not cheap.is_stale(99.76, 100.0)
    assert cheap.is_stale(99.74, 100.0)
    assert not dear.is_stale(99.88, 100.0)
    assert dear.is_stale(99.87, 100.0)


def test_work_that_takes_longer_than_the_budget_is_still_begun_with_fresh_frames():
    turn = a_turn(frame_s=3.0)
    assert not turn.is_stale(99.95, 100.0)
    assert turn.is_stale(99.85, 100.0)


def test_a_decoder_that_always_takes_long_makes_no_frame_stale():
    turn = a_turn()
    assert turn.is_stale(99.6, 100.0)
    assert not turn.is_stale(99.6, 100.0, usual_delay_s=0.38)
    assert turn.is_stale(99.5, 100.0, usual_delay_s=0.38)


def test_the_usual_delay_is_the_least_of_the_last_seconds():
    delay = UsualDelay()
    for step in range(50):
        delay.seen(0.4 if step % 5 else 0.3, step / 10)
    assert delay.seconds == 0.3
    for step in range(50, 110):
        delay.seen(0.02, step / 10)
    assert delay.seconds == 0.02


def test_one_late_burst_is_no_usual_delay():
    delay = UsualDelay()
    for step in range(10):
        delay.seen(0.4, step / 10)
    assert delay.seconds == 0.0


def test_effort_follows_what_frames_cost():
    effort = Effort()
    assert effort.frame_s == FIRST_GUESS_S
    for _ in range(60):
        effort.spent(4, 0.08)
    assert effort.frame_s == pytest.approx(0.02)
    for _ in range(60):
        effort.spent(1, 0.1)
    assert effort.frame_s == pytest.approx(0.1, rel=0.05)


def test_effort_that_strays_is_planned_with_more():
    steady, straying = Effort(), Effort()
    for turn in range(60):
        steady.spent(1, 0.05)
        straying.spent(1, 0.02 if turn % 2 else 0.08)
    assert straying.frame_s > steady.frame_s + 0.02


def test_a_pause_in_a_debugger_does_not_count_for_ever():
    effort = Effort()
    effort.spent(1, 0.01)
    effort.spent(1, 3600.0)
    assert effort.frame_s <= LONGEST_S
    for _ in range(40):
        effort.spent(1, 0.01)
    assert effort.frame_s < 0.02


def test_a_turn_without_a_frame_costs_nothing():
    effort = Effort()
    effort.spent(0, 1.0)
    assert effort.frame_s == FIRST_GUESS_S
