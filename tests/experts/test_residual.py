"""The residual fingerprint: published kernels, exact values, the same numbers everywhere, what must not change it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate2d

from stream_detect.arrays import run
from stream_detect.experts.residual import (
    FLOOR,
    LIMIT,
    RESIDUAL_DIM,
    RESIDUAL_NAMES,
    STEP,
    WEIGHTS,
    high_pass,
    residual_features,
)
from stream_detect.experts.tiles import PLACES

FEW = settings(max_examples=10, deadline=None)
seeds = st.integers(0, 2**32 - 1)

PUBLISHED = {  # Fridrich and Kodovsky 2012, up to sign; correlated with the picture
    "first_h": [[-1, 1]],
    "first_v": [[-1], [1]],
    "second_h": [[1, -2, 1]],
    "second_v": [[1], [-2], [1]],
    "third_h": [[-1, 3, -3, 1]],
    "third_v": [[-1], [3], [-3], [1]],
    "edge3": [[-1, 2, -1], [2, -4, 2]],
    "square3": [[1, -2, 1], [-2, 4, -2], [1, -2, 1]],
    "square5": [[1, -2, 2, -2, 1], [-2, 6, -8, 6, -2], [2, -8, 12, -8, 2], [-2, 6, -8, 6, -2], [1, -2, 2, -2, 1]],
}


def noise(seed: int = 0, faces: int = 1) -> np.ndarray:
    """8-bit noise of a few gray levels about mid-gray."""
    levels = np.random.default_rng(seed).normal(128, 3, (faces, 28, 64, 64)).round()
    return (levels / 255).astype(np.float32)


@pytest.mark.parametrize("shape", [(61, 64), (64, 61), (63, 63), (9, 8)])
def test_pictures_of_any_size_can_be_filtered(shape):
    rows = slice(None, None, 2)
    tile = np.random.default_rng(1).random(shape).astype(np.float32)
    expected = np.diff(tile, n=3, axis=0)[rows]
    found = high_pass(tile)["third_v"]
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-6)


def everywhere(tile: np.ndarray) -> np.ndarray:
    """One face whose tiles are all this one, given in gray levels."""
    return np.broadcast_to(tile / 255, (1, 28, 64, 64)).astype(np.float32)


def named(features: np.ndarray) -> dict[str, float]:
    return dict(zip(RESIDUAL_NAMES, features[0].tolist(), strict=True))


def test_names_are_as_many_as_features_and_differ():
    assert residual_features(noise()).shape == (1, RESIDUAL_DIM)
    assert len(set(RESIDUAL_NAMES)) == RESIDUAL_DIM


@pytest.mark.parametrize("name", PUBLISHED)
def test_filters_are_the_published_kernels(place, name):
    tile = np.random.default_rng(1).random((64, 64), np.float32)
    residual = place.get(high_pass(place.put(tile))[name])
    expected = correlate2d(tile, PUBLISHED[name], mode="valid")
    if len(residual) < len(expected):  # taken on every second row, from the first or the second
        starts = (expected[start::2][: len(residual)] for start in (0, 1))
        expected = min(
            (rows for rows in starts if len(rows) == len(residual)), key=lambda rows: abs(rows - residual).max()
        )
    np.testing.assert_allclose(residual, expected, atol=1e-5)
    assert np.abs(PUBLISHED[name]).max() == WEIGHTS[name]


def test_a_ramp_of_one_gray_level_a_pixel(place):
    tiles = everywhere(np.broadcast_to(np.arange(64.0), (64, 64)))
    features = named(place.get(residual_features(place.put(tiles))))
    one = np.log(STEP + FLOOR)
    assert features["inside_first_h_fine"] == pytest.approx(one, abs=1e-4)
    assert features["inside_first_h_coarse"] == pytest.approx(one, abs=1e-4)
    assert features["inside_first_h_peaked"] == pytest.approx(0, abs=3e-3)
    assert features["inside_first_h_lag_v"] == pytest.approx(1, abs=1e-4)
    assert features["inside_first_v_coarse"] == pytest.approx(np.log(FLOOR), abs=2e-2)
    assert features["inside_second_h_coarse"] == pytest.approx(np.log(FLOOR), abs=2e-2)


def test_a_checkerboard_is_truncated_and_alternates(place):
    board = 255.0 * (np.indices((64, 64)).sum(axis=0) % 2)
    features = named(place.get(residual_features(place.put(everywhere(board)))))
    assert features["inside_first_h_coarse"] == pytest.approx(np.log(LIMIT + FLOOR), abs=1e-5)
    assert features["inside_square3_fine"] == pytest.approx(np.log(STEP + FLOOR), abs=1e-5)
    assert features["inside_square3_lag_h"] == pytest.approx(-1, abs=1e-5)
    assert features["inside_square3_sign_v"] == pytest.approx(-1, abs=1e-5)
    assert features["inside_npr_right_below"] == pytest.approx(1, abs=5e-5)
    assert features["inside_npr_right_diagonal"] == 0


@pytest.mark.parametrize("begin", [0, 1])
def test_nearest_up_sampling_by_two_shows_wherever_its_blocks_begin(begin):
    small = np.random.default_rng(0).normal(128, 3, (33, 33))
    features = named(
        residual_features(everywhere(small.repeat(2, 0).repeat(2, 1)[begin : begin + 64, begin : begin + 64]))
    )
    assert features["inside_npr_right_phase_h"] == pytest.approx(1, abs=1e-2)
    assert features["inside_npr_below_phase_v"] == pytest.approx(1, abs=1e-2)
    assert features["inside_npr_right_phase_v"] < 0.1
    assert named(residual_features(noise()))["inside_npr_right_phase_h"] < 0.1


@pytest.mark.parametrize("begin", range(0, 8, 3))
@pytest.mark.parametrize(("way", "axis"), [("h", 1), ("v", 0)])
def test_eight_pixel_blocks_show_wherever_they_begin(begin, way, axis):
    steps = 128 + 3.0 * ((np.arange(64) + begin) // 8 % 2)
    tile = np.broadcast_to(steps if axis else steps[:, None], (64, 64))
    features = named(residual_features(everywhere(tile)))
    assert features[f"inside_grid_{way}_8"] == pytest.approx(2, rel=0.2)  # a train of impulses: twice its mean
    assert features[f"inside_grid_{way}_16"] < 0.2


def test_a_face_smoother_than_its_surroundings_shows():
    tiles = noise()
    tiles[:, :16] = (tiles[:, :16] + np.roll(tiles[:, :16], 1, axis=-1)) / 2
    features = named(residual_features(tiles))
    assert features["against_second_h_coarse"] < -0.3
    assert features["against_square3_lag_h"] > 0.1


def test_a_smooth_mouth_shows_in_its_row_and_as_the_extreme_tile():
    tiles = noise()
    tiles[:, 13:15] = (tiles[:, 13:15] + np.roll(tiles[:, 13:15], 1, axis=-1)) / 2  # two middle tiles, lowest row
    before, after = named(residual_features(noise())), named(residual_features(tiles))
    assert after["row_4_square3_coarse"] < before["row_4_square3_coarse"] - 0.05
    assert after["row_1_square3_coarse"] > before["row_1_square3_coarse"]
    assert after["middle_square3_lag_h"] > before["middle_square3_lag_h"] + 0.05
    assert after["lowest_square3_coarse"] < before["lowest_square3_coarse"] - 0.1
    assert after["highest_against_square3_lag_h"] > before["highest_against_square3_lag_h"] + 0.3
    assert after["spread_around_square3_lag_h"] == before["spread_around_square3_lag_h"]


def test_the_order_of_tiles_matters_only_to_rows_and_columns():
    tiles = noise()
    shuffled = np.random.default_rng(0)
    order = np.concatenate([shuffled.permutation(16), 16 + shuffled.permutation(12)])
    names = np.array([not name.startswith(PLACES) for name in RESIDUAL_NAMES])
    before, after = residual_features(tiles), residual_features(tiles[:, order])
    np.testing.assert_allclose(after[:, names], before[:, names], atol=1e-4)


def test_every_place_gives_numpys_numbers(place):
    tiles = noise(faces=3)
    features = residual_features(place.put(tiles))
    assert features.dtype == place.xp.float32
    place.assert_equal(features, residual_features(tiles), atol=1e-4)


@pytest.mark.parametrize("luma", [0.0, 0.3, 1.0])
def test_a_flat_face_has_no_residual(place, luma):
    tiles = np.full((2, 28, 64, 64), luma, np.float32)
    features = place.get(residual_features(place.put(tiles)))
    sizes = [name.startswith("inside") and name.endswith(("_fine", "_coarse")) for name in RESIDUAL_NAMES]
    np.testing.assert_allclose(features, np.broadcast_to(np.where(sizes, np.log(FLOOR), 0), features.shape), atol=1e-5)


@FEW
@given(seeds, st.integers(-90, 90))
def test_brightness_does_not_matter(seed, levels):
    tiles = noise(seed)
    brighter = tiles + np.float32(levels / 255)
    np.testing.assert_allclose(residual_features(brighter), residual_features(tiles), atol=1e-3)


@FEW
@given(seeds, st.permutations(range(4)))
def test_faces_do_not_touch_each_other(seed, order):
    tiles = noise(seed, faces=4)
    together = run(residual_features, tiles[order])
    alone = np.concatenate([run(residual_features, tiles[k : k + 1]) for k in order])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@FEW
@given(seeds)
def test_any_luma_gives_finite_numbers(seed):
    rng = np.random.default_rng(seed)
    tiles = (rng.random((1, 28, 64, 64)) > rng.random()).astype(np.float32)
    assert np.isfinite(residual_features(tiles)).all()


@pytest.mark.parametrize("shape", [(1, 28, 32, 32), (1, 16, 64, 64)])
def test_tiles_of_another_shape_fail(shape):
    with pytest.raises(ValueError, match="expected tiles of shape") as error:
        residual_features(np.zeros(shape, np.float32))
    assert str(shape) in str(error.value)
