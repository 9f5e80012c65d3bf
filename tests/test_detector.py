"""The detector with untrained weights: what goes in, what comes out, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from PIL import Image

from stream_detect.decode.frame import Frame
from stream_detect.detector import Counted, Detector, in_batches
from stream_detect.errors import SourceNotFound, SourceUnsupported, UsageError, WeightsError
from stream_detect.types import KINDS, Face
from stream_detect.weights import even_fusion, random_weights
from tests import clips

EXPERTS = {"spectrum", "residual", "color", "mesonet", "attention"}


@pytest.fixture(scope="module")
def detector():
    return Detector(device="cpu", weights=random_weights())


def face_at(x, y, side):
    box = np.array([x, y, x + side, y + side], np.float32)
    landmarks = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32) * side
    return Face(box, landmarks + box[:2], 0.9)


def test_a_picture_with_a_face_is_judged_by_every_expert(detector):
    said = detector.frame(clips.portrait(480, 640, 200))
    (face,) = said.faces
    assert set(face.experts) == EXPERTS
    assert all(0 <= p <= 1 for p in face.experts.values())
    assert 0 <= face.fake_probability <= 1
    assert 0 <= face.quality <= 1
    assert face.llr == pytest.approx(np.log(face.fake_probability / (1 - face.fake_probability)), abs=1e-5)
    assert set(face.kinds) == set(KINDS)
    assert sum(face.kinds.values()) == pytest.approx(face.fake_probability)
    assert said.latency_ms > 0
    json.dumps(said.to_json(), allow_nan=False)


def test_a_picture_without_a_face_says_so(detector):
    said = detector.frame(clips.scenery(1, 240, 320)[0])
    assert (said.faces, said.reasons) == ((), ("no_face",))


def test_a_small_face_is_inconclusive(detector):
    frame = Frame.from_rgb(clips.portrait(240, 320, 30))
    ((face,),) = detector.judge([(frame, [face_at(145, 105, 28.0)])])
    assert (face.verdict, face.fake_probability, face.llr) == ("inconclusive", None, None)
    assert "small_face" in face.reasons
    assert set(face.experts.values()) == {None}


def test_a_blurred_face_is_inconclusive(detector):
    import cv2

    blurred = cv2.GaussianBlur(clips.portrait(480, 640, 220), (0, 0), 4)
    ((face,),) = detector.judge([(Frame.from_rgb(blurred), [face_at(210, 130, 220.0)])])
    assert face.verdict == "inconclusive"
    assert "blurred" in face.reasons
    assert face.fake_probability is None


def test_experts_that_are_not_asked_say_nothing_and_the_others_what_they_always_say(detector):
    frame = Frame.from_rgb(clips.portrait(360, 480, 150))
    seen = [(frame, [*detector.find_faces([frame])[0], face_at(225, 165, 20.0)])]
    asked = ("residual", "attention")
    ((some, small),) = detector.judge(seen, experts=asked)
    ((every, _),) = detector.judge(seen)
    assert {name for name, p in some.experts.items() if p is not None} == set(asked)
    assert set(some.experts) == EXPERTS
    assert [some.experts[name] for name in asked] == pytest.approx([every.experts[name] for name in asked], abs=1e-5)
    assert some.llr != every.llr
    assert set(small.experts.values()) == {None}


def test_what_lies_beside_a_face_in_a_batch_does_not_matter(detector):
    """Frames of several feeds in one batch give the same numbers as one by one."""
    frames = [Frame.from_rgb(clips.portrait(360, 480, px)) for px in (110, 150, 190)]
    seen = [(frame, faces) for frame, faces in zip(frames, detector.find_faces(frames), strict=True)]
    seen.insert(1, (frames[0], []))
    seen.append((frames[0], [face_at(225, 165, 20.0)]))
    together = detector.judge(seen)
    alone = [detector.judge([one])[0] for one in seen]
    assert [len(faces) for faces in together] == [1, 0, 1, 1, 1]
    for one, other in zip(sum(together, ()), sum(alone, ()), strict=True):
        assert one.llr == pytest.approx(other.llr, abs=1e-3) if one.llr is not None else other.llr is None


def test_nothing_to_judge_is_nothing_said(detector):
    assert detector.judge([]) == []
    assert detector.judge([(Frame.from_rgb(clips.scenery(1)[0]), [])]) == [()]


def test_some_experts_are_enough():
    some = Detector(device="cpu", weights=random_weights(), experts=["color", "spectrum"])
    (face,) = some.frame(clips.portrait(480, 640, 200)).faces
    assert set(face.experts) == {"color", "spectrum"}
    assert face.fake_probability is not None


def test_a_video_is_scored(detector, face_clip):
    score = detector.score(face_clip)
    assert (score.kind, score.faces, score.frames) == ("video", 1, 10)
    assert 3 <= score.judged <= 5  # 25 fps, every third frame
    assert set(score.experts) == EXPERTS
    assert score.worst_second[0] == 0.0


def test_the_same_file_gets_the_same_score(detector, face_clip):
    assert detector.score(face_clip) == detector.score(face_clip)


def test_a_picture_file_is_scored(detector, tmp_path):
    path = tmp_path / "face.png"
    rgb = clips.portrait(480, 640, 200)
    Image.fromarray(rgb).save(path)
    score = detector.score(path)
    assert (score.kind, score.judged) == ("image", 1)
    assert score.fake_probability == pytest.approx(detector.frame(rgb).faces[0].fake_probability)


def test_a_video_without_a_face_is_inconclusive(detector, empty_clip):
    score = detector.score(empty_clip)
    assert (score.verdict, score.reasons, score.judged) == ("inconclusive", ("no_face",), 0)


def test_a_clip_cut_short_is_scored_with_a_warning(detector, tmp_path):
    whole = clips.write_clip(tmp_path / "whole.mkv", clips.talking_head(50))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    warnings = []
    score = detector.score(cut, on_warning=warnings.append)
    assert 0 < score.frames < 50
    assert len(warnings) == 1


def test_a_missing_file_fails(detector, tmp_path):
    with pytest.raises(SourceNotFound, match="no such file"):
        detector.score(tmp_path / "none.mp4")


def test_a_text_that_is_called_a_video_fails(detector, tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("once upon a time")
    with pytest.raises(SourceUnsupported):
        detector.score(path)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_an_array_that_is_no_picture_fails(detector, shape):
    with pytest.raises((ValueError, TypeCheckError), match=r"(?i)uint8"):
        detector.frame(np.zeros(shape, np.uint8))


def test_one_pixel_is_a_picture(detector):
    assert detector.frame(np.zeros((1, 1, 3), np.uint8)).reasons == ("no_face",)


def test_an_unknown_expert_fails():
    with pytest.raises(UsageError, match="no expert is called mesonett"):
        Detector(device="cpu", weights=random_weights(), experts=["mesonett"])


def test_an_unknown_device_fails():
    with pytest.raises(UsageError, match="unknown device"):
        Detector(device="tpu", weights=random_weights())


def test_an_unknown_engine_fails():
    with pytest.raises(UsageError, match="unknown engine 'tensorflow', expected one of onnxruntime, openvino"):
        Detector(device="cpu", weights=random_weights(), engine="tensorflow")


def test_every_engine_says_the_same(detector):
    pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'stream-detect[openvino]'")
    other = Detector(device="cpu", weights=random_weights(), engine="openvino")
    picture = clips.portrait(480, 640, 200)
    (ours,), (theirs,) = detector.frame(picture).faces, other.frame(picture).faces
    assert theirs.llr == pytest.approx(ours.llr, abs=1e-4)


def test_missing_weights_fail(tmp_path):
    with pytest.raises(WeightsError, match=r"expected heads\.json"):
        Detector(device="cpu", weights=tmp_path)


def test_thresholds_of_the_weights_are_taken():
    weights = replace(random_weights(), thresholds={"fake": 0.95, "clear_below": 0.25, "of_another_version": 1.0})
    detector = Detector(device="cpu", weights=weights, experts=["color"])
    assert (detector.limits.fake, detector.decision.clear_below) == (0.95, 0.25)


def test_weights_of_one_kind_judge_as_well_and_name_no_kinds():
    plain = random_weights()
    heads = {"color": replace_kinds(plain.heads["color"])}
    old = replace(plain, heads=heads, fusion=even_fusion(("color",), plain.fusion.quality, ("forged",)))
    (face,) = Detector(device="cpu", weights=old).frame(clips.portrait(480, 640, 200)).faces
    assert (face.kinds, face.to_json().get("kinds")) == ({}, None)
    assert face.experts["color"] == pytest.approx(face.fake_probability, abs=1e-4)


def replace_kinds(heads):
    return replace(heads, kinds=("forged",), weight=heads.weight[:, :1], bias=heads.bias[:1])


def test_experts_that_contradict_one_another_are_left_undecided():
    weights = replace(random_weights(), thresholds={"fake": 0.5, "real": 0.5, "disagreement": 0.0})
    (face,) = Detector(device="cpu", weights=weights).frame(clips.portrait(480, 640, 200)).faces
    assert (face.verdict, face.reasons) == ("inconclusive", ("disagreement",))
    assert face.fake_probability is not None


@pytest.mark.parametrize("given", [{"thresholds": {"fake": 3.0}}, {"quality_limits": {"min_face_px": -3.0}}])
def test_limits_that_can_not_be_meant_fail(given):
    with pytest.raises(WeightsError, match="a limit that can't be meant"):
        Detector(device="cpu", weights=replace(random_weights(), **given), experts=["color"])


@pytest.mark.parametrize(("fps", "expected"), [(5, 1), (8, 1), (10, 1), (25, 3), (30, 3), (60, 7)])
def test_at_least_eight_frames_a_second_are_analysed(fps, expected):
    picture = clips.scenery(1)[0]
    frames = (Frame.from_rgb(picture, index=i, pts_s=i / fps) for i in range(4 * fps))
    counted = Counted()
    picked = [frame.index for frame in counted.evenly(frames)]
    assert counted.frames == 4 * fps
    assert len(picked) >= min(4 * fps, 32)
    assert set(np.diff(picked)) <= {expected, max(1, expected - 1)}


def test_batches_keep_every_frame():
    frames = [Frame.from_rgb(clips.scenery(1)[0], index=i) for i in range(10)]
    assert [[frame.index for frame in batch] for batch in in_batches(iter(frames), 4)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]


def test_a_closed_detector_still_judges():
    picture = clips.portrait(480, 640, 200)
    with Detector(device="cpu", weights=random_weights()) as closed:
        before = closed.frame(picture).faces[0]
    closed.close()
    assert closed.frame(picture).faces[0].llr == pytest.approx(before.llr, abs=1e-5)
