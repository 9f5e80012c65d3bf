"""What the doctor says of a GPU, trouble by trouble, on machines that answer as each trouble does."""

from dataclasses import replace
from pathlib import Path

import pytest

from stream_detect.cuda import health
from stream_detect.cuda.health import Survey, judge
from stream_detect.decode.nvdec import Capabilities

GOOD = Survey(
    driver=13010,
    torch="2.13.0+cu130",
    torch_cuda=13000,
    cupy={"cupy-cuda13x": "14.2.0"},
    cupy_cuda=13000,
    kernel_folder=Path("/home/ada/.cupy/kernel_cache"),
    codecs={name: Capabilities(name != "av1", 48, 16, 8192, 8192) for name in ("h264", "hevc", "vp8", "vp9", "av1")},
)


def test_a_machine_that_has_everything_gets_no_advice():
    checks = {check.name: check for check in judge(GOOD)}
    assert {check.state for check in checks.values()} == {"ok"}
    assert checks["gpu driver"].found == "knows CUDA up to 13.1"
    assert checks["gpu video"].found == "NVDEC decodes h264, hevc, vp8, vp9; the CPU av1"


@pytest.mark.parametrize(
    ("trouble", "name", "found", "advice"),
    [
        ({"has_nvcuvid": False}, "gpu video", "libnvcuvid is missing",
         "NVIDIA_DRIVER_CAPABILITIES=compute,video,utility"),
        ({"has_nvdec": False}, "gpu video", "this PyAV has no NVDEC", "pip install --force-reinstall av"),
        ({"codecs": {"h264": Capabilities(False)}}, "gpu video", "decodes nothing", "use a GPU with NVDEC"),
        ({"decoder_error": "CUDA does not start (Operation not supported)"}, "gpu video", "Operation not supported",
         "another library made the CUDA context before FFmpeg"),
        ({"decoder_error": "CUDA does not start (Operation not permitted)"}, "gpu video", "Operation not permitted",
         "update the NVIDIA driver"),
        ({"decoder_error": "CUDA does not start (out of memory)"}, "gpu video", "out of memory", "nvidia-smi"),
        ({"driver": 12040}, "gpu torch", "torch is built for CUDA 13.0, the driver knows CUDA up to 12.4",
         "update the NVIDIA driver to 580 or newer, or pip install torch --index-url "
         "https://download.pytorch.org/whl/cu126"),
        ({"driver": 12040, "torch_cuda": 12060}, "gpu cupy",
         "cupy-cuda13x is built for CUDA 13.0, the driver knows CUDA up to 12.4",
         "pip uninstall -y cupy-cuda13x; then pip install 'cupy-cuda12x[ctk]'"),
        ({"torch_cuda": 12060}, "gpu cupy", "cupy-cuda13x is for CUDA 13, torch for CUDA 12",
         "then pip install 'cupy-cuda12x[ctk]'"),
        ({"cupy": {"cupy-cuda12x": "13.6.0"}, "cupy_cuda": 12090}, "gpu cupy",
         "cupy-cuda12x is for CUDA 12, torch for CUDA 13", "then pip install 'cupy-cuda13x[ctk]'"),
        ({"cupy": {"cupy": "14.2.0", "cupy-cuda13x": "14.2.0"}}, "gpu cupy",
         "cupy and cupy-cuda13x are installed over one another", "pip uninstall -y cupy cupy-cuda13x"),
        ({"cupy": {}, "cupy_cuda": None}, "gpu cupy", "CuPy is not installed", "pip install 'cupy-cuda13x[ctk]'"),
        ({"cupy_cuda": None, "cupy_error": "libcudart.so.13: cannot open shared object file"}, "gpu cupy",
         "cupy-cuda13x can't be imported: libcudart.so.13", "pip uninstall -y cupy-cuda13x"),
        ({"torch": "2.13.0+cpu", "torch_cuda": None}, "gpu torch", "torch 2.13.0+cpu is built for the CPU alone",
         "https://download.pytorch.org/whl/cu130"),
        ({"compiler_error": "libnvrtc.so.13: cannot open shared object file"}, "gpu kernels",
         "can't be compiled: libnvrtc.so.13", "which brings NVRTC"),
        ({"kernel_folder_error": "Read-only file system"}, "gpu kernel cache",
         "can't be written (Read-only file system)", "CUPY_CACHE_DIR"),
        ({"init_fault": 100}, "gpu driver", "sees no GPU", "CUDA_VISIBLE_DEVICES"),
        ({"init_fault": 803}, "gpu driver", "parts differ", "restart the machine"),
        ({"init_fault": 42}, "gpu driver", "CUDA error 42", "nvidia-smi"),
    ],
)  # fmt: skip
def test_each_trouble_is_told_with_its_cure_and_alone(trouble, name, found, advice):
    notes = [check for check in judge(replace(GOOD, **trouble)) if check.state != "ok"]
    first = next(check for check in notes if check.name == name)
    assert first.state == "note"
    assert found in first.found
    assert advice in first.advice
    assert len(notes) <= (2 if trouble.get("driver") == 12040 else 1)


def test_a_driver_that_does_not_start_is_all_that_is_told():
    assert [check.name for check in judge(replace(GOOD, init_fault=999))] == ["gpu driver"]


def test_what_fails_because_of_cupy_is_not_told_as_well():
    fault = "CUDA does not start (cudaErrorInsufficientDriver)"
    troubled = replace(GOOD, driver=12040, torch_cuda=12060, compiler_error=fault, decoder_error=fault)
    assert [check.name for check in judge(troubled) if check.state != "ok"] == ["gpu cupy"]
    troubled = replace(troubled, has_nvcuvid=False)
    assert [check.name for check in judge(troubled) if check.state != "ok"] == ["gpu cupy", "gpu video"]


def test_a_newer_minor_version_than_the_drivers_works():
    assert {check.state for check in judge(replace(GOOD, driver=13000, torch_cuda=13020, cupy_cuda=13020))} == {"ok"}


def test_codecs_that_can_not_be_asked_for_are_no_trouble():
    (check,) = (check for check in judge(replace(GOOD, codecs=None)) if check.name == "gpu video")
    assert check.state == "ok"


class Driver:
    """Answers like libcuda."""

    def __init__(self, version: int, fault: int) -> None:
        self._version, self._fault = version, fault

    def cuInit(self, flags: int) -> int:
        return self._fault

    def cuDriverGetVersion(self, reference) -> int:
        reference._obj.value = self._version
        return 0


def test_the_driver_is_asked_for_its_version():
    assert health.asked_driver(lambda name: Driver(12080, 0)) == (12080, 0)
    assert health.asked_driver(lambda name: Driver(12080, 803)) == (12080, 803)

    def no_library(name: str):
        raise OSError(f"{name}: cannot open shared object file")

    assert health.asked_driver(no_library) == (None, 0)


def test_nothing_more_is_asked_without_a_driver(monkeypatch):
    monkeypatch.setattr(health, "asked_driver", lambda: (None, 0))
    monkeypatch.setattr(health, "asked_cupy", pytest.fail)
    assert health.survey() == Survey()
    assert list(health.check_gpu_parts()) == []


def test_everything_is_asked_where_there_is_a_driver(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(health, "asked_driver", lambda: (13010, 0))
    monkeypatch.setattr(health, "asked_cupy", lambda: (13000, ""))
    monkeypatch.setattr(health, "compile_tiny_kernel", lambda: None)
    monkeypatch.setattr(health, "cupy_packages", lambda: {"cupy-cuda13x": "14.2.0"})
    found = health.survey()
    assert found.kernel_folder == tmp_path / "file"
    assert found.kernel_folder_error
    assert (found.compiler_error, found.has_nvdec) == ("", True)


def test_packages_that_bring_cupy_are_found_by_name(monkeypatch):
    class Installed:
        def __init__(self, name: str) -> None:
            self.metadata, self.version = {"Name": name}, "1"

    names = ["cupy", "CuPy-cuda12x", "cupy-cuda13x", "cupy-xarray", "numpy"]
    monkeypatch.setattr(health.metadata, "distributions", lambda: [Installed(name) for name in names])
    assert list(health.cupy_packages()) == ["cupy", "cupy-cuda12x", "cupy-cuda13x"]


def test_versions_are_written_as_people_do():
    assert health.version_number("13.2") == 13020
    assert health.version_number("12.8.1") == 12080
    assert health.version_number(None) is None
    assert health.dotted(12080) == "12.8"


def test_why_something_fails_fits_one_line():
    def fails():
        raise ValueError("first\nsecond")

    assert health.can(fails) == "first"
    assert health.can(lambda: None) == ""


@pytest.mark.gpu
def test_a_gpu_here_answers_everything():
    found = health.survey()
    assert found.init_fault == 0
    assert found.cupy_cuda is not None
    assert found.codecs is None or found.codecs["h264"].is_supported
