"""Capture times follow a sender's clock where that can be believed, and arrival where not."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_detect.sources.times import DRIFT, LATE_S, STEADY_S, Pace, SenderClock
from tests.servers import RtspServer
from tests.sources.following import Following

WALL_S = 1_795_000_000.0  # the wall clock when the monotonic one stands at 0


def told(zero_s: float) -> int:
    """What a sender reports whose stamp 0 was taken at that moment of the monotonic clock."""
    return round((WALL_S + zero_s) * 1e6)


def clock() -> SenderClock:
    """One that is believed at once."""
    return SenderClock(wall=lambda: WALL_S + 50.0, monotonic=lambda: 50.0, steady_s=0.0)


def test_a_clock_is_believed_once_its_stamps_have_moved_as_time_does():
    sender, report = SenderClock(wall=lambda: WALL_S + 50.0, monotonic=lambda: 50.0), told(100.0)
    said = [sender.captured_s(at_s, report, 100.1 + at_s) for at_s in (0.0, 0.04, 1.0, STEADY_S, STEADY_S + 0.04)]
    assert [captured is None for captured in said] == [True, True, True, False, False]


def test_a_sender_that_gives_every_picture_the_same_stamp_is_not_believed():
    sender, report = SenderClock(wall=lambda: WALL_S + 50.0, monotonic=lambda: 50.0), told(100.0)
    assert all(sender.captured_s(0.0, report, 100.1 + 0.04 * index) is None for index in range(400))


def test_a_picture_was_taken_when_its_stamp_says():
    assert clock().captured_s(3.0, told(100.0), 103.2) == pytest.approx(103.0, abs=1e-5)


def test_nothing_is_said_before_the_sender_reports():
    sender = clock()
    assert sender.captured_s(3.0, None, 103.2) is None
    assert sender.captured_s(None, told(100.0), 103.2) is None
    assert sender.captured_s(3.04, told(100.0), 103.3) == pytest.approx(103.04, abs=1e-5)


@pytest.mark.parametrize("ahead_s", [-3600.0, -LATE_S - 1, 1.0, 86_400.0])
def test_a_camera_whose_clock_is_wrong_is_not_believed(ahead_s: float):
    sender = clock()
    report = told(100.0 + ahead_s)
    assert [sender.captured_s(stamp, report, 100.1 + stamp) for stamp in (0.0, 1.0, 2.0)] == [None] * 3


def test_stamps_that_jump_end_the_belief():
    for jump_s in (-1.0, 3600.0):
        sender, report = clock(), told(100.0)
        assert sender.captured_s(10.0, report, 110.1) is not None
        assert sender.captured_s(10.04 + jump_s, report, 110.14) is None
        assert sender.captured_s(10.08, report, 110.18) is None


def test_a_sender_slightly_ahead_takes_no_picture_after_it_arrives():
    assert clock().captured_s(1.0, told(100.05), 101.0) == 101.0


def test_a_hold_up_of_the_network_makes_pictures_older():
    sender, report = clock(), told(100.0)
    assert sender.captured_s(1.0, report, 101.1) == pytest.approx(101.0, abs=1e-5)
    assert sender.captured_s(1.04, report, 104.1) == pytest.approx(101.04, abs=1e-5)


@pytest.mark.parametrize("drift", [-0.5 * DRIFT, 0.5 * DRIFT])
def test_a_day_of_drift_is_followed(drift: float):
    sender, report = clock(), told(100.0)
    ages_s = [100.3 + at_s - (sender.captured_s(at_s * (1 + drift), report, 100.3 + at_s) or 0.0)
              for at_s in range(0, 86_400, 5)]  # fmt: skip
    assert max(ages_s) - min(ages_s) < 0.02


def test_a_delay_that_grows_is_no_drift():
    sender, report = clock(), told(100.0)
    for at_s in range(600):
        delay_s = 0.1 + at_s / 300
        captured_s = sender.captured_s(float(at_s), report, 100.0 + at_s + delay_s)
        assert captured_s == pytest.approx(100.0 + at_s, abs=1e-4)


@given(st.lists(st.tuples(st.none() | st.floats(-1e10, 1e10) | st.floats(0, 5), st.floats(0, 20)), min_size=1))
def test_capture_is_never_after_arrival_and_never_steps_back(pictures: list):
    sender, arrived_s, taken = clock(), 100.0, []
    for stamp_s, step_s in pictures:
        arrived_s += step_s
        captured_s = sender.captured_s(stamp_s, told(100.0), arrived_s)
        if captured_s is not None:
            assert math.isfinite(captured_s)
            assert arrived_s - LATE_S - 0.2 <= captured_s <= arrived_s
            taken.append(captured_s)
    assert all(later >= earlier for earlier, later in pairwise(taken))


@pytest.mark.parametrize(("sent_hz", "is_astray"), [(21.0, True), (30.0, True), (25.0, False), (24.5, False)])
def test_stamps_at_another_pace_than_that_of_time_are_found_out(sent_hz: float, is_astray: bool):
    pace = Pace()
    told = [pace.is_astray(number / 25, 7.0 + number / sent_hz) for number in range(int(100 * sent_hz))]
    assert any(told) == is_astray


def test_a_burst_at_the_start_and_a_hold_up_are_no_other_pace():
    pace = Pace()
    stamps_s = [number / 25 for number in range(3000)]
    arrivals_s = [max(10.0, stamp_s) for stamp_s in stamps_s]  # ten seconds of pictures at once
    arrivals_s = [35.0 if 30 < at_s < 35 else at_s for at_s in arrivals_s]
    assert not any(pace.is_astray(*times) for times in zip(stamps_s, arrivals_s, strict=True))


@pytest.mark.services
def test_capture_times_come_with_the_reports_of_a_server():
    with RtspServer() as server, Following(server.url) as feed:
        feed.wait_until(lambda: any(frame.captured_s is not None for frame in feed.frames), 10, "a capture time")
        feed.wait_for_frames(10)
        frames = feed.frames
        assert frames[0].captured_s is None
        assert all(0 <= frame.arrived_s - frame.captured_s < 1.0 for frame in frames if frame.captured_s is not None)
        assert all(later.seen_at > earlier.seen_at for earlier, later in pairwise(frames))
        assert all(later.arrived_s >= earlier.arrived_s for earlier, later in pairwise(frames))
