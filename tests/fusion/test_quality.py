"""Quality of a face: each measure answers to what it is named after, and limits become scores and reasons."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, zoom

from stream_detect.errors import ConfigError
from stream_detect.fusion.quality import (
    FINE_FLOOR,
    QUALITY_NAMES,
    SHARPNESS_FLOOR,
    QualityLimits,
    measure_quality,
    quality_reasons,
    quality_score,
)
from stream_detect.types import FaceCrops

LIMITS = QualityLimits()
CLEAR = {"log2_face_px": 8.0, "sharpness": 0.0, "blockiness": 0.3, "flatness": 0.1, "exposure": 0.5, "contrast": 0.2}


def crops(tiles: np.ndarray, face_px: float = 200.0) -> FaceCrops:
    faces = len(tiles)
    return FaceCrops(
        tiles=tiles.astype(np.float32),
        pixels=np.zeros((faces, 64, 64, 3), np.uint8),
        aligned=np.zeros((faces, 256, 256, 3), np.uint8),
        face_px=np.full(faces, face_px, np.float32),
        around_share=np.full(faces, 0.75, np.float32),
    )


def noise(faces: int = 1) -> np.ndarray:
    return np.clip(np.random.default_rng(0).normal(0.5, 0.1, (faces, 28, 64, 64)), 0, 1)


def measured(tiles: np.ndarray, face_px: float = 200.0) -> dict[str, float]:
    return dict(zip(QUALITY_NAMES, measure_quality(crops(tiles, face_px))[0].tolist(), strict=True))


def measures(**changed: float) -> np.ndarray:
    return np.array([[(CLEAR | changed).get(name, 1.0) for name in QUALITY_NAMES]], np.float32)


def test_plain_measures_are_plain():
    found = measured(noise(), face_px=128)
    assert found["log2_face_px"] == 7
    assert found["around_share"] == 0.75
    assert found["exposure"] == pytest.approx(0.5, abs=0.01)
    assert found["contrast"] == pytest.approx(0.1, abs=0.01)


def test_white_noise_is_as_sharp_as_it_gets():
    assert measured(noise())["sharpness"] == pytest.approx(np.log2(6**0.5 / 2**0.5), abs=0.01)


def test_blur_lowers_sharpness():
    found = [measured(gaussian_filter(noise(), (0, 0, width, width)))["sharpness"] for width in (0, 0.7, 1.5, 3)]
    assert found == sorted(found, reverse=True)
    assert found[0] - found[-1] > 1.5


def rounded_face(seed: int, size: int = 96) -> np.ndarray:
    """Soft shapes with fine grain, in whole gray levels as cameras give them; its tiles are cut from the middle."""
    rng = np.random.default_rng(seed)
    shapes = gaussian_filter(rng.normal(0, 1, (28, size, size)), (0, 8, 8))
    grain = gaussian_filter(rng.normal(0, 1, (28, size, size)), (0, 0.6, 0.6))
    return 0.5 + 0.12 * shapes / shapes.std() + 0.02 * grain / grain.std()


@given(st.integers(0, 50), st.floats(0.5, 6), st.floats(1.3, 4))
@settings(max_examples=25, deadline=None)
def test_more_blur_never_looks_sharper_however_strong(seed, width, more):
    face = rounded_face(seed)

    def sharpness(sigma):
        blurred = np.round(255 * gaussian_filter(face, (0, sigma, sigma), mode="reflect")) / 255
        return measured(blurred[None, :, 16:80, 16:80])["sharpness"]

    soft, softer = sharpness(width), sharpness(width * more)
    assert softer <= soft + 0.02
    assert sharpness(16) == SHARPNESS_FLOOR


@given(st.integers(0, 50))
@settings(max_examples=10, deadline=None)
def test_an_enlarged_face_has_little_in_the_upper_half_of_its_spectrum(seed):
    face = rounded_face(seed)
    enlarged = zoom(face[:, :48, :48], (1, 2, 2), order=3)
    plain, large = (measured(tiles[None, :, 16:80, 16:80])["fine_share"] for tiles in (face, enlarged))
    assert large < plain - 2


def test_white_noise_has_half_of_its_power_above_half_of_nyquist():
    assert measured(noise())["fine_share"] == pytest.approx(np.log2(16 / 29), abs=0.1)


def test_what_is_flat_has_no_detail():
    flat = measured(np.full((1, 28, 64, 64), 0.5))
    assert (flat["sharpness"], flat["fine_share"]) == (SHARPNESS_FLOOR, FINE_FLOOR)


@pytest.mark.parametrize("begin", range(8))
def test_a_grid_raises_blockiness_wherever_it_begins(begin):
    steps = np.kron(np.random.default_rng(1).random((1, 28, 9, 9)), np.ones((8, 8)))[
        ..., begin : begin + 64, begin : begin + 64
    ]
    assert measured(noise())["blockiness"] < 0.2
    assert measured(0.95 * noise() + 0.05 * steps)["blockiness"] < measured(0.7 * steps + 0.1 * noise())["blockiness"]
    assert measured(0.7 * steps + 0.02 * noise())["blockiness"] > LIMITS.max_blockiness


def test_a_flat_face_is_over_compressed_and_blurred_or_nothing_at_all():
    flat = measured(np.full((1, 28, 64, 64), 0.5))
    assert flat["flatness"] == 1
    assert flat["contrast"] == 0
    assert flat["blockiness"] == 0
    assert "over_compressed" in quality_reasons(measure_quality(crops(np.full((1, 28, 64, 64), 0.5))))[0]


@pytest.mark.parametrize("luma", [0.0, 1.0])
def test_black_and_white_give_finite_measures(luma):
    assert np.isfinite(measure_quality(crops(np.full((2, 28, 64, 64), luma), face_px=0))).all()


def test_no_face_gives_no_measures():
    nothing = measure_quality(crops(np.zeros((0, 28, 64, 64))))
    assert nothing.shape == (0, len(QUALITY_NAMES))
    assert quality_score(nothing).shape == (0,)
    assert quality_reasons(nothing) == []


def test_a_clear_face_scores_one_and_has_no_reasons():
    assert quality_score(measures()) == pytest.approx(1)
    assert quality_reasons(measures()) == [()]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"log2_face_px": 5.0}, "small_face"),
        ({"sharpness": -2.5}, "blurred"),
        ({"flatness": 0.95}, "over_compressed"),
        ({"blockiness": 2.5}, "over_compressed"),
    ],
)
def test_each_limit_has_its_reason(changed, reason):
    assert quality_reasons(measures(**changed)) == [(reason,)]
    assert quality_score(measures(**changed))[0] < 0.5


def test_several_reasons_come_together():
    assert quality_reasons(measures(log2_face_px=4, sharpness=-3, flatness=1)) == [
        ("small_face", "blurred", "over_compressed")
    ]


def test_limits_can_be_moved():
    assert quality_reasons(measures(log2_face_px=6.0), QualityLimits(min_face_px=80)) == [("small_face",)]
    assert quality_reasons(measures(log2_face_px=6.0), QualityLimits(min_face_px=40)) == [()]


@settings(deadline=None)
@given(st.floats(3, 11), st.floats(-3, 1), st.floats(0, 4), st.floats(0, 1))
def test_the_score_is_a_half_where_reasons_begin(size, sharpness, blockiness, flatness):
    row = measures(log2_face_px=size, sharpness=sharpness, blockiness=blockiness, flatness=flatness)
    score = quality_score(row)[0]
    assert 0 <= score <= 1
    assert score <= 0.5 if quality_reasons(row)[0] else score >= 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_face_px": 100.0},
        {"min_face_px": 0.0},
        {"min_sharpness": 0.0},
        {"max_flatness": 0.5},
        {"max_blockiness": 1.0},
        {"max_blockiness": float("nan")},
    ],
)
def test_limits_that_cross_fail(wrong):
    with pytest.raises(ConfigError, match=r"expected|finite"):
        QualityLimits(**wrong)
