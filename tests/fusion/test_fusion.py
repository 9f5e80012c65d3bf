"""Fusion: exact sums, every subset of experts, kinds of forgery, calibration, and quality."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stream_detect.fusion.calibration import expected_calibration_error
from stream_detect.fusion.fit import calibrate_fusion, fit_fusion
from stream_detect.fusion.fusion import (
    FusionWeights,
    band_shares,
    disagreement,
    empty_fusion,
    fuse,
    fuse_kinds,
    joint_scores,
    kind_shares,
    subset,
)

EXPERTS, QUALITY = ("spectrum", "mesonet"), ("sharpness",)


def by_hand() -> FusionWeights:
    """Two experts, one measure, one kind: rows for {spectrum}, {mesonet}, {both}."""
    return replace(
        empty_fusion(EXPERTS, QUALITY),
        quality_mean=np.array([10], np.float32),
        quality_scale=np.array([2], np.float32),
        weights=np.array([[1, 0], [0, 2], [0.5, 1.5]], np.float32)[..., None],
        modulation=np.array([[[0], [0]], [[0], [1]], [[0], [-1]]], np.float32)[:, :, None],
        quality_weights=np.array([[0.25], [0], [0]], np.float32)[:, None],
        bias=np.array([[0], [-1], [0.5]], np.float32),
        limit=np.array([6], np.float32),
    )


def faces_and_labels(faces: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two experts' independent log likelihood ratios, the first overconfident by 3; one measure of no meaning."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, faces)
    llr = rng.normal(np.where(labels == 1, 1, -1)[:, None], 2**0.5, (faces, 2))
    return llr * [3, 1], rng.normal(50, 10, (faces, 1)), labels


def fitted(**wishes: object) -> FusionWeights:
    logits, quality, labels = faces_and_labels()
    return fit_fusion(logits, quality, labels, experts=EXPERTS, quality_names=QUALITY, **wishes)  # type: ignore[arg-type]


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
    assert fusion.weights.shape == (31, 5, 1)
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
    np.testing.assert_allclose(fusion.weights[2, :, 0] * [3, 1], [1, 1], atol=0.1)


def test_an_expert_that_is_wrong_gets_no_weight_rather_than_a_negative_one() -> None:
    logits, quality, labels = faces_and_labels()
    logits[:, 1] *= -1
    fusion = fit_fusion(logits, quality, labels, experts=EXPERTS, quality_names=QUALITY)
    assert (fusion.weights >= 0).all()
    assert fusion.weights[2, 1, 0] == 0


def test_the_share_of_fakes_at_hand_does_not_move_the_score() -> None:
    logits, quality, labels = faces_and_labels(8_000)
    kept = (labels == 0) | (np.arange(len(labels)) % 10 == 0)
    fusion = fit_fusion(logits[kept], quality[kept], labels[kept], experts=EXPERTS, quality_names=QUALITY)
    np.testing.assert_allclose(fusion.bias, 0, atol=0.15)


def test_an_expert_that_only_works_on_sharp_faces_is_trusted_on_those() -> None:
    logits, quality, labels = faces_and_labels(8_000)
    blurred = quality[:, 0] < 50
    rng = np.random.default_rng(2)
    logits[blurred, 0] = rng.normal(0, 4, int(blurred.sum()))
    names = {"experts": EXPERTS, "quality_names": QUALITY, "l2_quality": 1e-4}
    plain, modulated = (fit_fusion(logits, quality, labels, modulate=wish, **names) for wish in (False, True))
    assert modulated.modulation[2, 0, 0, 0] > 0
    assert (plain.modulation == 0).all()

    def loss(fusion: FusionWeights) -> float:
        return float(np.logaddexp(0, -np.where(labels == 1, 1, -1) * fuse(logits, quality, fusion)).mean())

    assert loss(modulated) < loss(plain) - 0.01


def test_the_number_of_people_limits_the_score() -> None:
    people = np.arange(3000) % 20
    assert fitted(groups=people).limit[0] == pytest.approx(np.log(20))
    logits = np.array([[30.0, 30.0], [-30.0, -30.0]])
    assert fuse(logits, np.full((2, 1), 50.0), fitted(groups=people)) == pytest.approx([np.log(20), -np.log(20)])


def test_a_second_calibration_mends_the_first() -> None:
    logits, quality, labels = faces_and_labels(seed=1)
    fusion = fitted()
    wrong = replace(fusion, weights=fusion.weights * 3, bias=fusion.bias * 3 + 1)
    mended = calibrate_fusion(wrong, logits, quality, labels)
    np.testing.assert_allclose(mended.weights[..., 0] * mended.band_scale, fusion.weights[..., 0], rtol=0.15, atol=1e-3)
    np.testing.assert_allclose(mended.bias * mended.band_scale + mended.band_offset, 0, atol=0.15)


def test_a_class_that_is_missing_names_the_experts() -> None:
    logits, quality, labels = faces_and_labels(100)
    logits[labels == 1, 1] = np.nan
    with pytest.raises(ValueError, match="fusion of mesonet: expected real and fake faces"):
        fit_fusion(logits, quality, labels, experts=EXPERTS, quality_names=QUALITY)


@pytest.mark.parametrize(
    ("logits", "quality", "message"),
    [
        (
            np.zeros((1, 3)),
            np.zeros((1, 1)),
            r"logits must be \(faces, 2, 1\) for spectrum, mesonet and forged; got \(1, 3\)",
        ),
        (np.zeros((1, 2)), np.zeros((1, 4)), r"quality must be \(faces, 1\) for sharpness; got \(1, 4\)"),
    ],
)
def test_other_columns_fail(logits: np.ndarray, quality: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fuse(logits, quality, by_hand())


def test_parts_that_do_not_fit_together_fail() -> None:
    with pytest.raises(ValueError, match=r"fusion bias must be \(3, 1\), got \(2, 1\)"):
        replace(by_hand(), bias=np.zeros((2, 1), np.float32))
    with pytest.raises(ValueError, match="must be positive"):
        replace(by_hand(), limit=np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="joint must be one of noisy_or, max, linear, got 'sum'"):
        replace(by_hand(), joint="sum")
    with pytest.raises(ValueError, match="band_scale of 0 or more"):
        replace(by_hand(), band_scale=-np.ones((3, 1), np.float32))


numbers = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))


@settings(deadline=None)
@given(arrays(np.float32, (4, 2), elements=numbers), arrays(np.float32, (4, 1), elements=numbers))
def test_a_score_is_within_its_limit_or_absent(logits: np.ndarray, quality: np.ndarray) -> None:
    llr = fuse(logits, quality, by_hand())
    silent = np.isnan(logits).all(axis=1)
    assert np.isnan(llr).tolist() == silent.tolist()
    assert (np.abs(llr[~silent]) <= 6).all()


@settings(deadline=None)
@given(arrays(np.float32, (2,), elements=st.floats(-9, 9, width=32)), st.integers(0, 1), st.floats(0, 5))
def test_a_more_suspicious_expert_never_lowers_the_score(logits: np.ndarray, expert: int, more: float) -> None:
    raised = logits.copy()
    raised[expert] += more
    before, after = fuse(np.stack([logits, raised]), np.full((2, 1), 10.0), by_hand())
    assert after >= before - 1e-5


KINDS = ("synthesised", "blended")


def two_kinds(faces: int = 4_000, seed: int = 0, power: float = 3.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two kinds, each seen by one expert alone, which says nothing of the other; one measure of no meaning."""
    rng = np.random.default_rng(seed)
    kind_of = rng.choice(["real", *KINDS], faces, p=[0.5, 0.25, 0.25])
    logits = np.zeros((faces, 2, 2))
    for k, kind in enumerate(KINDS):
        logits[:, k, k] = power * rng.normal(np.where(kind_of == kind, power / 2, -power / 2), 1)
        logits[:, 1 - k, k] = rng.normal(0, 1, faces)
    return logits, rng.normal(50, 10, (faces, 1)), kind_of


def fitted_kinds(seed: int = 0, **wishes: object) -> FusionWeights:
    return fit_fusion(*two_kinds(seed=seed), experts=EXPERTS, quality_names=QUALITY, kinds=KINDS, **wishes)  # type: ignore[arg-type]


def log_loss(llr: np.ndarray, kind_of: np.ndarray) -> float:
    """At a prior of 0.5."""
    return float(np.logaddexp(0, -np.where(kind_of == "real", -1, 1) * llr).mean())


def error_rate(llr: np.ndarray, kind_of: np.ndarray) -> float:
    return float(((llr > 0) != (kind_of != "real")).mean())


def test_two_kinds_by_hand() -> None:
    """Each kind's evidence is a sum of its own; either kind is enough; the linear fusion adds them up."""
    plain = empty_fusion(("a", "b"), (), KINDS)
    weights = np.zeros((3, 2, 2), np.float32)
    weights[2] = [[1, 0], [0, 2]]  # a on the first kind, b on the second
    fusion = replace(plain, weights=weights, prior=np.zeros(2, np.float32))
    logits = np.array([[[1.0, 9.0], [9.0, 1.0]]])
    llr, kinds = fuse_kinds(logits, np.zeros((1, 0)), fusion)
    assert kinds.tolist() == [[1, 2]]
    assert llr[0] == pytest.approx(np.log((1 + np.e) * (1 + np.e**2) - 1), abs=1e-5)
    assert fuse(logits, np.zeros((1, 0)), replace(fusion, joint="linear")).tolist() == [3]
    assert fuse(logits, np.zeros((1, 0)), replace(fusion, joint="max")).tolist() == [2]
    np.testing.assert_allclose(kind_shares(kinds, fusion), [[1 / (1 + np.e), np.e / (1 + np.e)]], atol=1e-6)


def test_the_noisy_or_beats_the_sum_where_each_kind_is_seen_by_one_expert() -> None:
    logits, quality, kind_of = two_kinds(seed=1)
    either, both = (fuse(logits, quality, fitted_kinds(joint=joint)) for joint in ("noisy_or", "linear"))
    assert log_loss(either, kind_of) < 0.9 * log_loss(both, kind_of)
    assert error_rate(either, kind_of) < error_rate(both, kind_of)


def test_the_kind_that_was_made_is_the_kind_that_is_suspected() -> None:
    logits, quality, kind_of = two_kinds(seed=1)
    fusion = fitted_kinds()
    suspected = kind_shares(fuse_kinds(logits, quality, fusion)[1], fusion)
    np.testing.assert_allclose(suspected.sum(axis=1), 1, atol=1e-6)
    for k, kind in enumerate(KINDS):
        assert (suspected[kind_of == kind].argmax(axis=1) == k).mean() > 0.95


# the sum is but an approximation
@pytest.mark.parametrize(("joint", "most"), [("noisy_or", 0.05), ("max", 0.05), ("linear", 0.1)])
def test_kinds_joined_are_calibrated_for_every_subset(joint: str, most: float) -> None:
    logits, quality, kind_of = two_kinds(seed=1, power=2)
    fusion = fit_fusion(
        *two_kinds(power=2), experts=EXPERTS, quality_names=QUALITY, kinds=KINDS, joint=joint, l2_quality=1.0
    )
    for missing in (None, 0, 1):
        seen = logits.copy()
        if missing is not None:
            seen[:, missing] = np.nan
        probability = 1 / (1 + np.exp(-fuse(seen, quality, fusion)))
        assert expected_calibration_error(probability, kind_of != "real") < most
    assert (fusion.weights[0, 1] == 0).all()
    assert (fusion.weights[1, 0] == 0).all()


def test_an_expert_that_misses_one_kind_is_missing() -> None:
    logits, quality, _ = two_kinds(20)
    holed, without = logits.copy(), logits.copy()
    holed[:, 0, 1], without[:, 0] = np.nan, np.nan
    np.testing.assert_array_equal(fuse(holed, quality, fitted_kinds()), fuse(without, quality, fitted_kinds()))
    assert np.isnan(fuse_kinds(np.full((1, 2, 2), np.nan), quality[:1], fitted_kinds())[1]).all()


def test_a_kind_that_was_never_seen_is_never_suspected() -> None:
    logits, quality, kind_of = two_kinds()
    rows = kind_of != "blended"
    names = {"experts": EXPERTS, "quality_names": QUALITY, "kinds": KINDS}
    fusion = fit_fusion(logits[rows], quality[rows], kind_of[rows], **names)
    _, kinds = fuse_kinds(np.full((1, 2, 2), 9.0), quality[:1], fusion)
    assert kinds[0, 1] == -10


def test_rows_may_be_fitted_alone() -> None:
    some, every = fitted_kinds(rows=[2]), fitted_kinds()
    np.testing.assert_array_equal(some.weights[2], every.weights[2])
    assert (some.weights[:2] == 0).all()


def drowned(seed: int = 0, faces: int = 9_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two kinds in pictures of which the blurred half (below 50) tells three times less than it pretends."""
    logits, quality, kind_of = two_kinds(faces, seed, power=2.5)
    rng = np.random.default_rng(seed + 100)
    blurred = quality[:, 0] < 50
    logits[blurred] = logits[blurred] / 3 + rng.normal(0, 2, logits[blurred].shape)
    return logits, quality, kind_of


def test_each_band_of_quality_is_calibrated_for_itself() -> None:
    names = {"experts": EXPERTS, "quality_names": QUALITY, "kinds": KINDS}
    fusion = fit_fusion(*drowned(), **names)
    logits, quality, kind_of = drowned(1)
    labels = (kind_of != "real").astype(int)
    one, three = (calibrate_fusion(fusion, logits, quality, labels, bands=bands) for bands in (1, 3))
    assert three.band_axis[0] > 0  # the sharper, the better told apart
    assert three.band_scale[2, 0] < three.band_scale[2, -1]
    unseen, quality, kind_of = drowned(2)
    labels = (kind_of != "real").astype(int)
    for part in (quality[:, 0] < 45, quality[:, 0] > 55):
        errors = [
            expected_calibration_error(1 / (1 + np.exp(-fuse(unseen[part], quality[part], some))), labels[part])
            for some in (one, three)
        ]
        assert errors[1] < min(errors[0], 0.05)
    said = joint_scores(three, unseen, quality)
    assert said.shape == (len(unseen), 3)


def test_bands_meet_without_a_jump() -> None:
    knots = np.array([-1.0, 0.0, 2.0], np.float32)
    shares = band_shares(np.array([-9.0, -1, -0.5, 0, 1, 2, 9]), knots)
    expected = [[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1], [0, 0, 1]]
    np.testing.assert_allclose(shares, expected)
    logits, quality, kind_of = drowned()
    fusion = fit_fusion(logits, quality, kind_of, experts=EXPERTS, quality_names=QUALITY, kinds=KINDS)
    banded = calibrate_fusion(fusion, logits, quality, (kind_of != "real").astype(int), bands=3)
    steps = np.linspace(0, 100, 2001)[:, None]
    llr = fuse(np.repeat(logits[:1], len(steps), axis=0), steps, banded)
    assert np.abs(np.diff(llr)).max() < 0.05


def test_few_people_leave_the_bands_as_all_faces_have_it() -> None:
    logits, quality, kind_of = two_kinds(60)
    fusion = fitted_kinds()
    banded = calibrate_fusion(fusion, logits, quality, (kind_of != "real").astype(int), bands=3)
    assert np.isfinite(banded.band_scale).all()
    assert np.ptp(banded.band_scale[2]) < 0.5 * banded.band_scale[2].max()


@pytest.mark.parametrize("joint", ["noisy_or", "max", "linear"])
@settings(deadline=None)
@given(logits=arrays(np.float64, (2, 2), elements=st.floats(-9, 9)), which=st.integers(0, 3), more=st.floats(0, 5))
def test_more_suspicion_of_any_kind_never_lowers_the_score(
    joint: str, logits: np.ndarray, which: int, more: float
) -> None:
    fusion = CACHED.setdefault(joint, fitted_kinds(joint=joint))
    raised = logits.copy()
    raised.flat[which] += more
    before, after = fuse(np.stack([logits, raised]), np.full((2, 1), 50.0), fusion)
    assert after >= before - 1e-5


CACHED: dict[str, FusionWeights] = {}


def test_kinds_that_nobody_knows_fail() -> None:
    logits, quality, kind_of = two_kinds(100)
    with pytest.raises(ValueError, match="expected kinds among real, forged, got"):
        fit_fusion(logits[..., 0], quality, kind_of, experts=EXPERTS, quality_names=QUALITY)
    with pytest.raises(ValueError, match=r"labels must be 0 \(real\) or 1 \(fake\) of one kind"):
        fit_fusion(logits, quality, np.zeros(100), experts=EXPERTS, quality_names=QUALITY, kinds=KINDS)


def test_experts_that_contradict_one_another_disagree() -> None:
    said = np.array([[2.0, 2.0], [2.0, -2.0], [3.0, -1.0], [np.nan, 4.0], [0.0, 0.0], [np.nan, np.nan]])
    np.testing.assert_allclose(disagreement(said), [0, 1, 0.5, 0, 0, np.nan], atol=1e-9)
