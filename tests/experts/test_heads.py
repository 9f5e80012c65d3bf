"""The linear heads: exact numbers, a fit that finds what made the data, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_detect.experts.heads import (
    FORGED,
    KindHeads,
    LinearHead,
    balanced_weights,
    calibrate_heads,
    even_prior,
    expand,
    fit_head,
    fit_kind_heads,
    fit_logistic,
    noisy_or,
    plain_heads,
)

KINDS = ("synthesised", "blended", "partial")


def head(mean: float = 1.0, scale: float = 2.0, weight: float = 3.0, bias: float = -1.0) -> LinearHead:
    return LinearHead(*(np.array([number], np.float32) for number in (mean, scale, weight, bias)))


def two_classes(faces: int = 4000, dim: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal features, the first of which is 2 higher for fakes: the true logit is 2 x - 2."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, faces)
    features = rng.standard_normal((faces, dim))
    features[:, 0] += 2 * labels
    return features.astype(np.float32), labels


def test_a_head_standardizes_weighs_and_adds() -> None:
    assert head()(np.array([[1.0], [5.0]], np.float32)).tolist() == [-1.0, 5.0]


def test_no_feature_counts_for_more_than_six_deviations() -> None:
    assert head()(np.array([[1e9], [-1e9]], np.float32)).tolist() == [17.0, -19.0]


def test_a_face_without_a_feature_gets_no_logit() -> None:
    logits = head()(np.array([[np.nan], [np.inf], [1.0]], np.float32))
    assert np.isnan(logits).tolist() == [True, True, False]


def test_no_faces_give_no_logits() -> None:
    assert head()(np.zeros((0, 1), np.float32)).shape == (0,)


def test_features_of_another_length_fail() -> None:
    with pytest.raises(ValueError, match=r"expected 1 features a face, got features.shape = \(2, 3\)"):
        head()(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize("shapes", [(2, 1, 2, 1), (2, 2, 3, 1), (2, 2, 2, 2)])
def test_parts_that_do_not_fit_together_fail(shapes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="mean, scale and weight must be"):
        LinearHead(*(np.ones(length, np.float32) for length in shapes))


def test_a_scale_of_zero_fails() -> None:
    with pytest.raises(ValueError, match="scale must be positive"):
        head(scale=0.0)


def test_a_fit_finds_the_true_logit() -> None:
    features, labels = two_classes(40_000)
    fitted = fit_head(features, labels, l2=1e-6)
    probes = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [1, 1, -1]], np.float32)
    np.testing.assert_allclose(fitted(probes), [-2, 0, 2, 0], atol=0.15)


def test_a_fit_does_not_care_for_units() -> None:
    features, labels = two_classes()
    scaled = features * np.array([1e-4, 1, 1e4], np.float32) + np.array([5, 0, 1e4], np.float32)
    expected = fit_head(features, labels)(features)
    np.testing.assert_allclose(fit_head(scaled, labels)(scaled), expected, atol=0.02)


def test_a_constant_feature_counts_nothing() -> None:
    features, labels = two_classes()
    features[:, 1] = 7
    fitted = fit_head(features, labels)
    assert abs(fitted.weight[1]) < 1e-6
    assert fitted.scale[1] == 1


def test_faces_without_a_feature_are_left_out_of_the_fit() -> None:
    features, labels = two_classes()
    holed = np.concatenate([features, np.full((50, 3), np.nan, np.float32)])
    fitted = fit_head(holed, np.concatenate([labels, np.ones(50, int)]))
    np.testing.assert_allclose(fitted.weight, fit_head(features, labels).weight, atol=1e-5)


def test_a_stronger_penalty_gives_smaller_weights() -> None:
    features, labels = two_classes()
    norms = [np.linalg.norm(fit_head(features, labels, l2=l2).weight) for l2 in (1e-4, 1e-1, 10.0)]
    assert norms == sorted(norms, reverse=True)


def test_many_faces_of_one_person_count_as_one_person() -> None:
    features, labels = two_classes(200)
    repeated = np.concatenate([features, np.repeat(features[:1], 500, axis=0)])
    repeated_labels = np.concatenate([labels, np.repeat(labels[:1], 500)])
    people = np.concatenate([np.arange(200), np.zeros(500, int)])
    fitted, expected = fit_head(repeated, repeated_labels, groups=people), fit_head(features, labels)
    np.testing.assert_allclose(fitted.weight, expected.weight, atol=1e-3)


def test_a_fit_needs_both_classes() -> None:
    with pytest.raises(ValueError, match="expected real and fake faces, got weights of 3 real and 0 fake"):
        fit_head(np.ones((3, 2), np.float32), np.zeros(3, int))


def test_labels_other_than_zero_and_one_fail() -> None:
    with pytest.raises(ValueError, match=r"labels must be 0 \(real\) or 1 \(fake\)"):
        balanced_weights(np.array([0, 1, 2]))


@pytest.mark.parametrize("weight", [np.array([1.0, -1.0]), np.array([1.0]), np.array([np.nan, 1.0])])
def test_weights_that_cannot_be_meant_fail(weight: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected 2 weights >= 0"):
        balanced_weights(np.array([0, 1]), weight)


def test_one_person_may_be_real_and_forged() -> None:
    weight = balanced_weights(np.array([0, 0, 1]), groups=np.array(["ann", "bob", "ann"]))
    assert weight.tolist() == [0.25, 0.25, 0.5]


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0.1, 10), st.integers(0, 4)), min_size=2, max_size=30))
def test_both_classes_weigh_the_same(faces: list[tuple[int, float, int]]) -> None:
    labels = np.array([label for label, _, _ in faces])
    labels[:2] = 0, 1
    weight = balanced_weights(labels, np.array([w for _, w, _ in faces]), np.array([g for _, _, g in faces]))
    assert weight[labels == 1].sum() == pytest.approx(0.5)
    assert weight.sum() == pytest.approx(1)


def test_a_floor_holds_a_coefficient_at_zero() -> None:
    features, labels = two_classes()
    weight = balanced_weights(labels)
    coefficients, _ = fit_logistic(-features.astype(float), labels, weight, np.full(3, 1e-3), np.zeros(3))
    assert coefficients[0] == 0
    assert (coefficients >= 0).all()


def test_a_coefficient_is_pulled_to_its_center() -> None:
    features, labels = two_classes(200)
    design, weight = features.astype(float), balanced_weights(labels)
    coefficients, _ = fit_logistic(design, labels, weight, np.full(3, 1e4), center=np.array([1.0, 2, 3]))
    np.testing.assert_allclose(coefficients, [1, 2, 3], atol=1e-3)


def bent() -> KindHeads:
    """One feature, two kinds: a straight line, and a roof with its top at 0."""
    weight = np.array([[2, 0], [0, 4], [0, -4]], np.float32)
    knots = np.array([[-1, 0, 1]], np.float32)
    return KindHeads(
        ("line", "roof"), np.zeros(1, np.float32), np.ones(1, np.float32), knots, weight, np.array([1, -3], np.float32)
    )


def kinds_and_features(faces: int = 9000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Synthesised faces are brighter, blended ones are odd in either direction, partial ones like real ones."""
    rng = np.random.default_rng(seed)
    kind_of = rng.choice(["real", *KINDS], faces, p=[0.4, 0.2, 0.2, 0.2])
    features = rng.standard_normal((faces, 2)).astype(np.float32)
    features[kind_of == "synthesised", 0] += 2
    features[kind_of == "blended", 1] *= 4
    return features, kind_of


def separation(scores: np.ndarray, kind_of: np.ndarray, kind: str) -> float:
    """How often a face of this kind scores above a real one."""
    forged, real = scores[kind_of == kind], np.sort(scores[kind_of == "real"])
    return float(np.searchsorted(real, forged).mean() / len(real))


def test_lines_and_bends_by_hand() -> None:
    logits = bent()(np.array([[-2], [-0.5], [0], [0.5], [3]], np.float32))
    assert logits[:, 0].tolist() == [-3, 0, 1, 2, 7]
    assert logits[:, 1].tolist() == [-3, -1, 1, -1, -3]


def test_ramps_stand_behind_the_features() -> None:
    knots = np.array([[0, 1, 2], [0, 2, 4]], np.float32)
    assert expand(np.array([[1.5, 1.0]], np.float32), knots).tolist() == [[1.5, 1.0, 1, 0.5, 0.5, 0]]


def test_a_face_without_a_feature_gets_no_logit_of_any_kind() -> None:
    assert np.isnan(bent()(np.array([[np.nan], [0]], np.float32))).tolist() == [[True, True], [False, False]]
    with pytest.raises(ValueError, match=r"expected 1 features a face, got features.shape = \(2, 3\)"):
        bent()(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("mean", np.zeros(2, np.float32), "mean and scale must be"),
        ("knots", np.zeros((1, 1), np.float32), r"knots must be \(1, 0\) or \(1, 2 or more\), got \(1, 1\)"),
        ("knots", np.zeros((1, 3), np.float32), "rising knots"),
        ("weight", np.zeros((2, 2), np.float32), r"weight and bias must be \(3, 2\) and \(2,\), got \(2, 2\)"),
        ("scale", np.zeros(1, np.float32), "positive scale"),
    ],
)
def test_heads_whose_parts_do_not_fit_together_fail(part: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(bent(), **{part: value})


def test_a_head_of_one_kind_says_the_same_among_kinds() -> None:
    given = np.array([[1.0], [5.0], [np.nan]], np.float32)
    heads = head().as_kinds()
    assert heads.kinds == (FORGED,)
    np.testing.assert_array_equal(heads(given)[:, 0], head()(given))


def test_the_last_layer_of_a_network_is_taken_as_it_is() -> None:
    rng = np.random.default_rng(0)
    weight, bias, given = rng.normal(size=(3, 5)), rng.normal(size=3), rng.normal(0, 50, (4, 5))
    heads = plain_heads(weight, bias, ("a", "b", "c"))
    np.testing.assert_allclose(heads(given.astype(np.float32)), given @ weight.T + bias, rtol=1e-4, atol=1e-3)


def test_each_kind_learns_its_own_lesson() -> None:
    features, kind_of = kinds_and_features()
    heads = fit_kind_heads(features, kind_of, kinds=KINDS, l2=1e-6)
    assert heads.kinds == KINDS
    probes = np.array([[0, 0], [1, 0], [2, 0]], np.float32)
    np.testing.assert_allclose(heads(probes)[:, 0], [-2, 0, 2], atol=0.25)
    np.testing.assert_allclose(heads(probes)[:, 2], 0, atol=0.25)


def test_bends_find_what_is_odd_in_either_direction() -> None:
    (features, kind_of), (others, kind_of_others) = kinds_and_features(), kinds_and_features(seed=1)
    straight, bending = (fit_kind_heads(features, kind_of, kinds=KINDS, knots=knots)(others)[:, 1] for knots in (0, 7))
    assert separation(straight, kind_of_others, "blended") < 0.6
    assert separation(bending, kind_of_others, "blended") > 0.8


def test_bends_cope_with_features_of_few_values() -> None:
    features, kind_of = kinds_and_features(500)
    features[:, 1] = np.round(features[:, 1] / 4)
    assert np.isfinite(fit_kind_heads(features, kind_of, kinds=KINDS, knots=6)(features)).all()


def test_a_kind_without_faces_is_named() -> None:
    features, kind_of = kinds_and_features(300)
    without = kind_of != "partial"
    with pytest.raises(ValueError, match="partial: expected real and fake faces"):
        fit_kind_heads(features[without], kind_of[without], kinds=KINDS)
    with pytest.raises(ValueError, match="expected kinds among real, synthesised, blended, partial, got 'swapped'"):
        fit_kind_heads(features, np.full(300, "swapped"), kinds=KINDS)


def test_calibrated_heads_mean_what_they_say() -> None:
    (features, kind_of), (others, kind_of_others) = kinds_and_features(), kinds_and_features(seed=1)
    heads = fit_kind_heads(features, kind_of, kinds=KINDS, l2=1e-6)
    wild = replace(heads, weight=5 * heads.weight, bias=5 * heads.bias + 1)
    tamed = calibrate_heads(wild, wild(others), kind_of_others)
    np.testing.assert_allclose(tamed(others)[:, 0], heads(others)[:, 0], atol=0.6)


def test_either_of_two_causes_is_enough() -> None:
    both = noisy_or(np.array([[0.0, 0.0], [8.0, -8.0], [-8.0, 8.0], [-8.0, -8.0]]), np.zeros(2))
    np.testing.assert_allclose(both[0], np.log(3), atol=1e-9)  # 1 - 1/2 * 1/2
    assert both[1] == both[2] > 7.5
    assert both[3] == pytest.approx(-8 + np.log(2), abs=1e-3)


def test_one_cause_is_itself_and_no_evidence_is_even() -> None:
    alone = np.array([[-700.0], [-30.0], [-1.0], [0.0], [2.0], [30.0], [700.0]])
    np.testing.assert_allclose(noisy_or(alone), alone[:, 0], rtol=1e-6, atol=1e-9)
    for kinds in (1, 2, 3, 7):
        assert noisy_or(np.zeros((1, kinds))) == pytest.approx([0], abs=1e-12)
        assert even_prior(kinds).shape == (kinds,)


@settings(deadline=None)
@given(st.lists(st.floats(-300, 300), min_size=1, max_size=5), st.integers(0, 4), st.floats(0, 50))
def test_more_of_a_cause_never_makes_a_forgery_less_likely(logits: list[float], which: int, more: float) -> None:
    both = np.array([logits, logits])
    both[1, which % len(logits)] += more
    before, after = noisy_or(both)
    assert before <= after + 1e-9
