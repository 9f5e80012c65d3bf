"""The channel: the same draw does the same to every picture, every path gives a frame of the asked size."""

import numpy as np
import pytest

from stream_detect.training.degrade import Degradation, drifting, scaled, through_codec, through_jpeg
from tests import clips
from tests.training.made import noise


def whole(frame):
    return frame.rgb((0, 0, frame.width, frame.height))


@pytest.mark.parametrize("seed", range(8))
def test_the_same_draw_gives_the_same_frame(seed):
    first, second = (Degradation.draw(np.random.default_rng(seed), 0.7) for _ in range(2))
    assert first == second
    assert all(np.array_equal(a, b) for a, b in zip(first(noise()).planes, second(noise()).planes, strict=True))


def test_a_weak_channel_changes_nothing():
    channel = Degradation.draw(np.random.default_rng(0), 1.0, strength=0.0)
    assert np.array_equal(whole(channel(noise())), noise())


def test_every_codec_is_drawn():
    rng = np.random.default_rng(0)
    assert {Degradation.draw(rng, 1.0).codec for _ in range(40)} == {"none", "jpeg", "h264"}


@pytest.mark.parametrize("codec", ["none", "jpeg", "h264"])
def test_a_frame_has_the_size_that_was_asked(codec):
    frame = Degradation(scale=0.5, codec=codec, quality=30, drift=(2, -1))(noise(200, 240))
    assert (frame.height, frame.width) == (100, 120)


@pytest.mark.parametrize(("codec", "quality"), [("jpeg", 90), ("h264", 20)])
def test_a_good_codec_changes_little_and_a_bad_one_more(codec, quality):
    rgb = clips.portrait(160, 160, 80)
    worse = {"jpeg": 15, "h264": 40}[codec]
    errors = [
        np.abs(whole(Degradation(codec=codec, quality=q)(rgb)).astype(int) - rgb).mean() for q in (quality, worse)
    ]
    assert errors[0] < 6 < 1.5 * errors[0] + 6 < 20
    assert errors[0] < errors[1]


def test_an_odd_picture_loses_a_line_to_h264():
    frame = Degradation(codec="h264", quality=25, drift=(1, 1))(noise(101, 77))
    assert (frame.height, frame.width, frame.layout) == (100, 76, "yuv420")


def test_an_odd_side_fails():
    with pytest.raises(ValueError, match="needs even sides, got 101x77"):
        through_codec([noise(101, 77)], "libx264", {})


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_every_picture_comes_back_in_order(codec):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {"crf": "20"}
    frames = through_codec(clips.numbered(6, 64, 96), codec, options, fps=5)
    assert [clips.number_of(whole(frame)) for frame in frames] == list(range(6))
    assert [frame.pts_s for frame in frames] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def test_pictures_drift_to_the_one_that_is_kept_by_whole_pixels():
    rgb = noise(60, 80)
    steps = drifting(rgb, (2, -1))
    assert [step.shape for step in steps] == [(60, 80, 3)] * 4
    assert np.array_equal(steps[-1], rgb)
    assert np.array_equal(steps[-2][1:, :-2], rgb[:-1, 2:])


def test_light_and_noise():
    grey = np.full((64, 64, 3), 100, np.uint8)
    assert whole(Degradation(brightness=0.1)(grey)).mean() == pytest.approx(125.5, abs=0.6)
    assert whole(Degradation(gamma=2.0)(grey)).mean() == pytest.approx(255 * (100 / 255) ** 2, abs=0.6)
    assert whole(Degradation(noise=5.0, seed=1)(grey)).std() == pytest.approx(5, rel=0.1)
    assert whole(Degradation(noise=5.0, seed=1)(grey)).mean() == pytest.approx(100, abs=0.3)


def test_scaling_does_not_alias():
    stripes = np.zeros((120, 120, 3), np.uint8)
    stripes[:, ::2] = 200
    for kernel in (0, 1, 2, 3, 4):
        if kernel:
            assert scaled(stripes, 0.25, kernel)[4:-4, 4:-4].std() < 12
    assert scaled(stripes, 1.0, 1) is stripes


def test_a_lower_quality_loses_more():
    errors = [np.abs(through_jpeg(noise(), quality).astype(int) - noise()).mean() for quality in (95, 60, 20)]
    assert errors == sorted(errors)
