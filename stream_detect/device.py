"""The one place that decides where arrays live: `resolve_device` alone asks whether a GPU exists.

Nothing is imported before it is asked, so that the command line starts fast.
"""

import ctypes
import importlib.util
import re
import sys
from functools import lru_cache

from stream_detect.errors import UsageError

CHOICES = "auto, cpu, cuda or cuda:N"


def resolve_device(wanted: str = "auto") -> str:
    """The device to run on: "cpu" or "cuda:N".

    Args:
        wanted: "auto" (a GPU where one can be used, else the CPU), "cpu", "cuda" (the first GPU) or "cuda:N".

    Raises:
        UsageError: if `wanted` is none of these, or a GPU is asked for that can't be used; it says what is missing.
    """
    match = re.fullmatch(r"(auto|cpu|cuda)(?::(\d+))?", wanted)
    if match is None or (match[2] and match[1] != "cuda"):
        raise UsageError(f"unknown device {wanted!r}, expected {CHOICES}")
    if match[1] == "cpu":
        return "cpu"
    missing = missing_for_cuda()
    if match[1] == "auto":
        return "cpu" if missing else "cuda:0"
    index = int(match[2] or 0)
    if missing:
        raise UsageError(f"device {wanted}: {missing}; use --device cpu or auto to run without a GPU")
    if index >= cuda_count():
        raise UsageError(
            f"device {wanted}: this machine has {cuda_count()} GPU(s), expected cuda:0 to cuda:{cuda_count() - 1}"
        )
    return f"cuda:{index}"


@lru_cache(maxsize=1)
def missing_for_cuda() -> str | None:
    """What keeps this machine from computing on a GPU and how to mend it, in one line; None where nothing does.

    Without a driver nothing else is asked: torch alone takes two seconds to import.
    """
    if not has_library("cuda"):
        return "there is no NVIDIA driver (install it; start a container with --gpus all)"
    import torch

    if torch.version.cuda is None:
        return "this torch is built for the CPU alone (install a CUDA build of torch, see pytorch.org)"
    if not torch.cuda.is_available():
        return "torch finds no GPU (is the NVIDIA driver installed, and the GPU visible to this process?)"
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed (pip install 'stream-detect[gpu]')"
    import cupy

    if not cupy.cuda.is_available():
        return "CuPy finds no GPU (its CUDA version may not fit the driver: cupy-cuda12x or cupy-cuda13x)"
    return None


def cuda_count() -> int:
    """How many GPUs can be used; 0 where something is missing."""
    if missing_for_cuda():
        return 0
    import torch

    return torch.cuda.device_count()


def has_library(name: str) -> bool:
    """Whether a part of the NVIDIA driver, such as "cuda" or "nvcuvid", can be loaded."""
    file = f"nv{name.removeprefix('nv')}.dll" if sys.platform == "win32" else f"lib{name}.so.1"
    try:
        ctypes.CDLL(file)
    except OSError:
        return False
    return True
