"""From frames to one word on a file, with numbers that can be worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_detect.config import VerdictLimits
from stream_detect.scoring import Seen, logit, score_image, score_video, trimmed_mean, word
from stream_detect.temporal import probability_of
from stream_detect.types import FaceVerdict

LIMITS = VerdictLimits()


def face(llr, track=1, reasons=(), experts=None):
    probability = None if llr is None else probability_of(llr)
    verdict = "inconclusive" if llr is None else "fake" if llr > 0 else "real"
    experts = {"mesonet": probability} if experts is None else experts
    return FaceVerdict(track, (0.0, 0.0, 9.0, 9.0), probability, llr, None, verdict, reasons, experts, 1.0)


def clip(llrs, track=1, fps=8.0):
    return [Seen(i / fps, (face(llr, track),)) for i, llr in enumerate(llrs)]


def test_the_most_suspicious_face_of_a_picture_speaks_for_it():
    score = score_image("a.jpg", [face(-2.0), face(3.0), face(None, reasons=("small_face",))], LIMITS)
    assert score.fake_probability == pytest.approx(probability_of(3.0))
    assert (score.verdict, score.faces, score.frames, score.judged) == ("fake", 3, 1, 1)
    assert score.experts == {"mesonet": pytest.approx(probability_of(3.0))}
    assert score.worst_second is None


def test_a_picture_without_a_face_is_inconclusive():
    score = score_image("a.jpg", [], LIMITS)
    assert (score.verdict, score.reasons, score.fake_probability) == ("inconclusive", ("no_face",), None)


def test_a_clip_is_the_trimmed_mean_of_its_worst_track():
    seen = [Seen(i / 8, (face(-1.0, 1), face(2.0, 2))) for i in range(20)]
    seen[3] = Seen(3 / 8, (face(-1.0, 1), face(50.0, 2)))  # one wild frame
    score = score_video("a.mp4", seen, 60, LIMITS)
    assert score.fake_probability == pytest.approx(probability_of(2.0))
    assert (score.faces, score.frames, score.judged) == (2, 60, 20)


def test_a_face_that_was_hardly_seen_does_not_speak_for_a_clip():
    seen = [Seen(i / 8, (face(-2.0, 1), face(4.0, 2)) if i < 3 else (face(-2.0, 1),)) for i in range(40)]
    assert score_video("a.mp4", seen, 40, LIMITS).verdict == "real"


def test_many_short_tracks_count_together():
    seen = [Seen(i / 8, (face(2.0, track=i // 2),)) for i in range(40)]
    assert score_video("a.mp4", seen, 40, LIMITS).fake_probability == pytest.approx(probability_of(2.0))


def test_the_suspected_kinds_of_a_clip_share_its_probability():
    kinds = {"blended": 0.6, "partial": 0.2}
    seen = [Seen(i / 8, (replace(face(2.0), kinds=kinds),)) for i in range(20)]
    said = score_video("a.mp4", seen, 20, LIMITS)
    assert said.kinds == pytest.approx(
        {"blended": 0.75 * said.fake_probability, "partial": 0.25 * said.fake_probability}
    )
    assert said.to_json()["kinds"]["blended"] == pytest.approx(said.kinds["blended"], abs=1e-4)
    assert "kinds" not in score_video("a.mp4", clip([2.0] * 20), 20, LIMITS).to_json()


def test_the_worst_second_is_named():
    llrs = [-2.0] * 16 + [3.0] * 8 + [-2.0] * 16
    start_s, probability = score_video("a.mp4", clip(llrs), 40, LIMITS).worst_second
    assert start_s == 2.0
    assert probability == pytest.approx(probability_of(3.0))


def test_a_clip_in_which_nothing_could_be_judged_says_why():
    seen = [Seen(i / 8, (face(None, reasons=("blurred",) if i else ("small_face",)),)) for i in range(5)]
    score = score_video("a.mp4", seen, 5, LIMITS)
    assert (score.verdict, score.reasons, score.judged, score.faces) == ("inconclusive", ("blurred",), 0, 1)
    assert score.worst_second is None


def test_a_clip_without_frames_has_no_face():
    assert score_video("a.mp4", [], 0, LIMITS).reasons == ("no_face",)


def test_between_the_limits_nobody_knows():
    assert word(0.0, LIMITS, []) == ("inconclusive", ("disagreement",))


def test_an_expert_that_never_spoke_has_no_probability():
    seen = [Seen(0.0, (face(1.0, experts={"mesonet": None, "color": 0.7}),))]
    assert score_video("a.mp4", seen, 1, LIMITS).experts == {"mesonet": None, "color": pytest.approx(0.7)}


def test_certain_probabilities_have_finite_logits():
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=50))
def test_the_trimmed_mean_lies_among_the_values(values):
    assert min(values) - 1e-9 <= trimmed_mean(np.array(values)) <= max(values) + 1e-9


@given(st.lists(st.floats(-8, 8), min_size=1, max_size=40))
def test_a_score_is_a_probability_and_its_verdict_fits(llrs):
    score = score_video("a.mp4", clip(llrs), len(llrs), LIMITS)
    assert 0 <= score.fake_probability <= 1
    expected = "fake" if score.fake_probability >= LIMITS.fake else "real"
    if not LIMITS.real < score.fake_probability < LIMITS.fake:
        assert score.verdict == expected
    assert math.isfinite(score.worst_second[1])
