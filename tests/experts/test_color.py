"""The color fingerprint: exact values, the same numbers everywhere, and what must not change it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_detect.arrays import run
from stream_detect.experts.color import (
    BEND_LIMIT,
    COLOR_DIM,
    COLOR_NAMES,
    FLOOR,
    STEP_FLOOR,
    STEP_LIMIT,
    color_features,
)

FEW = settings(max_examples=10, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def noise(seed: int = 0, faces: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (faces, 64, 64, 3), dtype=np.uint8)


def filled(*rgb: int) -> np.ndarray:
    return np.broadcast_to(np.array(rgb, np.uint8), (1, 64, 64, 3))


def named(features: np.ndarray) -> dict[str, float]:
    return dict(zip(COLOR_NAMES, features[0].tolist(), strict=True))


def test_names_are_as_many_as_features_and_differ():
    assert color_features(noise()).shape == (1, COLOR_DIM)
    assert len(set(COLOR_NAMES)) == COLOR_DIM


def test_a_white_face_is_saturated(place):
    features = named(place.get(color_features(place.put(filled(255, 255, 255)))))
    assert [features[f"saturated_{level}"] for level in (235, 245, 252, 255)] == [1, 1, 1, 1]
    assert [features[f"under_exposed_{level}"] for level in (20, 10, 4, 0)] == [0, 0, 0, 0]
    assert features["y_mean"] == pytest.approx(1)
    assert features["cb_mean"] == pytest.approx(0, abs=1e-6)
    assert features["chromaticity_r_mean"] == pytest.approx(1 / 3)


def test_a_black_face_is_under_exposed(place):
    features = named(place.get(color_features(place.put(filled(0, 0, 0)))))
    assert [features[f"under_exposed_{level}"] for level in (20, 10, 4, 0)] == [1, 1, 1, 1]
    assert features["saturated_235"] == 0
    assert features["y_log_variance"] == pytest.approx(np.log(FLOOR), rel=1e-5)
    assert features["chromaticity_r_mean"] == pytest.approx(1 / 3)


def test_levels_count_from_their_own_value(place):
    pixels = filled(0, 128, 128).copy()
    pixels[:, :16] = (20, 245, 128)
    features = named(place.get(color_features(place.put(pixels))))
    assert features["saturated_245"] == 0.25
    assert features["saturated_252"] == 0
    assert features["under_exposed_20"] == 1
    assert features["under_exposed_10"] == 0.75


def test_half_red_and_half_blue(place):
    pixels = filled(255, 0, 0).copy()
    pixels[:, :, 32:] = (0, 0, 255)
    features = named(place.get(color_features(place.put(pixels))))
    red, blue = np.array([0.299, -0.299 / 1.772, 0.5]), np.array([0.114, 0.5, -0.114 / 1.402])
    half = np.abs(red - blue) / 2
    for k, plane in enumerate(("y", "cb", "cr")):
        assert features[f"{plane}_mean"] == pytest.approx((red + blue)[k] / 2, abs=1e-6)
        assert features[f"{plane}_log_variance"] == pytest.approx(np.log(half[k] ** 2 + FLOOR), abs=1e-4)
        assert features[f"{plane}_skewness"] == pytest.approx(0, abs=1e-4)
        assert features[f"{plane}_log_kurtosis"] == pytest.approx(0, abs=1e-3)  # two equal points: kurtosis 1
        assert features[f"{plane}_lag_v"] == pytest.approx(1, abs=1e-3)
    assert features["y_cr_correlation"] == pytest.approx(1, abs=1e-3)
    assert features["cb_cr_correlation"] == pytest.approx(-1, abs=1e-3)
    assert features["difference_r_b_correlation"] == pytest.approx(-1, abs=1e-3)
    assert features["difference_r_g_correlation"] == 0
    assert features["cb_percentile_5"] == pytest.approx(-half[1], abs=1e-6)
    assert features["cr_percentile_75"] == pytest.approx(half[2], abs=1e-6)


def test_a_gray_face_has_no_chroma():
    features = named(color_features(noise()[..., :1].repeat(3, axis=-1)))
    assert features["cb_log_variance"] == pytest.approx(np.log(FLOOR), abs=1e-3)
    assert features["difference_r_g_correlation"] == pytest.approx(1, abs=1e-3)
    assert features["cb_percentile_95"] == pytest.approx(0, abs=1e-5)


def test_steps_and_bends_are_truncated(place):
    pixels = filled(0, 0, 0).copy()
    pixels[:, :, ::2] = (200, 200, 1)
    features = named(place.get(color_features(place.put(pixels))))
    assert features["step_y_h"] == pytest.approx(np.log(STEP_LIMIT + STEP_FLOOR), abs=1e-5)
    assert features["step_y_v"] == pytest.approx(np.log(STEP_FLOOR), abs=1e-5)
    assert features["bend_r_log_variance"] == pytest.approx(np.log(BEND_LIMIT**2 + FLOOR), abs=1e-5)
    assert features["bend_b_log_variance"] == pytest.approx(np.log((2 / 255) ** 2 + FLOOR), abs=1e-4)
    assert features["bend_r_g_correlation"] == pytest.approx(1, abs=1e-3)


def test_independent_channels_have_independent_bends():
    features = named(color_features(noise()))
    assert all(abs(features[f"bend_{pair}_correlation"]) < 0.1 for pair in ("r_g", "r_b", "g_b"))


def test_every_place_gives_numpys_numbers(place):
    pixels = noise(faces=3)
    features = color_features(place.put(pixels))
    assert features.dtype == place.xp.float32
    place.assert_equal(features, color_features(pixels), atol=1e-4)


@FEW
@given(seeds, st.permutations(range(4)))
def test_faces_do_not_touch_each_other(seed, order):
    pixels = noise(seed, faces=4)
    together = run(color_features, pixels[order])
    alone = np.concatenate([run(color_features, pixels[k : k + 1]) for k in order])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@FEW
@given(seeds)
def test_any_pixels_give_finite_numbers(seed):
    rng = np.random.default_rng(seed)
    palette = rng.integers(0, 256, (2, 3), dtype=np.uint8)
    pixels = palette[(rng.random((1, 64, 64)) > rng.random()).astype(int)]
    assert np.isfinite(color_features(pixels)).all()


@FEW
@given(seeds)
def test_a_mirrored_face_has_the_same_colors(seed):
    pixels = noise(seed)
    mirrored = color_features(np.ascontiguousarray(pixels[:, :, ::-1]))
    names = np.array(["percentile" not in name for name in COLOR_NAMES])  # these look at every fourth pixel
    np.testing.assert_allclose(mirrored[:, names], color_features(pixels)[:, names], atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 2, 64, 3), (1, 64, 64, 3, 1)])
def test_pixels_of_another_shape_fail(shape):
    undecorated = getattr(color_features, "__wrapped__", color_features)
    with pytest.raises(ValueError, match="expected pixels of shape"):
        undecorated(np.zeros(shape, np.uint8))
