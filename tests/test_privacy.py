"""Hidden faces: nobody finds or matches them, nothing else is touched, and videos hide them before and after too."""

import math

import cv2
import numpy as np
import pytest

from stream_detect.decode.frame import Frame
from stream_detect.experts.residual import high_pass
from stream_detect.faces.detector import find_faces, load_detector
from stream_detect.faces.tracker import TrackerSettings
from stream_detect.privacy import AHEAD, CELLS, FaceHider, blurred, window_of
from stream_detect.types import FaceVerdict, FrameVerdict
from tests import clips

NOISE = np.random.default_rng(7).integers(0, 256, (120, 160, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def detector():
    return load_detector()


def faces_in(rgb, detector):
    return find_faces([Frame.from_rgb(rgb)], detector)[0]


def box_of(face):
    return tuple(float(side) for side in face.box)


@pytest.mark.parametrize("face_px", [16, 24, 60, 120, 240])
def test_a_hidden_face_is_not_found(detector, face_px):
    rgb = clips.portrait(360, 480, face_px)
    found = faces_in(rgb, detector)
    assert found
    assert not faces_in(blurred(rgb, [box_of(face) for face in found]), detector)


def test_no_more_than_a_few_colours_are_left_of_a_face():
    """Nine colours of sixteen levels each: too little to tell one person from the next."""
    box = (140.0, 80.0, 340.0, 280.0)
    x1, y1, x2, y2 = window_of(box, 360, 480)
    hidden = blurred(clips.portrait(360, 480, 200), [box])[y1:y2, x1:x2]
    corners = [[hidden[row, column] for column in (0, hidden.shape[1] // 2, -1)] for row in (0, 140, -1)]
    rebuilt = cv2.resize(np.array(corners, np.uint8), hidden.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(rebuilt.astype(int) - hidden).max() <= 2


def test_an_averaged_face_is_no_sharper_after_deconvolution():
    """Nothing finer than a cell is left in the spectrum, so no filter brings it back."""
    hidden = blurred(NOISE, [(30.0, 20.0, 130.0, 100.0)])[10:110, 20:140].mean(axis=2)
    seen = NOISE[10:110, 20:140].mean(axis=2)
    assert finer_power(hidden) < 1e-3 * finer_power(seen)


def finer_power(luma):
    """Power of what repeats within a quarter of a cell."""
    window = np.outer(np.hanning(luma.shape[0]), np.hanning(luma.shape[1]))
    power = np.abs(np.fft.fft2((luma - luma.mean()) * window)) ** 2
    rows, columns = (np.abs(np.fft.fftfreq(side) * side) for side in luma.shape)
    return power[np.maximum(rows[:, None], columns) > 4 * CELLS].sum()


def test_the_fingerprint_of_a_face_is_not_kept():
    rgb = clips.portrait(360, 480, 200)
    noisy = np.clip(rgb + np.random.default_rng(0).normal(0, 6, rgb.shape), 0, 255).astype(np.uint8)
    before, after = (
        np.abs(next(iter(high_pass(luma_of(one)[None, None]).values()))).mean()
        for one in (noisy[100:260, 160:320], blurred(noisy, [(140.0, 80.0, 340.0, 280.0)])[100:260, 160:320])
    )
    assert after < before / 10


def luma_of(rgb):
    return (rgb.mean(axis=2) / 255).astype(np.float32)


def test_two_pictures_of_equal_averages_are_hidden_alike():
    """What is shown depends on a few averages alone: the rest is gone."""
    mixed = NOISE.copy()
    tile = mixed[40:44, 60:64]
    mixed[40:44, 60:64] = tile[::-1, ::-1]
    box = [(20.0, 10.0, 140.0, 110.0)]
    assert not np.array_equal(mixed, NOISE)
    assert np.array_equal(blurred(mixed, box), blurred(NOISE, box))


def test_what_lies_outside_is_untouched_and_the_picture_is_a_copy():
    before = NOISE.copy()
    hidden = blurred(NOISE, [(60.0, 40.0, 100.0, 80.0)])
    x1, y1, x2, y2 = window_of((60.0, 40.0, 100.0, 80.0), 120, 160)
    assert (x1, y1, x2, y2) == (52, 32, 108, 88)
    hidden[y1:y2, x1:x2] = before[y1:y2, x1:x2]
    assert np.array_equal(hidden, before)
    assert np.array_equal(NOISE, before)


@pytest.mark.parametrize("box", [(-50.0, -50.0, 20.0, 20.0), (150.0, 110.0, 400.0, 300.0), (80.0, 60.0, 81.0, 60.5)])
def test_faces_at_the_edge_and_tiny_ones_are_hidden(box):
    x1, y1, x2, y2 = window_of(box, 120, 160)
    part = blurred(NOISE, [box])[y1:y2, x1:x2]
    assert part.std() < NOISE.std() / 3


def test_a_box_beside_the_picture_hides_nothing():
    assert np.array_equal(blurred(NOISE, [(200.0, 10.0, 240.0, 60.0)]), NOISE)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_box_that_is_no_box_hides_everything(bad):
    assert blurred(NOISE, [(bad, 0.0, 10.0, 10.0)]).std() < NOISE.std() / 3


def said(pts_s, *boxes, reasons=(), source="cam"):
    faces = tuple(FaceVerdict(n, box, None, None, None, "inconclusive", (), {}, 1.0) for n, box in enumerate(boxes, 1))
    return FrameVerdict(source, 0, pts_s, "t", None, faces, reasons=reasons)


BOX = (60.0, 40.0, 100.0, 80.0)


def is_hidden(rgb, x=80, y=60):
    return rgb[y - 8 : y + 8, x - 8 : x + 8].std() < 20


def test_a_face_that_is_lost_stays_hidden_for_a_moment():
    hider = FaceHider(hold_s=1.0, ahead=0)
    shown = [is_hidden(hider.take(NOISE, one)[0][0]) for one in (said(0.0, BOX), said(0.9), said(1.1))]
    assert shown == [True, True, False]


def test_a_face_is_hidden_before_it_is_first_found():
    hider = FaceHider(ahead=3)
    given = [one for pts_s in (0.0, 0.1, 0.2) for one in hider.take(NOISE, said(pts_s))]
    assert not given
    given += hider.take(NOISE, said(0.3, BOX))
    assert len(given) == 1
    given += hider.rest()
    assert [verdict.pts_s for _, verdict in given] == [0.0, 0.1, 0.2, 0.3]
    assert all(is_hidden(rgb) for rgb, _ in given)


def test_a_face_that_moves_leaves_no_trail():
    hider = FaceHider(ahead=0)
    hider.take(NOISE, said(0.0, BOX))
    (rgb, _), *_ = hider.take(NOISE, said(0.1, (10.0, 10.0, 30.0, 30.0)))
    assert is_hidden(rgb, 20, 20)
    assert not is_hidden(rgb)


@pytest.mark.parametrize("reason", ["corrupt", "frozen"])
def test_a_frame_that_was_not_judged_is_hidden_as_a_whole(reason):
    (rgb, verdict), *_ = FaceHider(ahead=0).take(NOISE, said(0.0, reasons=(reason,)))
    assert rgb.std() < NOISE.std() / 3
    assert verdict.reasons == (reason,)


def test_sources_do_not_hide_each_others_faces():
    hider = FaceHider(ahead=0)
    hider.take(NOISE, said(0.0, BOX, source="one"))
    (rgb, _), *_ = hider.take(NOISE, said(0.1, source="other"))
    assert np.array_equal(rgb, NOISE)


def test_a_source_that_begins_anew_gives_out_what_waits():
    hider = FaceHider()
    hider.take(NOISE, said(5.0, BOX))
    given = hider.take(NOISE, said(0.0))
    assert [verdict.pts_s for _, verdict in given] == [5.0]
    assert [verdict.pts_s for _, verdict in hider.rest()] == [0.0]


def test_as_many_frames_are_waited_for_as_a_search_takes():
    assert TrackerSettings().every + 1 <= AHEAD
