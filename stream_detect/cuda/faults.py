"""What CuPy and torch raise when a GPU has no memory left, or fails; told by name, so that neither is imported here."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from stream_detect.errors import DeviceLost

FAULTS = {  # names of the errors of CUDA and of its libraries, in CuPy and in torch
    "AcceleratorError",
    "CompileException",
    "CUBLASError",
    "CUDADriverError",
    "CUDARuntimeError",
    "CuFFTError",
    "NVRTCError",
}
SAID = re.compile(r"\b(CUDA|cuDNN|cuBLAS|cuFFT|CUDNN_\w+|CUBLAS_\w+|NVRTC)\b")
NO_MEMORY = re.compile(r"out of memory|ALLOC_FAILED|cudaErrorMemoryAllocation", re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU, or what manages its memory, had none left."""
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return is_fault(error) and NO_MEMORY.search(str(error)) is not None


def is_fault(error: BaseException) -> bool:
    """Whether CUDA or one of its libraries failed."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & FAULTS) or (type(error) is RuntimeError and SAID.search(str(error)) is not None)


@contextmanager
def faults_told(device: str) -> Iterator[None]:
    """Around what works on a device; running out of memory passes through.

    Raises:
        DeviceLost: for a fault of CUDA or of one of its libraries.
    """
    try:
        yield
    except DeviceLost:
        raise
    except Exception as error:
        if is_out_of_memory(error) or not is_fault(error):
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DeviceLost(f"{device} failed ({lines[0]})") from error
