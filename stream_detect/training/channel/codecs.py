"""Pictures through JPEG and video codecs in memory, whole or with packets lost on the way."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from PIL import Image

from stream_detect.decode.frame import Frame
from stream_detect.training.channel.resampling import Picture

Codec = Literal["none", "jpeg", "h264", "h265", "vp8", "vp9"]
Loss = Literal["nothing", "frame", "slice", "rows"]
VIDEO: tuple[Codec, ...] = ("h264", "h265", "vp8", "vp9")
ENCODERS = {"h264": "libx264", "h265": "libx265", "vp8": "libvpx", "vp9": "libvpx-vp9"}
DECODERS = {"libx264": "h264", "libx265": "hevc", "libvpx": "vp8", "libvpx-vp9": "vp9"}
REALTIME = {"deadline": "realtime", "lag-in-frames": "0"}
SPEED = {
    "vp8": "-8",
    "vp9": "8",
}  # VP8 takes a positive one for a bound and looks at the clock: not the same bytes twice
UNLIMITED = 50_000_000  # bit/s: libvpx's quantizer is held by its bounds, not by the rate
START_CODE = b"\0\0\1"
SLICE = 1  # H.264's type of a unit that holds a part of a predicted picture (ITU-T H.264, table 7-1)
SLICES = 4
FPS = 25


@dataclass(frozen=True, slots=True)
class Coding:
    """One compression, with what is lost of it on the way.

    A video codec encodes `before` earlier pictures first, in which the scene lay `drift` further for each, so that the
    picture that is kept is predicted from others; it is itself never moved.
    """

    codec: Codec = "none"
    quality: int = 90  # JPEG's quality, or the quantizer: 0 to 51 for H.264 and H.265, 0 to 63 for VP8 and VP9
    is_adaptive: bool = False  # H.264: finer where it is flat (a constant rate factor), as uploads are
    is_full_chroma: bool = False  # JPEG without subsampling
    grid: tuple[int, int] = (0, 0)  # where JPEG's blocks begin, pixels to the left and above, 0 to 15
    before: int = 2
    drift: tuple[float, float] = (0.0, 0.0)  # pixels a frame
    lost: Loss = "nothing"
    lost_at: float = 0.5  # which part of the picture, in [0, 1]
    kbps: int = 0  # where the quantizer comes from: the call's rate and the height of its frames; 0 if from neither
    frame_height: int = 0

    def __call__(self, rgb: Picture) -> Frame:
        """The picture as the decoder gives it out, of the same size."""
        if self.codec == "none":
            return Frame.from_rgb(rgb)
        if self.codec == "jpeg":
            return Frame.from_rgb(through_jpeg(rgb, self.quality, self.is_full_chroma, self.grid))
        return self._through_video(rgb)

    def rgb(self, rgb: Picture) -> Picture:
        """The same, in RGB."""
        if self.codec == "none":
            return rgb
        frame = self(rgb)
        return frame.rgb((0, 0, frame.width, frame.height))

    def options(self) -> dict[str, str]:
        """The encoder's settings; the quantizer is constant but for `is_adaptive`."""
        if self.codec in ("vp8", "vp9"):
            resilient = {"error-resilient": "default"} if self.lost == "frame" else {}  # as calls have it: WebRTC
            bounds = {"qmin": str(self.quality), "qmax": str(self.quality)}
            return {**REALTIME, "cpu-used": SPEED[self.codec], **bounds, **resilient}
        rate = {"crf" if self.is_adaptive and self.codec == "h264" else "qp": str(self.quality)}
        if self.codec == "h264":
            slices = {"slices": str(SLICES)} if self.lost == "slice" else {}
            return {"preset": "superfast", "tune": "zerolatency", **rate, **slices}
        of_x265 = {"log-level": "none", "pools": "none", "frame-threads": "1", "keyint": "250", **rate}
        joined = ":".join(f"{name}={value}" for name, value in of_x265.items())
        return {"preset": "ultrafast", "tune": "zerolatency", "x265-params": joined}

    def _through_video(self, rgb: Picture) -> Frame:
        height, width = rgb.shape[:2]
        even = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        encoder = ENCODERS[self.codec]
        packets = encoded(drifting(even, self.drift, self.before), encoder, self.options(), FPS)
        frames = decoded(self._after_loss(packets), encoder, FPS) or decoded(packets, encoder, FPS)
        frame = frames[-1]
        if self.lost == "rows" and len(frames) > 1:
            frame = with_old_rows(frame, frames[-2], self.lost_at)
        return cropped(frame, height, width)

    def _after_loss(self, packets: Sequence[bytes]) -> list[bytes]:
        whole = list(packets)
        if self.lost == "frame" and len(whole) > 2:
            return [*whole[:-2], whole[-1]]
        if self.lost == "slice" and self.codec == "h264":
            return [*whole[:-1], without_slice(whole[-1], self.lost_at)]
        return whole


def through_jpeg(rgb: Picture, quality: int, is_full_chroma: bool = False, grid: tuple[int, int] = (0, 0)) -> Picture:
    """Encoded as JPEG and decoded again; `grid` is how far left of and above the picture the blocks begin."""
    left, top = grid
    wide = np.pad(rgb, ((top, 0), (left, 0), (0, 0)), mode="edge") if left or top else rgb
    held = io.BytesIO()
    Image.fromarray(wide).save(held, "JPEG", quality=quality, subsampling=0 if is_full_chroma else 2)
    return np.ascontiguousarray(np.asarray(Image.open(held).convert("RGB"))[top:, left:])


def drifting(rgb: Picture, drift: tuple[float, float], before: int) -> list[Picture]:
    """The picture after a few that led to it: the scene lay `drift` further right and down for each of them."""
    size = (rgb.shape[1], rgb.shape[0])
    moves = [np.array([[1, 0, k * drift[0]], [0, 1, k * drift[1]]], np.float64) for k in range(before, 0, -1)]
    flags, border = cv2.INTER_LINEAR, cv2.BORDER_REFLECT
    return [np.asarray(cv2.warpAffine(rgb, move, size, flags=flags, borderMode=border), np.uint8) for move in moves] + [
        rgb
    ]


def through_codec(
    pictures: Sequence[Picture], codec: str, options: dict[str, str], fps: int = FPS, bit_rate: int | None = None
) -> list[Frame]:
    """RGB pictures of one size encoded and decoded again in memory, as 4:2:0 BT.601 frames.

    Raises:
        ValueError: if a side is odd (4:2:0 needs even ones).
    """
    return decoded(encoded(pictures, codec, options, fps, bit_rate), codec, fps)


def encoded(
    pictures: Sequence[Picture], codec: str, options: dict[str, str], fps: int = FPS, bit_rate: int | None = None
) -> list[bytes]:
    """The packets of RGB pictures of one size, in the order of decoding; `codec` is an encoder's name in FFmpeg.

    Raises:
        ValueError: if a side is odd (4:2:0 needs even ones).
    """
    height, width = pictures[0].shape[:2]
    if height % 2 or width % 2:
        raise ValueError(f"4:2:0 video needs even sides, got {height}x{width}")
    encoder = video_codec(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.thread_count = Fraction(1, fps), Fraction(fps), 1
    encoder.options = options
    if bit_rate or "qmax" in options:
        encoder.bit_rate = bit_rate or UNLIMITED
    packets = [packet for index, rgb in enumerate(pictures) for packet in encoder.encode(video_frame(rgb, index))]
    return [bytes(packet) for packet in [*packets, *encoder.encode(None)]]


def decoded(packets: Sequence[bytes], codec: str, fps: int = FPS) -> list[Frame]:
    """The frames of `packets`; those that can't be decoded are left out. `codec` is the encoder's name in FFmpeg."""
    decoder = video_codec(DECODERS.get(codec, codec), "r")
    decoder.thread_count = 1
    frames: list[av.VideoFrame] = []
    for packet in [*packets, None]:
        try:
            frames += decoder.decode(av.Packet(packet) if packet else None)
        except av.error.InvalidDataError:
            continue  # a lost packet's successor may be refused; what follows may still do
    return [yuv420_frame(frame, index, fps) for index, frame in enumerate(frames)]


def without_slice(packet: bytes, at: float) -> bytes:
    """An H.264 packet (Annex B) without the slice at `at` in [0, 1] of the picture; the decoder conceals it."""
    head, *units = packet.split(START_CODE)
    slices = [index for index, unit in enumerate(units) if unit and unit[0] & 0x1F == SLICE]
    if len(slices) < 2:
        return packet
    del units[slices[min(len(slices) - 1, 1 + int(at * (len(slices) - 1)))]]
    return START_CODE.join([head, *units])


def with_old_rows(frame: Frame, old: Frame, at: float) -> Frame:
    """A quarter of the macroblock rows from an older frame, as where their packet never came."""
    blocks = frame.height // 16
    count = max(1, blocks // 4)
    first = round(at * (blocks - count))
    planes = []
    for plane, before, per_block in zip(frame.planes, old.planes, (16, 8, 8), strict=True):
        rows = slice(first * per_block, (first + count) * per_block)
        mixed = plane.copy()
        mixed[rows] = before[rows]
        planes.append(mixed)
    return replace(frame, planes=tuple(planes))


def cropped(frame: Frame, height: int, width: int) -> Frame:
    """The upper left of a 4:2:0 frame."""
    if (frame.height, frame.width) == (height, width):
        return frame
    sizes = [(height, width), *[(-(-height // 2), -(-width // 2))] * 2]
    planes = [np.ascontiguousarray(plane[:h, :w]) for plane, (h, w) in zip(frame.planes, sizes, strict=True)]
    return replace(frame, planes=tuple(planes))


def video_codec(name: str, mode: Literal["r", "w"]) -> VideoCodecContext:
    """An encoder ("w") or a decoder ("r")."""
    context = av.CodecContext.create(name, mode)
    if not isinstance(context, VideoCodecContext):
        raise ValueError(f"expected a video codec, got {name!r}")
    return context


def video_frame(rgb: Picture, index: int) -> av.VideoFrame:
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    picture.pts = index
    return picture


def yuv420_frame(picture: av.VideoFrame, index: int, fps: int) -> Frame:
    planes = tuple(
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width].copy()
        for plane in picture.planes
    )
    return Frame(planes, "yuv420", index=index, pts_s=index / fps, matrix="bt601")
