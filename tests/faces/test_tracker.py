"""A face keeps its number for as long as it can be followed, and no number is given twice."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_detect.decode.frame import Frame
from stream_detect.faces.tracker import Tracker, TrackerSettings
from stream_detect.types import Face
from tests import clips

HEIGHT, WIDTH = 360, 640
LANDMARKS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
PATCH = cv2.resize(clips.astronaut()[57:177, 170:282], (80, 86), interpolation=cv2.INTER_AREA)


def face_at(x, y, confidence=0.9):
    """A face of 60 x 76 pixels about (x, y)."""
    low = np.array([x - 30, y - 38])
    landmarks = low + LANDMARKS * [60, 76]
    return Face(np.array([x - 30, y - 38, x + 30, y + 38], np.float32), landmarks.astype(np.float32), confidence)


def scene(places, index=0, pts_s=None, background=90):
    """A frame with the astronaut's face drawn at each place (x, y)."""
    rgb = np.full((HEIGHT, WIDTH, 3), background, np.uint8)
    for x, y in places:
        left, top = int(x) - 40, int(y) - 43
        rows, columns = slice(max(top, 0), top + 86), slice(max(left, 0), left + 80)
        part = rgb[rows, columns]
        part[:] = PATCH[rows.start - top :, columns.start - left :][: part.shape[0], : part.shape[1]]
    return Frame.from_rgb(rgb, index=index, pts_s=index / 25 if pts_s is None else pts_s)


def still(pts_s):
    return scene([], pts_s=pts_s)


def numbers(faces):
    return [face.track for face in faces]


def center(face):
    return (face.box[:2] + face.box[2:]) / 2


def watch(tracker, paths, seen=lambda index, face: True):
    """Run a tracker over frames as the pipeline does; the faces of each frame, and the frames that were due."""
    shown, detections = [], []
    for index, places in enumerate(paths):
        frame = scene(places, index)
        if tracker.due(frame):
            detections.append(index)
            shown.append(tracker.detected([face_at(x, y) for k, (x, y) in enumerate(places) if seen(index, k)], frame))
        else:
            shown.append(tracker.between(frame))
    return shown, detections


def test_the_first_and_then_each_fifth_frame_is_due():
    _, detections = watch(Tracker(), [[(300, 180)]] * 16)
    assert detections == [0, 5, 10, 15]


def test_faces_found_in_the_frame_before_are_followed_to_this_one():
    path = [(150 + 6 * i, 180) for i in range(23)]
    late, at_once = Tracker(), Tracker()
    found, searched = None, []
    for index, place in enumerate(path):
        frame = scene([place], index)
        now = at_once.detected([face_at(*place)], frame) if at_once.due(frame) else at_once.between(frame)
        if found is not None:
            shown, found = late.detected_before(found, frame), None
        elif late.due(frame) and not late.is_routine(frame):
            searched.append(index)
            shown = late.detected([face_at(*place)], frame)
        else:
            if late.due(frame):
                searched.append(index)
                found = [face_at(*place)]
            shown = late.between(frame)
        assert numbers(shown) == numbers(now) == [1]
        assert np.abs(center(shown[0]) - place).max() < 3
    assert searched == [0, 5, 10, 15, 20]


def test_a_search_can_wait_only_where_a_face_is_in_sight_and_the_scene_is_the_same():
    tracker, empty = Tracker(), Tracker()
    first = scene([(300, 180)])
    assert not tracker.is_routine(first)
    tracker.detected([face_at(300, 180)], first)
    empty.detected([], first)
    assert tracker.is_routine(scene([(301, 180)], 1))
    assert not empty.is_routine(scene([(301, 180)], 1))
    assert not tracker.is_routine(scene([(301, 180)], 1, background=200))


def test_a_face_that_left_before_what_was_found_is_taken_up_is_missing():
    tracker = Tracker()
    tracker.detected([face_at(300, 180)], scene([(300, 180)]))
    tracker.between(scene([(300, 180)], 1))
    assert numbers(tracker.detected_before([face_at(300, 180), face_at(100, 100)], scene([(300, 180)], 2))) == [1]


def test_without_faces_too():
    _, detections = watch(Tracker(), [[]] * 12)
    assert detections == [0, 5, 10]


def test_a_moving_face_keeps_its_number_and_its_box():
    path = [[(150 + 5 * i, 180 + 20 * np.sin(i / 5))] for i in range(60)]
    shown, _ = watch(Tracker(), path)
    for places, faces in zip(path, shown, strict=True):
        assert numbers(faces) == [1]
        assert center(faces[0]) == pytest.approx(np.array(places[0]), abs=4)


def test_landmarks_move_with_the_face():
    shown, _ = watch(Tracker(), [[(200 + 4 * i, 180)] for i in range(5)])
    moved = shown[4][0].landmarks - shown[0][0].landmarks
    np.testing.assert_allclose(moved, np.tile([16, 0], (5, 1)), atol=1.5)


def test_a_new_face_is_shown_within_five_frames():
    path = [[(150, 180)] + [(450, 180)] * (i >= 6) for i in range(20)]
    shown, _ = watch(Tracker(), path)
    first = next(index for index, faces in enumerate(shown) if 2 in numbers(faces))
    assert 6 <= first <= 11
    assert all(numbers(faces) == [1, 2] for faces in shown[first:])


def test_two_faces_that_pass_each_other_keep_their_numbers():
    path = [[(100 + 7 * i, 120), (540 - 7 * i, 230)] for i in range(60)]
    shown, _ = watch(Tracker(), path)
    for places, faces in zip(path, shown, strict=True):
        assert numbers(faces) == [1, 2]
        for place, face in zip(places, faces, strict=True):
            assert center(face) == pytest.approx(np.array(place), abs=6)


def test_a_face_hidden_for_half_a_second_gets_its_number_back():
    hidden = range(20, 32)
    path = [[] if i in hidden else [(300, 180)] for i in range(60)]
    shown, _ = watch(Tracker(), path)
    assert all(numbers(shown[i]) == [] for i in range(22, 32))
    assert all(numbers(faces) == [1] for faces in shown[37:])


def test_a_face_hidden_for_two_seconds_gets_a_new_number():
    path = [[] if 20 <= i < 70 else [(300, 180)] for i in range(90)]
    shown, _ = watch(Tracker(), path)
    assert numbers(shown[-1]) == [2]


def test_a_face_lost_by_the_flow_is_not_shown_and_asks_for_a_detection():
    path = [[(300, 180)]] * 3 + [[]] * 4
    shown, detections = watch(Tracker(), path)
    assert numbers(shown[3]) == []
    assert detections[:2] == [0, 3] or detections[:2] == [0, 4]


def test_a_face_missed_once_by_the_detector_is_shown_and_sought_again_at_once():
    shown, detections = watch(Tracker(), [[(300, 180)]] * 14, seen=lambda index, face: index != 5)
    assert detections == [0, 5, 6, 11]
    assert all(numbers(faces) == [1] for faces in shown)


def test_a_face_missed_twice_is_lost():
    shown, detections = watch(Tracker(), [[(300, 180)]] * 10, seen=lambda index, face: index < 5)
    assert detections == [0, 5, 6]
    assert [numbers(faces) for faces in shown] == [[1]] * 6 + [[]] * 4


def test_a_change_of_scene_asks_for_a_detection():
    tracker = Tracker()
    tracker.detected([], scene([(300, 180)], 0))
    tracker.between(scene([(300, 180)], 1))
    assert not tracker.due(scene([(304, 180)], 2))
    assert tracker.due(scene([(100, 100)], 2, background=160))


def test_a_face_that_walks_out_of_the_frame_is_lost():
    path = [[(600 + 4 * i, 180)] for i in range(20)]
    shown, _ = watch(Tracker(), path, seen=lambda index, face: 600 + 4 * index < 640)
    assert numbers(shown[0]) == [1]
    assert numbers(shown[-1]) == []


def test_detections_are_smoothed_a_little():
    tracker = Tracker(TrackerSettings(smoothing=0.25))
    tracker.detected([face_at(300, 180)], scene([(300, 180)], 0))
    (face,) = tracker.detected([face_at(308, 180)], scene([(300, 180)], 1))  # it didn't move, the detector wavers
    assert center(face) == pytest.approx(np.array([306, 180]), abs=0.05)


def test_a_jump_is_not_smoothed():
    tracker = Tracker()
    tracker.detected([face_at(300, 180)], still(0.0))
    (face,) = tracker.detected([face_at(330, 180)], still(0.0))
    assert face.track == 1
    assert center(face) == pytest.approx(np.array([330, 180]), abs=0.01)


@pytest.mark.parametrize("place", [(300 + 45, 180), (300, 260)])
def test_a_face_found_far_away_is_another_one(place):
    tracker = Tracker()
    tracker.detected([face_at(300, 180)], still(0.0))
    assert 2 in numbers(tracker.detected([face_at(*place)], still(0.04)))


def test_a_face_of_another_size_is_another_one():
    tracker = Tracker()
    tracker.detected([face_at(300, 180)], still(0.0))
    face = face_at(300, 180)
    middle = np.tile(center(face), 2)
    large = Face((middle + 2.5 * (face.box - middle)).astype(np.float32), face.landmarks, 0.9)
    assert 2 in numbers(tracker.detected([large], still(0.04)))


def test_a_pause_or_a_restart_of_the_stream_starts_with_new_numbers():
    tracker = Tracker()
    assert numbers(tracker.detected([face_at(300, 180)], still(100.0))) == [1]
    assert numbers(tracker.detected([face_at(300, 180)], still(110.0))) == [2]
    assert numbers(tracker.detected([face_at(300, 180)], still(0.0))) == [3]


def test_a_stream_that_changes_its_size_keeps_its_faces():
    tracker = Tracker()
    tracker.detected([face_at(300, 180)], still(0.0))
    half = Frame.from_rgb(np.full((HEIGHT // 2, WIDTH // 2, 3), 90, np.uint8), pts_s=0.04)
    face = face_at(300, 180)
    small = Face(face.box / 2, face.landmarks / 2, 0.9)
    (seen,) = tracker.detected([small], half)
    assert seen.track == 1
    np.testing.assert_allclose(seen.box, small.box, atol=1)


def test_frames_without_a_clock_are_followed_too():
    tracker = Tracker()
    tracker.detected([face_at(300, 180)], scene([(300, 180)], pts_s=0.0))
    assert numbers(tracker.between(scene([(303, 180)], pts_s=0.0))) == [1]


def test_sources_do_not_share_numbers():
    one, other = Tracker(), Tracker()
    assert numbers(one.detected([face_at(300, 180)], still(0.0))) == [1]
    assert numbers(other.detected([face_at(100, 180)], still(0.0))) == [1]


@pytest.mark.parametrize(
    "wrong", [{"every": 0}, {"keep_s": -1.0}, {"reach": 0.0}, {"max_growth": 1.0}, {"smoothing": 1.0}, {"flow_px": 8}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrackerSettings(**wrong)


place = st.tuples(st.integers(-20, WIDTH + 20), st.integers(-20, HEIGHT + 20))
steps = st.lists(
    st.tuples(st.booleans(), st.lists(place, max_size=6), st.sampled_from([0.0, 0.04, 0.5, 3.0, -1.0])),
    min_size=1,
    max_size=8,
)


def run(tracker, steps, order=lambda faces: faces):
    """Feed a tracker arbitrary detections, or none, and give what it showed."""
    shown, pts_s = [], 10.0
    for index, (is_detection, places, elapsed_s) in enumerate(steps):
        pts_s += elapsed_s
        frame = scene([(x, y) for x, y in places if 0 <= x < WIDTH - 40 and 0 <= y < HEIGHT - 43], index, pts_s)
        faces = order([face_at(x, y) for x, y in places])
        shown.append(tracker.detected(faces, frame) if is_detection else tracker.between(frame))
    return shown


@settings(max_examples=60, deadline=None)
@given(steps)
def test_numbers_differ_within_a_frame_and_new_ones_are_above_all_former(steps):
    given = set()
    for faces in run(Tracker(), steps):
        shown = numbers(faces)
        assert shown == sorted(set(shown))
        assert all(number > max(given, default=0) for number in set(shown) - given)
        given |= set(shown)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_boxes_stay_in_the_frame(steps):
    for faces in run(Tracker(), steps):
        for face in faces:
            assert np.isfinite(face.box).all()
            assert np.isfinite(face.landmarks).all()
            assert (face.box >= 0).all()
            assert (face.box <= [WIDTH, HEIGHT, WIDTH, HEIGHT]).all()
            assert (face.box[2:] >= face.box[:2]).all()


@settings(max_examples=60, deadline=None)
@given(steps, st.randoms(use_true_random=False))
def test_the_order_of_detections_does_not_matter(steps, random):
    def shuffled(faces):
        return random.sample(faces, len(faces))

    one, other = run(Tracker(), steps), run(Tracker(), steps, shuffled)
    for faces, again in zip(one, other, strict=True):
        assert numbers(faces) == numbers(again)
        assert all(np.array_equal(a.box, b.box) for a, b in zip(faces, again, strict=True))


@settings(max_examples=30, deadline=None)
@given(steps)
def test_every_detection_is_shown(steps):
    for (is_detection, places, _), faces in zip(steps, run(Tracker(), steps), strict=True):
        if is_detection:
            assert len(faces) >= len(places)


class OnDevice:
    """A GPU's luma, which is not to be read."""

    def __init__(self, *shape: int) -> None:
        self.shape, self.dtype = shape, np.dtype(np.uint8)


def on_device(pts_s: float) -> Frame:
    return Frame((OnDevice(360, 640), OnDevice(180, 320, 2)), "nv12", pts_s=pts_s)


def test_on_a_gpu_every_frame_is_searched_and_faces_keep_their_numbers_without_luma():
    tracker, shown = Tracker(TrackerSettings(smoothing=0)), []
    for k in range(6):
        frame = on_device(k / 30)
        assert tracker.due(frame)
        boxes = [np.array([100 + 9 * k, 80, 180 + 9 * k, 180]), np.array([400 - 9 * k, 80, 480 - 9 * k, 180])]
        faces = [Face(box.astype(np.float32), np.zeros((5, 2), np.float32), 0.9) for box in boxes]
        shown.append([(face.track, float(face.box[0])) for face in tracker.detected(faces, frame)])
    assert shown == [[(1, 100.0 + 9 * k), (2, 400.0 - 9 * k)] for k in range(6)]


def test_on_a_gpu_a_missing_face_is_shown_once_more():
    tracker = Tracker()
    face = Face(np.array([100, 80, 180, 180], np.float32), np.zeros((5, 2), np.float32), 0.9)
    found = [[face], [], [], [face]]
    shown = [[one.track for one in tracker.detected(some, on_device(k / 30))] for k, some in enumerate(found)]
    assert shown == [[1], [1], [], [1]]
