"""The curves of a face beside the band of real faces."""

import numpy as np
import pytest

from stream_detect.experts.spectrum import SPECTRUM_DIM, spectrum_curve, spectrum_features
from stream_detect.explain.spectrum import DECIBELS, spectrum_lines, spectrum_reference

RINGS = 36


def tiles(num: int = 1, spread: float = 0.02, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.5, spread, (num, 28, 64, 64)).astype(np.float32)


def test_curves_are_those_of_the_expert_with_their_zero_at_rings_4_to_8():
    one = tiles()
    one[:, 16:] += 0.1 * np.sin(np.arange(64, dtype=np.float32))
    lines, curve = spectrum_lines(one), spectrum_curve(one)
    for given, decibels in ((lines.face_db, curve.inside_db[0]), (lines.around_db, curve.around_db[0])):
        np.testing.assert_allclose(given, decibels - decibels[3:8].mean(), atol=1e-3)
    assert lines.real_db is None
    assert lines.outside_band is None


def test_the_band_of_real_faces_is_their_mean_and_deviation():
    features = np.array(spectrum_features(tiles(30)))
    reference = spectrum_reference(features)
    assert {name: part.shape for name, part in reference.items()} == {"spectrum_mean": (36,), "spectrum_std": (36,)}
    lines = spectrum_lines(tiles(seed=5), reference)
    np.testing.assert_allclose(lines.real_db, features[:, :RINGS].mean(axis=0) * DECIBELS, rtol=1e-4)
    np.testing.assert_allclose(lines.real_sd_db, features[:, :RINGS].std(axis=0) * DECIBELS, rtol=1e-4)
    assert lines.outside_band < 0.25


def test_a_smoothed_face_leaves_the_band():
    reference = spectrum_reference(np.array(spectrum_features(tiles(30))))
    smooth = tiles()
    smooth[..., 1:, 1:] = (
        smooth[..., 1:, 1:] + smooth[..., :-1, 1:] + smooth[..., 1:, :-1] + smooth[..., :-1, :-1]
    ) / 4
    assert spectrum_lines(smooth, reference).outside_band > 0.5


def test_a_reference_of_all_features_serves_too():
    features = np.array(spectrum_features(tiles(30)))
    whole = {"spectrum_mean": features.mean(axis=0), "spectrum_std": features.std(axis=0)}
    assert whole["spectrum_mean"].shape == (SPECTRUM_DIM,)
    lines, expected = spectrum_lines(tiles(), whole), spectrum_lines(tiles(), spectrum_reference(features))
    np.testing.assert_allclose(lines.real_db, expected.real_db, rtol=1e-4)


def test_a_reference_of_another_kind_is_left_out():
    assert spectrum_lines(tiles(), {"spectrum_mean": np.zeros(7), "spectrum_std": np.zeros(7)}).real_db is None


def test_no_real_faces_fail():
    with pytest.raises(ValueError, match="expected the spectra of real faces, got none"):
        spectrum_reference(np.full((3, SPECTRUM_DIM), np.nan))
