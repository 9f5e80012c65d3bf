"""Kernels without a GPU: their sources compiled as C++ and run on NumPy arrays, and compiled by NVRTC for real GPUs."""

import ctypes
import functools
import re
import subprocess
import tempfile
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from stream_detect.cuda.kernels import OPTIONS, Grid, kernel_source, whole_grid
from tests.requirements import require, require_program

HERE = Path(__file__).parent
ARCHITECTURES = ("sm_80", "sm_90")
FOLDER = tempfile.TemporaryDirectory(prefix="stream-detect-kernels-")  # until the tests are over
ENTRY = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)')
WAITS = re.compile(r"\b(__syncthreads|__syncwarp|__shfl\w*)\b")


class HostBench:
    """A `Bench` of NumPy arrays: every kernel runs on this machine's CPU, with the numbers that a GPU would give."""

    xp: Any = np

    def __init__(self, backwards: bool = False) -> None:
        self.launches: Counter[str] = Counter()
        self.backwards = backwards  # threads between barriers run from last to first: without races nothing changes

    def launch(self, stem: str, function: str, grid: Grid, block: int, *arguments: Any) -> None:
        sides = whole_grid(grid)
        if 0 in sides:
            return
        self.launches[function] += 1
        kept = [address_of(argument) for argument in arguments]
        table = (ctypes.c_void_p * len(kept))(*(ctypes.addressof(cell) for cell in kept))
        waits = WAITS.search(kernel_source(stem)) is not None
        library(stem).run_backwards(ctypes.c_bool(self.backwards))
        entry = getattr(library(stem), f"{function}_host")
        entry((ctypes.c_uint * 3)(*sides), ctypes.c_uint(block), ctypes.c_bool(waits), table)

    def pointer(self, array: np.ndarray) -> int:
        return array.ctypes.data


def address_of(argument: Any) -> Any:
    """A cell that holds what the kernel is given: an array's address, or a scalar of its own type."""
    if isinstance(argument, np.ndarray):
        assert argument.flags.c_contiguous, "kernels take contiguous arrays"
        return ctypes.c_void_p(argument.ctypes.data)
    assert isinstance(argument, np.generic), f"kernels take arrays and NumPy scalars, got {type(argument)}"
    return np.ctypeslib.as_ctypes_type(argument.dtype)(argument.item())


@functools.cache
def library(stem: str) -> ctypes.CDLL:
    """The kernels of `stem`.cu as functions of the host; compiled once a process."""
    folder = Path(FOLDER.name)
    source = kernel_source(stem)
    entries = "".join(f"RUN_ON_HOST({name})\n" for name in ENTRY.findall(source))
    program, built = folder / f"{stem}.cpp", folder / f"{stem}.so"
    program.write_text(f'#include "host_cuda.h"\n#include "{stem}.cu"\n{entries}')
    kernels = str(files("stream_detect.kernels").joinpath("."))
    flags = ["-std=c++17", "-O2", "-shared", "-fPIC", "-w", f"-I{kernels}", f"-I{HERE}"]
    subprocess.run([require_program("g++"), *flags, str(program), "-o", str(built)], check=True, timeout=120)
    return ctypes.CDLL(str(built))


def compiled_by_nvrtc(stem: str, architecture: str) -> bytes:
    """The machine code of `stem`.cu for a GPU; needs NVRTC, but neither a GPU nor a driver."""
    nvrtc, program = compiled(stem, architecture)
    code: bytes = nvrtc.getCUBIN(program)
    return code


def bytes_out_of_registers(stem: str, architecture: str) -> int:
    """What threads of the kernels of `stem`.cu keep in slow local memory: stack frames and spilled registers."""
    nvrtc, program = compiled(stem, architecture, "--ptxas-options=-v")
    report = nvrtc.getProgramLog(program)
    found = re.findall(r"(\d+) bytes (?:stack frame|spill)", report)
    assert found, f"the compiler says nothing of stack frames: {report}"
    return sum(map(int, found))


def compiled(stem: str, architecture: str, *options: str) -> tuple[Any, Any]:
    """NVRTC, and the program that it made of `stem`.cu."""
    try:
        from cupy.cuda import nvrtc

        nvrtc.getVersion()
    except (ImportError, RuntimeError) as reason:
        require(False, f"CuPy or NVRTC is not installed: {reason}")
    program = nvrtc.createProgram(kernel_source(stem), f"{stem}.cu", [], [])
    try:
        nvrtc.compileProgram(program, [*OPTIONS, f"--gpu-architecture={architecture}", *options])
    except nvrtc.NVRTCError as error:
        raise AssertionError(f"{stem}.cu for {architecture}: {nvrtc.getProgramLog(program)}") from error
    return nvrtc, program
