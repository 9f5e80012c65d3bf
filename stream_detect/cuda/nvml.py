"""How full and how busy a GPU is, asked of NVIDIA's management library (NVML): it needs no CUDA context of ours."""

import ctypes
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

NVML = "libnvidia-ml.so.1"  # comes with the driver


@dataclass(frozen=True, slots=True)
class GpuFigures:
    """One GPU at one moment, all programs on it together."""

    memory_used_bytes: int
    memory_total_bytes: int
    utilization: float | None  # share of the time in which a kernel ran, lately, in [0, 1]


class Memory(ctypes.Structure):
    """`nvmlMemory_t`, in bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Utilization(ctypes.Structure):
    """`nvmlUtilization_t`, in per cent."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


def read_gpu(device: str) -> GpuFigures | None:
    """The figures of "cuda:N"; None for a CPU, and where the driver does not tell."""
    if not device.startswith("cuda"):
        return None
    library, handle = nvml(), handle_of(device)
    if library is None or handle is None:
        return None
    memory, utilization = Memory(), Utilization()
    if library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) != 0:
        return None
    is_told = library.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(utilization)) == 0
    return GpuFigures(int(memory.used), int(memory.total), utilization.gpu / 100 if is_told else None)


@lru_cache(maxsize=1)
def nvml() -> Any:
    """The library, ready for questions; None where there is none."""
    try:
        library = ctypes.CDLL(NVML)
    except OSError:
        return None
    return library if library.nvmlInit_v2() == 0 else None


@lru_cache(maxsize=16)
def handle_of(device: str) -> ctypes.c_void_p | None:
    """NVML's handle of "cuda:N", found by its place on the bus: the two count GPUs differently."""
    library, bus_id = nvml(), bus_id_of(int(device.partition(":")[2] or 0))
    if library is None or bus_id is None:
        return None
    handle = ctypes.c_void_p()
    found = library.nvmlDeviceGetHandleByPciBusId_v2(bus_id.encode(), ctypes.byref(handle))
    return handle if found == 0 else None


def bus_id_of(index: int) -> str | None:
    """Where CUDA's GPU of that number sits, such as 0000:1B:00.0; None if CUDA does not say."""
    try:
        import cupy

        return str(cupy.cuda.runtime.deviceGetPCIBusId(index))
    except (ImportError, RuntimeError):
        return None
