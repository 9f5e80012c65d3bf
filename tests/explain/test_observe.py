"""Explaining with a detector: the same score as without, the face that decided, and why there is none."""

import numpy as np
import pytest
from PIL import Image

from stream_detect.detector import Detector
from stream_detect.errors import SourceError
from tests import clips


@pytest.fixture(scope="module")
def detector(weights_folder):
    with Detector(device="cpu", weights=weights_folder) as made:
        yield made


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Two faces for a second, of which the second shows up half-way."""
    frames = [
        np.hstack([frame, frame[:, ::-1] if k > 12 else 0 * frame]) for k, frame in enumerate(clips.talking_head(25))
    ]
    return clips.write_clip(tmp_path_factory.mktemp("media") / "two.mp4", frames)


def test_a_picture_gets_the_score_it_gets_without(detector, tmp_path):
    path = tmp_path / "face.png"
    Image.fromarray(clips.portrait()).save(path)
    told = detector.explain(path)
    assert told.score == detector.score(path)
    assert told.digest == detector.weights.digest
    sight = told.sight
    assert sight.verdict.llr is not None
    assert sight.aligned.shape == (256, 256, 3)
    assert [one.values.shape for one in sight.maps] == [(1, 4, 4)]
    assert sight.residual.db.shape == sight.close_up.shape[:2]
    assert sight.residual.box == pytest.approx(sight.box)
    assert sight.spectrum.face_db.shape == (36,)


def test_an_array_is_explained_too(detector):
    told = detector.explain(clips.portrait())
    assert told.score.path == ""
    assert told.sight is not None
    with pytest.raises(ValueError, match="uint8 picture"):
        detector.explain(np.zeros((0, 4, 3), np.uint8))


def test_a_clip_shows_the_deciding_face_where_it_looks_worst(detector, clip):
    told = detector.explain(clip)
    assert told.score == detector.score(clip)
    worst = [one for one in told.moments if one.is_worst]
    assert 0 < len(worst) <= len(told.moments)
    assert told.sight.verdict.fake_probability == pytest.approx(max(one.fake_probability for one in worst))
    assert told.sight.pts_s == next(
        one.pts_s for one in worst if one.fake_probability == told.sight.verdict.fake_probability
    )
    x1, y1, x2, y2 = told.sight.box
    assert 60 < x2 - x1 < 200
    assert 60 < y2 - y1 < 200


def test_a_clip_without_a_face_shows_what_was_seen(detector, empty_clip):
    told = detector.explain(empty_clip)
    assert told.score.reasons == ("no_face",)
    assert told.sight is None
    assert told.picture.shape == (120, 160, 3)


def test_a_face_that_is_too_small_is_shown_without_measures(detector):
    told = detector.explain(clips.portrait(240, 320, face_px=30))
    assert told.score.reasons == ("small_face",)
    assert told.sight.residual is None
    assert told.sight.maps == ()


def test_experts_that_are_not_asked_show_no_map(weights_folder):
    with Detector(device="cpu", weights=weights_folder, experts=["spectrum"]) as spectrum:
        assert list(spectrum.explain(clips.portrait()).sight.maps) == []


def test_a_file_that_can_not_be_read_fails(detector, tmp_path):
    with pytest.raises(SourceError):
        detector.explain(tmp_path / "none.mp4")
