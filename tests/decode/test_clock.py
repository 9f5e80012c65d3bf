"""`pts_s` starts at 0 and rises, whatever the stamps do."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_detect.decode.clock import StreamClock

MS = Fraction(1, 1000)


def test_stamps_count_from_the_first():
    clock = StreamClock(is_live=False)
    assert [clock.tick(pts, MS, 0.0) for pts in (5000, 5040, 5080)] == pytest.approx([0.0, 0.04, 0.08])


def test_a_live_stream_without_stamps_goes_by_arrival():
    clock = StreamClock(is_live=True)
    assert [clock.tick(None, None, at) for at in (100.0, 100.5, 100.75)] == pytest.approx([0.0, 0.5, 0.75])


def test_a_file_without_stamps_goes_by_its_rate():
    clock = StreamClock(is_live=False)
    assert [clock.tick(None, None, 9.0, 0.1) for _ in range(3)] == pytest.approx([0.0, 0.1, 0.2])


def test_stamps_that_come_late_go_on_from_arrival():
    clock = StreamClock(is_live=True)
    ticks = [clock.tick(pts, MS, at) for pts, at in ((None, 10.0), (None, 10.04), (90000, 10.08), (90040, 10.2))]
    assert ticks == pytest.approx([0.0, 0.04, 0.08, 0.12])


def test_a_step_back_goes_on():
    clock = StreamClock(is_live=False)
    assert [clock.tick(pts, MS, 0.0, 0.04) for pts in (0, 40, 20, 60)] == pytest.approx([0.0, 0.04, 0.08, 0.12])


def test_a_new_connection_goes_on_by_arrival():
    clock = StreamClock(is_live=True)
    clock.tick(7000, MS, 1.0)
    clock.rebase()
    assert clock.seconds(0, MS) is None
    assert clock.tick(0, MS, 4.0) == pytest.approx(3.0)
    assert clock.tick(40, MS, 4.5) == pytest.approx(3.04)


def test_a_live_stream_that_jumps_by_hours_goes_on_by_arrival():
    clock = StreamClock(is_live=True)
    clock.tick(0, MS, 1.0)
    assert clock.tick(3_600_000, MS, 1.04) == pytest.approx(0.04)


def test_stamps_that_count_frames_are_not_believed():
    clock = StreamClock(is_live=True)
    clock.rebase(follows_arrival=True)
    assert [clock.tick(pts, MS, at) for pts, at in ((0, 5.0), (40, 5.2))] == pytest.approx([0.0, 0.2])


@given(st.lists(st.tuples(st.none() | st.integers(-(2**40), 2**40), st.floats(0, 100)), min_size=2), st.booleans())
def test_it_always_rises(stamps: list, is_live: bool):
    clock = StreamClock(is_live)
    now_s, ticks = 0.0, []
    for pts, step_s in stamps:
        now_s += step_s
        ticks.append(clock.tick(pts, MS, now_s))
    assert ticks[0] == 0.0
    assert all(later > earlier for earlier, later in pairwise(ticks))
