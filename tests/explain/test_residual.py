"""The map of residual energy: at zero where a face is like its surroundings, below where it is smoother."""

import cv2
import numpy as np
import pytest

from stream_detect.decode.frame import Frame
from stream_detect.explain.residual import residual_map
from stream_detect.types import Face

BOX = (120, 100, 220, 220)


def face(*box: float) -> Face:
    return Face(np.array(box or BOX, np.float32), np.zeros((5, 2), np.float32), 1.0)


def noise(height: int = 320, width: int = 340, spread: float = 2.0) -> np.ndarray:
    gray = np.random.default_rng(1).normal(128, spread, (height, width, 1))
    return np.clip(gray.round(), 0, 255).astype(np.uint8).repeat(3, axis=2)


def smoothed_in_box(rgb: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = BOX
    smooth = rgb.copy()
    smooth[y1:y2, x1:x2] = cv2.GaussianBlur(rgb.astype(np.float32), (0, 0), 1.0)[y1:y2, x1:x2].round()
    return smooth


def test_a_face_like_its_surroundings_lies_at_zero():
    shown = residual_map(Frame.from_rgb(noise()), face())
    assert shown.face_db == pytest.approx(0, abs=0.2)
    assert abs(shown.db).mean() < 1
    assert shown.has_ring


def test_a_smoothed_face_lies_below_and_its_ring_does_not():
    shown = residual_map(Frame.from_rgb(smoothed_in_box(noise())), face())
    x1, y1, x2, y2 = (round(side) for side in shown.box)
    assert shown.face_db < -6
    assert shown.db[y1 + 9 : y2 - 9, x1 + 9 : x2 - 9].max() < -6 < shown.db[: y1 - 9].min()


def test_twice_the_noise_is_six_decibels():
    rgb = noise(spread=0.75)
    rgb[BOX[1] : BOX[3], BOX[0] : BOX[2]] = noise(spread=1.5)[BOX[1] : BOX[3], BOX[0] : BOX[2]]
    assert residual_map(Frame.from_rgb(rgb), face()).face_db == pytest.approx(6, abs=1.5)  # 8 bits, and cut off


def test_the_map_covers_the_face_and_a_ring_inside_the_frame():
    shown = residual_map(Frame.from_rgb(noise()), face())
    assert shown.db.shape == (120 + 2 * 42, 100 + 2 * 42)
    assert shown.box == (42, 42, 142, 162)
    shown = residual_map(Frame.from_rgb(noise()), face(0, 0, 100, 120))
    assert shown.db.shape == (120 + 42, 100 + 42)
    assert shown.box == (0, 0, 100, 120)


def test_a_face_that_fills_the_frame_has_nothing_around_it():
    shown = residual_map(Frame.from_rgb(noise(100, 100)), face(0, 0, 100, 100))
    assert not shown.has_ring
    assert shown.face_db == pytest.approx(0, abs=1e-6)


def test_black_bars_around_a_face_are_not_compared_with():
    barred = noise()
    barred[: BOX[1] - 10] = 0
    assert residual_map(Frame.from_rgb(barred), face()).face_db == pytest.approx(0, abs=0.2)


def test_edges_count_no_more_than_four_gray_levels():
    edged = noise()
    edged[:, 165:175] = 250
    plain = residual_map(Frame.from_rgb(noise()), face())
    assert residual_map(Frame.from_rgb(edged), face()).face_db < plain.face_db + 3


def test_a_flat_picture_gives_finite_numbers():
    shown = residual_map(Frame.from_rgb(np.full((320, 340, 3), 90, np.uint8)), face())
    assert np.isfinite(shown.db).all()
    assert shown.face_db == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("box", [(-200, 0, -100, 100), (400, 100, 500, 220), (340.2, 0, 400, 50)])
def test_a_face_outside_the_frame_fails(box):
    with pytest.raises(ValueError, match="expected a face inside the frame of 340 x 320 pixels"):
        residual_map(Frame.from_rgb(noise()), face(*box))
