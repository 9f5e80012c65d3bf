"""FFmpeg's and PyAV's own side of decoding on a GPU, on a machine without one: libcuda and libnvcuvid are stand-ins."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest

from tests import clips
from tests.requirements import has_gpu, require_program

HERE = Path(__file__).parent
LIBRARIES = Path(av.__file__).parent.parent / "av.libs"


class Driver(NamedTuple):
    """Folders of a driver with and without the part that decodes."""

    whole: Path
    without_video: Path


class Done(NamedTuple):
    """What a process told, and how often each function of the driver was called."""

    told: dict
    calls: Counter


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    if has_gpu():
        pytest.skip("this machine has a driver")
    require_program("g++")
    made = Driver(tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("part"))
    for folder in made:
        build(folder / "libcuda.so.1", looked_for("libavutil", rb"cu[A-Z]\w+"))
    build(made.whole / "libnvcuvid.so.1", looked_for("libavcodec", rb"cuvid[A-Z]\w+"), "-DNVCUVID")
    return made


def looked_for(library: str, pattern: bytes) -> set[str]:
    """The names of the driver's functions in one of FFmpeg's libraries."""
    (path,) = LIBRARIES.glob(f"{library}-*")
    return {name.decode() for name in re.findall(rb"\0(" + pattern + rb")(?=\0)", path.read_bytes())}


def build(path: Path, names: set[str], *options: str) -> None:
    written = (HERE / "stand_in_driver.cpp").read_text()
    missing = sorted(name for name in names if not re.search(rf"int {name}\(", written))
    source = path.with_suffix(".cpp")
    source.write_text(written + "".join(f"NOTHING({name})\n" for name in missing) + "}\n")
    command = ["g++", "-shared", "-fPIC", "-w", *options, "-o", str(path), str(source)]
    subprocess.run(command, check=True, timeout=60)


def decode(path: Path, libraries: Path, **limits: int) -> Done:
    settings = {"LD_LIBRARY_PATH": str(libraries), "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, str(HERE / "on_stand_in.py"), str(path)],
        env={**settings, "PYTHONPATH": str(HERE.parents[1]), **{name: str(value) for name, value in limits.items()}},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls = Counter(line.removeprefix("CALLS ") for line in done.stderr.splitlines() if line.startswith("CALLS "))
    return Done(json.loads(done.stdout), calls)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.write_clip(tmp_path_factory.mktemp("clips") / "a.mp4", clips.numbered(40, 144, 200))


def test_pictures_come_from_the_gpu_in_order_with_their_sizes_and_times(clip: Path, driver: Driver):
    told, calls = decode(clip, driver.whole)
    assert told["said"] == ["h264 decoded on cuda:0"]
    assert told["index"] == list(range(40))
    assert set(told["layout"]) == {"nv12"}
    assert told["sides"] == [144, 200]
    assert (told["matrix"], told["is_full_range"]) == ("bt601", False)
    np.testing.assert_allclose(told["pts_s"], np.arange(40) / 25, atol=0.002)
    assert told["means"] == [[20 + 4 * k, 100, 200] for k in range(40)]
    assert calls["cuvidDecodePicture"] == 40


def test_an_even_size_of_no_whole_blocks_is_decoded(tmp_path: Path, driver: Driver):
    path = clips.write_clip(tmp_path / "a.webm", clips.numbered(10, 146, 202), codec="vp9")
    told, _ = decode(path, driver.whole)
    assert told["said"] == ["vp9 decoded on cuda:0"]
    assert told["sides"] == [146, 202]
    assert told["means"] == [[20 + 4 * k, 100, 200] for k in range(10)]


def test_an_odd_size_stays_on_the_cpu(tmp_path: Path, driver: Driver):
    path = clips.write_clip(tmp_path / "a.webm", clips.numbered(10, 145, 203), codec="vp9")
    told, _ = decode(path, driver.whole)
    assert told["said"] == ["decoded on the CPU: 203x145 is an odd size"]
    assert told["sides"] == [145, 203]


def test_no_surface_decoder_or_memory_is_left_and_the_context_is(clip: Path, driver: Driver):
    calls = decode(clip, driver.whole).calls
    assert calls["cuvidMapVideoFrame64"] == calls["cuvidUnmapVideoFrame64"] == 40
    assert calls["cuvidCreateDecoder"] == calls["cuvidDestroyDecoder"] > 0
    assert calls["cuMemAlloc_v2"] == calls["cuMemFree_v2"]
    assert calls["cuMemAlloc_v2"] < 20  # FFmpeg's pictures go back as fast as they come
    assert calls["cuCtxGetCurrent"] > 0  # FFmpeg takes the context that is there
    assert not calls.keys() & {"cuCtxCreate_v2", "cuCtxDestroy_v2", "cuDevicePrimaryCtxRetain"}


def test_ffmpeg_copies_on_the_default_stream_alone(clip: Path, driver: Driver):
    calls = decode(clip, driver.whole).calls
    assert calls["cuMemcpy2DAsync_v2 default"] >= 80  # Y and UV of each picture
    assert not [name for name in calls if name.endswith("elsewhere")]


def test_a_gpu_that_falls_off_the_bus_costs_no_frame(clip: Path, driver: Driver):
    told, _ = decode(clip, driver.whole, MOST_PICTURES=17)
    assert told["index"] == list(range(40))
    np.testing.assert_allclose(
        told["means"], [[20 + 4 * k, *mean[1:]] for k, mean in enumerate(told["means"])], atol=20
    )
    assert told["layout"][:10] == ["nv12"] * 10
    assert told["layout"][-20:] == ["yuv420"] * 20
    assert told["said"] == ["h264 decoded on cuda:0", "decoded on the CPU: cuda:0 no longer decodes it"]
    assert sum(told["dropped"].values()) == 0


def test_a_gpu_without_a_free_decoder_leaves_the_file_to_the_cpu(clip: Path, driver: Driver):
    told, _ = decode(clip, driver.whole, MOST_DECODERS=0)
    assert told["index"] == list(range(40))
    (said,) = told["said"]
    assert said.startswith("decoded on the CPU: it opened no decoder for it (too many at once")


def test_without_libnvcuvid_the_cpu_decodes_every_frame(clip: Path, driver: Driver):
    told, _ = decode(clip, driver.without_video)
    assert told["index"] == list(range(40))
    assert told["said"] == ["decoded on the CPU: libnvcuvid is missing; see stream-detect doctor"]


def test_a_codec_that_this_gpu_lacks_is_named(tmp_path: Path, driver: Driver):
    path = clips.write_clip(tmp_path / "a.webm", clips.numbered(10, 144, 200), codec="vp8")
    told, _ = decode(path, driver.whole)
    assert told["index"] == list(range(10))
    assert told["said"] == ["decoded on the CPU: vp8 is not decoded by this GPU"]


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "words"),
    [
        ("h264", "yuv420p10le", "10 bits a sample"),
        ("h264", "yuv422p", "its chroma is not 4:2:0 (nv16)"),
        ("mjpeg", None, "mjpeg is not decoded on a GPU here"),
    ],
)
def test_what_nvdec_is_not_asked_for_is_named(codec: str, pix_fmt: str | None, words: str, tmp_path: Path, driver):
    name = "a.avi" if codec == "mjpeg" else "a.mp4"
    path = clips.write_clip(tmp_path / name, clips.numbered(10, 144, 200), codec=codec, pix_fmt=pix_fmt)
    told, _ = decode(path, driver.whole)
    assert told["index"] == list(range(10))
    assert told["said"] == [f"decoded on the CPU: {words}"]
