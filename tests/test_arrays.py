"""Arrays of any namespace: constants live where their users do, and `run` goes from NumPy to NumPy."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from stream_detect import arrays
from stream_detect.arrays import array_namespace, clip, constant, device_of, is_cupy, run, settled


def three_numbers() -> np.ndarray:
    return np.array([1, 2, 3], np.float32)


def doubled(array):
    return array * 2


def test_a_constant_lives_beside_its_user_and_is_made_once(place):
    beside = place.put(np.zeros(2))
    first = constant(three_numbers, beside)
    place.assert_equal(first, three_numbers())
    assert constant(three_numbers, beside) is first
    assert device_of(first) == device_of(beside)


def test_a_constant_is_kept_for_a_device_that_has_no_hash(monkeypatch):
    class Device(str):  # as CuPy's
        __hash__ = None
        __slots__ = ()

    monkeypatch.setattr(arrays, "device_of", lambda array: Device("cpu"))
    beside = np.zeros(2)
    assert constant(three_numbers, beside) is constant(three_numbers, beside)


def test_clip_holds_values_between_limits(place):
    values = np.array([-2, -0.5, 0.5, 2], np.float32)
    clipped = clip(place.put(values), -1.0, 1.0)
    assert clipped.dtype == place.xp.float32
    place.assert_equal(clipped, [-1, -0.5, 0.5, 1])


def test_a_list_is_no_array():
    with pytest.raises(TypeError):
        array_namespace([1, 2])


def test_only_cupy_is_cupy(place):
    assert is_cupy(place.put(np.zeros(2))) == (place.name == "cupy")


def test_run_takes_many_rows_and_none():
    rows = np.random.default_rng(0).random((7, 300_000), np.float32)
    assert np.array_equal(run(doubled, rows), rows * 2)
    assert run(doubled, rows[:0]).shape == (0, 300_000)


def test_run_takes_an_array_that_is_read_only_or_not_contiguous():
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::-2]
    rows.flags.writeable = False
    assert np.array_equal(run(doubled, rows), rows * 2)


@pytest.mark.gpu
def test_run_goes_to_a_gpu_and_back():
    rows = np.random.default_rng(0).random((7, 30), np.float32)
    assert np.array_equal(run(doubled, rows, "cuda:0"), rows * 2)


def test_what_is_kept_on_a_gpu_is_complete_before_others_read_it(monkeypatch):
    waits = []
    stream = SimpleNamespace(synchronize=lambda: waits.append(1))
    cupy = SimpleNamespace(cuda=SimpleNamespace(get_current_stream=lambda: stream))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert settled(np.arange(3)).tolist() == [0, 1, 2]
    assert waits == []
    monkeypatch.setattr("stream_detect.arrays.is_cupy", lambda array: True)
    settled(np.arange(3))
    assert waits == [1]
