"""Compression in memory: sizes are kept, frames come back in order, what is lost shows and breaks nothing."""

import numpy as np
import pytest

from stream_detect.training.channel.codecs import (
    ENCODERS,
    VIDEO,
    Coding,
    decoded,
    drifting,
    encoded,
    through_codec,
    through_jpeg,
    without_slice,
)
from tests import clips
from tests.training.made import noise

COARSE = {"jpeg": (90, 20), "h264": (20, 40), "h265": (20, 40), "vp8": (6, 50), "vp9": (10, 55)}


def whole(frame):
    return frame.rgb((0, 0, frame.width, frame.height))


def error(coding, rgb):
    return float(np.abs(whole(coding(rgb)).astype(int) - rgb).mean())


def test_no_codec_gives_the_picture_itself():
    assert np.array_equal(whole(Coding()(noise())), noise())


@pytest.mark.parametrize("codec", sorted(COARSE))
def test_a_good_quality_changes_little_and_a_bad_one_more(codec):
    rgb = clips.portrait(160, 160, 80)
    fine, coarse = (error(Coding(codec, quality), rgb) for quality in COARSE[codec])
    assert 0 < fine < 4
    assert coarse > 1.5 * fine


@pytest.mark.parametrize("codec", VIDEO)
@pytest.mark.parametrize(("height", "width"), [(64, 96), (101, 77), (90, 133)])
def test_a_picture_keeps_its_size(codec, height, width):
    frame = Coding(codec, 30, drift=(0.5, 0.2))(noise(height, width))
    assert (frame.height, frame.width, frame.layout) == (height, width, "yuv420")
    assert whole(frame).shape == (height, width, 3)


@pytest.mark.parametrize("codec", VIDEO)
def test_every_picture_comes_back_in_order(codec):
    pictures = clips.numbered(6, 64, 96)
    frames = decoded(encoded(pictures, ENCODERS[codec], Coding(codec, 12).options(), fps=5), ENCODERS[codec], fps=5)
    assert [clips.number_of(whole(frame)) for frame in frames] == list(range(6))
    assert [frame.pts_s for frame in frames] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


@pytest.mark.parametrize("codec", VIDEO)
def test_the_clock_has_no_say(codec):
    packets = [
        encoded(drifting(noise(400, 400), (1.5, -0.7), 3), ENCODERS[codec], Coding(codec, 30).options())
        for _ in "abcdef"
    ]
    assert all(again == packets[0] for again in packets)


def test_a_bit_rate_is_kept():
    frames = [np.roll(noise(96, 128), k, axis=1) for k in range(10)]
    sizes = [sum(map(len, encoded(frames, "libx264", {"preset": "ultrafast"}, 25, rate))) for rate in (50_000, 500_000)]
    assert sizes[1] > 2 * sizes[0]


def test_an_odd_side_fails():
    with pytest.raises(ValueError, match="needs even sides, got 101x77"):
        through_codec([noise(101, 77)], "libx264", {})


def test_a_constant_rate_factor_is_another_coding():
    plain, adaptive = (whole(Coding("h264", 32, is_adaptive=adapts)(noise())) for adapts in (False, True))
    assert not np.array_equal(plain, adaptive)


@pytest.mark.parametrize("codec", VIDEO)
@pytest.mark.parametrize("lost", ["frame", "slice", "rows"])
def test_what_is_lost_still_leaves_a_picture(codec, lost):
    rgb = clips.portrait(160, 160, 80)
    coding = Coding(codec, 24, before=3, drift=(1.0, 0.5), lost=lost, lost_at=0.5)
    frame = coding(rgb)
    assert (frame.height, frame.width) == (160, 160)
    assert error(coding, rgb) < 16  # H.265 stands still two frames back


@pytest.mark.parametrize(
    ("codec", "lost"), [*((codec, "rows") for codec in VIDEO), ("h264", "slice"), ("h264", "frame")]
)
def test_what_is_lost_shows(codec, lost):
    rgb = clips.portrait(160, 160, 80)
    whole_one, broken = (Coding(codec, 24, before=3, drift=(1.0, 0.5), lost=kind) for kind in ("nothing", lost))
    assert error(broken, rgb) > error(whole_one, rgb)


def test_lost_rows_are_those_of_the_frame_before():
    rgb = clips.portrait(160, 160, 80)
    intact, broken = (whole(Coding("h264", 24, drift=(1.0, 0.0), lost=kind)(rgb)) for kind in ("nothing", "rows"))
    differs = np.flatnonzero((intact != broken).any(axis=(1, 2)))
    assert differs.min() >= 63
    assert differs.max() <= 96


@pytest.mark.parametrize("at", [0.0, 0.5, 1.0])
def test_a_slice_is_taken_out_of_a_packet(at):
    packets = encoded(drifting(noise(), (1.0, 0.0), 1), "libx264", Coding("h264", 30, lost="slice").options())
    assert len(without_slice(packets[-1], at)) < len(packets[-1])
    assert without_slice(packets[0], at) == packets[0]  # a key frame's slices are of another type


def test_pictures_drift_to_the_one_that_is_kept():
    rgb = noise(60, 80)
    steps = drifting(rgb, (2.0, -1.0), 3)
    assert [step.shape for step in steps] == [(60, 80, 3)] * 4
    assert steps[-1] is rgb
    assert np.array_equal(steps[-2][:-1, 2:], rgb[1:, :-2])
    assert np.array_equal(steps[0][:-3, 6:], rgb[3:, :-6])


def test_a_lower_jpeg_quality_loses_more():
    errors = [np.abs(through_jpeg(noise(), quality).astype(int) - noise()).mean() for quality in (95, 60, 20)]
    assert errors == sorted(errors)


def test_full_chroma_keeps_more_color():
    rgb = np.zeros((64, 64, 3), np.uint8)
    rgb[:, ::2, 0] = 200
    errors = [np.abs(through_jpeg(rgb, 95, full).astype(int) - rgb).mean() for full in (True, False)]
    assert 2 * errors[0] < errors[1]


def test_jpeg_on_a_shifted_grid_has_its_blocks_elsewhere():
    shifted = through_jpeg(noise(128, 128), 10, grid=(3, 0))
    steps = np.abs(np.diff(shifted.astype(int), axis=1)).mean(axis=(0, 2))  # the i-th is between columns i and i + 1
    by_phase = [steps[phase::8].mean() for phase in range(8)]
    assert int(np.argmax(by_phase)) == 4
    assert shifted.shape == (128, 128, 3)
