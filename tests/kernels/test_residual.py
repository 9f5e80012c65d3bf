"""kernels/residual.cu: equal to the NumPy definition, run on the host, and on a GPU where there is one."""

import numpy as np
import pytest

from stream_detect.cuda.kernels import CudaBench
from stream_detect.cuda.residual import STATISTICS, bytes_moved, residual_features, tile_statistics
from stream_detect.experts import residual
from stream_detect.experts.residual import RESIDUAL_DIM, RESIDUAL_NAMES
from tests.kernels.emulate import ARCHITECTURES, HostBench, bytes_out_of_registers
from tests.kernels.tiles_for_tests import PICTURES, camera, constant, noise

# Filters' outputs are the same to the last bit; sums of some 4,000 of them are taken in another order. Features are
# logarithms and ratios of sums, so a sum's relative error is a feature's absolute one. The kernels are within 2e-6 of
# the definition in float64 (a few float32 roundings). NumPy's own float32 sums are further from it: up to 6e-5 where
# all outputs are equal, as on a slope, and every addition rounds the same way.
EXACT, FLOAT32 = {"rtol": 0, "atol": 1e-5}, {"rtol": 0, "atol": 1e-4}


def assert_defined(features: np.ndarray, tiles: np.ndarray, why: str = "") -> None:
    """`features` are what the definition gives of `tiles`, in float64 and in float32."""
    np.testing.assert_allclose(features, residual.residual_features(tiles.astype(np.float64)), **EXACT, err_msg=why)
    np.testing.assert_allclose(features, residual.residual_features(tiles), **FLOAT32, err_msg=why)


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.__name__)
def test_the_kernels_give_the_definitions_features(picture):
    tiles = picture()
    assert_defined(residual_features(HostBench(), tiles), tiles)


@pytest.mark.parametrize("faces", [1, 3, 64])
def test_the_kernels_take_any_number_of_faces(faces):
    tiles = camera(faces)
    assert_defined(residual_features(HostBench(), tiles), tiles)


@pytest.mark.parametrize("threads", [32, 64, 96, 160, 256])
def test_the_kernels_take_any_whole_number_of_warps(threads):
    tiles = noise(1)
    assert_defined(residual_features(HostBench(), tiles, threads), tiles)


def test_each_feature_comes_from_its_own_tiles():
    tiles = constant(1)
    tiles[:, 5] = noise(1)[:, 5]
    features = residual_features(HostBench(), tiles)
    assert_defined(features, tiles)
    lowest = features[0, RESIDUAL_NAMES.index("lowest_against_square3_fine")]
    highest = features[0, RESIDUAL_NAMES.index("highest_against_square3_fine")]
    assert abs(lowest) < 1e-5
    assert highest > 3  # one tile on the face stands out, none around it


def test_a_tile_has_the_statistics_of_a_face_of_such_tiles():
    tiles = np.repeat(camera(1)[:, 3:4], 28, axis=1)
    statistics = tile_statistics(HostBench(), tiles)
    np.testing.assert_array_equal(statistics, np.repeat(statistics[:, :1], 28, axis=1))
    inside = residual.residual_features(tiles)[:, :STATISTICS]
    np.testing.assert_allclose(statistics[:, 0], inside, **FLOAT32)


def test_the_kernels_give_the_same_bits_again():
    tiles = noise(3)
    assert np.array_equal(residual_features(HostBench(), tiles), residual_features(HostBench(), tiles))


def test_the_order_of_threads_changes_nothing():
    tiles = camera(2)
    assert np.array_equal(residual_features(HostBench(backwards=True), tiles), residual_features(HostBench(), tiles))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sums_stay_in_registers(architecture):
    assert bytes_out_of_registers("residual", architecture) == 0


def test_faces_do_not_touch_each_other():
    tiles = camera(3)
    together = residual_features(HostBench(), tiles)
    alone = np.concatenate([residual_features(HostBench(), tiles[face : face + 1]) for face in range(3)])
    assert np.array_equal(together, alone)


def test_each_kernel_is_launched_once():
    bench = HostBench()
    residual_features(bench, camera(3))
    assert bench.launches == {"residual_tiles": 1, "residual_features": 1}


def test_no_faces_have_no_features_and_launch_nothing():
    bench = HostBench()
    assert residual_features(bench, camera(1)[:0]).shape == (0, RESIDUAL_DIM)
    assert not bench.launches


def test_tiles_that_lie_apart_are_copied_first():
    tiles = noise(4)
    np.testing.assert_array_equal(
        residual_features(HostBench(), tiles[::2]), residual_features(HostBench(), tiles[::2].copy())
    )


@pytest.mark.parametrize("tiles", [np.zeros((1, 27, 64, 64), np.float32), np.zeros((1, 28, 64, 64))])
def test_other_tiles_are_refused(tiles):
    with pytest.raises(ValueError, match=r"expected float32 tiles of shape \(faces, 28, 64, 64\)"):
        residual_features(HostBench(), tiles)


def test_a_face_moves_little_more_than_its_tiles():
    tiles = 28 * 64 * 64 * 4
    assert 1.02 < (bytes_moved(64) - bytes_moved(0)) / (64 * tiles) < 1.03


@pytest.mark.gpu
@pytest.mark.parametrize("faces", [1, 3, 64])
def test_a_gpu_gives_numpys_features(faces):
    bench = CudaBench()
    for picture in PICTURES:
        tiles = picture(faces)
        on_gpu = bench.xp.asarray(tiles)
        features = bench.xp.asnumpy(residual_features(bench, on_gpu))
        assert_defined(features, tiles, picture.__name__)
        assert np.array_equal(features, bench.xp.asnumpy(residual_features(bench, on_gpu)))
