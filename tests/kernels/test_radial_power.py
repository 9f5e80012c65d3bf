"""kernels/radial_power.cu: compiled for real GPUs without one, run on the host, and run on a GPU where there is one."""

import ctypes
import subprocess
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from stream_detect.arrays import run
from stream_detect.cuda import OPTIONS, kernel_source
from stream_detect.experts import spectrum
from tests.requirements import require, require_program

HERE = Path(__file__).parent
BINS = 64 * 33


@pytest.fixture(scope="module")
def on_host(tmp_path_factory: pytest.TempPathFactory):
    """The kernel as a function of (waves, threads), compiled as C++ and run on this machine's CPU."""
    library = tmp_path_factory.mktemp("kernels") / "radial_power.so"
    kernels = str(files("stream_detect.kernels").joinpath("."))
    flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-w", f"-I{kernels}", f"-I{HERE}"]
    command = [require_program("g++"), *flags, str(HERE / "radial_power_host.cpp"), "-o", str(library)]
    subprocess.run(command, check=True, timeout=120)
    host = ctypes.CDLL(str(library)).radial_power_host

    def call(waves: np.ndarray, threads: int = 256) -> np.ndarray:
        lists = spectrum.group_starts(), spectrum.group_bins(), spectrum.group_entries()
        power = np.full((len(waves), len(lists[0]) - 1), np.nan, np.float32)
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (waves, *lists, power)]
        host(len(waves), threads, *pointers[:4], power.shape[1], pointers[4])
        return power

    return call


def require_nvrtc():
    try:
        from cupy.cuda import nvrtc

        nvrtc.getVersion()
    except (ImportError, RuntimeError) as reason:
        require(False, f"CuPy or NVRTC is not installed: {reason}")
    return nvrtc


def random_waves(tiles: int) -> np.ndarray:
    rng = np.random.default_rng(tiles)
    return (rng.normal(size=(tiles, BINS)) + 1j * rng.normal(size=(tiles, BINS))).astype(np.complex64)


def by_definition(waves: np.ndarray) -> np.ndarray:
    return (np.abs(waves.astype(np.complex128)) ** 2) @ spectrum.group_weights().astype(np.float64)


@pytest.mark.parametrize("tiles", [1, 3, 28, 64])
def test_the_kernel_gives_the_definitions_numbers(on_host, tiles):
    waves = random_waves(tiles)
    np.testing.assert_allclose(on_host(waves), by_definition(waves), rtol=2e-5)


@pytest.mark.parametrize("threads", [32, 64, 96, 1024])
def test_the_kernel_takes_any_whole_number_of_warps(on_host, threads):
    waves = random_waves(2)
    np.testing.assert_allclose(on_host(waves, threads), by_definition(waves), rtol=2e-5)


def test_one_bin_reaches_only_the_groups_that_hold_it(on_host):
    waves = np.zeros((1, BINS), np.complex64)
    waves[0, 5] = 3 + 4j
    np.testing.assert_allclose(on_host(waves), 25 * spectrum.group_weights()[5:6], rtol=1e-6)


def test_the_kernel_gives_the_same_bits_again(on_host):
    waves = random_waves(5)
    assert np.array_equal(on_host(waves), on_host(waves, 64))


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_the_kernel_compiles_for_real_gpus(architecture):
    nvrtc = require_nvrtc()
    program = nvrtc.createProgram(kernel_source("radial_power"), "radial_power.cu", [], [])
    nvrtc.compileProgram(program, [*OPTIONS, f"--gpu-architecture={architecture}"])
    assert nvrtc.getCUBIN(program).startswith(b"\x7fELF")


@pytest.mark.gpu
@pytest.mark.parametrize("faces", [1, 3, 64])
def test_a_gpu_gives_numpys_features(faces):
    tiles = np.random.default_rng(faces).random((faces, 28, 64, 64), np.float32)
    expected = spectrum.spectrum_features(tiles)
    np.testing.assert_allclose(run(spectrum.spectrum_features, tiles, "cuda:0"), expected, rtol=1e-4, atol=1e-4)
