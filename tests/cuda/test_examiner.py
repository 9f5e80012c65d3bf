"""A GPU's examiner says what the CPU's says: on a stand-in for a GPU, and on a GPU where there is one."""

import ast
import logging
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

import stream_detect.cuda
from stream_detect.cuda.examiner import CudaExaminer
from stream_detect.cuda.stream import CudaLane
from stream_detect.decode.frame import Frame
from stream_detect.detector import Detector
from stream_detect.errors import DeviceLost
from stream_detect.examiner import CpuExaminer, Examined
from stream_detect.experts.heads import noisy_or
from stream_detect.experts.table import Expert, build_experts
from stream_detect.fusion.quality import QualityLimits
from stream_detect.types import KINDS, Face
from stream_detect.weights import random_weights
from tests import clips
from tests.cuda.lanes import HostLane

ONCE = {  # of these kernels, in a batch of faces
    "nv12_crops": 1,
    "window_tiles": 1,
    "radial_power": 1,
    "spectrum_features": 1,
    "residual_tiles": 1,
    "residual_features": 1,
    "color_features": 1,
    "quality_tiles": 1,
    "quality_measures": 1,
    "kind_heads": 1,
}
NAMES = ("spectrum", "residual", "color", "mesonet", "attention")
LIMITS = QualityLimits()
CLOSE = {"fp32": 0.002, "fp16": 0.01}  # greatest difference of an expert's probability from the CPU's
PACKAGE = Path(stream_detect.cuda.__file__).parent
TO_HOST = {"get", "asnumpy", "cpu", "numpy", "item", "tolist"}
OF_THE_HOST = {  # dicts, NumPy's arrays and programs that have methods of these names
    "health.py": {"get", "tolist"},
    "crops.py": {"tolist"},
    "fingerprints.py": {"get", "tolist"},
}


class OutOfMemoryError(Exception):
    """As CuPy and torch name theirs."""


class CUDARuntimeError(RuntimeError):
    """As CuPy names its own."""


@pytest.fixture(scope="module")
def weights():
    return random_weights()


def cpu(weights, names=NAMES):
    return CpuExaminer(build_experts(weights, list(names)), LIMITS)


def on_a_lane(weights, names=NAMES, lane=None, precision="fp32", plugged=()):
    def host(some):
        known = [name for name in some if name in NAMES]
        others = {name: expert for name, expert in plugged if name in some}
        return CpuExaminer((build_experts(weights, known) if known else {}) | others, LIMITS)

    return CudaExaminer(weights, names, LIMITS, host, precision=precision, lane=lane or HostLane())


def nv12(rgb: np.ndarray, index: int = 0) -> Frame:
    """The picture as a GPU decodes it, planes on the host."""
    import cv2

    height, width = rgb.shape[:2]
    whole = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    y, rest = whole[: height * width].reshape(height, width), whole[height * width :]
    u, v = rest.reshape(2, height // 2, width // 2)
    return Frame((y.copy(), np.stack([u, v], axis=-1)), "nv12", index=index)


@pytest.fixture(scope="module")
def frames():
    """Two feeds' frames, of different sizes, with a face each."""
    small, large = list(clips.talking_head())[:2], list(clips.talking_head())[5]
    return [nv12(small[0]), nv12(np.ascontiguousarray(np.pad(large, ((0, 60), (40, 80), (0, 0)), mode="reflect")), 1)]


@pytest.fixture(scope="module")
def faces(frames, weights):
    examiner = cpu(weights, ["color"])
    found = examiner.find_faces([frame.on_host() for frame in frames])
    examiner.close()
    return found


def repeated(frames, faces, times):
    """Faces of many feeds: those of the frames, each moved by a pixel or so."""
    return [
        (frame, [Face(face.box + k % 7, face.landmarks + k % 7, face.confidence) for face in some])
        for k in range(times)
        for frame, some in zip(frames, faces, strict=True)
    ]


def differences(ours: Examined, theirs: Examined) -> np.ndarray:
    """Of each face's probability by each expert; both say something of the same faces."""
    one, other = (np.stack([noisy_or(said.logits[name]) for name in NAMES], axis=1) for said in (ours, theirs))
    np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
    return np.abs(1 / (1 + np.exp(-one)) - 1 / (1 + np.exp(-other)))


def host_seen(seen):
    return [(frame.on_host(), faces) for frame, faces in seen]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_all_experts_say_what_they_say_on_the_cpu(frames, faces, weights, precision):
    seen = repeated(frames, faces, 3)
    ours, theirs = on_a_lane(weights, precision=precision), cpu(weights)
    said, expected = ours.examine(seen), theirs.examine(host_seen(seen))
    theirs.close()
    assert list(said.logits) == list(NAMES)
    np.testing.assert_allclose(said.measures, expected.measures, atol=1e-4, rtol=1e-3)
    assert np.nanmax(differences(said, expected)) <= CLOSE[precision]
    assert ours.launches == ONCE


def test_each_kernel_runs_once_a_batch(frames, faces, weights):
    examiner = on_a_lane(weights)
    for seen in (repeated(frames, faces, 1), repeated(frames, faces, 2), repeated(frames[:1], faces[:1], 1)):
        before = Counter(examiner.launches)
        examiner.examine(seen)
        assert examiner.launches - before == ONCE


def test_faces_are_found_where_the_cpu_finds_them(frames, weights):
    ours, theirs = on_a_lane(weights, ["color"]), cpu(weights, ["color"])
    plain = nv12(np.full((120, 160, 3), 90, np.uint8))
    some = [*frames, plain]
    found, expected = ours.find_faces(some), theirs.find_faces([frame.on_host() for frame in some])
    theirs.close()
    assert [len(one) for one in found] == [len(one) for one in expected] == [1, 1, 0]
    for one, other in zip(chain(*found), chain(*expected), strict=True):
        np.testing.assert_allclose(one.box, other.box, atol=1.0)
        np.testing.assert_allclose(one.landmarks, other.landmarks, atol=1.0)
        assert one.confidence == pytest.approx(other.confidence, abs=0.01)


def test_a_face_that_fills_its_frame_is_found_by_the_second_look(frames, faces, weights):
    rgb = frames[0].on_host().rgb(faces[0][0].box)
    close = nv12(np.ascontiguousarray(rgb[: len(rgb) // 2 * 2, : rgb.shape[1] // 2 * 2]))
    ours, theirs = on_a_lane(weights, ["color"]), cpu(weights, ["color"])
    found, expected = ours.find_faces([close])[0], theirs.find_faces([close.on_host()])[0]
    theirs.close()
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.box, other.box, atol=1.5)


def test_64_faces_bring_a_few_kilobytes_to_the_host(frames, faces, weights):
    examiner = on_a_lane(weights)
    examiner.examine(repeated(frames, faces, 32))
    assert examiner.transfers.copies == 1
    assert examiner.transfers.device_to_host_bytes == 64 * (len(NAMES) * len(KINDS) + 8) * 4


def test_a_picture_s_faces_bring_a_kilobyte_to_the_host(frames, weights):
    examiner = on_a_lane(weights, ["color"])
    assert len(examiner.find_faces(frames[:1])[0]) == 1
    assert examiner.transfers.copies == 1
    assert examiner.transfers.device_to_host_bytes == (1 + 16 * 15) * 4


def test_more_than_64_faces_go_in_several_batches(frames, faces, weights):
    seen = repeated(frames, faces, 33)
    examiner = on_a_lane(weights, ["color"])
    said = examiner.examine(seen)
    assert examiner.launches["nv12_crops"] == 2
    assert said.logits["color"].shape == (66, len(KINDS))
    alone = examiner.examine(seen[-1:])
    np.testing.assert_array_equal(said.logits["color"][-1:], alone.logits["color"])


def test_frames_of_other_layouts_are_looked_at_on_the_cpu(frames, faces, weights):
    rgb = Frame.from_rgb(frames[1].on_host().reduced(2000))
    seen = [(frames[0], faces[0]), (rgb, faces[1]), (frames[1], faces[1])]
    ours, theirs = on_a_lane(weights), cpu(weights)
    assert [len(found) for found in ours.find_faces([frame for frame, _ in seen])] == [1, 1, 1]
    assert np.nanmax(differences(ours.examine(seen), theirs.examine(host_seen(seen)))) <= CLOSE["fp32"]
    ours.close()
    theirs.close()


def test_an_expert_of_another_package_looks_at_the_host(frames, faces, weights):
    head = lambda crops: np.full((len(crops), len(KINDS)), 0.5, np.float32)  # noqa: E731
    other = Expert("other", lambda crops: crops.face_px[:, None], head)
    examiner = on_a_lane(weights, ("color", "other"), plugged=[("other", other)])
    said = examiner.examine(repeated(frames, faces, 1))
    examiner.close()
    assert list(said.logits) == ["color", "other"]
    assert (said.logits["other"] == 0.5).all()


def test_nothing_to_look_at(weights, frames):
    examiner = on_a_lane(weights)
    assert examiner.find_faces([]) == []
    assert examiner.examine([]).measures.shape == (0, 8)
    assert examiner.examine([(frames[0], [])]).measures.shape == (0, 8)
    examiner.close()
    examiner.close()


class TightLane(HostLane):
    """A lane on which so many faces, or pictures, are too many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, launch = most, self.bench.launch
        self.bench.launch = lambda stem, function, grid, *rest: self._launch(launch, stem, function, grid, *rest)

    def _launch(self, launch, stem, function, grid, *rest):
        asked = {"nv12_crops": lambda: grid[1], "nv12_reduced": lambda: grid[2]}.get(function, lambda: 0)()
        if asked > self.most:
            raise OutOfMemoryError(f"no memory for {asked}")
        launch(stem, function, grid, *rest)


def test_without_memory_the_batch_is_halved_and_nothing_is_lost(frames, faces, weights, caplog):
    seen, lane = repeated(frames, faces, 5), TightLane(3)
    tight, roomy = on_a_lane(weights, ["color"], lane), on_a_lane(weights, ["color"])
    with caplog.at_level(logging.WARNING):
        said = tight.examine(seen)
        assert [len(one) for one in tight.find_faces(frames[:1] * 5)] == [1] * 5
    np.testing.assert_array_equal(said.logits["color"], roomy.examine(seen).logits["color"])
    assert [record.getMessage() for record in caplog.records] == [
        "cuda:0 has no memory for 10 faces at once; from now on it gets 8 or, if need be, fewer"
    ]
    releases = lane.releases
    tight.examine(seen)
    assert lane.releases == releases, "the limit is remembered"


def test_a_device_without_memory_for_one_face_is_lost(frames, faces, weights):
    with pytest.raises(DeviceLost, match="no memory left for faces, not even one at a time"):
        on_a_lane(weights, ["color"], TightLane(0)).examine(repeated(frames, faces, 1))


@pytest.mark.parametrize(
    "error", [CUDARuntimeError("cudaErrorLaunchFailure: unspecified"), RuntimeError("CUDA error: device-side assert")]
)
def test_a_device_that_fails_is_lost(frames, faces, weights, error):
    lane = HostLane()
    examiner = on_a_lane(weights, ["color"], lane)
    lane.fails = error
    with pytest.raises(DeviceLost, match=r"cuda:0 failed \((cudaError|CUDA error)"):
        examiner.examine(repeated(frames, faces, 1))


def test_a_fault_of_ours_is_no_lost_device(frames, faces, weights):
    lane = HostLane()
    examiner = on_a_lane(weights, ["color"], lane)
    lane.fails = RuntimeError("a shape doesn't fit")
    with pytest.raises(RuntimeError, match="a shape doesn't fit") as caught:
        examiner.examine(repeated(frames, faces, 1))
    assert not isinstance(caught.value, DeviceLost)


@pytest.mark.parametrize("module", sorted(path.name for path in PACKAGE.glob("*.py") if path.name != "transfers.py"))
def test_nothing_but_transfers_brings_arrays_to_the_host(module):
    calls = [node.func for node in ast.walk(ast.parse((PACKAGE / module).read_text())) if isinstance(node, ast.Call)]
    used = {call.attr for call in calls if isinstance(call, ast.Attribute)} & TO_HOST
    assert used <= OF_THE_HOST.get(module, set())


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_gpu_says_what_the_cpu_says(frames, faces, weights, precision):
    seen = repeated(frames, faces, 32)
    ours, theirs = on_a_lane(weights, lane=CudaLane(), precision=precision), cpu(weights)
    for _ in range(2):  # captured, then repeated
        before = ours.transfers.device_to_host_bytes
        said = ours.examine(seen)
        assert ours.transfers.device_to_host_bytes - before <= 8192
    expected = theirs.examine(host_seen(seen))
    theirs.close()
    assert np.nanpercentile(differences(said, expected), 99) <= 0.01
    assert ours.launches == dict.fromkeys(ONCE, 2)


@pytest.mark.gpu
def test_a_gpu_finds_faces_where_the_cpu_finds_them(frames, weights):
    ours, theirs = on_a_lane(weights, lane=CudaLane()), cpu(weights, ["color"])
    for _ in range(2):
        found = ours.find_faces(frames)
    expected = theirs.find_faces([frame.on_host() for frame in frames])
    theirs.close()
    for one, other in zip(chain(*found), chain(*expected), strict=True):
        np.testing.assert_allclose(one.box, other.box, atol=1.5)


@pytest.mark.gpu
def test_watching_on_a_gpu_runs_each_kernel_once_a_batch_and_brings_only_scores(face_clip, weights):
    from stream_detect import watch

    with Detector(device="cuda", weights=weights) as detector:
        lines = list(watch(str(face_clip), detector))
        examiner = detector._examiner._examiner
        batches = examiner.launches["nv12_crops"]
        assert lines[-1].analysed == 10
        assert batches == 10
        assert {name: examiner.launches[name] for name in ONCE} == dict.fromkeys(ONCE, batches)
        assert examiner.launches["nv12_reduced"] == examiner.launches["nms"] == batches
        assert examiner.transfers.device_to_host_bytes <= 2048 * batches


def test_planes_of_a_frame_may_have_gaps(frames, faces, weights):
    wide = [np.pad(plane, ((0, 0), (0, 32), *[(0, 0)] * (plane.ndim - 2))) for plane in frames[0].planes]
    padded = replace(frames[0], planes=tuple(plane[:, :-32] for plane in wide))
    examiner = on_a_lane(weights, ["color"])
    one, other = (examiner.examine([(frame, faces[0])]).logits["color"] for frame in (padded, frames[0]))
    np.testing.assert_array_equal(one, other)
