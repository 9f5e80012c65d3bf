"""The channel: the same draw does the same to every picture, and nothing in a picture is moved unknown."""

import itertools
import pickle

import numpy as np
import pytest

from stream_detect.training.degrade import Coding, Degradation, Detour, Optics
from tests.training.made import noise

DOTS = np.array([[60, 70], [150, 66], [104, 120], [70, 170], [140, 176]], np.float32)
HEIGHT, WIDTH = 240, 220


def whole(frame):
    return frame.rgb((0, 0, frame.width, frame.height))


def dotted():
    """Five soft dots on grey, where a face's landmarks might be."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    dots = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 32) for px, py in DOTS)
    return np.clip(60 + 130 * dots, 0, 255)[..., None].repeat(3, axis=-1).astype(np.uint8)


def dot_near(luma, x, y, reach):
    """Center of gravity of what is brighter than most about (x, y)."""
    left, top = round(x) - reach, round(y) - reach
    window = luma[top : top + 2 * reach + 1, left : left + 2 * reach + 1]
    weight = np.clip(window - window.min() - 0.4 * np.ptp(window), 0, None)
    rows, columns = np.mgrid[: window.shape[0], : window.shape[1]]
    return left + (weight * columns).sum() / weight.sum(), top + (weight * rows).sum() / weight.sum()


@pytest.mark.parametrize("seed", range(8))
def test_the_same_draw_gives_the_same_frame(seed):
    first, second = (Degradation.draw(np.random.default_rng(seed), 0.7) for _ in range(2))
    second = pickle.loads(pickle.dumps(second))
    assert first == second
    assert repr(first) == repr(second)
    assert all(np.array_equal(a, b) for a, b in zip(first(noise()).planes, second(noise()).planes, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_a_channel_without_strength_changes_nothing(seed):
    channel = Degradation.draw(np.random.default_rng(seed), 1.0, strength=0.0)
    assert np.array_equal(whole(channel(noise(101, 77))), noise(101, 77))


def test_a_channel_without_strength_only_scales():
    frame = Degradation.draw(np.random.default_rng(0), 0.5, strength=0.0)(noise(101, 78))
    assert (frame.height, frame.width, frame.layout) == (50, 39, "rgb")


def test_a_stronger_channel_leaves_less_alone():
    rng = np.random.default_rng(0)
    draws = [[Degradation.draw(rng, 1.0, strength) for _ in range(200)] for strength in (0.0, 0.35, 0.85)]
    sent = [sum(draw.last != Coding() for draw in some) for some in draws]
    assert sent[0] == 0
    assert 30 < sent[1] < 90
    assert 120 < sent[2] < 180


def test_every_part_of_the_channel_is_drawn():
    rng = np.random.default_rng(0)
    draws = [Degradation.draw(rng, 1.0) for _ in range(300)]
    assert {draw.last.codec for draw in draws} == {"none", "jpeg", "h264", "h265", "vp8", "vp9"}
    assert {draw.last.lost for draw in draws} == {"nothing", "frame", "slice", "rows"}
    assert {draw.kernel for draw in draws} == {"nearest", "area", "linear", "cubic", "lanczos"}
    assert {draw.optics.denoiser for draw in draws} == {"none", "bilateral", "median", "gaussian", "temporal"}
    for name in ("blur_px", "motion", "white_balance", "dimmed", "noise", "gamma", "smoothing", "glow", "sharpening"):
        assert len({getattr(draw.optics, name) for draw in draws}) > 10, name
    assert any(draw.detour and draw.detour.factor > 1 for draw in draws)
    assert any(draw.detour and draw.detour.shift != (0.0, 0.0) for draw in draws)
    assert any(draw.first.codec != "none" != draw.last.codec for draw in draws)


@pytest.mark.parametrize("seed", range(16))
def test_landmarks_are_where_they_are_said_to_be(seed):
    rng = np.random.default_rng(seed)
    scale = (1.0, 0.9, 0.6, 0.45)[seed % 4]
    channel = Degradation.draw(rng, scale, 0.85, face_side=120 * scale)
    frame = channel(dotted())
    expected = channel.place(DOTS, HEIGHT, WIDTH)
    luma = frame.luma((0, 0, frame.width, frame.height))
    found = np.array([dot_near(luma, x, y, int(12 * scale) + 1) for x, y in expected])
    assert np.abs(found - expected).max() < 1


def test_points_are_placed_by_scale_and_shift():
    channel = Degradation(scale=0.5, detour=Detour(0.8, shift=(0.25, -0.5)))
    placed = channel.place(np.array([[9.5, 19.5]], np.float32), 100, 200)
    assert placed.dtype == np.float32
    assert placed.tolist() == [[4.75, 9.0]]


def test_a_small_face_is_neither_made_smaller_nor_blurred_as_a_large_one():
    rng = np.random.default_rng(0)
    small, large = ([Degradation.draw(rng, 1.0, face_side=side) for _ in range(200)] for side in (44.0, 200.0))
    assert min(draw.detour.factor for draw in small if draw.detour) > 0.9
    assert min(draw.detour.factor for draw in large if draw.detour) < 0.6
    assert max(draw.optics.blur_px for draw in small) < 0.6 < max(draw.optics.blur_px for draw in large)
    heights = [{draw.last.frame_height for draw in some} - {0} for some in (small, large)]
    assert max(heights[0]) < 360 <= min(heights[1])


def test_every_step_is_taken_in_turn():
    rgb = noise(96, 128)
    steps = [
        {"scale": 0.75},
        {"optics": Optics(gamma=1.3)},
        {"detour": Detour(0.5)},
        {"first": Coding("jpeg", 40)},
        {"sharpening": 1.0},
        {"last": Coding("h264", 40)},
    ]
    shown = [
        whole(Degradation(**{name: value for step in steps[:k] for name, value in step.items()})(rgb)) for k in range(7)
    ]
    assert [picture.shape for picture in shown] == [(96, 128, 3), *[(72, 96, 3)] * 6]
    assert all(not np.array_equal(a, b) for a, b in itertools.pairwise(shown))
