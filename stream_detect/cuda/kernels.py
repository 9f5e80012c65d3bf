"""How CUDA C++ kernels of `stream_detect.kernels` are compiled and launched.

Each kernel is an optimisation of a NumPy function that a test holds it to; its source names that function. What
launches kernels is written against `Bench`, so that tests run the same code with NumPy arrays and the same sources
compiled for the host.
"""

from collections import Counter
from functools import lru_cache
from importlib.resources import files
from typing import Any, Protocol, final, runtime_checkable

OPTIONS = ("--std=c++17",)
Grid = int | tuple[int, ...]


@runtime_checkable
class Bench(Protocol):
    """Where arrays live and kernels run."""

    xp: Any  # the namespace of its arrays: cupy, or numpy in tests
    launches: Counter[str]  # of each kernel function, since the bench was made

    def launch(self, stem: str, function: str, grid: Grid, block: int, *arguments: Any) -> None:
        """Run `function` of `stem`.cu; `arguments` are arrays of `xp` and NumPy scalars, as the kernel declares them.

        Nothing is launched for an empty grid.
        """
        ...

    def pointer(self, array: Any) -> int:
        """The address of an array's first element, for tables of pointers."""
        ...


@final
class CudaBench:
    """CuPy's arrays and its current device and stream."""

    def __init__(self) -> None:
        import cupy

        self.xp: Any = cupy
        self.launches: Counter[str] = Counter()

    def launch(self, stem: str, function: str, grid: Grid, block: int, *arguments: Any) -> None:
        blocks = whole_grid(grid)
        if 0 in blocks:
            return
        self.launches[function] += 1
        kernel(stem, function)(blocks, (block,), arguments)

    def pointer(self, array: Any) -> int:
        return int(array.data.ptr)


def whole_grid(grid: Grid) -> tuple[int, int, int]:
    """A grid of blocks with its three sides, x first."""
    sides = (grid,) if isinstance(grid, int) else tuple(grid)
    x, y, z = (*sides, 1, 1)[:3]
    return x, y, z


def kernel_source(stem: str) -> str:
    """The CUDA C++ text of `stem`.cu."""
    return files("stream_detect.kernels").joinpath(f"{stem}.cu").read_text(encoding="utf-8")


def kernel(stem: str, function: str) -> Any:
    """A function of `stem`.cu for the current CUDA device; each file is compiled once per device."""
    return _compiler()(stem, function)


@lru_cache(maxsize=1)
def _compiler() -> Any:
    import cupy

    def compiled(stem: str, function: str) -> Any:
        return cupy.RawModule(code=kernel_source(stem), options=OPTIONS).get_function(function)

    return cupy.memoize(for_each_device=True)(compiled)
