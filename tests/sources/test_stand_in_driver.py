"""FFmpeg's own side of decoding on a GPU, on a machine without one: libcuda is a stand-in that only notes its calls."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import clips
from tests.requirements import has_gpu, require_program

NOTED = {  # what FFmpeg's loader asks of libcuda, and what it does besides returning 0
    "cuCtxGetCurrent": "*(void**)a = (void*)0x1234;",
    "cuDevicePrimaryCtxRetain": "*(void**)a = (void*)0x1234;",
    "cuDevicePrimaryCtxGetState": "*(unsigned*)b = 0; *(int*)c = 1;",  # active, with the flags that torch leaves
    "cuDeviceGetAttribute": "*(int*)a = 512;",
    "cuGetErrorName": '*(const char**)b = "STAND_IN";',
    "cuGetErrorString": '*(const char**)b = "a stand-in";',
}
PROGRAM = """
import sys
from types import SimpleNamespace
from stream_detect.decode.nvdec import Nvdec
from stream_detect.sources import SourceOptions, feed, open_source
device, runtime = SimpleNamespace(use=lambda: None), SimpleNamespace(free=lambda pointer: None)
xp = SimpleNamespace(cuda=SimpleNamespace(Device=lambda index: device, runtime=runtime))
feed.hardware_for = lambda name: Nvdec(0, xp)
options = SourceOptions(decoder="cuda:0")
for is_live in (False, True):
    with feed.Feed(open_source(sys.argv[1], options=options)) as one:
        if is_live:
            feed.Feed.ends = property(lambda self: False)
        frames = list(one.frames())
    print(len(frames), [frame.index for frame in frames] == list(range(10)), frames[0].layout, one.decoding)
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a libcuda that has every function that FFmpeg looks for, and no libnvcuvid."""
    import re

    import av

    if has_gpu():
        pytest.skip("this machine has a driver")
    compiler = require_program("g++")
    folder = tmp_path_factory.mktemp("driver")
    (libavutil,) = (Path(av.__file__).parent.parent / "av.libs").glob("libavutil*")
    names = sorted({name.decode() for name in re.findall(rb"\0(cu[A-Z]\w+)(?=\0)", libavutil.read_bytes())})
    functions = map(function, names)
    source = folder / "driver.cpp"
    source.write_text('#include <cstdio>\nextern "C" {\n' + "\n".join(functions) + "\n}\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-w", "-o", str(folder / "libcuda.so.1"), str(source)], check=True)
    return folder


def function(name: str) -> str:
    """A function of libcuda that notes that it was called."""
    noted = f'fprintf(stderr, "CALLS {name}\\n");'
    return f"int {name}(void* a, void* b, void* c) {{ {noted} {NOTED.get(name, '')} return 0; }}"


def test_without_libnvcuvid_the_cpu_decodes_every_frame_and_the_context_stays(driver: Path, tmp_path: Path):
    path = clips.write_clip(tmp_path / "a.mp4", clips.numbered(10, 144, 192))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        env={"LD_LIBRARY_PATH": str(driver), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = "10 True yuv420 decoded on the CPU: libnvcuvid is missing; see stream-detect doctor"
    assert done.stdout.splitlines() == [said, said]
    called = {line.split()[1] for line in done.stderr.splitlines() if line.startswith("CALLS")}
    assert "cuCtxGetCurrent" in called  # FFmpeg takes the context that is there,
    assert not called & {"cuCtxCreate_v2", "cuCtxDestroy_v2", "cuDevicePrimaryCtxRetain"}  # and leaves it there
