"""Points are followed from frame to frame, and only believed where they find their way back."""

import cv2
import numpy as np
import pytest

from stream_detect.decode.frame import Frame
from stream_detect.faces.flow import follow, grid_points, reduction, small_luma
from tests import clips


def luma(**about):
    return cv2.cvtColor(clips.portrait(180, 320, 60, **about), cv2.COLOR_RGB2GRAY)


BOX = np.array([[138.0, 60, 182, 120]])


@pytest.mark.parametrize(("x", "y"), [(0, 0), (3, -2), (-9.5, 6.25)])
def test_a_shift_is_told_to_a_fraction_of_a_pixel(x, y):
    (motion,) = follow(luma(), luma(center=(160 + x, 90 + y)), BOX)
    assert motion.shift == pytest.approx([x, y], abs=0.2)
    assert motion.scale == pytest.approx(1, abs=0.01)


def test_growth_is_told():
    bigger = cv2.cvtColor(clips.portrait(180, 320, 66), cv2.COLOR_RGB2GRAY)
    (motion,) = follow(luma(), bigger, BOX)
    assert motion.scale == pytest.approx(1.1, abs=0.02)
    assert motion.shift == pytest.approx([0, 0], abs=0.4)


def test_a_face_that_is_gone_is_not_followed():
    noise = np.random.default_rng(0).integers(0, 256, (180, 320), dtype=np.uint8)
    assert follow(luma(), noise, BOX) == [None]


def test_pictures_of_different_sizes_tell_nothing():
    assert follow(luma(), luma()[:90], np.repeat(BOX, 3, axis=0)) == [None] * 3


def test_no_box_no_motion():
    assert follow(luma(), luma(), np.empty((0, 4))) == []


def test_points_are_spread_over_the_inner_part_of_a_box():
    points = grid_points(np.array([[100.0, 200, 200, 300]]))
    assert points.shape == (1, 16, 2)
    assert points[0, 0].tolist() == [115, 215]
    assert points[0, -1].tolist() == [185, 285]


@pytest.mark.parametrize(
    ("height", "width", "block"), [(360, 480, 1), (360, 640, 2), (720, 1280, 4), (1080, 1920, 4), (1081, 1921, 8)]
)
def test_small_luma_is_averaged_in_blocks_of_a_power_of_two(height, width, block):
    frame = Frame((np.zeros((height, width), np.uint8),), "gray")
    assert reduction(frame, 480) == block
    assert small_luma(frame, 480).shape == (height // block, width // block)


def test_small_luma_by_hand():
    plane = np.array([[0, 4, 10, 10, 9], [4, 8, 10, 10, 9]], np.uint8)
    assert small_luma(Frame((plane,), "gray"), 4).tolist() == [[4, 10]]
    rgb = np.full((2, 2, 3), 255, np.uint8)
    assert small_luma(Frame.from_rgb(rgb), 64).tolist() == [[255, 255], [255, 255]]


def test_a_frame_of_one_pixel_row_has_a_small_luma():
    assert small_luma(Frame((np.zeros((1, 2000), np.uint8),), "gray"), 480).shape == (1, 250)
