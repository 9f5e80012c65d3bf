"""Crops hold native pixels in tiles, and every face alike in the aligned picture."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_detect.decode.frame import Frame
from stream_detect.faces import concatenate, cut_faces, no_crops
from stream_detect.faces.crop import TEMPLATE, place, tile_corners
from stream_detect.types import Face
from tests import clips


def face_in(box, landmarks=None):
    """A face whose landmarks are where an upright face of that box has them, unless given."""
    box = np.array(box, np.float64)
    side = box[3] - box[1]
    upright = (TEMPLATE - 128) * 1.3 * side / 256 + (box[:2] + box[2:]) / 2
    return Face(box.astype(np.float32), np.asarray(upright if landmarks is None else landmarks, np.float32), 0.9)


def noise(height, width, seed=0):
    """A yuv420 frame of soft noise."""
    rng = np.random.default_rng(seed)
    planes = [
        cv2.GaussianBlur(rng.integers(0, 256, sides, dtype=np.uint8), (0, 0), 1.2)
        for sides in ((height, width), (height // 2, width // 2), (height // 2, width // 2))
    ]
    return Frame(tuple(planes), "yuv420", is_full_range=True)


def ramp():
    """A picture whose red is x and whose green is y."""
    y, x = np.mgrid[:256, :256].astype(np.uint8)
    return Frame.from_rgb(np.stack([x, y, np.zeros_like(x)], axis=-1))


def same(one, other, names=("tiles", "pixels", "aligned", "face_px", "around_share")):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def test_crops_have_the_documented_shapes():
    crops = cut_faces(noise(360, 640), [face_in((100, 100, 200, 240)), face_in((300, 50, 330, 90))])
    assert crops.tiles.shape == (2, 28, 64, 64)
    assert crops.pixels.shape == (2, 64, 64, 3)
    assert crops.aligned.shape == (2, 256, 256, 3)
    assert [crops.tiles.dtype, crops.pixels.dtype, crops.aligned.dtype] == [np.float32, np.uint8, np.uint8]
    assert crops.around_share.dtype == np.float32
    assert crops.tiles.min() >= 0
    assert crops.tiles.max() <= 1
    np.testing.assert_allclose(crops.face_px, [np.sqrt(100 * 140), np.sqrt(30 * 40)], rtol=1e-6)


def test_no_face_gives_empty_crops():
    crops = cut_faces(noise(360, 640), [])
    assert len(crops) == len(no_crops()) == len(concatenate([])) == 0
    assert crops.tiles.shape == (0, 28, 64, 64)


def test_tiles_lie_on_a_grid_in_the_face_and_on_a_ring_around_it():
    corners = tile_corners(np.array([100.0, 200, 228, 328]), 720, 1280)
    assert corners[:16].tolist() == [[x, y] for y in (200, 221, 243, 264) for x in (100, 121, 143, 164)]
    columns, rows = (32, 99, 165, 232), (132, 199, 265, 332)
    outer = [(x, y) for y in rows for x in columns if x in (32, 232) or y in (132, 332)]
    assert [tuple(corner) for corner in corners[16:].tolist()] == outer


def test_tiles_of_a_small_face_lie_on_its_middle():
    corners = tile_corners(np.array([100.0, 100, 130, 140]), 720, 1280)
    assert corners[:16].tolist() == [[83, 88]] * 16


def test_tiles_are_native_pixels():
    frame = noise(360, 640)
    box = np.array([200.0, 100, 330, 260])
    crops = cut_faces(frame, [face_in(box)])
    for tile, (x, y) in zip(crops.tiles[0], tile_corners(box, 360, 640), strict=True):
        np.testing.assert_allclose(tile, frame.planes[0][y : y + 64, x : x + 64] / 255, atol=1e-6)


def test_tiles_are_moved_into_the_frame():
    corners = tile_corners(np.array([0.0, 0, 100, 100]), 360, 640)
    assert corners.min() == 0
    corners = tile_corners(np.array([600.0, 300, 640, 360]), 360, 640)
    assert corners.max(axis=0).tolist() == [640 - 64, 360 - 64]


def test_a_frame_smaller_than_a_tile_is_mirrored():
    rgb = clips.portrait(40, 50, 30)
    crops = cut_faces(Frame.from_rgb(rgb), [face_in((10, 5, 40, 35))])
    luma = Frame.from_rgb(rgb).luma((0, 0, 50, 40))
    np.testing.assert_array_equal(crops.tiles[0, :, 12:52, 7:57], np.broadcast_to(luma, (28, 40, 50)))
    np.testing.assert_array_equal(crops.tiles[0, 0, 11], crops.tiles[0, 0, 13])


@pytest.mark.parametrize(
    ("box", "share"),
    [
        ((200, 100, 300, 200), 1.0),  # room on all sides
        ((0, 0, 640, 360), 0.0),  # the whole frame
        ((-100, -100, 900, 700), 0.0),  # more than the frame
    ],
)
def test_around_share_is_what_lies_outside_the_box(box, share):
    crops = cut_faces(noise(360, 640), [face_in(box)])
    assert crops.around_share[0] == pytest.approx(share)


def test_around_share_at_an_edge_by_hand():
    crops = cut_faces(noise(360, 640), [face_in((0, 100, 64, 164))])
    corners = tile_corners(np.array([0.0, 100, 64, 164]), 360, 640)[16:]
    overlap = [max(0, 64 - x) * max(0, min(y + 64, 164) - max(y, 100)) for x, y in corners.tolist()]
    assert 0 < crops.around_share[0] < 1
    assert crops.around_share[0] == pytest.approx(1 - sum(overlap) / (12 * 64 * 64))


def test_picked_pixels_are_native():
    frame = Frame.from_rgb(clips.astronaut())
    crops = cut_faces(frame, [face_in((100, 50, 164, 114)), face_in((100, 50, 228, 178))])
    np.testing.assert_array_equal(crops.pixels[0], clips.astronaut()[50:114, 100:164])
    np.testing.assert_array_equal(crops.pixels[1], clips.astronaut()[51:178:2, 101:228:2])


@settings(max_examples=25, deadline=None)
@given(st.integers(-20, 20), st.integers(-15, 15), st.integers(20, 200), st.integers(0, 3))  # with its ring inside
def test_shifting_a_picture_by_whole_chroma_pixels_changes_nothing(right, down, side, quarter):
    canvas = noise(500, 600)
    x, y = 2 * right, 2 * down
    first = Frame(shifted_view(canvas, 50, 50), "yuv420", is_full_range=True)
    second = Frame(shifted_view(canvas, 50 - x, 50 - y), "yuv420", is_full_range=True)
    left, top = 240 - side / 2 + quarter / 4, 200 - side / 2 - quarter / 4
    box = np.array([left, top, left + 0.75 * side, top + side])
    moved = box + np.array([x, y, x, y])
    one, other = cut_faces(first, [face_in(box)]), cut_faces(second, [face_in(moved)])
    assert same(one, other, ("tiles", "pixels", "face_px", "around_share"))
    assert np.abs(one.aligned.astype(int) - other.aligned).max() <= 1  # float32 landmarks round differently


def shifted_view(frame, left, top):
    """The planes of a 400 x 480 part of a yuv420 frame, from an even place."""
    luma, *chroma = frame.planes
    return (
        luma[top : top + 400, left : left + 480],
        *(plane[top // 2 : top // 2 + 200, left // 2 : left // 2 + 240] for plane in chroma),
    )


def test_a_mirrored_picture_gives_mirrored_crops():
    picture = clips.portrait(400, 480, 160)
    face = face_in((200, 120, 200 + 64 + 30, 120 + 64 + 60))
    mirrored = face_in((480 - 294, 120, 480 - 200, 244), [480, 0] + [-1, 1] * face.landmarks[[1, 0, 2, 4, 3]])
    one, other = (cut_faces(Frame.from_rgb(p), [f]) for p, f in ((picture, face), (picture[:, ::-1].copy(), mirrored)))
    grid = np.arange(16).reshape(4, 4)[:, ::-1].ravel()
    np.testing.assert_array_equal(one.tiles[0, :16], other.tiles[0, grid, :, ::-1])
    difference = np.abs(one.aligned[0].astype(int) - other.aligned[0, :, ::-1])
    assert difference.max() <= 2


def test_landmarks_come_to_lie_on_the_template():
    turn = np.exp(1j * np.radians(25)) * 1.7
    points = (TEMPLATE @ [1, 1j]) / turn + (300 + 200j)
    landmarks = np.stack([points.real, points.imag], axis=1)
    placement = place(landmarks.astype(np.float32), np.array([270.0, 200, 420, 370]))
    assert placement.turn == pytest.approx(turn, rel=1e-4)
    for wanted, point in zip(TEMPLATE, points, strict=True):
        assert placement.in_frame(complex(*wanted)) == pytest.approx(point, abs=1e-3)


@pytest.mark.parametrize("angle", [0, 20, -90])
def test_the_aligned_crop_samples_where_it_says(angle):
    turn = np.exp(1j * np.radians(angle)) * 2
    points = (TEMPLATE @ [1, 1j] - (128 + 128j)) / turn + (128 + 120j)
    landmarks = np.stack([points.real, points.imag], axis=1)
    side = 256 / 1.3 / 2
    box = [128 - side / 2, 120 - side / 2, 128 + side / 2, 120 + side / 2]
    face = face_in(box, landmarks)
    crop = cut_faces(ramp(), [face]).aligned[0].astype(float)
    placement = place(face.landmarks, np.array(box))
    for x, y in ((20, 30), (128, 128), (200, 90)):
        source = placement.in_frame(complex(x + 0.5, y + 0.5)) - (0.5 + 0.5j)
        assert crop[y, x, :2] == pytest.approx([source.real, source.imag], abs=0.6)


def test_a_reduced_face_samples_where_it_says():
    frame = Frame.from_rgb(cv2.resize(ramp().planes[0], (1024, 1024), interpolation=cv2.INTER_LINEAR))
    face = face_in((256, 200, 756, 700))  # 2.54 frame pixels a crop pixel
    crop = cut_faces(frame, [face]).aligned[0].astype(float)
    placement = place(face.landmarks, face.box.astype(np.float64))
    for x, y in ((20, 30), (128, 128), (200, 90)):
        source = (placement.in_frame(complex(x + 0.5, y + 0.5))) / 4 - (0.5 + 0.5j)
        assert crop[y, x, :2] == pytest.approx([source.real, source.imag], abs=0.8)


@pytest.mark.parametrize(("side", "left_over"), [(300, 25), (400, 12), (500, 6), (800, 3)])
def test_what_is_finer_than_the_crop_is_averaged_away(side, left_over):
    board = (np.indices((1200, 1200)).sum(axis=0) % 2 * 255).astype(np.uint8)
    frame = Frame((board,), "gray", is_full_range=True)
    crop = cut_faces(frame, [face_in((150, 150, 150 + side, 150 + side))]).aligned[0]
    assert np.abs(crop.astype(float) - 127.5).max() <= left_over


def test_a_magnified_face_keeps_its_contrast():
    stripes = np.tile(np.array([0, 255], np.uint8).repeat(2), (400, 100))
    crop = cut_faces(Frame((stripes,), "gray", is_full_range=True), [face_in((100, 100, 200, 200))]).aligned[0]
    assert crop.min() < 5
    assert crop.max() > 250


@pytest.mark.parametrize(
    "landmarks",
    [
        np.full((5, 2), 150),  # all in one place
        np.full((5, 2), np.nan),
        TEMPLATE + 4000,  # far from the box
        TEMPLATE / 20 + 150,  # much smaller than the box
        TEMPLATE * 20 - 2400,  # much larger
    ],
)
def test_landmarks_that_cannot_be_right_leave_the_box_to_decide(landmarks):
    frame = noise(360, 640)
    box = (100, 100, 200, 240)
    assert same(cut_faces(frame, [face_in(box, landmarks)]), cut_faces(frame, [face_in(box)]))


def test_a_box_beyond_the_frame_gives_no_black_corners():
    white = Frame.from_rgb(np.full((200, 300, 3), 255, np.uint8))
    boxes = [(-50, -50, 60, 60), (250, 150, 320, 260), (-200, -300, 500, 600), (0, 0, 3, 3), (10, 10, 10, 10)]
    crops = cut_faces(white, [face_in(box) for box in boxes])
    assert (crops.aligned == 255).all()
    assert (crops.pixels == 255).all()
    np.testing.assert_allclose(crops.tiles, 1, atol=1e-6)


@pytest.mark.parametrize("box", [(0, 0, np.nan, 10), (0, 0, np.inf, 10)])
def test_a_box_that_is_no_box_is_refused(box):
    with pytest.raises(ValueError, match="four finite numbers"):
        cut_faces(noise(64, 64), [Face(np.array(box, np.float32), np.zeros((5, 2), np.float32), 0.9)])


def test_any_number_of_faces_and_each_as_if_alone():
    frame = noise(720, 1280)
    faces = [face_in((x, y, x + 60 + x / 20, y + 80)) for x in range(0, 1280, 160) for y in range(0, 720, 90)]
    together = cut_faces(frame, faces)
    assert len(together) == 64
    assert same(together, concatenate([cut_faces(frame, [face]) for face in faces]))


def test_a_batch_of_several_feeds_keeps_the_order():
    one = cut_faces(noise(360, 640), [face_in((100, 100, 200, 240))])
    other = cut_faces(noise(240, 320, seed=1), [face_in((100, 100, 150, 160)), face_in((10, 10, 60, 80))])
    batch = concatenate([one, no_crops(), other])
    assert len(batch) == 3
    np.testing.assert_array_equal(batch.tiles[0], one.tiles[0])
    np.testing.assert_array_equal(batch.aligned[1:], other.aligned)
    assert concatenate([one]) is one
