"""NVIDIA's management library: asked where there is a GPU, silent elsewhere."""

import ctypes

import pytest

from stream_detect.cuda import nvml


@pytest.fixture(autouse=True)
def nothing_remembered():
    nvml.handle_of.cache_clear()
    yield
    nvml.handle_of.cache_clear()


class Driver:
    """Answers as the library does, for one GPU."""

    def __init__(self, utilization_code: int = 0) -> None:
        self.asked: list[bytes] = []
        self._utilization_code = utilization_code

    def nvmlDeviceGetHandleByPciBusId_v2(self, bus_id: bytes, handle: object) -> int:
        self.asked.append(bus_id)
        return 0 if bus_id == b"0000:1B:00.0" else 6

    def nvmlDeviceGetMemoryInfo(self, handle: object, memory: object) -> int:
        told = ctypes.cast(memory, ctypes.POINTER(nvml.Memory)).contents
        told.total, told.free, told.used = 80 << 30, 77 << 30, 3 << 30
        return 0

    def nvmlDeviceGetUtilizationRates(self, handle: object, utilization: object) -> int:
        ctypes.cast(utilization, ctypes.POINTER(nvml.Utilization)).contents.gpu = 37
        return self._utilization_code


@pytest.mark.parametrize(("code", "utilization"), [(0, 0.37), (3, None)])
def test_a_gpu_in_figures(monkeypatch, code, utilization):
    driver = Driver(code)
    monkeypatch.setattr(nvml, "nvml", lambda: driver)
    monkeypatch.setattr(nvml, "bus_id_of", {1: "0000:1B:00.0"}.get)
    assert nvml.read_gpu("cuda:1") == nvml.GpuFigures(3 << 30, 80 << 30, utilization)
    assert nvml.read_gpu("cuda:1") is not None
    assert driver.asked == [b"0000:1B:00.0"]


def test_a_gpu_that_the_driver_does_not_know(monkeypatch):
    monkeypatch.setattr(nvml, "nvml", Driver)
    monkeypatch.setattr(nvml, "bus_id_of", lambda index: "0000:FF:00.0")
    assert nvml.read_gpu("cuda:0") is None


def test_a_cpu_is_never_asked_about(monkeypatch):
    monkeypatch.setattr(nvml, "nvml", lambda: pytest.fail("the driver was asked"))
    assert nvml.read_gpu("cpu") is None


@pytest.mark.gpu
def test_a_real_gpu():
    figures = nvml.read_gpu("cuda:0")
    assert figures is not None
    assert 0 < figures.memory_used_bytes < figures.memory_total_bytes
