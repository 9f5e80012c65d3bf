"""When two boxes are one person's."""

import pytest

from stream_detect.temporal.people import distance, is_again, is_same, overlap, side

BOX = (100.0, 100.0, 200.0, 200.0)


def moved(by, box=BOX):
    return (box[0] + by, box[1], box[2] + by, box[3])


def test_overlap_side_and_distance_by_hand():
    assert overlap(BOX, moved(50)) == pytest.approx(1 / 3)
    assert side((0.0, 0.0, 40.0, 90.0)) == pytest.approx(60.0)
    assert distance(BOX, moved(30)) == pytest.approx(30.0)


def test_a_face_that_comes_back_nearby_is_the_one_that_was_lost():
    assert is_again(BOX, moved(60))
    assert not is_again(BOX, moved(120))


def test_a_face_of_another_size_is_another_one():
    assert not is_again(BOX, (120.0, 120.0, 170.0, 170.0))


def test_two_boxes_around_one_face_overlap_by_half():
    assert is_same(BOX, moved(20))
    assert not is_same(BOX, moved(60))


def test_an_empty_box_is_nobody():
    empty = (5.0, 5.0, 5.0, 5.0)
    assert not is_again(empty, empty)
    assert overlap(empty, empty) == 0.0
