"""Bursts are spread out, and a backlog is told from a sender that is merely late."""

import threading

import pytest

from stream_detect.sources.pace import Backlog, Pacer


class Clock:
    """A clock that only waiting moves; also the event that is waited on."""

    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds


class Stop(threading.Event):
    """An event whose wait moves the clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self.clock.wait(timeout or 0.0)
        return False


def test_a_burst_is_shown_as_it_was_filmed():
    clock = Clock()
    pacer = Pacer(Stop(clock), clock)
    shown = []
    for pts_s in (2.0, 2.04, 2.08, 3.0):
        pacer.wait(pts_s)
        shown.append(clock.now_s)
    assert shown == pytest.approx([50.0, 50.04, 50.08, 51.0])


def test_after_a_long_stall_it_goes_on_from_now():
    clock = Clock()
    pacer = Pacer(Stop(clock), clock)
    pacer.wait(0.0)
    clock.wait(10.0)
    pacer.wait(0.04)
    pacer.wait(0.08)
    assert clock.now_s == pytest.approx(60.04)


def test_frames_that_get_older_without_waiting_are_a_backlog():
    backlog = Backlog()
    verdicts = []
    for number in range(200):  # 25 fps of stamps, but only 12.5 fps are decoded and reading never waits
        backlog.read(0.0, 0.08)
        verdicts.append(backlog.is_behind(0.04 * number))
    assert not any(verdicts[:30])
    assert all(verdicts[80:])


def test_a_late_sender_is_no_backlog():
    backlog = Backlog()
    for number in range(200):
        backlog.read(0.03, 0.04)
        assert not backlog.is_behind(0.0 if number < 100 else 5.0)


def test_a_backlog_ends_when_reading_waits_again():
    backlog = Backlog()
    for number in range(100):
        backlog.read(0.0, 0.08)
        backlog.is_behind(0.04 * number)
    for _ in range(50):
        backlog.read(0.038, 0.04)
    assert not backlog.is_behind(0.1)
