"""Limits moved to one's own cameras: the rate is reached, its bound is told, and too little footage is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream_detect import Detector
from stream_detect.errors import ConfigError, OutputError, WeightsError
from stream_detect.training.metrics import upper_bound
from stream_detect.training.recalibrate import (
    Calibrated,
    CalibrateSettings,
    Judged,
    calibrate,
    calibrated_weights,
    check_enough,
    found_words,
    moved_limits,
    outcome,
    rate_for,
)
from stream_detect.weights import load_weights, random_weights, save_weights
from tests import clips
from tests.training.made import person, write_people

LIMITS = {"fake": 0.8, "real": 0.35, "disagreement": 1.0}


def judged_of(llr, groups=None, doubt=None):
    llr = np.asarray(llr, np.float64)
    names = np.arange(len(llr)) % 10 if groups is None else np.asarray(groups)
    return Judged(llr, np.zeros(len(llr)) if doubt is None else np.asarray(doubt), names.astype(str))


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_the_asked_rate_is_reached_and_no_lower_limit_would(rate):
    judged = judged_of(np.random.default_rng(0).normal(1, 1.5, 1000))
    limits = moved_limits(judged, LIMITS, rate)
    assert outcome(judged, limits).called_fake <= rate + 1e-12
    below = np.sort(judged.chance[judged.chance < limits["fake"]])[-1]
    assert outcome(judged, {**limits, "fake": below}).called_fake > rate


def test_a_limit_moves_down_where_no_real_face_is_near_it():
    judged = judged_of(np.random.default_rng(0).normal(-4, 0.5, 500))
    limits = moved_limits(judged, LIMITS, 0.01)
    assert (limits["fake"], limits["real"]) == (0.5, 0.35)
    assert outcome(judged, limits).called_fake == 0


def test_the_limit_of_real_never_lies_above_that_of_fake():
    judged = judged_of(np.full(500, -4.0))
    assert moved_limits(judged, {**LIMITS, "real": 0.7}, 0.01)["real"] == 0.5


def test_every_person_counts_the_same():
    judged = judged_of([3.0] * 90 + [-3.0] * 10, groups=["one"] * 90 + [f"other{k}" for k in range(10)])
    told = outcome(judged, LIMITS)
    assert told.called_fake == pytest.approx(1 / 11)
    assert told.bound_95 == upper_bound(1, 11)
    assert told.called_real == pytest.approx(10 / 11)
    assert told.coverage == pytest.approx(1)


def test_faces_on_which_experts_contradict_one_another_are_called_nothing():
    judged = judged_of([3.0] * 10 + [-3.0] * 90, doubt=[0.9] * 10 + [0.1] * 90)
    told = outcome(judged, {**LIMITS, "disagreement": 0.5})
    assert (told.called_fake, told.coverage) == (0, pytest.approx(0.9))
    assert moved_limits(judged, {**LIMITS, "disagreement": 0.5}, 0.05)["fake"] == 0.5
    assert moved_limits(judged, LIMITS, 0.05)["fake"] > 0.95


@pytest.mark.parametrize("rate", [0.0, 0.5, -1.0, float("nan")])
def test_a_rate_that_can_not_be_meant_is_refused(rate, tmp_path):
    with pytest.raises(ConfigError, match=r"must lie between 0 and 0\.5"):
        CalibrateSettings(tmp_path, (tmp_path,), rate)


def test_a_rate_needs_enough_faces_and_people(tmp_path):
    settings = CalibrateSettings(tmp_path, (tmp_path,), 0.01)
    assert settings.fewest_faces == 300
    with pytest.raises(ConfigError, match="no face in the footage could be judged"):
        check_enough(judged_of([]), settings)
    with pytest.raises(ConfigError, match=r"a rate of 0\.01 needs 300 or more that can be judged, got 299"):
        check_enough(judged_of(np.zeros(299)), settings)
    with pytest.raises(ConfigError, match="expected 5 or more people or files, got 4"):
        check_enough(judged_of(np.zeros(400), groups=np.arange(400) % 4), settings)
    check_enough(judged_of(np.zeros(300)), settings)
    with pytest.raises(ConfigError, match="at least 300 faces are needed"):
        replace(settings, faces=200)


def calibrated_from(old, new, found):
    before, after = (outcome(judged_of([0.0] * 10), {**LIMITS, "fake": limit}) for limit in (old, new))
    return Calibrated(0.01, 10, 10, 0, before, after, found)


def test_what_is_known_of_forgeries_is_told_and_no_more():
    assert "isn't known" in found_words(calibrated_from(0.8, 0.9, None))
    assert "0.700 of the forged faces" in found_words(calibrated_from(0.8, 0.9, 0.7))
    assert "at most as many" in found_words(calibrated_from(0.8, 0.9, 0.7))
    assert "at least as many" in found_words(calibrated_from(0.8, 0.7, 0.7))
    assert "as before" in found_words(calibrated_from(0.8, 0.8, 0.7))


def test_notes_on_other_limits_are_marked_as_such():
    base = replace(random_weights(), operating={"fusion": "noisy-or", "found": 0.7, "coverage": 0.9})
    moved = calibrated_weights(base, calibrated_from(0.8, 0.9, 0.7))
    assert (moved.operating["before_found"], "found" in moved.operating) == (0.7, False)
    assert calibrated_weights(base, calibrated_from(0.8, 0.8, 0.7)).operating["found"] == 0.7
    assert (moved.thresholds["fake"], moved.operating["fusion"]) == (0.9, "noisy-or")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "weights"
    given = random_weights()
    suspicious = replace(given.fusion, band_offset=np.full(given.fusion.band_offset.shape, 3, np.float32))
    thresholds = {"fake": 0.6, "real": 0.1, "clear_below": 0.8}
    save_weights(replace(given, fusion=suspicious, thresholds=thresholds), folder)
    return folder


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """Seven people in pictures, one in a clip, and a file that can't be read."""
    folder = write_people(tmp_path_factory.mktemp("footage") / "calls", 7)
    clips.write_clip(folder / "clip.mp4", [person(8)] * 6)
    (folder / "broken.jpg").write_text("once upon a time")
    return folder


def test_weights_with_other_limits_are_written(base, footage, tmp_path):
    warned = []
    settings = CalibrateSettings(tmp_path / "w", (footage,), 0.4, base, device="cpu")
    report = calibrate(settings, warn=warned.append)
    weights, before = load_weights(tmp_path / "w"), load_weights(base)
    assert report.groups == 8
    assert report.before.called_fake > 0.4 >= report.after.called_fake > 0
    assert weights.thresholds["fake"] == report.after.limits["fake"] != before.thresholds["fake"]
    assert weights.thresholds["clear_below"] == before.thresholds["clear_below"]
    assert weights.operating["calibrated_faces"] == report.faces
    for name in before.heads:
        assert np.array_equal(weights.heads[name].weight, before.heads[name].weight)
    assert [words for words in warned if "broken.jpg" in words]
    assert "| real faces called fake |" in (tmp_path / "w" / "CALIBRATED.md").read_text(encoding="utf-8")
    with Detector(device="cpu", weights=tmp_path / "w") as detector:
        verdicts = [detector.score(path).verdict for path in sorted(footage.glob("*.png"))]
    assert verdicts.count("fake") <= 0.4 * 8


def test_a_clip_is_judged_evenly_to_its_end(footage):
    assert rate_for(footage / "clip.mp4", 1000) == 3.0
    assert rate_for(footage / "clip.mp4", 0) < 3.0


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"real": ()}, ConfigError, "expected at least one folder of real footage"),
        ({"real": (Path("nowhere"),)}, ConfigError, "nowhere: no such folder"),
        ({"base": Path("nowhere")}, WeightsError, "expected a folder of weights"),
    ],
)
def test_what_can_not_be_meant_is_refused(base, footage, tmp_path, wrong, error, words):
    settings = CalibrateSettings(tmp_path / "w", (footage,), 0.4, base, device="cpu")
    with pytest.raises(error, match=words):
        calibrate(replace(settings, **wrong))


def test_the_weights_to_start_from_are_never_replaced(base, footage):
    with pytest.raises(OutputError, match="these are the weights to start from"):
        calibrate(CalibrateSettings(base, (footage,), 0.4, base))
