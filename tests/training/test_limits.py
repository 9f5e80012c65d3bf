"""Limits of verdicts: as few false alarms as wished, silence where it pays."""

import numpy as np
import pytest

from stream_detect.config import VerdictLimits
from stream_detect.fusion.quality import QUALITY_NAMES, QualityLimits
from stream_detect.training.limits import fit_disagreement, fit_limits, fit_quality_limits, risk_report


def scores(faces: int = 20_000, apart: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log likelihood ratios that mean what they say, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, faces)
    return rng.normal(np.where(labels == 1, 1, -1) * apart**2 / 2, apart), labels


def measures(faces: int, seed: int = 0, **changed: np.ndarray) -> np.ndarray:
    """Quality in which nothing is wrong, but for what is changed."""
    rng = np.random.default_rng(seed)
    plain = {"log2_face_px": 7, "sharpness": -0.3, "blockiness": 0.3, "flatness": 0.2}
    columns = [changed.get(name, plain.get(name, 0.5) + 0.05 * rng.standard_normal(faces)) for name in QUALITY_NAMES]
    return np.stack(columns, axis=1).astype(np.float32)


def test_as_few_real_faces_are_called_fake_as_wished() -> None:
    llr, labels = scores()
    limits = fit_limits(llr, labels, target_fpr=0.01)
    assert limits["false_positive_rate"] <= 0.01
    assert limits["false_positive_rate"] == pytest.approx(0.01, abs=0.001)
    probability = 1 / (1 + np.exp(-llr))
    assert (probability[labels == 0] >= limits["fake"]).mean() == pytest.approx(0.01, abs=0.002)
    VerdictLimits(limits["fake"], limits["real"])


def test_a_good_detector_decides_nearly_everything() -> None:
    limits = fit_limits(*scores(apart=5))
    assert limits["coverage"] > 0.95
    assert limits["miss_rate"] <= 0.051


def test_more_fakes_are_called_real_rather_than_too_many_left_undecided() -> None:
    llr, labels = scores(apart=3.2)
    strict = fit_limits(llr, labels, target_misses=0.01, most_misses=0.01)
    loose = fit_limits(llr, labels, target_misses=0.01, most_misses=0.2)
    assert strict["coverage"] < 0.9 <= loose["coverage"] + 0.001
    assert strict["miss_rate"] < loose["miss_rate"] <= 0.2


def test_a_poor_detector_stays_silent_rather_than_miss_too_many() -> None:
    limits = fit_limits(*scores(apart=0.5))
    assert limits["miss_rate"] <= 0.2
    assert limits["coverage"] < 0.9
    assert limits["real"] < 0.5 < limits["fake"]


def test_a_poor_quality_raises_the_limit_for_all() -> None:
    llr, labels = scores()
    parts = np.arange(len(llr)) % 4
    noisy = llr + np.where(parts == 0, 3.0, 0.0)
    plain, strict = fit_limits(noisy, labels), fit_limits(noisy, labels, parts=parts)
    assert strict["fake"] > plain["fake"]
    beyond = np.log(strict["fake"] / (1 - strict["fake"]))
    assert (noisy[(parts == 0) & (labels == 0)] >= beyond).mean() <= 0.021


def test_one_person_in_many_pictures_counts_once() -> None:
    llr = np.array([5.0] * 50 + [-3.0] * 100 + [4.0] * 100)
    labels = np.array([0] * 150 + [1] * 100)
    people = np.array(["ann"] * 50 + [f"p{k}" for k in range(100)] + [f"f{k}" for k in range(100)])
    limits = fit_limits(llr, labels, people, target_fpr=0.02)
    assert limits["false_positive_rate"] <= 0.02
    assert limits["found"] == pytest.approx(1)


def test_silence_is_left_out_of_the_limits() -> None:
    llr, labels = scores(2000)
    holed = fit_limits(np.append(llr, np.nan), np.append(labels, 0))
    assert holed == fit_limits(llr, labels)


def test_limits_need_both_classes_and_shares() -> None:
    with pytest.raises(ValueError, match="expected real and fake faces"):
        fit_limits(np.ones(3), np.ones(3, int))
    with pytest.raises(ValueError, match=r"target_fpr must lie in \(0, 1\), got 1"):
        fit_limits(*scores(100), target_fpr=1)


def test_disagreement_silences_only_where_it_pays() -> None:
    llr, labels = scores()
    rng = np.random.default_rng(1)
    harmless = rng.random(len(llr))
    assert fit_disagreement(llr, labels, harmless) == 1.0
    quarrel = np.arange(len(llr)) % 25 == 0
    wrong = np.where(quarrel, rng.permutation(llr), llr)
    limit = fit_disagreement(wrong, labels, np.where(quarrel, 0.9, 0.3 * harmless))
    assert 0.25 < limit < 0.9
    assert fit_disagreement(llr[:100], labels[:100], harmless[:100]) == 1.0  # too few to tell


def test_sizes_of_which_nothing_can_be_told_are_not_judged() -> None:
    llr, labels = scores(6000, apart=3)
    size = np.random.default_rng(2).uniform(5.4, 8, 6000)  # 42 to 256 pixels
    small = 2**size < 64
    llr[small] = np.random.default_rng(3).permutation(llr[small])
    limits = fit_quality_limits(measures(6000, log2_face_px=size), llr, labels)
    assert limits["min_face_px"] == 64
    QualityLimits(**limits)


def test_blur_of_which_nothing_can_be_told_is_not_judged_but_costs_few_faces() -> None:
    llr, labels = scores(6000, apart=3)
    sharpness = np.random.default_rng(2).uniform(-3, 0, 6000)
    lost = sharpness < -2.5
    llr[lost] = np.random.default_rng(3).permutation(llr[lost])
    generous, sparing = (
        fit_quality_limits(measures(6000, sharpness=sharpness), llr, labels, most_lost=share) for share in (0.5, 0.03)
    )
    assert generous["min_sharpness"] == pytest.approx(-2.4, abs=0.15)
    assert (sharpness < sparing["min_sharpness"]).mean() == pytest.approx(0.03, abs=0.005)
    for limits in (generous, sparing):
        QualityLimits(**limits)


def test_the_worth_of_silence_is_told() -> None:
    told = risk_report(*scores())
    assert told["risk_at_0.8"] < told["risk_at_1"] == pytest.approx(0.159, abs=0.01)
    assert 0 < told["aurc"] < told["risk_at_1"]
