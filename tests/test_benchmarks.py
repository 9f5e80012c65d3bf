"""What the benchmarks say is computed as their README says."""

import time

import numpy as np
import pytest

from benchmarks.common import Timing, commit, compare, metadata, slope_per_minute
from benchmarks.footage import HEIGHT, WIDTH, talking_head
from benchmarks.stages import FRAME, Timers


def test_a_growth_of_one_a_second_is_sixty_a_minute():
    at_s = np.linspace(100, 400, 50)
    assert slope_per_minute(at_s, at_s + 7) == pytest.approx(60)
    assert slope_per_minute(at_s[:1], at_s[:1]) == 0


def test_subjects_take_turns_and_the_warm_up_is_not_counted():
    calls: list[str] = []
    timings = compare({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3, warm_up=2)
    assert "".join(calls) == "ababababab"
    assert len(timings["a"].wall_ms) == len(timings["b"].cpu_ms) == 3


def test_a_batch_is_told_by_the_face_with_median_and_quartiles():
    timing = Timing(np.array([8.0, 16.0, 24.0, 32.0, 40.0]), np.full(5, 4.0))
    assert timing.to_json(per=8) == {"median_ms": 3.0, "iqr_ms": [2.0, 4.0], "cpu_median_ms": 0.5, "rounds": 5}


def test_every_result_names_commit_processor_and_versions():
    about = metadata()
    assert about["commit"] == commit()
    assert about["cpu"]
    assert about["packages"]["torch"]


def test_the_footage_is_720p_and_the_same_each_time():
    one, other = list(talking_head(2)), list(talking_head(2))
    assert one[0].shape == (HEIGHT, WIDTH, 3)
    assert np.array_equal(one, other)
    assert not np.array_equal(one[0], one[1])


def test_a_stage_within_a_stage_is_counted_once(monkeypatch: pytest.MonkeyPatch):
    class Stages:
        def outer(self) -> None:
            self.inner()

        def inner(self) -> None:
            time.sleep(0.001)

        def judged(self) -> None:
            pass

    monkeypatch.setattr("benchmarks.stages.WARM_UP_S", 0.0)
    timers, stages = Timers(), Stages()
    for method, stage in (("outer", "outer"), ("inner", "inner"), ("judged", FRAME)):
        timers.wrap(Stages, method, stage)
    for _ in range(4):
        stages.outer()
        stages.judged()
    table = timers.table()
    assert table["analysed_frames"] == 3
    assert table["stages"]["outer"]["calls_a_frame"] == 1
    assert "inner" not in table["stages"]
