"""How CuPy gets at the CUDA C++ kernels of `stream_detect.kernels`.

Each kernel is an optimisation of a NumPy function that a test holds it to; its source names that function.
"""

from functools import lru_cache
from importlib.resources import files
from typing import Any

OPTIONS = ("--std=c++17",)


def kernel_source(stem: str) -> str:
    """The CUDA C++ text of `stem`.cu."""
    return files("stream_detect.kernels").joinpath(f"{stem}.cu").read_text(encoding="utf-8")


def kernel(stem: str) -> Any:
    """The function `stem` of `stem`.cu for the current CUDA device, compiled once per device."""
    return _compiler()(stem)


@lru_cache(maxsize=1)
def _compiler() -> Any:
    import cupy

    def compiled(stem: str) -> Any:
        return cupy.RawModule(code=kernel_source(stem), options=OPTIONS).get_function(stem)

    return cupy.memoize(for_each_device=True)(compiled)
