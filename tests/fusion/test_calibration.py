"""Calibration: measured by hand on small cases, mended where the answer is known."""

import numpy as np
import pytest

from stream_detect.fusion.calibration import (
    Platt,
    expected_calibration_error,
    fit_platt,
    reliability,
    risk_coverage,
)


def true_logits(faces: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Log likelihood ratios (normal, mean +-2, variance 4) and labels that obey them at a prior of 0.5."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, faces)
    return rng.normal(np.where(labels == 1, 2, -2), 2), labels


def test_an_overconfident_score_is_brought_back() -> None:
    logits, labels = true_logits()
    platt = fit_platt(3 * logits + 1.5, labels)
    assert platt == pytest.approx((1 / 3, -0.5), abs=0.03)
    np.testing.assert_allclose(platt(3 * logits + 1.5), logits, atol=0.4)


def test_a_calibrated_score_is_left_alone() -> None:
    assert fit_platt(*true_logits()) == pytest.approx((1, 0), abs=0.05)


def test_the_share_of_fakes_at_hand_does_not_move_it() -> None:
    logits, labels = true_logits()
    kept = (labels == 0) | (np.arange(len(labels)) % 10 == 0)
    assert fit_platt(logits[kept], labels[kept]) == pytest.approx((1, 0), abs=0.1)


def test_calibration_never_turns_the_order_round() -> None:
    logits, labels = true_logits(2000)
    assert fit_platt(-logits, labels).scale == 0


def test_classes_that_are_fully_apart_give_a_finite_scale() -> None:
    platt = fit_platt(np.array([-5.0, -4, 4, 5]), np.array([0, 0, 1, 1]))
    assert np.isfinite(platt).all()


def test_what_was_not_said_does_not_count() -> None:
    logits, labels = true_logits(2000)
    holed = np.append(logits, [np.nan, np.inf])
    assert fit_platt(holed, np.append(labels, [1, 0])) == pytest.approx(fit_platt(logits, labels))


def test_calibration_needs_both_classes() -> None:
    with pytest.raises(ValueError, match="expected real and fake faces"):
        fit_platt(np.ones(3), np.ones(3, int))


def test_platt_is_a_line() -> None:
    assert Platt(2, 1)(np.array([0.0, 3.0])).tolist() == [1, 7]


def test_a_perfect_forecast_has_no_error() -> None:
    assert expected_calibration_error(np.array([0.0, 0, 1, 1]), np.array([0, 0, 1, 1])) == 0


def test_the_error_is_the_mean_gap_of_the_bins() -> None:
    probabilities, labels = np.array([0.1, 0.1, 0.9, 0.9]), np.array([0, 1, 1, 1])
    assert expected_calibration_error(probabilities, labels, bins=2) == pytest.approx((0.4 + 0.1) / 2)
    weighted = expected_calibration_error(probabilities, labels, bins=2, sample_weight=np.array([1, 0, 1, 0]))
    assert weighted == pytest.approx(0.1)


def test_silence_has_no_error() -> None:
    assert np.isnan(expected_calibration_error(np.array([np.nan]), np.array([1])))
    assert expected_calibration_error(np.array([np.nan, 1.0]), np.array([0, 1])) == 0


def test_a_probability_outside_its_range_fails() -> None:
    with pytest.raises(ValueError, match=r"probabilities must lie in \[0, 1\], got 1.5 to 1.5"):
        expected_calibration_error(np.array([1.5]), np.array([1]))


def test_a_reliability_diagram_by_hand() -> None:
    diagram = reliability(np.array([0.1, 0.3, 0.9, 1.0, np.nan]), np.array([0, 1, 1, 1, 0]), bins=2)
    np.testing.assert_allclose(diagram.said, [0.2, 0.95])
    assert diagram.fake.tolist() == [0.5, 1.0]
    assert diagram.share.tolist() == [0.5, 0.5]
    assert diagram.faces.tolist() == [2, 2]
    assert diagram.error == pytest.approx((0.3 + 0.05) / 2)


def test_an_empty_bin_says_nothing() -> None:
    diagram = reliability(np.array([0.9]), np.array([1]), bins=3)
    assert np.isnan(diagram.said).tolist() == np.isnan(diagram.fake).tolist() == [True, True, False]


def test_the_surest_answers_come_first() -> None:
    curve = risk_coverage(np.array([3.0, -2.0, 1.0, -0.5]), np.array([1, 0, 0, 1]))
    np.testing.assert_allclose(curve.coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curve.risk, [0, 0, 1 / 3, 1 / 2])
    assert curve.area == pytest.approx((1 / 3 + 1 / 2) / 4)
    assert curve.at(0.5) == 0
    assert curve.at(1.0) == 0.5


def test_equally_sure_answers_come_together() -> None:
    curve = risk_coverage(np.array([1.0, -1.0]), np.array([1, 1]))
    assert (curve.coverage.tolist(), curve.risk.tolist()) == ([1.0], [0.5])


def test_silence_is_half_wrong_and_comes_last() -> None:
    curve = risk_coverage(np.array([np.nan, 0.1]), np.array([0, 1]))
    assert (curve.coverage.tolist(), curve.risk.tolist()) == ([0.5, 1.0], [0.0, 0.25])


def test_faces_count_by_their_weight() -> None:
    curve = risk_coverage(np.array([3.0, 1.0]), np.array([0, 1]), np.array([1, 3]))
    assert (curve.coverage.tolist(), curve.risk.tolist()) == ([0.25, 1.0], [1.0, 0.25])


def test_another_confidence_may_sort() -> None:
    curve = risk_coverage(np.array([3.0, 1.0]), np.array([0, 1]), confidence=np.array([0, 1]))
    assert curve.risk.tolist() == [0, 0.5]


def test_calibrated_scores_are_less_wrong_where_they_are_surer() -> None:
    curve = risk_coverage(*true_logits())
    assert curve.at(0.3) < curve.at(0.6) < curve.at(1)
    assert curve.at(1) == pytest.approx(0.159, abs=0.01)  # normal, 2 apart from 0 with deviation 2


def test_nobody_has_no_risk() -> None:
    with pytest.raises(ValueError, match="expected faces with a weight, got 0 faces"):
        risk_coverage(np.zeros(0), np.zeros(0))
