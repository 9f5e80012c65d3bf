"""What to run first on a machine with a GPU: from the smallest thing that can fail to the whole.

    REQUIRE_GPU=1 pytest tests/cuda/test_on_gpu.py -x -q

Each test needs only what those above it have shown, so the first that fails is the one to mend.
"""

import gc
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from stream_detect.cuda.crops import reduced, ruler_for, unpacked
from stream_detect.cuda.examiner import CudaExaminer
from stream_detect.cuda.faces import DeviceFinder
from stream_detect.cuda.fingerprints import HeldRfft2, window_tiles
from stream_detect.cuda.kernels import CudaBench, kernel, kernel_source
from stream_detect.cuda.networks import DeviceNetworks
from stream_detect.cuda.stream import Captured, CudaLane, as_array, as_tensor
from stream_detect.cuda.transfers import Transfers
from stream_detect.decode.frame import Frame
from stream_detect.detector import Detector
from stream_detect.examiner import CpuExaminer
from stream_detect.experts.table import build_experts
from stream_detect.fusion.quality import QualityLimits
from stream_detect.sources import SourceOptions, open_source, read_frames
from stream_detect.weights import random_weights
from tests import clips
from tests.kernels.emulate import ENTRY, HostBench

pytestmark = pytest.mark.gpu

STEMS = ("color", "kind_heads", "nms", "nv12_crops", "quality", "radial_power", "residual")
ROOT = Path(__file__).parents[2]
JUDGE = """
from stream_detect.detector import Detector
from stream_detect.weights import random_weights
from tests import clips
from tests.cuda.test_on_gpu import judged, nv12
with Detector(device="cuda", weights=random_weights()) as detector:
    print(judged(detector, nv12(clips.talking_head()[0])))
"""
WATCH = "import sys; from stream_detect.cli import main; main(['watch', sys.argv[1], '--device', 'cuda'])"


@pytest.fixture(scope="module")
def lane():
    return CudaLane()


@pytest.fixture(scope="module")
def weights():
    return random_weights()


def nv12(rgb: np.ndarray, index: int = 0) -> Frame:
    """A picture with luma of its own and gray chroma, planes on the host."""
    height, width = rgb.shape[:2]
    luma = np.ascontiguousarray(rgb.mean(axis=2).astype(np.uint8))
    return Frame((luma, np.full((height // 2, width // 2, 2), 128, np.uint8)), "nv12", index=index)


def on_device(frame: Frame) -> Frame:
    import cupy

    return Frame(tuple(map(cupy.asarray, frame.planes)), frame.layout, index=frame.index)


def judged(detector: Detector, frame: Frame) -> int:
    """How many faces of a frame something is said of."""
    (faces,) = detector.find_faces([frame])
    return sum(verdict.llr is not None for verdict in detector.judge([(frame, faces)])[0])


def python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT)


def junk(number: int = 64) -> list:
    """Memory that torch has just been given back, written over."""
    import torch

    return [torch.full((n + 1, 1024), float("nan"), device="cuda") for n in range(number)]


# Single kernels and arrays.


def test_01_one_kernel_runs():
    import cupy

    tiles = np.random.default_rng(0).random((2, 64, 64), np.float32)
    windowed = window_tiles(CudaBench(), cupy.asarray(tiles))
    np.testing.assert_allclose(cupy.asnumpy(windowed), window_tiles(HostBench(), tiles), atol=1e-6)


@pytest.mark.parametrize("stem", STEMS)
def test_02_every_kernel_is_compiled_and_loaded(stem):
    for function in ENTRY.findall(kernel_source(stem)):
        assert kernel(stem, function).max_threads_per_block >= 256
        assert kernel(stem, function) is kernel(stem, function)


def test_03_cupy_and_torch_share_stream_and_memory(lane):
    import cupy
    import torch

    with lane.current():
        assert cupy.cuda.get_current_stream().ptr == torch.cuda.current_stream().cuda_stream != 0
        before = torch.cuda.memory_allocated()
        array = cupy.empty(1 << 20, np.float32)
        assert torch.cuda.memory_allocated() >= before + array.nbytes
        del array
        assert torch.cuda.memory_allocated() == before
    assert cupy.cuda.get_current_stream().ptr == 0


def test_04_arrays_go_to_torch_and_back_without_a_copy(lane):
    import cupy
    import torch

    with lane.current(), torch.inference_mode():
        array = cupy.arange(12, dtype=np.float32).reshape(3, 4)
        doubled = as_tensor(array) * 2
        array[0, 0] = 7
        assert as_tensor(array)[0, 0].item() == 7
        assert as_array(cupy, doubled).data.ptr == doubled.data_ptr()
        np.testing.assert_array_equal(as_array(cupy, doubled).get(), 2.0 * np.arange(12).reshape(3, 4))


def test_05_what_lands_was_computed(lane):
    import cupy

    transfers = Transfers(cupy, lane.landing)
    with lane.current():
        for number in (3, 1000, 10):
            slow = cupy.full((2000, 2000), 0.5, np.float32)
            for _ in range(5):
                slow = slow @ slow / 1000  # stays as it is
            (first, other) = transfers.bring(slow.ravel()[:number] * 0 + number, cupy.full((2, 2), 5, np.float32))
            assert (first == number).all()
            assert other.tolist() == [[5, 5], [5, 5]]


def test_06_held_ffts_are_scipy_s(lane):
    import cupy

    tiles = np.random.default_rng(0).random((56, 64, 64), dtype=np.float32)
    with lane.current():
        held = HeldRfft2(cupy)
        for number in (28, 56, 28):
            waves = held(cupy.asarray(tiles[:number]))
            assert waves.flags.c_contiguous
            np.testing.assert_allclose(waves.get(), np.fft.rfft2(tiles[:number]), atol=2e-2, rtol=1e-3)


def test_07_pictures_are_reduced_as_on_the_host(lane):
    frame = nv12(clips.talking_head()[0])
    with lane.current():
        ours = reduced(lane.bench, [on_device(frame)], 320).get()
    ruler = ruler_for(frame.height, frame.width, 320)
    assert ours.shape == (1, 3, ruler.height, ruler.width)
    assert np.abs(unpacked(ours)[0].astype(int) - frame.reduced(320)).max() <= 3


# CUDA graphs.


def test_08_a_graph_follows_its_input_and_keeps_what_it_reads(lane):
    import cupy
    import torch

    with lane.current():
        given = cupy.zeros((4, 8), np.float32)

        def hold():
            tensor, beside = as_tensor(given), torch.arange(8.0, device="cuda")  # nobody else holds this one
            return lane.held(lambda: tensor + beside)

        held = hold()
        assert isinstance(held, Captured), "no graph was made: see the warning"
        spoiled = junk()
        for number in (1, 2):
            given[...] = number
            np.testing.assert_array_equal(as_array(cupy, held()).get(), np.tile(np.arange(8.0) + number, (4, 1)))
        del spoiled


def test_09_graphs_of_several_sizes_take_turns(lane, weights):
    import cupy

    aligned = np.random.default_rng(0).random((16, 3, 256, 256), dtype=np.float32)
    with lane.current():
        room = cupy.asarray(aligned)
        networks = DeviceNetworks(lane, weights.networks, room, "fp32")
        whole = {name: array.get() for name, array in networks(16).items()}
        for faces in (1, 3, 16, 2, 7, 1):
            spoiled = junk()
            for name, array in networks(faces).items():
                assert np.isfinite(array.get()).all()
                np.testing.assert_allclose(array.get(), whole[name][:faces], atol=1e-3, rtol=1e-2)
            del spoiled


def test_10_half_precision_stays_finite_and_close(lane, weights):
    import cupy

    hard = np.stack([np.zeros((3, 256, 256)), np.ones((3, 256, 256)), np.indices((3, 256, 256)).sum(0) % 2])
    with lane.current():
        room = cupy.asarray(hard.astype(np.float32))
        full, half = (DeviceNetworks(lane, weights.networks, room, precision) for precision in ("fp32", "fp16"))
        expected = {name: array.get() for name, array in full(3).items()}
        for name, array in half(3).items():
            assert np.abs(array.get() - expected[name]).max() <= 0.05 * max(1.0, np.abs(expected[name]).max())


def test_11_a_graph_is_captured_while_decoders_work(lane):
    import cupy

    stop, faults = threading.Event(), []

    def decode():
        try:
            cupy.cuda.Device(0).use()
            wider = 0
            while not stop.is_set():
                wider = (wider + 512) % (1 << 16)  # so that there is no memory at hand
                plane = cupy.zeros((1080, 1920 + wider), np.uint8).copy()
                done = cupy.cuda.Event(block=True, disable_timing=True)
                done.record()
                done.synchronize()
                del plane
        except Exception as error:  # told below
            faults.append(error)

    thread = threading.Thread(target=decode)
    thread.start()
    try:
        with lane.current():
            tensor = as_tensor(cupy.ones((64, 64), np.float32))
            held = [lane.held(lambda: tensor @ tensor) for _ in range(8)]
    finally:
        stop.set()
        thread.join()
    assert not faults
    assert all(isinstance(one, Captured) for one in held), "a decoder spoiled a capture: see the warning"


def test_12_a_lane_that_is_gone_leaves_torch_s_streams_alone(lane):
    import torch

    gone = CudaLane()
    with gone.current():
        gone.held(lambda: torch.ones(8, device="cuda") * 2)()
    del gone
    gc.collect()
    for _ in range(64):  # torch hands out the same few streams in turn
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            assert (torch.ones(8, device="cuda") * 2).sum().item() == 16
    with lane.current():
        assert torch.ones(8, device="cuda").sum().item() == 8


def test_13_torch_s_switches_stay_readable(lane):
    import torch

    assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert torch.backends.cudnn.allow_tf32 is False


# Faces.


def test_14_faces_are_found_again_and_again(lane):
    import cupy

    frames = [on_device(nv12(rgb, k)) for k, rgb in enumerate(clips.talking_head()[:4])]
    with lane.current():
        finder = DeviceFinder(lane, Transfers(cupy, lane.landing))
        first = finder.find(frames)
        assert [len(faces) for faces in first] == [1] * 4
        for _ in range(3):
            spoiled = junk()
            for ours, theirs in zip(finder.find(frames), first, strict=True):
                np.testing.assert_allclose(ours[0].box, theirs[0].box, atol=1e-3)
            del spoiled


def test_15_one_face_is_judged_as_on_the_cpu(weights):
    names, limits = list(weights.heads), QualityLimits()
    theirs = CpuExaminer(build_experts(weights, names), limits)
    frame = nv12(clips.talking_head()[0])
    faces = theirs.find_faces([frame.on_host()])[0]
    ours = CudaExaminer(weights, names, limits, lambda some: theirs, precision="fp32")
    said, expected = ours.examine([(on_device(frame), faces)]), theirs.examine([(frame.on_host(), faces)])
    theirs.close()
    np.testing.assert_allclose(said.measures, expected.measures, atol=1e-3, rtol=1e-3)
    for name in names:
        np.testing.assert_allclose(said.logits[name], expected.logits[name], atol=0.05, err_msg=name)


def test_16_a_face_counts_the_same_in_every_size_of_batch(weights):
    names = list(weights.heads)
    frame = on_device(nv12(clips.talking_head()[0]))
    ours = CudaExaminer(weights, names, QualityLimits(), lambda some: None, precision="fp32")
    face = ours.find_faces([frame])[0][0]
    alone = ours.examine([(frame, [face])])
    for number in (2, 5, 64, 1, 65, 3):
        said = ours.examine([(frame, [face] * number)])
        for name in names:
            np.testing.assert_allclose(said.logits[name], np.tile(alone.logits[name], (number, 1)), atol=0.02)


# Decoding, and the whole.


def test_17_a_clip_is_decoded_on_the_gpu_to_the_same_pixels(face_clip):
    ours, theirs = (
        list(read_frames(open_source(str(face_clip), options=SourceOptions(decoder=decoder))))
        for decoder in ("cuda:0", "cpu")
    )
    assert len(ours) == len(theirs)
    assert all(frame.is_on_device for frame in ours), "NVDEC did not decode it: stream-detect doctor says why"
    for one, other in zip(ours, theirs, strict=True):
        for plane, expected in zip(one.on_host().planes, other.planes, strict=True):
            np.testing.assert_array_equal(plane, expected)


def test_18_two_detectors_in_two_threads_and_closing_twice(weights):
    frame, said = nv12(clips.talking_head()[0]), {}

    def judge(number: int) -> None:
        with Detector(device="cuda", weights=weights) as detector:
            said[number] = [judged(detector, frame) for _ in range(5)]
        detector.close()

    threads = [threading.Thread(target=judge, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {0: [1] * 5, 1: [1] * 5}


def test_19_a_second_gpu_does_all_that_the_first_does(weights, face_clip):
    import torch

    from stream_detect import watch

    if torch.cuda.device_count() < 2:
        pytest.skip("this machine has one GPU")
    with Detector(device="cuda:1", weights=weights) as detector:
        assert list(watch(str(face_clip), detector))[-1].analysed == 10


def test_20_a_process_ends_without_a_word():
    ran = python(JUDGE)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "1\n", "")


def test_21_a_clip_is_watched_on_the_gpu(face_clip):
    ran = python(WATCH, str(face_clip))
    assert ran.returncode == 0, ran.stderr
    assert "on the CPU" not in ran.stderr
