"""A decoded picture and the one definition of how pixels are cut from it.

Training, the CPU path and the GPU path all cut with `Frame.luma`, `Frame.rgb` and `Frame.reduced`; golden numbers in
the tests fix what they return. A frame whose planes lie on a GPU is copied to the host first: slow, and correct.
"""

import functools
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from stream_detect.errors import DeviceLost

Layout = Literal["yuv420", "yuv422", "yuv444", "gray", "rgb", "nv12"]
Matrix = Literal["bt601", "bt709", "bt2020"]
Box = tuple[float, float, float, float] | np.ndarray

KR_KB: dict[Matrix, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}
NUM_PLANES: dict[Layout, int] = {"rgb": 1, "gray": 1, "nv12": 2}  # the others have three
SUBSAMPLING: dict[Layout, tuple[int, int]] = {"yuv420": (2, 2), "yuv422": (1, 2), "yuv444": (1, 1)}  # (rows, columns)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture as it was decoded, with where and when it came from.

    `planes` are uint8: (Y, U, V) with chroma subsampled as `layout` says, (Y,) for "gray", or one (height, width, 3)
    array for "rgb". "nv12" is 4:2:0 as GPUs decode it: Y (height, width) and UV (height / 2, width / 2, 2), sides
    rounded up; its planes are arrays of NumPy or, all of them, of CuPy, and complete when the frame is given out.
    Chroma is sited as MPEG-2/H.264 have it by default: on even luma columns, between two luma rows.
    """

    planes: tuple[Any, ...]
    layout: Layout
    source: str = ""
    index: int = 0  # counts every decoded frame of the source, from 0
    pts_s: float = 0.0  # seconds since the start of the stream
    arrived_s: float = field(default_factory=time.monotonic)  # monotonic clock when its packet came
    seen_at: datetime = field(default_factory=lambda: datetime.now(UTC))  # capture time where known, else of arrival
    captured_s: float | None = None  # capture time on the monotonic clock, by a sender's clock that can be believed
    matrix: Matrix = "bt601"
    is_full_range: bool = False
    is_corrupt: bool = False

    def __post_init__(self) -> None:
        expected = NUM_PLANES.get(self.layout, 3)
        if len(self.planes) != expected or any(plane.dtype != np.uint8 for plane in self.planes):
            got = [(plane.shape, str(plane.dtype)) for plane in self.planes]
            raise ValueError(f"a {self.layout} frame has {expected} uint8 planes, got {got}")
        if self.layout == "nv12" and self.planes[1].shape != (-(-self.height // 2), -(-self.width // 2), 2):
            got = [plane.shape for plane in self.planes]
            raise ValueError(f"a nv12 frame has Y (h, w) and UV (h / 2, w / 2, 2), sides rounded up, got {got}")

    @classmethod
    def from_rgb(cls, rgb: UInt8[np.ndarray, "height width 3"], **about: Any) -> "Frame":
        """A frame over an RGB picture; its luma is JPEG's (BT.601, full range)."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
            raise ValueError(f"expected a (height, width, 3) uint8 picture, got {rgb.shape} {rgb.dtype}")
        return cls((np.ascontiguousarray(rgb),), "rgb", is_full_range=True, **about)

    @property
    def height(self) -> int:
        return int(self.planes[0].shape[0])

    @property
    def width(self) -> int:
        return int(self.planes[0].shape[1])

    @property
    def is_on_device(self) -> bool:
        """Whether the planes are a GPU's arrays rather than NumPy's."""
        return not isinstance(self.planes[0], np.ndarray)

    def on_host(self) -> "Frame":
        """The frame with NumPy planes of its own or, where it has them already, itself; "nv12" becomes "yuv420".

        Every call copies: whoever needs several parts of a device's frame keeps what this returns.

        Raises:
            DeviceLost: if the device no longer gives its planes.
        """
        if not self.is_on_device and self.layout != "nv12":
            return self
        planes, layout = self.planes, self.layout
        if self.is_on_device:
            with faults_of_a_device(planes[0]):
                planes = tuple(plane.get() for plane in planes)
        if layout == "nv12":
            planes, layout = (planes[0], planes[1][..., 0].copy(), planes[1][..., 1].copy()), "yuv420"
        return replace(self, planes=planes, layout=layout)

    @property
    def _is_cut_elsewhere(self) -> bool:
        """Whether pixels are taken from `on_host()` instead."""
        return self.layout == "nv12" or self.is_on_device

    def luma(self, box: Box) -> Float32[np.ndarray, "height width"]:
        """Native luma of the pixels in `box`, in [0, 1]; what lies outside the frame is mirrored in.

        Raises:
            ValueError: if the box holds no pixel.
        """
        if self._is_cut_elsewhere:
            return self.on_host().luma(box)
        window = whole_pixels(box)
        if self.layout == "rgb":
            return rgb_to_luma(cut(self.planes[0], window))
        return cv2.LUT(cut(self.planes[0], window), luma_levels(self.is_full_range)).astype(np.float32, copy=False)

    def rgb(self, box: Box) -> UInt8[np.ndarray, "height width 3"]:
        """Native RGB of the pixels in `box`, chroma interpolated linearly; what lies outside is mirrored in.

        Raises:
            ValueError: if the box holds no pixel.
        """
        if self._is_cut_elsewhere:
            return self.on_host().rgb(box)
        window = whole_pixels(box)
        if self.layout == "rgb":
            return np.ascontiguousarray(cut(self.planes[0], window))
        if is_inside(window, self.height, self.width):
            return self._rgb_inside(window)
        x1, y1, x2, y2 = window
        part = (max(x1, 0), max(y1, 0), min(x2, self.width), min(y2, self.height))
        margins = (part[1] - y1, y2 - part[3], part[0] - x1, x2 - part[2])  # top, bottom, left, right
        if max(margins[:2]) < part[3] - part[1] and max(margins[2:]) < part[2] - part[0]:
            bordered = cv2.copyMakeBorder(self._rgb_inside(part), *margins, cv2.BORDER_REFLECT_101)
            return bordered.astype(np.uint8, copy=False)
        rows, columns = mirrored(y1, y2, self.height), mirrored(x1, x2, self.width)
        left, top = int(columns.min()), int(rows.min())
        inside = self._rgb_inside((left, top, int(columns.max()) + 1, int(rows.max()) + 1))
        return np.ascontiguousarray(inside[rows - top][:, columns - left])

    def reduced(self, max_side: int) -> UInt8[np.ndarray, "height width 3"]:
        """The whole picture in RGB, area-averaged so that its longer side is at most `max_side` pixels.

        Luma and chroma are averaged as they are stored: colours may sit half a source pixel to the left.
        """
        if self._is_cut_elsewhere:
            return self.on_host().reduced(max_side)
        scale = min(1.0, max_side / max(self.height, self.width))
        if scale == 1.0:
            return self.rgb((0, 0, self.width, self.height))
        to = (max(1, round(self.width * scale)), max(1, round(self.height * scale)))  # OpenCV's order
        planes = [cv2.resize(plane, to, interpolation=cv2.INTER_AREA).astype(np.uint8) for plane in self.planes]
        return planes[0] if self.layout == "rgb" else self._to_rgb(*planes)

    def turned(self, quarter_turns: int) -> "Frame":
        """The frame turned counter-clockwise by quarter turns; chroma is first brought to every pixel."""
        turns = quarter_turns % 4
        if turns == 0:
            return self
        if self._is_cut_elsewhere:
            return self.on_host().turned(turns)
        planes, layout = self.planes, self.layout
        if layout in ("yuv420", "yuv422"):
            window = (0, 0, self.width, self.height)
            planes, layout = (planes[0], *(self._chroma(plane, window) for plane in planes[1:])), "yuv444"
        return replace(self, planes=tuple(np.rot90(plane, turns).copy() for plane in planes), layout=layout)

    def _rgb_inside(self, window: tuple[int, int, int, int]) -> UInt8[np.ndarray, "height width 3"]:
        luma = cut(self.planes[0], window)
        return self._to_rgb(luma, *(self._chroma(plane, window) for plane in self.planes[1:]))

    def _chroma(self, plane: np.ndarray, window: tuple[int, int, int, int]) -> UInt8[np.ndarray, "height width"]:
        """Chroma at the luma pixels of a window inside the frame; beyond the outermost samples it stays constant."""
        x1, y1, x2, y2 = window
        rows, columns = SUBSAMPLING[self.layout]
        if rows == columns == 1:
            return plane[y1:y2, x1:x2]
        left, top = max(0, x1 // columns - 1), max(0, y1 // rows - 1)
        chroma = plane[top : -(-y2 // rows) + 1, left : -(-x2 // columns) + 1]
        if rows == 2:
            chroma = between_rows(chroma)
        if columns == 2:
            chroma = between_columns(chroma)
        return chroma[y1 - rows * top :, x1 - columns * left :][: y2 - y1, : x2 - x1]

    def _to_rgb(self, luma: np.ndarray, *chroma: np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
        neutral = np.full_like(luma, 128)
        ycbcr = cv2.merge((luma, *(chroma or (neutral, neutral))))
        return cv2.transform(ycbcr, ycbcr_to_rgb(self.matrix, self.is_full_range)).astype(np.uint8, copy=False)


@contextmanager
def faults_of_a_device(array: Any) -> Iterator[None]:
    """Around what reads a device's arrays: the device of `array` is CuPy's current one meanwhile.

    Raises:
        DeviceLost: for what CuPy raises when the device fails or has no memory left.
    """
    device = getattr(array, "device", None)  # NumPy's is a word
    try:
        with device if isinstance(device, AbstractContextManager) else nullcontext():
            yield
    except (RuntimeError, MemoryError) as error:
        raise DeviceLost(f"the GPU no longer answers ({str(error).strip()})") from error


@functools.cache
def luma_levels(is_full_range: bool) -> Float32[np.ndarray, " 256"]:
    """What each stored luma value stands for, in [0, 1]."""
    offset, scale = (0, 255) if is_full_range else (16, 219)
    return np.clip((np.arange(256, dtype=np.float32) - offset) / scale, 0, 1).astype(np.float32)


def between_rows(chroma: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "twice_height width"]:
    """Twice the rows, each a quarter of a sample's height from its nearest: 3/4 of that one and 1/4 of the next."""
    height, width = chroma.shape
    return cv2.resize(chroma, (width, 2 * height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def between_columns(chroma: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height twice_width"]:
    """Twice the columns: the even ones as they are, each odd one the mean of its neighbours."""
    height, width = chroma.shape
    right = np.concatenate([chroma[:, 1:], chroma[:, -1:]], axis=1)
    middle = cv2.addWeighted(chroma, 0.5, right, 0.5, 0)
    return cv2.merge((chroma, middle)).astype(np.uint8, copy=False).reshape(height, 2 * width)


def ycbcr_to_rgb(matrix: Matrix, is_full_range: bool) -> Float32[np.ndarray, "3 4"]:
    """The affine map from 8-bit Y'CbCr to 8-bit R'G'B' (ITU-R BT.601, BT.709, BT.2020 non-constant luminance)."""
    kr, kb = KR_KB[matrix]
    kg = 1 - kr - kb
    y_scale, c_scale, black = (1.0, 1.0, 0.0) if is_full_range else (255 / 219, 255 / 224, 16.0)
    red, blue = 2 * (1 - kr) * c_scale, 2 * (1 - kb) * c_scale
    linear = np.array([[y_scale, 0, red], [y_scale, -blue * kb / kg, -red * kr / kg], [y_scale, blue, 0]])
    offset = -linear @ np.array([black, 128.0, 128.0])
    return np.column_stack([linear, offset]).astype(np.float32)


def rgb_to_luma(rgb: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width"]:
    """BT.601 full-range luma in [0, 1], as JPEG stores it."""
    weights = np.array([[0.299, 0.587, 0.114]], np.float32) / 255
    return cv2.transform(rgb.astype(np.float32), weights).reshape(rgb.shape[:2]).astype(np.float32, copy=False)


def whole_pixels(box: Box) -> tuple[int, int, int, int]:
    """`box` (xyxy) rounded to whole pixels.

    Raises:
        ValueError: if no pixel is left.
    """
    x1, y1, x2, y2 = (int(np.floor(float(side) + 0.5)) for side in box)
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"a box needs x1 < x2 and y1 < y2 in whole pixels, got {tuple(map(float, box))}")
    return x1, y1, x2, y2


def cut(plane: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
    """The window of a plane, mirrored at the plane's edges where it reaches beyond them."""
    x1, y1, x2, y2 = window
    height, width = plane.shape[:2]
    if is_inside(window, height, width):
        return plane[y1:y2, x1:x2]
    folded: np.ndarray = plane[mirrored(y1, y2, height)][:, mirrored(x1, x2, width)]
    return folded


def is_inside(window: tuple[int, int, int, int], height: int, width: int) -> bool:
    """Whether no part of the window reaches beyond a plane of that size."""
    x1, y1, x2, y2 = window
    return x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height


def mirrored(start: int, stop: int, length: int) -> np.ndarray:
    """Indices `start`..`stop` folded back into 0..`length` - 1 (…2 1 0 1 2…)."""
    if length == 1:
        return np.zeros(stop - start, np.intp)
    period = 2 * length - 2
    folded: np.ndarray = np.abs(np.arange(start, stop)) % period
    return np.where(folded < length, folded, period - folded)
