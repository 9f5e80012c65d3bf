"""The media that all tests stand on are what they say."""

import av
import numpy as np
import pytest

from tests import clips


def read(path):
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize(
    ("codec", "suffix"), [("h264", "mp4"), ("hevc", "mp4"), ("vp8", "webm"), ("vp9", "webm"), ("mjpeg", "avi")]
)
def test_every_codec_comes_back_in_order(tmp_path, codec, suffix):
    path = clips.write_clip(tmp_path / f"clip.{suffix}", clips.numbered(6), codec=codec)
    frames = read(path)
    assert [clips.number_of(frame.to_ndarray(format="rgb24")) for frame in frames] == list(range(6))


def test_ten_bits_are_ten_bits(tmp_path):
    path = clips.write_clip(tmp_path / "ten.mp4", clips.scenery(3), codec="hevc", pix_fmt="yuv420p10le")
    assert {frame.format.name for frame in read(path)} == {"yuv420p10le"}


def test_rotation_is_in_the_file(tmp_path):
    path = clips.write_clip(tmp_path / "turned.mp4", clips.scenery(3), rotation=90)
    assert abs(read(path)[0].rotation) == 90


def test_the_rate_is_kept(tmp_path):
    frames = read(clips.write_clip(tmp_path / "slow.mp4", clips.scenery(5), fps=10))
    assert np.allclose(np.diff([frame.time for frame in frames]), 0.1)


def test_the_face_stands_where_it_was_put():
    picture = clips.portrait(200, 300, face_px=clips.FACE_PX, center=clips.FACE_CENTER)
    assert np.array_equal(picture, clips.astronaut()[:200, :300])


def test_numpy_arrays_go_to_each_place_and_come_back(place, xp):
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    place.assert_equal(xp.sum(place.put(numbers), axis=1), np.array([3.0, 12.0]))
