"""The linear head: exact numbers, a fit that finds what made the data, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_detect.experts.heads import LinearHead, balanced_weights, fit_head, fit_logistic


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
