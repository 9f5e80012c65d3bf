"""From what FFmpeg decoded to 8-bit planes of our own, with the colour matrix and range that the codec's tags name."""

from collections.abc import Callable

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import VideoReformatter

from stream_detect.decode.frame import SUBSAMPLING, Layout, Matrix
from stream_detect.errors import SourceUnsupported

DIRECT: dict[str, Layout] = {  # pixel formats whose planes are taken as they are
    "yuv420p": "yuv420",
    "yuvj420p": "yuv420",
    "yuv422p": "yuv422",
    "yuvj422p": "yuv422",
    "yuv444p": "yuv444",
    "yuvj444p": "yuv444",
    "gray": "gray",
    "rgb24": "rgb",
}
TARGET: dict[Layout, str] = {
    "yuv420": "yuv420p",
    "yuv422": "yuv422p",
    "yuv444": "yuv444p",
    "gray": "gray",
    "rgb": "rgb24",
}
MATRICES: dict[int, Matrix] = {1: "bt709", 4: "bt601", 5: "bt601", 6: "bt601", 7: "bt709", 9: "bt2020", 10: "bt2020"}
FULL_RANGE, LIMITED_RANGE = 2, 1  # AVColorRange
HD_HEIGHT = 720  # untagged pictures from this height on are BT.709, smaller ones BT.601, as players assume
LARGEST_PIXELS = 100_000_000

Planes = tuple[np.ndarray, ...]


class Converter:
    """Turns decoded frames of one feed into planes, layout, matrix and range; keeps its one swscale context.

    A new context for each frame makes the process grow, so a converter lives as long as its feed.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, picture: VideoFrame) -> tuple[Planes, Layout, Matrix, bool]:
        """The planes and how to read them; FFmpeg's own memory where it is laid out as ours, which stays taken as long
        as a plane is held: FFmpeg never writes again to what somebody holds.

        Raises:
            SourceUnsupported: if the pixel format can't be brought to 8 bits, or the picture is empty or enormous.
        """
        check_area(picture.width, picture.height)
        matrix, is_full_range = matrix_of(picture), is_full(picture)
        layout = layout_of(picture)
        if picture.format.name not in DIRECT:
            if (planes := UNPACKED.get(picture.format.name)) is not None:
                return planes(picture), layout, matrix, is_full_range
            picture = self._reformatted(picture, TARGET[layout], is_full_range)
        return tuple(rows_of(picture, index) for index in range(len(picture.planes))), layout, matrix, is_full_range

    def _reformatted(self, picture: VideoFrame, target: str, is_full_range: bool) -> VideoFrame:
        name, levels = picture.format.name, FULL_RANGE if is_full_range else LIMITED_RANGE
        try:
            if target == "rgb24":
                return self._reformatter.reformat(picture, format=target)
            return self._reformatter.reformat(picture, format=target, src_color_range=levels, dst_color_range=levels)
        except (av.FFmpegError, ValueError) as error:
            raise SourceUnsupported(f"pixel format {name} can't be converted to 8 bits here ({error})") from error


def layout_of(picture: VideoFrame) -> Layout:
    """The layout whose chroma is not coarser than the picture's own."""
    if picture.format.name in DIRECT:
        return DIRECT[picture.format.name]
    pixels = picture.format
    if pixels.is_rgb or pixels.has_palette or pixels.is_bayer:
        return "rgb"
    if sum(not part.is_alpha for part in pixels.components) < 3:
        return "gray"
    rows, columns = -(-16 // pixels.chroma_height(16)), -(-16 // pixels.chroma_width(16))
    for layout, steps in SUBSAMPLING.items():
        if steps == (rows, columns):
            return layout
    return "yuv420" if rows >= 2 and columns >= 2 else "yuv444"


def matrix_of(picture: VideoFrame) -> Matrix:
    """The matrix that the tags name; untagged, what players assume for that height."""
    return MATRICES.get(int(picture.colorspace), "bt709" if picture.height >= HD_HEIGHT else "bt601")


def is_full(picture: VideoFrame) -> bool:
    """Whether 0..255 is meant rather than 16..235; RGB is full, and so is untagged grey, as swscale has it."""
    layout = layout_of(picture)
    if layout == "rgb" or picture.color_range not in (FULL_RANGE, LIMITED_RANGE):
        return layout in ("rgb", "gray") or picture.format.name.startswith("yuvj")
    return picture.color_range == FULL_RANGE


def rows_of(picture: VideoFrame, index: int) -> np.ndarray:
    """View of a plane without the padding of its rows; "rgb24" gives (height, width, 3)."""
    plane = picture.planes[index]
    if picture.format.name == "rgb24":
        return unpadded(plane, 3 * plane.width).reshape(plane.height, plane.width, 3)
    return unpadded(plane, plane.width)


def unpadded(plane: VideoPlane, width_bytes: int) -> np.ndarray:
    """View of the first `width_bytes` of each row, top row first even where FFmpeg stores the bottom one first."""
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, abs(plane.line_size))[:, :width_bytes]
    return rows[::-1] if plane.line_size < 0 else rows


def from_nv12(picture: VideoFrame) -> Planes:
    """Y, U, V of a picture with interleaved chroma, as cameras and hardware decoders give it."""
    pairs = unpadded(picture.planes[1], 2 * picture.planes[1].width)
    return rows_of(picture, 0), pairs[:, 0::2].copy(), pairs[:, 1::2].copy()


def check_area(width: int, height: int) -> None:
    """Refuse pictures that are empty or beyond `LARGEST_PIXELS`.

    Raises:
        SourceUnsupported: saying the size and the limit.
    """
    if width < 1 or height < 1:
        raise SourceUnsupported(f"the picture is empty ({width}x{height})")
    if width * height > LARGEST_PIXELS:
        limit = f"{LARGEST_PIXELS // 1_000_000} million pixels"
        raise SourceUnsupported(
            f"the picture is too large: {width}x{height}, the limit is {limit}; scale it down first"
        )


UNPACKED: dict[str, Callable[[VideoFrame], Planes]] = {"nv12": from_nv12}
