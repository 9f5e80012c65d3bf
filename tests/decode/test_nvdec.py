"""Planes of NVDEC's pictures, with NumPy in CuPy's place, and on a GPU; what is said of a GPU that can't decode."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from stream_detect.decode import nvdec
from stream_detect.decode.frame import Frame
from stream_detect.decode.nvdec import (
    KEYLESS_PACKETS,
    NO_MORE,
    QUIET_PACKETS,
    STRIKES,
    Capabilities,
    DecoderFault,
    Nvdec,
    Patience,
    capabilities,
    hardware_for,
    own_planes,
    why_not,
)
from stream_detect.sources import SourceOptions, open_source
from stream_detect.sources.feed import Feed
from tests import clips

FULL_HD = Capabilities(True, 48, 16, 4096, 4096)


def nv12_picture(height: int, width: int, seed: int = 0) -> tuple[av.VideoFrame, list[np.ndarray]]:
    """A picture in main memory as NVDEC would give it, and its Y, U, V."""
    rng = np.random.default_rng(seed)
    small = (-(-height // 2), -(-width // 2))
    planes = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((height, width), small, small)]
    picture = av.VideoFrame(width, height, "nv12")
    for plane, rows in zip(
        picture.planes, (planes[0], np.stack(planes[1:], axis=-1).reshape(small[0], -1)), strict=True
    ):
        padded = np.zeros((plane.height, plane.line_size), np.uint8)
        padded[:, : rows.shape[1]] = rows
        plane.update(padded)
    return picture, planes


def on_numpy(index: int = 0, stream=lambda index: nullcontext()) -> Nvdec:
    return Nvdec(index, np, stream)


def codec_of(height: int, width: int) -> av.VideoCodecContext:
    codec = av.CodecContext.create("h264", "r")
    codec.height, codec.width = height, width
    return codec


@pytest.mark.parametrize("size", [(48, 64), (1080, 1920), (50, 46)])
def test_planes_are_copied_without_padding(size):
    picture, expected = nv12_picture(*size)
    luma, chroma = own_planes(picture, np)
    np.testing.assert_array_equal(luma, expected[0])
    np.testing.assert_array_equal(chroma, np.stack(expected[1:], axis=-1))
    for plane in (luma, chroma):
        assert plane.flags.c_contiguous
        assert plane.flags.owndata or plane.base.flags.owndata
        assert plane.flags.writeable


def test_a_size_that_becomes_odd_ends_decoding_on_a_gpu():
    with pytest.raises(DecoderFault, match="63x48 is an odd size"):
        on_numpy()(nv12_picture(48, 64)[0], codec_of(48, 63))


def test_the_surface_is_free_once_the_planes_are_copied():
    picture, expected = nv12_picture(48, 64)
    luma, _ = own_planes(picture, np)
    picture.planes[0].update(bytes(picture.planes[0].buffer_size))
    np.testing.assert_array_equal(luma, expected[0])


def test_a_picture_comes_with_matrix_and_range():
    picture, expected = nv12_picture(48, 64)
    picture.colorspace, picture.color_range = 1, 2
    planes, layout, matrix, is_full_range = on_numpy()(picture, codec_of(48, 64))
    assert (layout, matrix, is_full_range) == ("nv12", "bt709", True)
    assert Frame(planes, layout).on_host().planes[2].tolist() == expected[2].tolist()


def test_copies_run_on_ffmpegs_stream_of_the_right_gpu():
    begun = []

    def stream(index: int):
        begun.append(index)
        return nullcontext()

    on_numpy(3, stream)(nv12_picture(48, 64)[0], codec_of(48, 64))
    assert begun == [3]


def test_ten_bits_stay_on_the_cpu():
    with pytest.raises(DecoderFault, match="10 bits a sample"):
        on_numpy()(av.VideoFrame(64, 48, "p010le"), codec_of(48, 64))


@pytest.mark.parametrize("fault", [RuntimeError("cudaErrorDevicesUnavailable"), MemoryError("out of memory")])
def test_a_device_that_fails_while_copying_is_a_fault_of_the_decoder(fault):
    def stream(index: int):
        raise fault

    with pytest.raises(DecoderFault, match=f"cuda:0 failed .{fault}"):
        on_numpy(stream=stream)(nv12_picture(48, 64)[0], codec_of(48, 64))


def test_pictures_of_the_cpu_are_told_from_those_of_the_gpu():
    assert not on_numpy().holds(nv12_picture(48, 64)[0])


def test_codecs_that_gpus_do_not_decode_are_refused():
    created = [av.CodecContext.create(name, "r") for name in ("mjpeg", "ffv1", "h264")]
    assert [on_numpy().refusal(one) for one in created] == [
        f"{name} is not decoded on a GPU here" for name in ("mjpeg", "ffv1", "h264")
    ]  # h264 was not opened for a GPU


def test_a_machine_without_a_driver_says_so():
    from tests.requirements import has_gpu

    if has_gpu():
        pytest.skip("this machine has a GPU")
    cuda = SimpleNamespace(Device=lambda index: SimpleNamespace(use=lambda: None), runtime=SimpleNamespace(free=abs))
    with pytest.raises(
        DecoderFault, match=r"CUDA does not start \(Operation not permitted\); see stream-detect doctor"
    ):
        Nvdec(0, SimpleNamespace(cuda=cuda)).accelerator()


def test_a_cupy_that_finds_no_driver_says_so():
    def use():
        raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient\nmore")

    cuda = SimpleNamespace(Device=lambda index: SimpleNamespace(use=use))
    with pytest.raises(DecoderFault, match=r"\(cudaErrorInsufficientDriver: CUDA driver version is insufficient\)"):
        Nvdec(0, SimpleNamespace(cuda=cuda)).accelerator()


def test_a_missing_cupy_is_a_fault_that_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    with pytest.raises(DecoderFault, match="CuPy can't be used"):
        hardware_for("cuda:0")


def test_what_decodes_on_which_device():
    assert hardware_for(None) is hardware_for("cpu") is None
    with pytest.raises(ValueError, match="cpu or cuda:N, got 'cuda'"):
        hardware_for("cuda")


def test_ffmpeg_uses_the_context_of_cupy_and_torch_and_keeps_pictures_there():
    accelerator = nvdec.accelerator_of(2)
    assert accelerator.options == {"primary_ctx": "0", "current_ctx": "1"}
    assert (accelerator.device_id, accelerator.is_hw_owned) == (2, True)


@pytest.mark.parametrize(
    ("codec", "stored", "size", "can", "words"),
    [
        ("av1", None, (640, 360), Capabilities(False), "av1 is not decoded by this GPU"),
        ("h264", "yuv420p10le", (640, 360), FULL_HD, "10 bits a sample"),
        ("h264", "yuv422p", (640, 360), FULL_HD, "its chroma is not 4:2:0 (yuv422p)"),
        ("h264", "yuv444p", (640, 360), FULL_HD, "its chroma is not 4:2:0 (yuv444p)"),
        ("h264", "yuvj420p", (8192, 360), FULL_HD, "h264 is decoded by this GPU up to 4096x4096"),
        ("h264", "yuv420p", (32, 360), FULL_HD, "h264 is decoded by this GPU from 48x16 on"),
        ("h264", "yuv420p", (640, 360), FULL_HD, NO_MORE),
        ("h264", "yuv420p", (640, 360), OSError("no libnvcuvid"), "libnvcuvid is missing; see stream-detect doctor"),
        ("h264", None, (640, 360), RuntimeError("CUDA error 201"), "CUDA error 201"),
    ],
)
def test_why_a_gpu_did_not_decode(codec, stored, size, can, words):
    def look_up(name: str) -> Capabilities:
        assert name == codec
        if isinstance(can, Exception):
            raise can
        return can

    assert why_not(codec, av.VideoFormat(stored, *size) if stored else None, *size, look_up) == words


class Nvcuvid:
    """Answers like the driver's decoding library."""

    def __init__(self, fault: int = 0) -> None:
        self._fault = fault

    def cuvidGetDecoderCaps(self, reference) -> int:
        asked = reference._obj
        asked.is_supported = asked.codec in (4, 8)
        asked.most_width, asked.most_height, asked.least_width, asked.least_height = 8192, 8192, 144, 144
        return self._fault


def test_the_driver_is_asked_what_it_decodes():
    assert capabilities("hevc", Nvcuvid()) == Capabilities(True, 144, 144, 8192, 8192)
    assert not capabilities("av1", Nvcuvid()).is_supported
    with pytest.raises(RuntimeError, match="CUDA error 201"):
        capabilities("hevc", Nvcuvid(201))


def test_the_drivers_answer_has_the_size_that_nvidia_documents():
    import ctypes

    assert ctypes.sizeof(nvdec._Asked) == 22 * 4
    assert nvdec._Asked.most_width.offset == 28


def feed_packets(patience: Patience, num: int, **what) -> int | None:
    """After how many packets patience ends; None if it doesn't."""
    return next((n for n in range(1, num + 1) if patience.ends(**{"is_key": False, "pictures": 0, **what})), None)


def test_patience_ends_at_the_first_error_of_a_gpu_that_gave_nothing():
    patience = Patience()
    assert feed_packets(patience, KEYLESS_PACKETS - 1, error=ValueError()) is None  # entered between two key frames
    assert patience.ends(is_key=True, pictures=0, error=ValueError())


def test_patience_bears_a_few_errors_of_a_gpu_that_works():
    patience = Patience()
    for _ in range(10):
        assert not patience.ends(is_key=True, pictures=1)
        assert feed_packets(patience, STRIKES - 1, error=ValueError()) is None
    assert patience.ends(is_key=False, pictures=0, error=ValueError())


def test_patience_ends_where_nothing_comes():
    assert feed_packets(Patience(), 1000) is None  # no key frame yet
    patience = Patience()
    assert not patience.ends(is_key=True, pictures=0)
    assert feed_packets(patience, 1000) == QUIET_PACKETS - 1


def test_patience_knows_faults_of_cuda():
    assert Patience().ends(is_key=False, pictures=0, error=av.error.UnknownError(1, "?"))


def decoded(path: Path, decoder: str) -> tuple[list[Frame], str]:
    with Feed(open_source(str(path), options=SourceOptions(decoder=decoder))) as feed:
        return [frame.on_host() for frame in feed.frames()], feed.decoding


@pytest.mark.gpu
@pytest.mark.parametrize(("codec", "name"), [("h264", "a.mp4"), ("hevc", "a.mp4"), ("vp9", "a.webm"), ("h264", "a.ts")])
@pytest.mark.parametrize("size", [(360, 480), (1080, 1920)])
def test_a_gpu_decodes_what_the_cpu_does(codec, name, size, tmp_path):
    path = clips.write_clip(tmp_path / name, clips.talking_head(20, *size), codec=codec)
    (expected, _), (frames, said) = decoded(path, "cpu"), decoded(path, "cuda:0")
    assert said == f"{codec} decoded on cuda:0"
    assert [frame.index for frame in frames] == [frame.index for frame in expected]
    for frame, other in zip(frames, expected, strict=True):
        assert (frame.pts_s, frame.matrix, frame.is_full_range) == (other.pts_s, other.matrix, other.is_full_range)
        for plane, same in zip(frame.planes, other.planes, strict=True):
            assert np.abs(plane.astype(int) - same).max() <= 1


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("codec", "pix_fmt", "words"),
    [("hevc", "yuv420p10le", "10 bits"), ("h264", "yuv444p", "4:2:0"), ("mjpeg", None, "mjpeg is not decoded")],
)
def test_what_a_gpu_does_not_decode_is_decoded_and_said(codec, pix_fmt, words, tmp_path):
    name = "a.avi" if codec == "mjpeg" else "a.mp4"
    path = clips.write_clip(tmp_path / name, clips.numbered(10, 144, 192), codec=codec, pix_fmt=pix_fmt)
    frames, said = decoded(path, "cuda:0")
    assert [clips.number_of(frame.rgb((0, 0, 192, 144))) for frame in frames] == list(range(10))
    assert said.startswith("decoded on the CPU: ")
    assert words in said


@pytest.mark.gpu
def test_it_does_not_matter_whether_torch_or_ffmpeg_comes_first(tmp_path):
    import subprocess
    import sys

    path = clips.write_clip(tmp_path / "a.mp4", clips.numbered(10, 144, 192))
    decode = (
        "from stream_detect.sources import SourceOptions, open_source; from stream_detect.sources.feed import Feed\n"
        f"feed = Feed(open_source({str(path)!r}, options=SourceOptions(decoder='cuda:0')))\n"
        "frames = list(feed.frames()); feed.close(); assert 'cuda:0' in feed.decoding, feed.decoding\n"
    )
    torch = "import torch; torch.ones(4, device='cuda').sum().item()\n"
    for program in (torch + decode + torch, decode + torch + decode):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.gpu
def test_two_hundred_frames_take_no_more_memory_than_forty(tmp_path):
    import cupy

    path = clips.write_clip(tmp_path / "a.mp4", clips.talking_head(200, 720, 1280))
    free = []
    with Feed(open_source(str(path), options=SourceOptions(decoder="cuda:0"))) as feed:
        for frame in feed.frames():
            if frame.index in (40, 199):
                free.append(cupy.cuda.runtime.memGetInfo()[0])
    assert abs(free[0] - free[1]) < 8 << 20
