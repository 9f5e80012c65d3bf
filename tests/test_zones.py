"""Zones of a picture whose faces are no persons."""

import numpy as np
import pytest

from stream_detect.types import Face
from stream_detect.zones import outside


def face_around(x, y, side=20):
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], np.float32)
    return Face(box, np.zeros((5, 2), np.float32), 0.9)


@pytest.mark.parametrize(
    ("x", "y", "is_heard"),
    [(100, 50, False), (49, 50, True), (50, 50, False), (150, 50, True), (100, 24, True), (100, 75, True)],
)
def test_a_face_whose_centre_lies_in_a_zone_is_left_out(x, y, is_heard):
    left_to_right, top_to_bottom = (0.25, 0.75), (0.25, 0.75)
    zone = (left_to_right[0], top_to_bottom[0], left_to_right[1], top_to_bottom[1])
    assert bool(outside([face_around(x, y)], [zone], height=100, width=200)) == is_heard


def test_a_face_that_only_reaches_into_a_zone_stays():
    assert len(outside([face_around(45, 50, side=40)], [(0.25, 0.0, 1.0, 1.0)], 100, 200)) == 1


def test_without_zones_every_face_stays_in_its_order():
    faces = [face_around(10, 10), face_around(90, 90)]
    assert outside(faces, [], 100, 100) == faces


def test_any_of_several_zones_is_enough():
    faces = [face_around(10, 10), face_around(50, 50), face_around(90, 90)]
    assert outside(faces, [(0, 0, 0.2, 0.2), (0.8, 0.8, 1, 1)], 100, 100) == [faces[1]]
