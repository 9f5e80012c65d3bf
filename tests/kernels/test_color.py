"""kernels/color.cu: on this machine's CPU, and on a GPU where there is one.

The kernel adds up whole numbers where the definition adds up float32. Run in float64, the definition agrees to `ATOL`;
in float32 it is off by up to 2e-4 itself where Cb and Cr are made of rounding alone, on gray faces, and by 1e-5
elsewhere. A feature's usual spread is at least 0.01.
"""

from types import SimpleNamespace

import array_api_compat.numpy
import numpy as np
import pytest

from stream_detect.cuda import fingerprints
from stream_detect.cuda.kernels import CudaBench
from stream_detect.experts import color
from tests.kernels.emulate import ARCHITECTURES, HostBench, bytes_out_of_registers
from tests.kernels.faces import PIXELS, face_pixels

ATOL = 1e-5
FLOAT32_ATOL = {"gray": 2e-4}
DOUBLES = SimpleNamespace(**(vars(array_api_compat.numpy) | {"float32": np.float64}))


def by_kernel(pixels: np.ndarray, threads: int = 256, backwards: bool = False) -> np.ndarray:
    features = np.full((len(pixels), color.COLOR_DIM), np.nan, np.float32)
    HostBench(backwards).launch("color", "color_features", len(pixels), threads, pixels, features)
    return features


@pytest.mark.parametrize("faces", [1, 3, 64])
@pytest.mark.parametrize("kind", PIXELS)
def test_the_kernel_gives_the_definitions_features(kind, faces):
    pixels = face_pixels(kind, faces)
    atol = FLOAT32_ATOL.get(kind, 2e-5)
    np.testing.assert_allclose(by_kernel(pixels), color.color_features(pixels), rtol=0, atol=atol)


@pytest.mark.parametrize("kind", PIXELS)
def test_the_kernel_is_nearer_to_exact_numbers(kind, monkeypatch):
    pixels = face_pixels(kind, 5)
    monkeypatch.setattr(color, "array_namespace", lambda _: DOUBLES)
    np.testing.assert_allclose(by_kernel(pixels), color.color_features(pixels), rtol=0, atol=ATOL)


@pytest.mark.parametrize("threads", [32, 96, 160, 256, 512])
def test_the_kernel_takes_any_whole_number_of_warps(threads):
    pixels = np.concatenate([face_pixels(kind, 1) for kind in PIXELS])
    np.testing.assert_allclose(by_kernel(pixels, threads), by_kernel(pixels), rtol=0, atol=2e-6)


def test_percentiles_are_exact_in_any_order():
    pixels = face_pixels("camera", 1)
    shuffled = pixels.reshape(1, -1, 4, 3)[:, np.random.default_rng(0).permutation(1024)].reshape(pixels.shape)
    places = [k for k, name in enumerate(color.COLOR_NAMES) if "percentile" in name]
    assert np.array_equal(by_kernel(shuffled)[:, places], by_kernel(pixels)[:, places])


def test_percentiles_of_a_ramp_are_known():
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    pixels[0, ..., 2] = np.arange(64)[:, None]  # blue alone: Cb = 0.5 * blue / 255
    place = color.COLOR_NAMES.index("cb_percentile_5")
    expected = 0.5 * (np.array([51, 256, 767, 972]) // 16 - 31.5) / 255  # 16 picked pixels a row
    np.testing.assert_allclose(by_kernel(pixels)[0, place : place + 8 : 2], expected, rtol=0, atol=1e-7)


def test_a_face_knows_nothing_of_the_others():
    pixels = np.concatenate([face_pixels(kind, 2) for kind in PIXELS])
    one_by_one = np.concatenate([by_kernel(pixels[k : k + 1]) for k in range(len(pixels))])
    assert np.array_equal(by_kernel(pixels), one_by_one)


def test_one_launch_a_batch_and_the_same_bits_again():
    pixels, bench = face_pixels("camera", 3), HostBench()
    given = fingerprints.color_features(bench, pixels)
    assert dict(bench.launches) == {"color_features": 1}
    assert np.array_equal(fingerprints.color_features(bench, pixels), given)


@pytest.mark.parametrize("threads", [96, 256])
def test_the_order_of_threads_changes_nothing(threads):
    pixels = face_pixels("camera", 2)
    assert np.array_equal(by_kernel(pixels, threads, backwards=True), by_kernel(pixels, threads))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sums_stay_in_registers(architecture):
    assert bytes_out_of_registers("color", architecture) == 0


def test_no_face_launches_nothing():
    bench = HostBench()
    assert fingerprints.color_features(bench, face_pixels("noise", 1)[:0]).shape == (0, color.COLOR_DIM)
    assert not bench.launches


@pytest.mark.parametrize("pixels", [np.zeros((1, 64, 60, 3), np.uint8), np.zeros((2, 64, 64, 3), np.uint8)[:, ::-1]])
def test_other_pixels_are_refused(pixels):
    with pytest.raises(ValueError, match=r"expected contiguous pixels \(faces, 64, 64, 3\) uint8, got"):
        fingerprints.color_features(HostBench(), pixels)


def test_least_traffic_is_bytes_in_and_features_out():
    assert fingerprints.color_bytes(64) == {"color_features": 64 * (12288 + 4 * 63)}


@pytest.mark.gpu
@pytest.mark.parametrize("faces", [1, 3, 64])
@pytest.mark.parametrize("kind", PIXELS)
def test_a_gpu_gives_the_definitions_features(kind, faces):
    import cupy

    pixels = face_pixels(kind, faces)
    given = [fingerprints.color_features(CudaBench(), cupy.asarray(pixels)).get() for _ in range(2)]
    atol = FLOAT32_ATOL.get(kind, 2e-5)
    np.testing.assert_allclose(given[0], color.color_features(pixels), rtol=0, atol=atol)
    assert np.array_equal(given[0], given[1])
