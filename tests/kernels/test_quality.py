"""kernels/quality.cu: equal to the NumPy definition, run on the host, and on a GPU where there is one."""

import numpy as np
import pytest

from stream_detect.cuda.kernels import CudaBench
from stream_detect.cuda.quality import bytes_moved, quality_measures
from stream_detect.fusion.quality import QUALITY_NAMES, USED_TILES, measure_quality
from stream_detect.types import FaceCrops
from tests.kernels.emulate import ARCHITECTURES, HostBench, bytes_out_of_registers
from tests.kernels.tiles_for_tests import PICTURES, camera, gray_levels, noise

# Differences are the same to the last bit, so flatness counts the same pixels; sums of some 30,000 are taken in another
# order, and lines are transformed by other steps. On these pictures that makes 5e-7 at most; a GPU's log2 and its
# multiply-add that rounds once may add as much again.
SAME = {"rtol": 0, "atol": 5e-6}


def crops_of(tiles: np.ndarray) -> FaceCrops:
    """Faces of these tiles, of many sizes; measures of quality look at nothing else."""
    faces = len(tiles)
    return FaceCrops(
        tiles=tiles,
        pixels=np.zeros((faces, 64, 64, 3), np.uint8),
        aligned=np.zeros((faces, 256, 256, 3), np.uint8),
        face_px=np.geomspace(0.5, 900, faces, dtype=np.float32),
        around_share=np.linspace(1, 0, faces, dtype=np.float32),
    )


def measured(tiles: np.ndarray, threads: int = 128, backwards: bool = False) -> np.ndarray:
    crops = crops_of(tiles)
    measures: np.ndarray = quality_measures(HostBench(backwards), tiles, crops.face_px, crops.around_share, threads)
    return measures


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.__name__)
def test_the_kernels_give_the_definitions_measures(picture):
    tiles = picture()
    np.testing.assert_allclose(measured(tiles), measure_quality(crops_of(tiles)), **SAME)


@pytest.mark.parametrize("faces", [1, 3, 64])
def test_the_kernels_take_any_number_of_faces(faces):
    tiles = gray_levels(faces)
    np.testing.assert_allclose(measured(tiles), measure_quality(crops_of(tiles)), **SAME)


@pytest.mark.parametrize("threads", [32, 64, 96, 160, 256])
def test_the_kernels_take_any_whole_number_of_warps(threads):
    tiles = noise(2)
    np.testing.assert_allclose(measured(tiles, threads), measure_quality(crops_of(tiles)), **SAME)


@pytest.mark.parametrize("place", range(28))
def test_a_tile_counts_if_the_definition_uses_it(place):
    tiles = gray_levels(1)
    tiles[:, place] = noise(1)[:, place]
    changed = np.any(measured(tiles) != measured(gray_levels(1)))
    assert changed == (place in USED_TILES)


def test_flatness_is_the_definitions_to_the_last_bit():
    tiles = gray_levels(3)
    flatness = QUALITY_NAMES.index("flatness")
    assert np.array_equal(measured(tiles)[:, flatness], measure_quality(crops_of(tiles))[:, flatness])


def test_the_strongest_phase_of_a_block_grid_is_found_wherever_it_lies():
    for shift in range(8):
        tiles = camera(1)
        tiles += 0.1 * ((np.arange(64) + shift) // 8 % 2)
        np.testing.assert_allclose(measured(tiles), measure_quality(crops_of(tiles)), **SAME)


def test_a_little_contrast_on_bright_tiles_is_kept():
    tiles = (0.9 + 1e-4 * camera(1)).astype(np.float32)
    tiles[..., 0, 0] = 0.0
    contrast = QUALITY_NAMES.index("contrast")
    expected = tiles[:, USED_TILES, ::2, ::2].astype(np.float64).std()
    np.testing.assert_allclose(measured(tiles)[0, contrast], expected, rtol=1e-5)


def test_the_kernels_give_the_same_bits_again():
    tiles = noise(3)
    assert np.array_equal(measured(tiles), measured(tiles))


def test_the_order_of_threads_changes_nothing():
    tiles = camera(2)
    assert np.array_equal(measured(tiles, backwards=True), measured(tiles))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sums_stay_in_registers(architecture):
    assert bytes_out_of_registers("quality", architecture) == 0


def test_each_kernel_is_launched_once():
    bench, crops = HostBench(), crops_of(camera(40))
    quality_measures(bench, crops.tiles, crops.face_px, crops.around_share)
    assert bench.launches == {"quality_tiles": 1, "quality_measures": 1}


def test_no_faces_have_no_measures_and_launch_nothing():
    bench, nothing = HostBench(), np.zeros(0, np.float32)
    assert quality_measures(bench, camera(1)[:0], nothing, nothing).shape == (0, 8)
    assert not bench.launches


def test_a_size_is_needed_for_each_face():
    tiles = camera(2)
    with pytest.raises(ValueError, match=r"expected one face_px for each of 2 faces, got an array of shape \(3,\)"):
        quality_measures(HostBench(), tiles, np.ones(3), np.ones(2))


def test_other_tiles_are_refused():
    with pytest.raises(ValueError, match="expected float32 tiles"):
        quality_measures(HostBench(), np.zeros((1, 28, 64, 64)), np.ones(1), np.ones(1))


def test_a_face_moves_little_more_than_the_tiles_that_are_used():
    tiles = len(USED_TILES) * 64 * 64 * 4
    assert 1 < (bytes_moved(64) - bytes_moved(0)) / (64 * tiles) < 1.01


@pytest.mark.gpu
@pytest.mark.parametrize("faces", [1, 3, 64])
def test_a_gpu_gives_numpys_measures(faces):
    bench = CudaBench()
    for picture in PICTURES:
        crops = crops_of(picture(faces))
        on_gpu = bench.xp.asarray(crops.tiles)
        first, second = (
            bench.xp.asnumpy(quality_measures(bench, on_gpu, crops.face_px, crops.around_share)) for _ in range(2)
        )
        np.testing.assert_allclose(first, measure_quality(crops), **SAME, err_msg=picture.__name__)
        assert np.array_equal(first, second)
