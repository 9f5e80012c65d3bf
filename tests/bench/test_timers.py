"""What the timers count, worked out by hand, and that every stage that they name is there."""

import time

import pytest

from stream_detect.bench.timers import DECODE, FRAME, LOOK_EVERY, REST, Timers, threads_s, timed_stages


class Stages:
    def outer(self) -> None:
        self.inner()

    def inner(self) -> None:
        time.sleep(0.001)

    def frame(self) -> None:
        pass

    def steps(self):
        for number in range(3):
            time.sleep(0.001)
            yield number


def test_a_stage_within_a_stage_is_counted_once():
    timers, stages = Timers(), Stages()
    with (
        timers.around(Stages, "outer", "outer"),
        timers.around(Stages, "inner", "inner"),
        timers.around(Stages, "frame", FRAME),
    ):
        for _ in range(4):
            stages.outer()
            stages.frame()
    table = timers.table()
    assert table.frames == 3
    assert table.stages["outer"]["calls_a_frame"] == 1
    assert "inner" not in table.stages
    assert table.stages["outer"]["wall_ms_a_call"] >= 1


def test_the_timers_are_gone_afterwards():
    before = Stages.outer
    with Timers().around(Stages, "outer", "outer"):
        assert Stages.outer is not before
    assert Stages.outer is before


def test_each_step_of_what_yields_is_a_call():
    timers = Timers()
    with timers.around_steps(Stages, "steps", "steps"):
        assert list(Stages().steps()) == [0, 1, 2]
    assert len(timers.samples["steps"]) == 4  # the last says that there are no more
    assert all(wall_s >= 0.001 for _, wall_s, _ in timers.samples["steps"][:3])


def test_stages_named_as_they_are_called_keep_their_place():
    timers, stages = Timers(), Stages()
    with (
        timers.around(Stages, "frame", FRAME),
        timers.around(Stages, "inner", lambda stages: "some expert"),
        timers.around(Stages, "outer", "output"),
    ):
        for _ in range(3):
            stages.frame()
            stages.inner()
            stages.outer()
    assert list(timers.table().stages) == [FRAME, "some expert", "output", REST]


def test_shares_add_up_to_one():
    timers, stages = Timers(), Stages()
    with timers.around(Stages, "frame", FRAME), timers.around(Stages, "inner", "inner"):
        for _ in range(50):
            stages.frame()
            stages.inner()
    assert sum(row["share"] for row in timers.table().stages.values()) == pytest.approx(1, abs=0.01)


def test_too_few_frames_fail_with_how_many_there_were():
    with pytest.raises(ValueError, match="two frames or more after 1 s, got 0"):
        Timers().table(1.0)


def test_no_thread_of_that_name_takes_no_time():
    assert threads_s("no such thread") == 0


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_every_stage_that_is_timed_is_there(device):
    with timed_stages(device) as timers:
        assert timers.samples == {}


def test_ffmpegs_threads_count_as_decoding(monkeypatch):
    used_s = iter(range(100))
    monkeypatch.setattr("stream_detect.bench.timers.threads_s", lambda prefix: float(next(used_s)))
    timers, stages = Timers(), Stages()
    with timers.around(Stages, "frame", FRAME), timers.around(Stages, "inner", DECODE):
        for _ in range(2 * LOOK_EVERY + 1):
            stages.frame()
            stages.inner()
    row = timers.table().stages[DECODE]
    assert row["cpu_ms_a_frame"] == pytest.approx(1000 / LOOK_EVERY, rel=0.02)
