"""Fusion: exact sums, every subset of experts, calibration, and quality."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stream_detect.fusion.calibration import expected_calibration_error
from stream_detect.fusion.fusion import FusionWeights, calibrate_fusion, fit_fusion, fuse, subset

EXPERTS, QUALITY = ("spectrum", "mesonet"), ("sharpness",)


def by_hand() -> FusionWeights:
    """Two experts, one measure: rows for {spectrum}, {mesonet}, {both}."""
    return FusionWeights(
        experts=EXPERTS,
        quality=QUALITY,
        quality_mean=np.array([10], np.float32),
        quality_scale=np.array([2], np.float32),
        weights=np.array([[1, 0], [0, 2], [0.5, 1.5]], np.float32),
        modulation=np.array([[[0], [0]], [[0], [1]], [[0], [-1]]], np.float32),
        quality_weights=np.array([[0.25], [0], [0]], np.float32),
        bias=np.array([0, -1, 0.5], np.float32),
        limit=np.array([6], np.float32),
    )


def faces_and_labels(faces: int = 6000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two experts' independent log likelihood ratios, the first overconfident by 3; one measure of no meaning."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, faces)
    llr = rng.normal(np.where(labels == 1, 1, -1)[:, None], 2**0.5, (faces, 2))
    return llr * [3, 1], rng.normal(50, 10, (faces, 1)), labels


def fitted(**settings: object) -> FusionWeights:
    logits, quality, labels = faces_and_labels()
    return fit_fusion(logits, quality, labels, experts=EXPERTS, quality_names=QUALITY, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("logits", "sharpness", "expected"),
    [
        ([2, np.nan], 10, 2.0),  # spectrum alone
        ([2, np.nan], 14, 2.5),  # a quality of two deviations adds 2 * 0.25
        ([np.nan, 1], 10, 1.0),  # mesonet alone: 2 - 1
        ([np.nan, 1], 14, 3.0),  # quality doubles its weight: 4 - 1
        ([2, 1], 10, 3.0),  # both: 1 + 1.5 + 0.5
        ([2, 1], 18, 1.5),  # quality takes mesonet's weight below 0: it is left out, never turned round
        ([2, np.nan], np.nan, 2.0),  # an unknown quality counts as an average one
        ([100, np.nan], 10, 6.0),  # within the limit
        ([-100, 0], 10, -4.5),  # a logit counts no further than 10
    ],
)
def test_a_sum_by_hand(logits: list[float], sharpness: float, expected: float) -> None:
    assert fuse(np.array([logits], float), np.array([[sharpness]], float), by_hand()).tolist() == [expected]


def test_nobody_said_anything() -> None:
    llr = fuse(np.array([[np.nan, np.inf], [0, 0]]), np.full((2, 1), 10.0), by_hand())
    assert np.isnan(llr).tolist() == [True, False]


def test_no_faces() -> None:
    assert fuse(np.zeros((0, 2)), np.zeros((0, 1)), by_hand()).shape == (0,)


def test_rows_name_their_experts() -> None:
    assert [subset(row, 3) for row in range(7)] == [[0], [1], [0, 1], [2], [0, 2], [1, 2], [0, 1, 2]]


def test_five_experts_have_thirty_one_rows() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    logits = rng.normal(labels[:, None], 1, (60, 5))
    fusion = fit_fusion(logits, np.zeros((60, 0)), labels, experts=tuple("abcde"), quality_names=())
    assert fusion.weights.shape == (31, 5)
    for row in range(31):
        outside = [expert for expert in range(5) if expert not in subset(row, 5)]
        assert (fusion.weights[row, outside] == 0).all()


def test_each_subset_is_fitted_and_calibrated_for_itself() -> None:
    logits, quality, labels = faces_and_labels(seed=1)
    fusion = fitted()
    for missing in (None, 0, 1):
        seen = logits.copy()
        if missing is not None:
            seen[:, missing] = np.nan
        probability = 1 / (1 + np.exp(-fuse(seen, quality, fusion)))
        assert expected_calibration_error(probability, labels) < 0.03
    np.testing.assert_allclose(fusion.weights[2] * [3, 1], [1, 1], atol=0.1)


def test_an_expert_that_is_wrong_gets_no_weight_rather_than_a_negative_one() -> None:
    logits, quality, labels = faces_and_labels()
    logits[:, 1] *= -1
    fusion = fit_fusion(logits, quality, labels, experts=EXPERTS, quality_names=QUALITY)
    assert (fusion.weights >= 0).all()
    assert fusion.weights[2, 1] == 0


def test_the_share_of_fakes_at_hand_does_not_move_the_score() -> None:
    logits, quality, labels = faces_and_labels(20_000)
    kept = (labels == 0) | (np.arange(len(labels)) % 10 == 0)
    fusion = fit_fusion(logits[kept], quality[kept], labels[kept], experts=EXPERTS, quality_names=QUALITY)
    np.testing.assert_allclose(fusion.bias, 0, atol=0.15)


def test_an_expert_that_only_works_on_sharp_faces_is_trusted_on_those() -> None:
    logits, quality, labels = faces_and_labels(20_000)
    blurred = quality[:, 0] < 50
    rng = np.random.default_rng(2)
    logits[blurred, 0] = rng.normal(0, 4, int(blurred.sum()))
    names = {"experts": EXPERTS, "quality_names": QUALITY, "l2_quality": 1e-4}
    plain, modulated = (fit_fusion(logits, quality, labels, modulate=wish, **names) for wish in (False, True))
    assert modulated.modulation[2, 0, 0] > 0
    assert (plain.modulation == 0).all()

    def loss(fusion: FusionWeights) -> float:
        return float(np.logaddexp(0, -np.where(labels == 1, 1, -1) * fuse(logits, quality, fusion)).mean())

    assert loss(modulated) < loss(plain) - 0.01


def test_the_number_of_people_limits_the_score() -> None:
    people = np.arange(6000) % 20
    assert fitted(groups=people).limit[0] == pytest.approx(np.log(20))
    logits = np.array([[30.0, 30.0], [-30.0, -30.0]])
    assert fuse(logits, np.full((2, 1), 50.0), fitted(groups=people)) == pytest.approx([np.log(20), -np.log(20)])


def test_a_second_calibration_mends_the_first() -> None:
    logits, quality, labels = faces_and_labels(seed=1)
    fusion = fitted()
    wrong = replace(fusion, weights=fusion.weights * 3, bias=fusion.bias * 3 + 1)
    mended = calibrate_fusion(wrong, logits, quality, labels)
    np.testing.assert_allclose(mended.weights, fusion.weights, rtol=0.1, atol=1e-3)
    np.testing.assert_allclose(mended.bias, 0, atol=0.1)


def test_a_class_that_is_missing_names_the_experts() -> None:
    logits, quality, labels = faces_and_labels(100)
    logits[labels == 1, 1] = np.nan
    with pytest.raises(ValueError, match="fusion of mesonet: expected real and fake faces"):
        fit_fusion(logits, quality, labels, experts=EXPERTS, quality_names=QUALITY)


@pytest.mark.parametrize(
    ("logits", "quality", "message"),
    [
        (np.zeros((1, 3)), np.zeros((1, 1)), r"logits must be \(faces, 2\) for spectrum, mesonet; got \(1, 3\)"),
        (np.zeros((1, 2)), np.zeros((1, 4)), r"quality must be \(faces, 1\) for sharpness; got \(1, 4\)"),
    ],
)
def test_other_columns_fail(logits: np.ndarray, quality: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fuse(logits, quality, by_hand())


def test_parts_that_do_not_fit_together_fail() -> None:
    with pytest.raises(ValueError, match=r"fusion bias must be \(3,\), got \(2,\)"):
        replace(by_hand(), bias=np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="must be positive"):
        replace(by_hand(), limit=np.zeros(1, np.float32))


numbers = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))


@given(arrays(np.float32, (4, 2), elements=numbers), arrays(np.float32, (4, 1), elements=numbers))
def test_a_score_is_within_its_limit_or_absent(logits: np.ndarray, quality: np.ndarray) -> None:
    llr = fuse(logits, quality, by_hand())
    silent = np.isnan(logits).all(axis=1)
    assert np.isnan(llr).tolist() == silent.tolist()
    assert (np.abs(llr[~silent]) <= 6).all()


@given(arrays(np.float32, (2,), elements=st.floats(-9, 9, width=32)), st.integers(0, 1), st.floats(0, 5))
def test_a_more_suspicious_expert_never_lowers_the_score(logits: np.ndarray, expert: int, more: float) -> None:
    raised = logits.copy()
    raised[expert] += more
    before, after = fuse(np.stack([logits, raised]), np.full((2, 1), 10.0), by_hand())
    assert after >= before - 1e-5
