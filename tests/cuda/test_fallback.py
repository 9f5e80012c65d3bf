"""When a GPU fails, one line says so, and what can be looked at on the CPU is."""

from dataclasses import replace

import numpy as np
import pytest

from stream_detect.cuda.fallback import FallbackExaminer
from stream_detect.cuda.faults import is_out_of_memory
from stream_detect.decode.frame import Frame
from stream_detect.errors import DeviceLost
from stream_detect.examiner import Examined

GREY = np.full((32, 32), 100, np.uint8)
CHROMA = np.full((16, 16, 2), 128, np.uint8)


class Scripted:
    """An examiner that says where it was asked, until its device is gone."""

    def __init__(self, name: str, fails_from: int = 1 << 30, decode_device: str = "cpu") -> None:
        self.name, self.decode_device = name, decode_device
        self.fails_from, self.calls, self.closed = fails_from, 0, 0
        self.frames: list[Frame] = []

    def _asked(self, frames):
        self.calls += 1
        if self.calls >= self.fails_from:
            raise DeviceLost("cuda:0 failed (it fell off the bus)")
        self.frames += frames

    def find_faces(self, frames, max_side=640):
        self._asked(frames)
        return [[] for _ in frames]

    def examine(self, seen):
        self._asked([frame for frame, _ in seen])
        return Examined(np.zeros((0, 8), np.float32), {})

    def close(self):
        self.closed += 1


class DeviceArray:
    """A GPU's array; one that is lost no longer comes to the host."""

    def __init__(self, array, is_lost=False):
        self._array, self._is_lost = array, is_lost
        self.shape, self.dtype = array.shape, array.dtype

    def get(self):
        if self._is_lost:
            raise RuntimeError("cudaErrorDevicesUnavailable")
        return self._array.copy()


def on_device(is_lost=False):
    return Frame((DeviceArray(GREY, is_lost), DeviceArray(CHROMA, is_lost)), "nv12")


def fallen(fails_from=1):
    gpu, cpu, said = Scripted("gpu", fails_from, "cuda:0"), Scripted("cpu"), []
    return FallbackExaminer(gpu, lambda: cpu, said.append), gpu, cpu, said


def test_a_gpu_that_works_is_used():
    examiner, gpu, cpu, said = fallen(fails_from=9)
    assert examiner.decode_device == "cuda:0"
    examiner.find_faces([on_device()])
    examiner.examine([(on_device(), [])])
    assert (gpu.calls, cpu.calls, said) == (2, 0, [])


def test_a_gpu_that_fails_is_told_once_and_the_cpu_goes_on():
    examiner, gpu, cpu, said = fallen()
    assert examiner.find_faces([on_device()]) == [[]]
    assert examiner.examine([(on_device(), [])]).logits == {}
    assert said == ["cuda:0 failed (it fell off the bus); what follows is looked at on the CPU"]
    assert [frame.layout for frame in cpu.frames] == ["yuv420", "yuv420"]
    assert (examiner.decode_device, gpu.calls, gpu.closed) == ("cpu", 1, 1)
    examiner.close()
    assert (gpu.closed, cpu.closed) == (1, 1)


def test_a_gpu_that_fails_between_finding_and_judging():
    examiner, _, cpu, said = fallen(fails_from=2)
    frame = on_device()
    examiner.find_faces([frame])
    examiner.examine([(frame, [])])
    assert (len(said), cpu.calls) == (1, 1)


def test_frames_that_are_lost_are_the_caller_s_to_leave_out():
    examiner, _, cpu, said = fallen()
    host = replace(on_device(), planes=(GREY, CHROMA))
    with pytest.raises(DeviceLost, match="no longer answers"):
        examiner.find_faces([host, on_device(is_lost=True)])
    assert examiner.find_faces([host]) == [[]]
    assert (len(said), cpu.calls) == (1, 1)


def test_a_fault_of_the_second_examiner_comes_out():
    gpu, cpu = Scripted("gpu", 1), Scripted("cpu", 1)
    examiner = FallbackExaminer(gpu, lambda: cpu, lambda _: None)
    for _ in range(2):
        with pytest.raises(DeviceLost):
            examiner.find_faces([])


def test_frames_of_a_lost_gpu_are_counted_while_a_run_goes_on(face_clip, empty_clip, monkeypatch):
    """Through `watch`: the GPU fails while a batch holds two feeds' frames, one of them lost with it."""
    from stream_detect import watch
    from stream_detect.detector import Detector
    from stream_detect.sources.feed import Feed as Connection
    from stream_detect.types import Status
    from stream_detect.weights import random_weights

    frames = Connection.frames

    def moved(feed):
        for frame in frames(feed):
            y, u, v = frame.planes
            is_there = frame.source == face_clip.name and frame.index < 4
            planes = (DeviceArray(y, True), DeviceArray(np.stack((u, v), axis=-1), True))
            yield replace(frame, planes=planes, layout="nv12") if is_there else frame

    monkeypatch.setattr(Connection, "frames", moved)
    said = []
    with Detector(device="cpu", weights=random_weights(), experts=["color"]) as detector:
        on_cpu = detector._examiner
        detector._examiner = FallbackExaminer(Scripted("gpu", 1), lambda: on_cpu, said.append)
        last = {
            line.source: line for line in watch([str(face_clip), str(empty_clip)], detector) if type(line) is Status
        }
    assert len(said) == 1
    assert last[face_clip.name].state == "ended"
    assert (last[face_clip.name].analysed, last[face_clip.name].dropped["device"]) == (6, 4)
    assert last[empty_clip.name].analysed == last[empty_clip.name].frames


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (type("OutOfMemoryError", (MemoryError,), {})("Out of memory allocating 9 bytes"), True),
        (type("CuFFTError", (RuntimeError,), {})("CUFFT_ALLOC_FAILED"), True),
        (type("CUDARuntimeError", (RuntimeError,), {})("cudaErrorMemoryAllocation: out of memory"), True),
        (type("CUDARuntimeError", (RuntimeError,), {})("cudaErrorLaunchFailure"), False),
        (MemoryError("the host's"), False),
        (RuntimeError("out of memory, said somebody else"), False),
    ],
)
def test_what_counts_as_out_of_memory(error, expected):
    assert is_out_of_memory(error) == expected
