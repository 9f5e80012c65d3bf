"""A detector that was asked for a GPU, through `watch`: on a stand-in for a GPU that decodes and computes."""

import logging

import pytest

from stream_detect import watch
from stream_detect.cuda import examiner as cuda_examiner
from stream_detect.detector import Detector
from stream_detect.examiner import CpuExaminer
from stream_detect.sources import feed
from stream_detect.types import FrameVerdict
from stream_detect.weights import random_weights
from tests.cuda.lanes import HostLane
from tests.decode.gpus import StandIn


class CUDARuntimeError(RuntimeError):
    """As CuPy names its own."""


@pytest.fixture
def lane(monkeypatch):
    """The lane that a detector gets for a GPU."""
    lane = HostLane()
    monkeypatch.setattr("stream_detect.detector.resolve_device", lambda wanted: "cuda:0")
    monkeypatch.setattr(cuda_examiner, "CudaLane", lambda index: lane)
    monkeypatch.setattr(feed, "hardware_for", lambda device: StandIn())
    return lane


def judged(lines):
    return [line for line in lines if isinstance(line, FrameVerdict)]


def test_watching_runs_each_kernel_once_a_batch_and_says_what_the_cpu_says(lane, face_clip):
    weights = random_weights()
    with Detector(device="cuda", weights=weights) as detector:
        assert detector.decode_device == "cuda:0"
        lines = list(watch(str(face_clip), detector, max_frames=4))
        launches, transfers = lane.bench.launches, detector._examiner._examiner.transfers
    faces = ("nv12_crops", "radial_power", "residual_tiles", "color_features", "quality_tiles", "kind_heads")
    assert {name: launches[name] for name in faces} == dict.fromkeys(faces, 4)
    assert launches["nms"] == launches["nv12_reduced"] >= 1
    assert transfers.copies == launches["nms"] + 4
    assert transfers.device_to_host_bytes <= 2048 * 4
    assert "decoded on cuda:0" in lines[1].reason
    said = judged(lines)
    with Detector(device="cuda", weights=weights) as detector, detector.looking_on_cpu():
        expected = judged(watch(str(face_clip), detector, max_frames=4))
    for one, other in zip(said, expected, strict=True):
        assert len(one.faces) == len(other.faces) == 1
        assert one.faces[0].fake_probability == pytest.approx(other.faces[0].fake_probability, abs=0.01)


def test_a_gpu_that_fails_in_a_run_is_told_and_the_cpu_goes_on(lane, face_clip, caplog):
    with Detector(device="cuda", weights=random_weights(), experts=["color"]) as detector:
        lines = watch(str(face_clip), detector)
        first = next(line for line in lines if isinstance(line, FrameVerdict))
        lane.fails = CUDARuntimeError("cudaErrorECCUncorrectable: an error that can't be mended")
        with caplog.at_level(logging.WARNING):
            rest = list(lines)
        assert detector.decode_device == "cpu"
    assert first.frame == 0
    assert (rest[-1].frames, rest[-1].analysed, sum(rest[-1].dropped.values())) == (10, 10, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "cuda:0 failed (cudaErrorECCUncorrectable: an error that can't be mended); what follows is looked at on the CPU"
    ]


def test_a_gpu_that_can_not_be_used_leaves_the_cpu(lane, monkeypatch, caplog):
    def broken(index):
        raise CUDARuntimeError("cudaErrorInsufficientDriver: the driver is too old\nmore")

    monkeypatch.setattr(cuda_examiner, "CudaLane", broken)
    with caplog.at_level(logging.WARNING), Detector(device="cuda", weights=random_weights()) as detector:
        assert isinstance(detector._examiner, CpuExaminer)
        assert detector.decode_device == "cpu"
    assert "the driver is too old); faces are looked at on the CPU" in caplog.text


def test_looks_are_taken_on_the_cpu(lane):
    with Detector(device="cuda", weights=random_weights()) as detector:
        before = detector._examiner
        with detector.looking_on_cpu():
            assert isinstance(detector._examiner, CpuExaminer)
        assert detector._examiner is before
