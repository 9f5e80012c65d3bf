"""The spectrum's kernels end to end, window to features: on this machine's CPU, and on a GPU where there is one.

Features are natural logarithms of power. Windowing and FFT in float32 leave noise of about 1e-7 of a tile's amplitude
in every bin: features differ by 2e-5 at most, but by 9e-5 where a smooth tile has hardly more power than
`spectrum.FLOOR`, and by as much between FFTs of SciPy, NumPy and torch. The tolerances are three times that, at most a
five-hundredth of a feature's usual spread.
"""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.fft

from stream_detect.cuda import fingerprints
from stream_detect.cuda.kernels import CudaBench
from stream_detect.experts import spectrum
from tests.kernels.emulate import ARCHITECTURES, HostBench, bytes_out_of_registers
from tests.kernels.faces import TILES, face_tiles

ATOL, SMOOTH_ATOL = 6e-5, 3e-4
WARPS = [32, 96, 256, 1024]  # threads of a block


def assert_equal_features(given: np.ndarray, tiles: np.ndarray, atol: float) -> None:
    np.testing.assert_allclose(given, spectrum.spectrum_features(tiles), rtol=0, atol=atol)


def atol_of(kind: str) -> float:
    return SMOOTH_ATOL if kind == "smooth" else ATOL


def by_kernels(tiles: np.ndarray, backwards: bool = False) -> np.ndarray:
    return fingerprints.spectrum_features(HostBench(backwards), tiles, fingerprints.HeldRfft2(np))


def windowed_by_kernel(tiles: np.ndarray, threads: int = 256, out: np.ndarray | None = None) -> np.ndarray:
    out = np.full_like(tiles, np.nan) if out is None else out
    window = spectrum.hann_window()
    HostBench().launch("radial_power", "window_tiles", len(tiles), threads, tiles, window, window.sum(), out)
    return out


@pytest.mark.parametrize("faces", [1, 3])
@pytest.mark.parametrize("kind", TILES)
def test_the_kernels_give_the_definitions_features(kind, faces):
    tiles = face_tiles(kind, faces)
    assert_equal_features(by_kernels(tiles), tiles, atol_of(kind))


def test_the_kernels_take_a_whole_bucket_of_different_faces():
    tiles = np.concatenate([face_tiles(kind, 13) for kind in TILES])[:64]
    assert_equal_features(by_kernels(tiles), tiles, SMOOTH_ATOL)


def test_each_kernel_is_launched_once_a_batch_and_tiles_stay_as_they_are():
    tiles, bench = face_tiles("camera", 2), HostBench()
    before = tiles.copy()
    fingerprints.spectrum_features(bench, tiles, fingerprints.HeldRfft2(np))
    assert dict(bench.launches) == {"window_tiles": 1, "radial_power": 1, "spectrum_features": 1}
    assert np.array_equal(tiles, before)


def test_no_face_launches_nothing():
    bench = HostBench()
    features = fingerprints.spectrum_features(bench, face_tiles("noise", 1)[:0], fingerprints.HeldRfft2(np))
    assert features.shape == (0, spectrum.SPECTRUM_DIM)
    assert not bench.launches


@pytest.mark.parametrize("threads", WARPS)
def test_tiles_are_windowed_by_any_whole_number_of_warps(threads):
    tiles = face_tiles("noise", 1)[0, :3]
    expected = spectrum._windowed(np, tiles.astype(np.float64))
    # tiles reach 1, the window 1/24: four roundings of float32
    np.testing.assert_allclose(windowed_by_kernel(tiles, threads), expected, rtol=0, atol=1e-8)


def test_tiles_may_be_windowed_where_they_are():
    tiles = face_tiles("camera", 1)[0]
    expected = windowed_by_kernel(tiles)
    assert np.array_equal(windowed_by_kernel(tiles, out=tiles), expected)


def test_a_constant_tile_becomes_zero_exactly():
    assert not windowed_by_kernel(face_tiles("flat", 1)[0]).any()


def test_a_tile_that_is_not_finite_spoils_only_its_own_face():
    tiles = face_tiles("camera", 3)
    expected = by_kernels(tiles)
    tiles[1, 5, 3, 3] = np.nan
    given = by_kernels(tiles)
    assert np.array_equal(given[[0, 2]], expected[[0, 2]])
    assert np.isnan(given[1]).any()


@pytest.mark.parametrize("threads", WARPS)
def test_features_of_given_powers_hardly_round(threads):
    power = np.random.default_rng(0).lognormal(-6, 3, size=(2, 28, 80)).astype(np.float32)
    features = np.full((2, spectrum.SPECTRUM_DIM), np.nan, np.float32)
    HostBench().launch("radial_power", "spectrum_features", 2, threads, power, features)
    expected = spectrum.over_faces(np, power.astype(np.float64))
    # sums of 16 logarithms below 20, in float32
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=2e-5)


def test_the_kernels_give_the_same_bits_again():
    tiles = face_tiles("camera", 2)
    assert np.array_equal(by_kernels(tiles), by_kernels(tiles))


def test_the_order_of_threads_changes_nothing():
    tiles = face_tiles("camera", 2)
    assert np.array_equal(by_kernels(tiles, backwards=True), by_kernels(tiles))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sums_stay_in_registers(architecture):
    assert bytes_out_of_registers("radial_power", architecture) == 0


@pytest.mark.parametrize(
    "tiles",
    [
        np.zeros((1, 27, 64, 64), np.float32),
        np.zeros((1, 28, 64, 64)),
        np.zeros((1, 28, 64, 128), np.float32)[..., ::2],
    ],
)
def test_other_tiles_are_refused(tiles):
    with pytest.raises(ValueError, match=r"expected contiguous tiles \(faces, 28, 64, 64\) float32, got"):
        by_kernels(tiles)


def test_an_fft_plan_is_made_once_for_each_number_of_tiles(monkeypatch):
    made = []

    def get_fft_plan(tiles, axes, value_type):
        assert (axes, value_type) == ((1, 2), "R2C")
        made.append(len(tiles))
        return len(tiles)

    def rfft2(tiles, plan):
        assert plan == len(tiles)
        return scipy.fft.rfft2(tiles)

    monkeypatch.setitem(sys.modules, "cupyx.scipy.fft", SimpleNamespace(get_fft_plan=get_fft_plan, rfft2=rfft2))
    held = fingerprints.HeldRfft2("of CuPy")
    for tiles in [28, 56, 28, 56, *range(1, 20), 28]:
        assert held(np.zeros((tiles, 64, 64), np.float32)).shape == (tiles, 64, 33)
    assert made == [28, 56, *range(1, 20), 28]  # the oldest were let go


def test_least_traffic_counts_every_array_once():
    assert fingerprints.spectrum_bytes(1) == {
        "window_tiles": 28 * 2 * 16384,
        "rfft2": 28 * (16384 + 16896),
        "radial_power": 28 * (16896 + 320),
        "spectrum_features": 28 * 320 + 800,
    }


@pytest.mark.gpu
@pytest.mark.parametrize("faces", [1, 3, 64])
@pytest.mark.parametrize("kind", TILES)
def test_a_gpu_gives_the_definitions_features(kind, faces):
    import cupy

    tiles, rfft2 = face_tiles(kind, faces), fingerprints.HeldRfft2(cupy)
    given = [fingerprints.spectrum_features(CudaBench(), cupy.asarray(tiles), rfft2).get() for _ in range(2)]
    assert_equal_features(given[0], tiles, atol_of(kind))
    assert np.array_equal(given[0], given[1])
