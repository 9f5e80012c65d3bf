"""A change of the whole picture's fingerprint: raised once, cleared when it is normal, learned by feeds that cut."""

import numpy as np
import pytest

from stream_detect.decode.frame import Frame
from stream_detect.temporal.fingerprint import NUM_FEATURES, NUM_PLACES, picture_fingerprint, places, touches
from stream_detect.temporal.swap import (
    LOOKS_HZ,
    STAYS_S,
    SwapState,
    averaged,
    common,
    feed_swap,
    levels_of,
)

RAISE_AT = 3.0
SCENE = np.random.default_rng(1).normal(0, 1, (NUM_PLACES, NUM_FEATURES))  # what is to be seen at each place
NOISE = 0.03


def looks(offset, start_s, stop_s, scene=SCENE, seed=0):
    """Fingerprints (pts_s, places x features) of a scene that went through something that adds `offset`."""
    rng = np.random.default_rng([seed, round(10 * start_s)])
    for k in range(round((stop_s - start_s) * LOOKS_HZ)):
        yield start_s + k / LOOKS_HZ, scene + offset + NOISE * rng.normal(size=scene.shape)


def run(given, state=None, raise_at=RAISE_AT):
    state, events = state or SwapState(), []
    for pts_s, prints in given:
        state, news = feed_swap(state, pts_s, prints, raise_at)
        events += news
    return state, events


def test_another_pipeline_behind_the_same_scene_is_raised_and_its_time_estimated():
    _, events = run([*looks(0.0, 0, 10), *looks(0.4, 10, 14)])
    assert [event.kind for event in events] == ["raised"]
    assert events[0].rule == "feed_swap"
    assert events[0].started_s == pytest.approx(10.0, abs=0.6)
    assert events[0].pts_s < 12.5


def test_a_feed_that_goes_on_raises_nothing():
    assert run(looks(0.0, 0, 300))[1] == []


def test_what_moves_in_a_part_of_the_picture_is_no_swap():
    moved = SCENE.copy()
    moved[: NUM_PLACES // 3] += 3.0
    assert run([*looks(0.0, 0, 10), *looks(0.0, 10, 30, moved)])[1] == []


def test_the_new_state_becomes_the_normal_one_and_clears_the_alert():
    _, events = run([*looks(0.0, 0, 10), *looks(0.4, 10, 40)])
    assert [event.kind for event in events] == ["raised", "cleared"]
    assert events[1].pts_s == pytest.approx(10 + STAYS_S, abs=1.5)


def test_a_state_that_was_normal_before_is_known_again():
    """A production that goes to and fro between two cameras is told once."""
    given = [*looks(0.0, 0, 10)]
    for turn in range(1, 7):
        given += looks(0.4 * (turn % 2), 10.0 * turn, 10.0 * turn + 10)
    kinds = [event.kind for event in run(given)[1]]
    assert kinds == ["raised", "cleared"]


def test_each_change_raises_the_level_for_the_next():
    small = 0.16
    alone = run([*looks(0.0, 0, 20), *looks(small, 20, 25)], raise_at=1.0)[1]
    busy = [*looks(0.0, 0, 10)]
    for turn in range(1, 6):
        busy += looks(2.0 * turn, 10.0 * turn, 10.0 * turn + 10)
    later = run([*busy, *looks(10.0 + small, 60, 65)], raise_at=1.0)[1]
    assert [event.kind for event in alone] == ["raised"]
    assert all(event.started_s < 59 for event in later)


def test_a_short_disturbance_is_cleared_when_it_is_over():
    state, events = run([*looks(0.0, 0, 10), *looks(1.0, 10, 12), *looks(0.0, 12, 40)])
    assert [event.kind for event in events] == ["raised", "cleared"]
    assert state.raised_s is None


def test_nothing_to_look_at_counts_for_nothing():
    state, _ = run(looks(0.0, 0, 10))
    assert run([(10.0 + k, None) for k in range(50)], state) == (state, [])


def test_a_gap_begins_the_test_anew_and_keeps_the_normal():
    state, _ = run([*looks(0.0, 0, 10), *looks(0.4, 10, 10.5)])
    after, events = run(looks(0.0, 60, 70), state)
    assert events == []
    assert np.allclose(after.usual, SCENE, atol=0.1)


def test_a_jump_back_begins_anew():
    state, _ = run(looks(0.0, 100, 110))
    assert run(looks(5.0, 0, 10), state)[1] == []


def test_the_level_over_time_is_that_of_a_test_that_never_raises():
    given = [*looks(0.0, 0, 10), *looks(0.4, 10, 13)]
    levels = levels_of([pts_s for pts_s, _ in given], [prints for _, prints in given])
    assert max(levels[: round(10 * LOOKS_HZ)]) == 0.0
    assert levels[-1] > RAISE_AT


def test_what_places_have_in_common_is_the_median():
    usual = np.zeros((5, 2))
    prints = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 9.0], [np.nan, np.nan], [1.0, 0.0]])
    assert common(prints, usual).tolist() == [1.0, 0.0]
    assert common(prints[:4], usual[:4]) is None  # three known places are too few


def test_a_mean_over_fingerprints_passes_over_what_is_not_known():
    one, other = np.array([[1.0], [np.nan], [np.nan]]), np.array([[3.0], [5.0], [np.nan]])
    assert averaged([one, other])[:2].tolist() == [[2.0], [5.0]]
    assert np.isnan(averaged([one, other])[2, 0])


def noisy(height=360, width=640, seed=0):
    return Frame.from_rgb(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_a_fingerprint_has_a_row_a_place():
    prints = picture_fingerprint(noisy(), [])
    assert prints.shape == (NUM_PLACES, NUM_FEATURES)
    assert np.isfinite(prints).all()


def test_tiles_keep_away_from_faces():
    face = (200.0, 100.0, 320.0, 240.0)
    prints = picture_fingerprint(noisy(), [face])
    hidden = [k for k, (x, y) in enumerate(places(360, 640)) if touches(x, y, face)]
    assert hidden
    assert np.isnan(prints[hidden]).all()
    assert np.isfinite(np.delete(prints, hidden, axis=0)).all()


def test_a_close_up_a_flat_picture_and_a_tiny_one_have_no_fingerprint():
    assert picture_fingerprint(noisy(), [(0.0, 0.0, 640.0, 360.0)]) is None
    assert picture_fingerprint(Frame.from_rgb(np.full((360, 640, 3), 90, np.uint8)), []) is None
    assert picture_fingerprint(noisy(48, 48), []) is None


def test_blur_shows_in_the_fingerprint_of_the_same_scene():
    import cv2

    sharp = noisy()
    soft = Frame.from_rgb(cv2.GaussianBlur(sharp.planes[0], (0, 0), 1.0))
    off = common(picture_fingerprint(soft, []), picture_fingerprint(sharp, []))
    assert np.abs(off).max() > 0.5
