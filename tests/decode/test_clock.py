"""`pts_s` starts at 0 and rises, whatever the stamps do."""

import math
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_detect.decode.clock import LARGEST_JUMP_S, StreamClock, WallTime

MS = Fraction(1, 1000)
RTP = Fraction(1, 90_000)


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


@pytest.mark.parametrize("bits", [32, 33])
@pytest.mark.parametrize("is_live", [True, False])
def test_stamps_that_wrap_go_on(bits: int, is_live: bool):
    clock = StreamClock(is_live)
    start, step = 2**bits - 5 * 3600, 3600  # 0.04 s
    ticks = [clock.tick((start + number * step) % 2**bits, RTP, 100 + 0.04 * number, 0.04) for number in range(20)]
    assert ticks == pytest.approx([0.04 * number for number in range(20)])


def test_stamps_that_stop_for_a_while_go_on():
    clock = StreamClock(is_live=True)
    stamps = [0, 40, None, None, 160, 200]
    ticks = [clock.tick(pts, MS, 5 + 0.04 * number) for number, pts in enumerate(stamps)]
    assert ticks == pytest.approx([0.04 * number for number in range(6)])


def test_stamps_that_stand_still_go_by_arrival():
    clock = StreamClock(is_live=True)
    assert [clock.tick(7, MS, 5 + 0.04 * number) for number in range(4)] == pytest.approx([0.0, 0.04, 0.08, 0.12])


@pytest.mark.parametrize("time_base", [None, Fraction(0)])
def test_a_time_base_of_nothing_is_no_stamp(time_base: Fraction | None):
    clock = StreamClock(is_live=True)
    assert [clock.tick(pts, time_base, at) for pts, at in ((0, 1.0), (9000, 1.04))] == pytest.approx([0.0, 0.04])
    assert clock.seconds(9000, time_base) is None


@given(
    st.lists(
        st.tuples(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(0, 10_000), st.floats(0, 3)), min_size=2
    )
)
def test_a_live_stream_never_strays_far_from_the_wall_clock_in_one_step(stamps: list):
    clock = StreamClock(is_live=True)
    now_s, before_s = 0.0, None
    for pts, step_s in stamps:
        now_s += step_s
        pts_s = clock.tick(pts, RTP, now_s)
        assert math.isfinite(pts_s)
        assert before_s is None or 0 < pts_s - before_s <= step_s + LARGEST_JUMP_S + 0.01
        before_s = pts_s


class Hands:
    """Two clocks that a test turns: the wall's may step, the monotonic one only goes on."""

    def __init__(self) -> None:
        self.wall_s, self.now_s = 1_795_000_000.0, 100.0

    def go(self, seconds: float) -> None:
        self.wall_s += seconds
        self.now_s += seconds


def test_wall_time_is_that_of_the_moment():
    hands = Hands()
    wall = WallTime(lambda: hands.wall_s, lambda: hands.now_s)
    assert wall.at(99.5) == datetime.fromtimestamp(1_795_000_000.0 - 0.5, UTC)
    hands.go(1.0)
    assert wall.at(101.0) == datetime.fromtimestamp(1_795_000_001.0, UTC)


def test_wall_time_never_steps_back_and_catches_up():
    hands = Hands()
    wall = WallTime(lambda: hands.wall_s, lambda: hands.now_s)
    told = [wall.at(hands.now_s)]
    hands.wall_s -= 5.0  # somebody sets the clock
    for _ in range(30):
        hands.go(0.5)
        told.append(wall.at(hands.now_s))
    assert all(later > earlier for earlier, later in pairwise(told))
    assert told[-1].timestamp() == pytest.approx(hands.wall_s)


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
