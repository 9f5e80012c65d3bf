"""The spectrum fingerprint: exact values, the same numbers everywhere, and what must not change it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_detect.arrays import run
from stream_detect.experts import spectrum
from stream_detect.experts.spectrum import SPECTRUM_DIM, SPECTRUM_NAMES, radial_power, spectrum_curve, spectrum_features
from stream_detect.experts.tiles import PLACES

FEW = settings(max_examples=10, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def noise(seed: int = 0, faces: int = 1, strength: float = 0.1) -> np.ndarray:
    """Gaussian noise about mid-gray, far from black and white."""
    tiles = 0.5 + strength * np.random.default_rng(seed).standard_normal((faces, 28, 64, 64))
    return np.clip(tiles, 0.05, 0.95).astype(np.float32)


def wave(amplitude: float, across: int, down: int) -> np.ndarray:
    """One face whose tiles all hold a cosine of so many cycles a tile."""
    y, x = np.mgrid[:64, :64]
    tile = 0.5 + amplitude * np.cos(2 * np.pi * (across * x + down * y) / 64)
    return np.broadcast_to(tile, (1, 28, 64, 64)).astype(np.float32)


def unchecked(function):
    """The function without the tests' own check of its signature."""
    return getattr(function, "__wrapped__", function)


def named(features: np.ndarray) -> dict[str, float]:
    return dict(zip(SPECTRUM_NAMES, features[0].tolist(), strict=True))


def test_names_are_as_many_as_features_and_differ():
    assert spectrum_features(noise()).shape == (1, SPECTRUM_DIM)
    assert len(set(SPECTRUM_NAMES)) == SPECTRUM_DIM


def test_a_wave_puts_its_power_where_it_belongs(place):
    tiles = wave(0.25, across=8, down=0)
    power = place.get(radial_power(place.put(tiles)))[0, 0]
    on_peak = dict(zip(spectrum._PEAK_NAMES, power[spectrum.ON_PEAK], strict=True))
    # A Hann window of unit energy passes (2 / 3) * 64 of a half amplitude; the 9 bins hold 1.5**2 times the middle one.
    assert on_peak["peak_h_8_64"] == pytest.approx((0.25 / 2 * 2 / 3 * 64) ** 2 * 1.5**2 / 9, rel=1e-5)
    assert max(value for name, value in on_peak.items() if name != "peak_h_8_64") < 1e-6


def test_white_noise_has_its_variance_in_every_group(place):
    tiles = noise(faces=20, strength=0.05)
    power = place.get(radial_power(place.put(tiles))).mean(axis=(0, 1))
    np.testing.assert_allclose(power[1:], 0.05**2, rtol=0.08)
    assert power[0] == pytest.approx(0.75 * 0.05**2, rel=0.08)  # the innermost ring loses a part with the mean


def test_groups_are_means():
    np.testing.assert_allclose(spectrum.group_weights().sum(axis=0), 1, rtol=1e-5)


def test_lists_of_bins_say_the_same_as_the_matrix():
    starts, dense = spectrum.group_starts(), np.zeros_like(spectrum.group_weights())
    for group in range(dense.shape[1]):
        own = slice(starts[group], starts[group + 1])
        dense[spectrum.group_bins()[own], group] = spectrum.group_entries()[own]
    assert np.array_equal(dense, spectrum.group_weights())


def test_every_place_gives_numpys_numbers(place):
    tiles = noise(faces=3)
    features = spectrum_features(place.put(tiles))
    assert features.dtype == place.xp.float32
    place.assert_equal(features, spectrum_features(tiles), atol=1e-4)


@pytest.mark.parametrize("luma", [0.0, 0.3, 1.0])
def test_a_flat_face_has_no_spectrum(place, luma):
    tiles = np.full((2, 28, 64, 64), luma, np.float32)
    place.assert_equal(spectrum_features(place.put(tiles)), np.zeros((2, SPECTRUM_DIM)), atol=1e-4)


def test_a_face_smoother_than_its_surroundings_shows():
    tiles = noise()
    smooth = tiles.copy()
    smooth[:, :16, 1:] = (tiles[:, :16, 1:] + tiles[:, :16, :-1]) / 2
    before, after = named(spectrum_features(tiles)), named(spectrum_features(smooth))
    assert after["against_ring_30"] < before["against_ring_30"] - 0.3
    assert after["horizontal_against_vertical_16_32"] > before["horizontal_against_vertical_16_32"] + 1


def test_a_coders_grid_shows_as_peaks():
    tiles = noise(strength=0.01)
    tiles[:, :16, :, ::8] += 0.05
    features = named(spectrum_features(tiles))
    assert all(features[f"inside_peak_h_{k}_64"] > 2 for k in (8, 16, 24, 32))
    assert all(features[f"against_peak_h_{k}_64"] > 2 for k in (8, 16, 24, 32))
    assert all(abs(features[f"inside_peak_v_{k}_64"]) < 0.5 for k in (8, 16, 24, 32))


def test_turning_a_face_on_its_side_swaps_its_directions():
    tiles = noise()
    upright = named(spectrum_features(tiles))
    lying = named(spectrum_features(np.ascontiguousarray(tiles.swapaxes(2, 3))))
    for name, value in upright.items():
        expected = -value if name.startswith("horizontal") else value
        swapped = name.replace("peak_h", "peak_*").replace("peak_v", "peak_h").replace("peak_*", "peak_v")
        assert lying[swapped] == pytest.approx(expected, abs=1e-4)


@FEW
@given(seeds, st.floats(-0.04, 0.04))
def test_brightness_does_not_matter(seed, more):
    tiles = noise(seed)
    np.testing.assert_allclose(spectrum_features(tiles + np.float32(more)), spectrum_features(tiles), atol=2e-3)


@FEW
@given(seeds, st.floats(0.3, 0.9))
def test_contrast_does_not_matter(seed, share):
    tiles = noise(seed)
    np.testing.assert_allclose(spectrum_features(tiles * np.float32(share)), spectrum_features(tiles), atol=2e-3)


@FEW
@given(seeds, st.permutations(range(4)))
def test_faces_do_not_touch_each_other(seed, order):
    tiles = noise(seed, faces=4)
    together = run(spectrum_features, tiles[order])
    alone = np.concatenate([run(spectrum_features, tiles[k : k + 1]) for k in order])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@FEW
@given(seeds)
def test_the_order_of_tiles_matters_only_to_rows_and_columns(seed):
    tiles = noise(seed)
    shuffled = np.random.default_rng(seed)
    order = np.concatenate([shuffled.permutation(16), 16 + shuffled.permutation(12)])
    names = np.array([not name.startswith(PLACES) for name in SPECTRUM_NAMES])
    before, after = spectrum_features(tiles), spectrum_features(tiles[:, order])
    np.testing.assert_allclose(after[:, names], before[:, names], atol=1e-4)


def test_a_smooth_mouth_shows_in_its_row_and_as_the_lowest_tile():
    tiles = noise()
    tiles[:, 13:15, :, 1:] = (tiles[:, 13:15, :, 1:] + tiles[:, 13:15, :, :-1]) / 2  # two middle tiles, lowest row
    before, after = named(spectrum_features(noise())), named(spectrum_features(tiles))
    assert after["row_4_24_32"] < before["row_4_24_32"] - 0.15
    assert after["row_1_24_32"] > before["row_1_24_32"]
    assert after["middle_24_32"] < before["middle_24_32"] - 0.08
    assert after["lowest_24_32"] < before["lowest_24_32"] - 0.3
    assert after["lowest_against_24_32"] < before["lowest_against_24_32"] - 0.3
    assert after["spread_around_24_32"] == before["spread_around_24_32"]


def test_a_face_with_less_noise_than_its_surroundings_lies_lower():
    tiles = noise(strength=0.05)
    tiles[:, :16] = 0.5 + (tiles[:, :16] - 0.5) / 2
    features = named(spectrum_features(tiles))
    assert features["level_against_24_32"] == pytest.approx(-2 * np.log(2), abs=0.1)


def test_the_curve_is_in_decibels_over_cycles_per_pixel(place):
    curve = spectrum_curve(place.put(noise(faces=5, strength=0.1)))
    assert curve.cycles_per_px[0] == 1 / 64
    assert curve.cycles_per_px[31] == 0.5
    assert np.all(np.diff(curve.cycles_per_px) > 0)
    assert place.get(curve.inside_db).shape == (5, len(curve.cycles_per_px))
    np.testing.assert_allclose(place.get(curve.around_db).mean(axis=0)[8:], -20, atol=0.5)  # 10 * log10(0.1**2)


@pytest.mark.parametrize("shape", [(1, 28, 32, 32), (1, 16, 64, 64), (28, 64, 64)])
def test_tiles_of_another_shape_fail(shape):
    with pytest.raises(ValueError, match="expected tiles of shape") as error:
        unchecked(radial_power)(np.zeros(shape, np.float32))
    assert str(shape) in str(error.value)
