"""What the benchmark of cold starts says is what processes did."""

import json
import os
import sys

import pytest

from benchmarks.cold_start import CACHED, FIRST_SCORE, HELP, NOT_CACHED, make_subjects, one_start, summary, targets
from tests.weights_for_tests import weights_folder

__all__ = ["weights_folder"]


def run_of(wall_s: float, said: str = "usage: ...") -> dict:
    return {"wall_s": wall_s, "cpu_s": wall_s / 2, "said": [said]}


def test_a_start_is_the_median_of_many() -> None:
    row = summary([run_of(wall_s) for wall_s in (1.0, 5.0, 2.0, 3.0, 4.0)])
    assert row == {"median_s": 3.0, "iqr_s": [2.0, 4.0], "cpu_median_s": 1.5, "starts": 5}


def test_a_process_tells_its_memory_and_its_libraries() -> None:
    said = json.dumps({"modules": ["sys", "numpy", "json", "cv2"], "peak_rss_mib": 200.0})
    row = summary([run_of(1.0, said)])
    assert (row["peak_rss_mib"], row["imported"], row["modules"]) == (200.0, ["numpy", "cv2"], 4)


def test_targets_that_are_missed_say_so() -> None:
    slow = {"median_s": 4.1, "imported": ["numpy", "torch"]}
    told = targets({NOT_CACHED: slow, CACHED: slow, HELP: {"median_s": 0.2}})
    assert [one["met"] for one in told] == [False, True, False]


def test_a_first_score_is_measured(weights_folder, tmp_path) -> None:
    command = make_subjects(tmp_path, weights_folder)[NOT_CACHED]
    assert command[2] == FIRST_SCORE
    started = one_start(command, os.environ)
    row = summary([started])
    assert 0.1 < row["median_s"] < 60
    assert 50 < row["peak_rss_mib"] < 700
    assert {"numpy", "onnxruntime"} <= set(row["imported"])
    assert "torch" not in row["imported"]


def test_a_process_that_fails_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="expected an exit code of 0, got 3"):
        one_start([sys.executable, "-c", "raise SystemExit(3)"], os.environ)
