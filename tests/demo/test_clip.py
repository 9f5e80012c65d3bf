"""The demonstration's clip: real until the change, forged after it, the same picture around the face."""

import itertools

import av
import numpy as np
import pytest

from stream_detect.demo.clip import FPS, HEIGHT, WIDTH, Camera, astronaut, demo_frames, faded_edges, make_demo_clip
from stream_detect.demo.swap import CROP_CENTER, FaceSwap, average_stranger, reached, upsampled


@pytest.fixture(scope="module")
def pair():
    """Twelve frames that turn after six, and the same twelve unforged."""
    return list(demo_frames(12 / FPS, 6 / FPS, seed=3)), list(demo_frames(12 / FPS, None, seed=3))


def test_frames_before_the_change_are_untouched(pair):
    forged, real = pair
    assert all(np.array_equal(one, other) for one, other in zip(forged[:6], real[:6], strict=True))


def test_every_frame_after_the_change_differs_in_the_face_alone(pair):
    forged, real = pair
    for one, other in zip(forged[6:], real[6:], strict=True):
        changed = np.abs(one.astype(int) - other).max(axis=2) > 0
        assert 0.02 < changed.mean() < 0.15
        rows, columns = np.nonzero(changed)
        assert max(np.ptp(rows), np.ptp(columns)) < HEIGHT / 2


def test_the_camera_never_stands_still(pair):
    _, real = pair
    assert all(not np.array_equal(one, other) for one, other in itertools.pairwise(real))


def test_the_same_seed_makes_the_same_clip():
    one, other = (next(iter(demo_frames(1 / FPS, 0.0, seed=5))) for _ in range(2))
    assert np.array_equal(one, other)


def test_the_face_stays_in_the_picture():
    camera = Camera(astronaut(), seed=0)
    for pts_s in np.linspace(0, 60, 200):
        to_frame = camera.pose(float(pts_s))
        x, y = to_frame[:, :2] @ CROP_CENTER + to_frame[:, 2]
        assert 90 < x < WIDTH - 90
        assert 90 < y < HEIGHT - 90


def test_a_clip_is_h264_of_the_length_asked_for(tmp_path):
    clip = make_demo_clip(tmp_path / "clip.mp4", seconds=0.48)
    assert clip.change_s == pytest.approx(0.24)
    with av.open(str(clip.path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", FPS)
        assert sum(1 for _ in container.decode(stream)) == 12


def test_a_control_never_changes(tmp_path):
    assert make_demo_clip(tmp_path / "clip.mp4", forged=False, seconds=0.2).change_s is None


def test_the_upsampler_leaves_a_checkerboard():
    doubled = upsampled(np.full((16, 16, 3), 100, np.float32))[4:-4, 4:-4, 0]
    phases = np.array([[doubled[y::2, x::2].mean() for x in (0, 1)] for y in (0, 1)])
    assert np.allclose(sorted(phases.ravel()), [97, 98, 103, 104], atol=0.5)


def test_the_stranger_is_shading_alone():
    shading = average_stranger()
    assert shading.mean() == pytest.approx(0, abs=1e-4)
    assert shading.std() == pytest.approx(1, abs=1e-4)


def test_a_face_half_outside_the_frame_is_swapped():
    rgb = np.full((100, 120, 3), 90, np.uint8)
    away = np.array([[1, 0, -CROP_CENTER[0]], [0, 1, -CROP_CENTER[1]]], np.float32)  # centred on the corner
    swapped = FaceSwap()(rgb, away)
    assert swapped.shape == rgb.shape
    assert not np.array_equal(swapped, rgb)


def test_a_crop_beyond_the_frame_reaches_one_pixel():
    far = np.array([[1, 0, 500], [0, 1, 500]], np.float32)
    assert reached(far, (224, 224), (100, 120, 3)) == (119, 99, 120, 100)


def test_edges_fade_but_not_the_lower_one():
    fade = faded_edges(200, 200)
    assert fade[0].max() == 0
    assert fade[:, 0].max() == 0
    assert fade[-1, 100] == 1
