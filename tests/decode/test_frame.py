"""What `luma`, `rgb` and `reduced` return, in numbers worked out by hand or with a plain NumPy reference."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_detect.decode.frame import KR_KB, SUBSAMPLING, Frame, mirrored, ycbcr_to_rgb
from stream_detect.errors import DeviceLost


def yuv(y: int, u: int, v: int, height: int = 4, width: int = 4, layout: str = "yuv420", **about) -> Frame:
    rows, columns = SUBSAMPLING[layout]
    small = (-(-height // rows), -(-width // columns))
    planes = np.full((height, width), y, np.uint8), np.full(small, u, np.uint8), np.full(small, v, np.uint8)
    return Frame(planes, layout, **about)


def noise(height: int, width: int, layout: str = "yuv420", seed: int = 0, **about) -> Frame:
    rng = np.random.default_rng(seed)
    rows, columns = SUBSAMPLING[layout]
    small = (-(-height // rows), -(-width // columns))
    shapes = [(height, width), small, small]
    return Frame(tuple(rng.integers(16, 236, shape, dtype=np.uint8) for shape in shapes), layout, **about)


def reference_chroma(plane: np.ndarray, height: int, width: int, layout: str) -> np.ndarray:
    """Linear interpolation, sample by sample: columns at 0, 2, 4 ..., rows at 0.5, 2.5, 4.5 ..., constant beyond."""
    rows, columns = SUBSAMPLING[layout]
    at_y = np.clip((np.arange(height) - (rows - 1) / 2) / rows, 0, plane.shape[0] - 1)
    at_x = np.clip(np.arange(width) / columns, 0, plane.shape[1] - 1)
    top, left = np.floor(at_y).astype(int), np.floor(at_x).astype(int)
    below, right = np.minimum(top + 1, plane.shape[0] - 1), np.minimum(left + 1, plane.shape[1] - 1)
    down, along = (at_y - top)[:, None], (at_x - left)[None]
    p = plane.astype(float)
    upper = p[top][:, left] * (1 - along) + p[top][:, right] * along
    lower = p[below][:, left] * (1 - along) + p[below][:, right] * along
    return upper * (1 - down) + lower * down


def reference_rgb(frame: Frame) -> np.ndarray:
    chroma = [reference_chroma(plane, frame.height, frame.width, frame.layout) for plane in frame.planes[1:]]
    ycbcr1 = np.stack([frame.planes[0], *chroma, np.ones((frame.height, frame.width))], axis=-1)
    return np.clip(ycbcr1 @ ycbcr_to_rgb(frame.matrix, frame.is_full_range).T.astype(float), 0, 255)


@pytest.mark.parametrize(
    ("y", "is_full_range", "expected"),
    [(16, False, 0.0), (235, False, 1.0), (125.5, False, 0.5), (0, True, 0.0), (255, True, 1.0), (51, True, 0.2),
     (0, False, 0.0), (255, False, 1.0)],
)  # fmt: skip
def test_luma_is_black_at_0_and_white_at_1(y: float, is_full_range: bool, expected: float):
    frame = yuv(int(y), 128, 128, is_full_range=is_full_range)
    np.testing.assert_allclose(frame.luma((0, 0, 4, 4)), expected, atol=0.5 / 219 + 1e-6)


@pytest.mark.parametrize("matrix", sorted(KR_KB))
@pytest.mark.parametrize("is_full_range", [False, True])
def test_neutral_chroma_gives_grey(matrix: str, is_full_range: bool):
    frame = yuv(126, 128, 128, matrix=matrix, is_full_range=is_full_range)
    expected = 126 if is_full_range else round((126 - 16) * 255 / 219)
    np.testing.assert_array_equal(frame.rgb((0, 0, 4, 4)), np.full((4, 4, 3), expected))


@pytest.mark.parametrize(
    ("matrix", "ycbcr", "rgb"),
    [
        ("bt601", (81, 90, 240), (255, 0, 0)),  # the colour bars of ITU-R BT.601 and BT.709, 100 %, 8 bit
        ("bt601", (145, 54, 34), (0, 255, 0)),
        ("bt601", (41, 240, 110), (0, 0, 255)),
        ("bt709", (63, 102, 240), (255, 0, 0)),
        ("bt709", (173, 42, 26), (0, 255, 0)),
        ("bt709", (32, 240, 118), (0, 0, 255)),
    ],
)
def test_primary_colors_are_those_of_the_standards(matrix: str, ycbcr: tuple, rgb: tuple):
    got = yuv(*ycbcr, matrix=matrix).rgb((0, 0, 4, 4))
    np.testing.assert_allclose(got.astype(int), np.broadcast_to(rgb, got.shape), atol=2)


def test_chroma_lies_on_even_columns_and_between_rows():
    """A ramp of 8 a chroma sample is 4 a luma pixel along a row; down, it is 8 a sample from 0.5 on."""
    ramp_x = np.tile(np.arange(100, 164, 8, dtype=np.uint8), (4, 1))  # 8 chroma columns
    frame = Frame((np.full((8, 16), 126, np.uint8), ramp_x, np.full((4, 8), 128, np.uint8)), "yuv420")
    np.testing.assert_array_equal(frame._chroma(ramp_x, (0, 0, 15, 8))[3], np.arange(100, 160, 4))
    ramp_y = np.tile(np.arange(100, 164, 8, dtype=np.uint8)[:, None], (1, 4))  # 8 chroma rows
    frame = Frame((np.full((16, 8), 126, np.uint8), ramp_y, np.full((8, 4), 128, np.uint8)), "yuv420")
    column = frame._chroma(ramp_y, (0, 0, 8, 16))[:, 2]
    np.testing.assert_array_equal(column, [100, *np.arange(102, 158, 4), 156])


@pytest.mark.parametrize("layout", sorted(SUBSAMPLING))
@pytest.mark.parametrize(("height", "width"), [(16, 24), (15, 23), (2, 2), (1, 1), (3, 5)])
def test_rgb_is_what_the_reference_says(layout: str, height: int, width: int):
    frame = noise(height, width, layout, matrix="bt709")
    got = frame.rgb((0, 0, width, height)).astype(float)
    np.testing.assert_allclose(got, reference_rgb(frame), atol=4)  # chroma is rounded once or twice, times up to 2.1
    assert np.abs(got - reference_rgb(frame)).mean() < 1.0


@given(
    st.integers(0, 20), st.integers(0, 14), st.integers(1, 20), st.integers(1, 14), st.sampled_from(sorted(SUBSAMPLING))
)
def test_a_crop_is_a_part_of_the_whole(left: int, top: int, width: int, height: int, layout: str):
    frame = noise(15, 21, layout)
    box = (left, top, min(21, left + width), min(15, top + height))
    window = np.s_[box[1] : box[3], box[0] : box[2]]
    np.testing.assert_array_equal(frame.rgb(box), frame.rgb((0, 0, 21, 15))[window])
    np.testing.assert_array_equal(frame.luma(box), frame.luma((0, 0, 21, 15))[window])


@given(st.integers(-40, 30), st.integers(-40, 30), st.integers(1, 60), st.integers(1, 60), st.booleans())
def test_what_lies_outside_is_mirrored_in(left: int, top: int, width: int, height: int, is_rgb: bool):
    frame = noise(15, 21)
    frame = Frame.from_rgb(frame.rgb((0, 0, 21, 15))) if is_rgb else frame
    rows, columns = mirrored(top, top + height, 15), mirrored(left, left + width, 21)
    box = (left, top, left + width, top + height)
    np.testing.assert_array_equal(frame.rgb(box), frame.rgb((0, 0, 21, 15))[rows][:, columns])
    np.testing.assert_array_equal(frame.luma(box), frame.luma((0, 0, 21, 15))[rows][:, columns])


def test_mirroring_folds_without_repeating_the_edge():
    np.testing.assert_array_equal(mirrored(-3, 8, 4), [3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1])
    np.testing.assert_array_equal(mirrored(-2, 3, 1), [0, 0, 0, 0, 0])


def test_a_box_is_rounded_to_whole_pixels():
    frame = noise(8, 8)
    np.testing.assert_array_equal(frame.rgb((0.6, 1.4, 4.5, 5.2)), frame.rgb((1, 1, 5, 5)))


@pytest.mark.parametrize("box", [(3, 3, 3, 5), (4, 4, 2, 6), (0.1, 0.1, 0.4, 5)])
def test_a_box_without_a_pixel_fails(box: tuple):
    with pytest.raises(ValueError, match="x1 < x2"):
        noise(8, 8).luma(box)


def test_grey_and_rgb_frames():
    grey = Frame((np.full((3, 5), 100, np.uint8),), "gray", is_full_range=True)
    np.testing.assert_array_equal(grey.rgb((0, 0, 5, 3)), np.full((3, 5, 3), 100))
    color = Frame.from_rgb(np.full((3, 5, 3), (10, 20, 30), np.uint8))
    np.testing.assert_allclose(color.luma((0, 0, 5, 3)), (0.299 * 10 + 0.587 * 20 + 0.114 * 30) / 255, atol=1e-6)
    np.testing.assert_array_equal(color.rgb((1, 1, 2, 2)), [[[10, 20, 30]]])


def test_reduced_averages_areas_and_never_enlarges():
    luma = np.kron(np.array([[16, 235], [235, 16]], np.uint8), np.ones((4, 4), np.uint8))
    frame = Frame((luma, np.full((4, 4), 128, np.uint8), np.full((4, 4), 128, np.uint8)), "yuv420")
    np.testing.assert_array_equal(frame.reduced(2)[:, :, 0], [[0, 255], [255, 0]])
    assert frame.reduced(1)[0, 0, 0] in (127, 128)
    np.testing.assert_array_equal(frame.reduced(100), frame.rgb((0, 0, 8, 8)))
    assert noise(90, 161).reduced(80).shape == (45, 80, 3)


@pytest.mark.parametrize("layout", sorted(SUBSAMPLING))
@pytest.mark.parametrize("turns", [0, 1, 2, 3, -1])
def test_a_turned_frame_shows_the_same_pixels(layout: str, turns: int):
    frame = noise(15, 22, layout)
    whole = frame.rgb((0, 0, 22, 15))
    turned = frame.turned(turns)
    np.testing.assert_array_equal(turned.rgb((0, 0, turned.width, turned.height)), np.rot90(whole, turns))


def test_planes_are_checked():
    with pytest.raises(ValueError, match="3 uint8 planes"):
        Frame((np.zeros((4, 4), np.uint8),), "yuv420")
    with pytest.raises(ValueError, match="uint8 planes"):
        Frame((np.zeros((4, 4), np.uint16),), "gray")
    with pytest.raises(ValueError, match="height, width, 3"):
        Frame.from_rgb(np.zeros((0, 4, 3), np.uint8))


class DeviceArray:
    """Stands in for an array of a GPU: nothing but `get` gives its numbers."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype

    def get(self) -> np.ndarray:
        return self._array.copy()


def nv12(frame: Frame, put=lambda array: array) -> Frame:
    """The same picture with interleaved chroma, its planes where `put` brings them."""
    y, u, v = frame.planes
    return replace(frame, planes=(put(y), put(np.stack((u, v), axis=-1))), layout="nv12")


@pytest.mark.parametrize("put", [lambda array: array, DeviceArray], ids=["numpy", "device"])
@pytest.mark.parametrize("size", [(48, 64), (33, 47)])
def test_interleaved_chroma_gives_the_same_pixels(put, size: tuple[int, int]):
    frame = noise(*size, source="cam", index=7, matrix="bt709")
    other, box = nv12(frame, put), (-3.0, 5.0, 30.0, 40.0)
    assert (other.height, other.width, other.is_on_device) == (*size, put is DeviceArray)
    np.testing.assert_array_equal(other.luma(box), frame.luma(box))
    np.testing.assert_array_equal(other.rgb(box), frame.rgb(box))
    np.testing.assert_array_equal(other.reduced(20), frame.reduced(20))
    np.testing.assert_array_equal(other.turned(1).rgb(box), frame.turned(1).rgb(box))


def test_a_frame_comes_to_the_host_with_all_that_is_known_of_it():
    frame = noise(33, 47, source="cam", index=7, pts_s=1.5, matrix="bt709", is_full_range=True, is_corrupt=True)
    host = nv12(frame, DeviceArray).on_host()
    assert host.layout == "yuv420"
    assert not host.is_on_device
    assert all(np.array_equal(*pair) for pair in zip(host.planes, frame.planes, strict=True))
    for name in ("source", "index", "pts_s", "arrived_s", "seen_at", "matrix", "is_full_range", "is_corrupt"):
        assert getattr(host, name) == getattr(frame, name)
    assert frame.on_host() is frame


@pytest.mark.parametrize("fault", [RuntimeError("cudaErrorDevicesUnavailable"), MemoryError("out of memory")])
def test_a_frame_on_a_device_that_is_gone_says_so(fault):
    class Gone(DeviceArray):
        def get(self) -> np.ndarray:
            raise fault

    for read in (Frame.on_host, lambda frame: frame.luma((0, 0, 4, 4)), lambda frame: frame.reduced(8)):
        with pytest.raises(DeviceLost, match=f"no longer answers .{fault}"):
            read(nv12(noise(8, 10), Gone))


def test_a_planar_frame_on_a_device_comes_to_the_host_too():
    frame = noise(8, 10)
    host = replace(frame, planes=tuple(map(DeviceArray, frame.planes))).on_host()
    assert all(np.array_equal(*pair) for pair in zip(host.planes, frame.planes, strict=True))


def test_a_frame_is_read_with_its_own_device_current():
    current = [0]

    class Second:
        """Stands in for `cupy.cuda.Device(1)`."""

        def __enter__(self):
            current.append(1)

        def __exit__(self, *about):
            current.pop()

    class OnSecond(DeviceArray):
        device = Second()

        def get(self) -> np.ndarray:
            assert current == [0, 1], "kernels of another device would read memory that isn't theirs"
            return super().get()

    assert nv12(noise(8, 10), OnSecond).on_host().layout == "yuv420"
    assert current == [0]


def test_interleaved_chroma_of_another_size_is_refused():
    with pytest.raises(ValueError, match="sides rounded up"):
        Frame((np.zeros((5, 5), np.uint8), np.zeros((2, 2, 2), np.uint8)), "nv12")
    with pytest.raises(ValueError, match="has 2 uint8 planes"):
        Frame((np.zeros((4, 4), np.uint8),), "nv12")
