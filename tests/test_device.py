"""The choice of device: what can be asked for, what comes of it, and what is said when there is no GPU."""

import subprocess
import sys

import pytest

from stream_detect import device
from stream_detect.device import resolve_device
from stream_detect.errors import UsageError


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(device, "missing_for_cuda", lambda: "CuPy is not installed (pip install 'stream-detect[gpu]')")


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(device, "missing_for_cuda", lambda: None)
    monkeypatch.setattr(device, "cuda_count", lambda: 2)


def test_without_a_gpu_auto_is_the_cpu(no_gpu):
    assert resolve_device() == resolve_device("cpu") == "cpu"


def test_with_a_gpu_auto_is_the_first(two_gpus):
    assert resolve_device() == resolve_device("cuda") == "cuda:0"
    assert resolve_device("cuda:1") == "cuda:1"
    assert resolve_device("cpu") == "cpu"


def test_asking_for_a_missing_gpu_fails_with_a_way_on(no_gpu):
    with pytest.raises(UsageError, match=r"device cuda:0: CuPy is not installed .* use --device cpu or auto"):
        resolve_device("cuda:0")


def test_asking_for_a_gpu_too_many_fails(two_gpus):
    with pytest.raises(UsageError, match=r"cuda:2: this machine has 2 GPU.*cuda:0 to cuda:1"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("wanted", ["", "gpu", "cuda:", "cuda:-1", "cpu:0", "auto:1", "cuda:x", "CUDA", "cuda:0 "])
def test_other_words_fail(wanted):
    with pytest.raises(UsageError, match="expected auto, cpu, cuda or cuda:N"):
        resolve_device(wanted)


def test_what_is_missing_here_is_said_in_one_line():
    missing = device.missing_for_cuda()
    assert (missing is None) == (device.cuda_count() > 0)
    assert missing is None or "\n" not in missing


def test_importing_it_imports_neither_torch_nor_cupy():
    script = (
        "import sys, stream_detect.device, stream_detect.arrays; sys.exit(bool({'torch', 'cupy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
