"""kernels/radial_power.cu: compiled for real GPUs without one, run on the host, and run on a GPU where there is one."""

import numpy as np
import pytest

from stream_detect.arrays import run
from stream_detect.experts import spectrum
from tests.kernels.emulate import HostBench

BINS = 64 * 33


def on_host(waves: np.ndarray, threads: int = 256) -> np.ndarray:
    """The kernel's numbers for these Fourier coefficients, run on this machine's CPU."""
    lists = spectrum.group_starts(), spectrum.group_bins(), spectrum.group_entries()
    power = np.full((len(waves), len(lists[0]) - 1), np.nan, np.float32)
    HostBench().launch(
        "radial_power", "radial_power", len(waves), threads, waves, *lists, np.int32(power.shape[1]), power
    )
    return power


def random_waves(tiles: int) -> np.ndarray:
    rng = np.random.default_rng(tiles)
    return (rng.normal(size=(tiles, BINS)) + 1j * rng.normal(size=(tiles, BINS))).astype(np.complex64)


def by_definition(waves: np.ndarray) -> np.ndarray:
    return (np.abs(waves.astype(np.complex128)) ** 2) @ spectrum.group_weights().astype(np.float64)


@pytest.mark.parametrize("tiles", [1, 3, 28, 64])
def test_the_kernel_gives_the_definitions_numbers(tiles):
    waves = random_waves(tiles)
    np.testing.assert_allclose(on_host(waves), by_definition(waves), rtol=2e-5)


@pytest.mark.parametrize("threads", [32, 64, 96, 1024])
def test_the_kernel_takes_any_whole_number_of_warps(threads):
    waves = random_waves(2)
    np.testing.assert_allclose(on_host(waves, threads), by_definition(waves), rtol=2e-5)


def test_one_bin_reaches_only_the_groups_that_hold_it():
    waves = np.zeros((1, BINS), np.complex64)
    waves[0, 5] = 3 + 4j
    np.testing.assert_allclose(on_host(waves), 25 * spectrum.group_weights()[5:6], rtol=1e-6)


def test_the_kernel_gives_the_same_bits_again():
    waves = random_waves(5)
    assert np.array_equal(on_host(waves), on_host(waves, 64))


@pytest.mark.gpu
@pytest.mark.parametrize("faces", [1, 3, 64])
def test_a_gpu_gives_numpys_features(faces):
    tiles = np.random.default_rng(faces).random((faces, 28, 64, 64), np.float32)
    expected = spectrum.spectrum_features(tiles)
    np.testing.assert_allclose(run(spectrum.spectrum_features, tiles, "cuda:0"), expected, rtol=1e-4, atol=1e-4)
