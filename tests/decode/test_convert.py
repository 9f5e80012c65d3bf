"""Every pixel format ends as 8-bit planes with the right matrix and range."""

import av
import numpy as np
import pytest

from stream_detect.decode import convert
from stream_detect.decode.convert import Converter
from stream_detect.errors import SourceUnsupported
from tests import clips


def picture(name: str, height: int = 17, width: int = 33, level: int = 100) -> av.VideoFrame:
    """A picture of one level in every byte."""
    made = av.VideoFrame(width, height, name)
    for plane in made.planes:
        plane.update(bytes([level]) * plane.buffer_size)
    return made


@pytest.mark.parametrize(
    ("name", "layout"),
    [("yuv420p", "yuv420"), ("yuvj420p", "yuv420"), ("nv12", "yuv420"), ("nv21", "yuv420"), ("yuva420p", "yuv420"),
     ("yuv422p", "yuv422"), ("yuyv422", "yuv422"), ("yuv444p", "yuv444"), ("gray", "gray"), ("rgb24", "rgb"),
     ("bgr24", "rgb"), ("bgr0", "rgb"), ("gbrp", "rgb")],
)  # fmt: skip
def test_eight_bits_are_kept_as_they_are(name: str, layout: str):
    planes, got, _, _ = Converter()(picture(name))
    assert got == layout
    assert planes[0].shape[:2] == (17, 33)
    assert all(plane.dtype == np.uint8 for plane in planes)
    assert all((plane == 100).all() for plane in planes)


@pytest.mark.parametrize(
    ("name", "layout"),
    [("yuv420p10le", "yuv420"), ("p010le", "yuv420"), ("yuv422p10le", "yuv422"), ("yuv444p12le", "yuv444"),
     ("gray10le", "gray"), ("gray16le", "gray"), ("gbrp10le", "rgb"), ("rgb48le", "rgb"), ("pal8", "rgb"),
     ("yuv411p", "yuv444"), ("yuv410p", "yuv420")],
)  # fmt: skip
def test_exotic_formats_become_8_bits(name: str, layout: str):
    planes, got, _, _ = Converter()(picture(name))
    assert got == layout
    assert planes[0].shape[:2] == (17, 33)
    assert {plane.dtype for plane in planes} == {np.dtype(np.uint8)}


def test_ten_bits_are_divided_by_four():
    made = av.VideoFrame(64, 16, "yuv420p10le")
    levels = np.arange(16 * 64, dtype=np.uint16).reshape(16, 64)
    for index, plane in enumerate(made.planes):
        rows = np.full((plane.height, plane.line_size // 2), 512, np.uint16)
        rows[:, : plane.width] = levels if index == 0 else 512
        plane.update(rows.tobytes())
    planes, *_ = Converter()(made)
    np.testing.assert_allclose(planes[0].astype(float), levels / 4, atol=0.76)
    assert (planes[1] == 128).all()


@pytest.mark.parametrize(
    ("colorspace", "height", "matrix"),
    [
        (1, 100, "bt709"),
        (5, 1080, "bt601"),
        (6, 1080, "bt601"),
        (9, 100, "bt2020"),
        (2, 719, "bt601"),
        (2, 720, "bt709"),
    ],
)
def test_the_matrix_is_the_tagged_one_or_goes_by_height(colorspace: int, height: int, matrix: str):
    made = picture("yuv420p", height, 32)
    made.colorspace = colorspace
    assert Converter()(made)[2] == matrix


@pytest.mark.parametrize(
    ("name", "tag", "is_full"),
    [("yuv420p", 0, False), ("yuv420p", 1, False), ("yuv420p", 2, True), ("yuvj420p", 0, True), ("gray", 0, True),
     ("gray", 1, False), ("rgb24", 0, True), ("yuv420p10le", 2, True)],
)  # fmt: skip
def test_the_range_is_the_tagged_one(name: str, tag: int, is_full: bool):
    made = picture(name)
    made.color_range = tag
    assert Converter()(made)[3] is is_full


def test_too_many_pixels_fail_clearly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(convert, "LARGEST_PIXELS", 500)
    with pytest.raises(SourceUnsupported, match="33x17"):
        Converter()(picture("gray"))


def test_a_format_that_cannot_be_converted_fails_clearly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(convert.TARGET, "rgb", "vaapi")
    with pytest.raises(SourceUnsupported, match="gbrp"):
        Converter()(picture("gbrp"))


def test_planes_are_not_copied_and_outlive_their_source(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", clips.scenery(40))
    with av.open(str(path)) as container:
        kept = [(Converter()(made)[0], made.to_ndarray()) for made in container.decode(video=0)]
    for planes, pixels in kept:
        assert not any(plane.flags.owndata for plane in planes)
        assert np.array_equal(np.concatenate([plane.ravel() for plane in planes]), pixels.ravel())
