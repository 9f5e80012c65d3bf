"""What the benchmark of engines says is computed as it claims."""

import numpy as np
import pytest

from benchmarks.engines import compared, differences, engines_here, pictures, spread_of, targets_of
from stream_detect.errors import UsageError
from stream_detect.experts import engine
from stream_detect.weights import random_weights


def test_differences_are_told_by_median_p99_and_largest() -> None:
    assert spread_of(np.arange(101) / 1000) == {"median": 0.05, "p99": 0.099, "max": 0.1}


def test_faces_are_compared_one_by_one() -> None:
    ours, theirs = (np.array([0.5, 0.9]), np.array([0.0, 2.0])), (np.array([0.5, 0.8]), np.array([0.1, 2.0]))
    told = compared(ours, theirs)
    assert told["probability"]["max"] == pytest.approx(0.1)
    assert told["llr"]["max"] == pytest.approx(0.1)


def test_an_engine_that_does_not_run_here_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(weights: object, threads: int) -> object:
        raise UsageError("not on this processor")

    table = {"onnxruntime": engine.OnnxEngine, "other": refuse}
    monkeypatch.setattr("benchmarks.engines.ENGINES", table)
    monkeypatch.setattr(engine, "ENGINES", table)
    assert engines_here(random_weights()) == (["onnxruntime"], {"other": "not on this processor"})


def test_an_engine_that_is_onnxruntime_by_another_name_moves_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ENGINES", {"onnxruntime": engine.OnnxEngine, "same": engine.OnnxEngine})
    scores = differences(random_weights(), ["onnxruntime", "same"], 2)
    assert scores == {
        "same": {"faces": 2, "probability": dict.fromkeys(("median", "p99", "max"), 0.0)}
        | {"llr": dict.fromkeys(("median", "p99", "max"), 0.0)}
    }
    assert [one["met"] for one in targets_of(scores)] == [True]


def test_the_pictures_differ_and_are_the_same_each_time() -> None:
    one, other = list(pictures(6)), list(pictures(6))
    assert len({picture.shape for picture in one}) == 5
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
