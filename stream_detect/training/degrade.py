"""What cameras, calls and uploads do to a picture; drawn once, applied to a real face and its forgery alike."""

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from jaxtyping import UInt8
from PIL import Image

from stream_detect.decode.frame import Frame

Picture = UInt8[np.ndarray, "_ _ 3"]  # (height, width, 3); what is given back may have another size
KERNELS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
DRIFT_FRAMES = 3  # pictures encoded before the one that is kept, so that it is not always a key frame


@dataclass(frozen=True, slots=True)
class Degradation:
    """One draw of the channel; the steps are applied in the order of the fields."""

    scale: float = 1.0
    kernel: int = cv2.INTER_AREA
    brightness: float = 0.0  # offset in [0, 1] units
    gamma: float = 1.0
    blur_px: float = 0.0  # sigma
    noise: float = 0.0  # sigma in 8-bit steps
    first_jpeg: int | None = None  # quality of an earlier compression
    codec: Literal["none", "jpeg", "h264"] = "none"
    quality: int = 90  # JPEG quality, or x264's constant rate factor
    drift: tuple[int, int] = (0, 0)  # whole pixels a frame moves before the one that is kept (h264)
    seed: int = 0  # of the noise

    @classmethod
    def draw(cls, rng: np.random.Generator, scale: float, strength: float = 1.0) -> "Degradation":
        """A random channel after scaling by `scale`; `strength` in [0, 1] is how often and how hard it bites."""

        def sometimes(share: float) -> bool:
            return bool(rng.random() < share * strength)

        codec = rng.choice(["none", "jpeg", "h264"], p=[1 - 0.85 * strength, 0.35 * strength, 0.5 * strength])
        worst_jpeg, worst_crf = 95 - 60 * strength, 20 + 16 * strength
        quality = rng.uniform(18, worst_crf) if codec == "h264" else rng.uniform(worst_jpeg, 96)
        return cls(
            scale=scale,
            kernel=int(rng.choice(KERNELS)),
            brightness=float(rng.uniform(-0.12, 0.12)) if sometimes(0.3) else 0.0,
            gamma=float(np.exp(rng.uniform(-0.35, 0.35))) if sometimes(0.3) else 1.0,
            blur_px=float(rng.uniform(0.3, 1.3)) if sometimes(0.25) else 0.0,
            noise=float(rng.uniform(1, 7)) if sometimes(0.25) else 0.0,
            first_jpeg=int(rng.integers(60, 96)) if sometimes(0.3) else None,
            codec=codec,
            quality=int(quality),
            drift=(int(rng.integers(-2, 3)), int(rng.integers(-2, 3))),
            seed=int(rng.integers(2**31)),
        )

    def __call__(self, rgb: Picture) -> Frame:
        """The picture after the channel, as a decoder gives it out."""
        rgb = self.before_codec(rgb)
        if self.codec == "jpeg":
            return Frame.from_rgb(through_jpeg(rgb, self.quality))
        if self.codec == "h264":
            return through_h264(rgb, self.quality, self.drift)
        return Frame.from_rgb(rgb)

    def before_codec(self, rgb: Picture) -> Picture:
        rgb = scaled(rgb, self.scale, self.kernel)
        if self.brightness or self.gamma != 1.0:
            levels = (np.arange(256) / 255) ** self.gamma + self.brightness
            rgb = cv2.LUT(rgb, np.clip(255 * levels + 0.5, 0, 255).astype(np.uint8))
        if self.blur_px:
            rgb = cv2.GaussianBlur(rgb, (0, 0), self.blur_px)
        if self.noise:
            grain = np.random.default_rng(self.seed).normal(0, self.noise, rgb.shape).astype(np.float32)
            rgb = np.clip(rgb + grain + 0.5, 0, 255).astype(np.uint8)
        return through_jpeg(rgb, self.first_jpeg) if self.first_jpeg else rgb


def scaled(rgb: Picture, scale: float, kernel: int) -> Picture:
    """The picture scaled; kernels that don't average are preceded by a low-pass where they would alias badly."""
    if scale == 1.0:
        return rgb
    height, width = rgb.shape[:2]
    if scale < 0.5 and kernel != cv2.INTER_AREA:
        rgb = cv2.GaussianBlur(rgb, (0, 0), 0.35 / scale)
    to = (max(2, round(width * scale)), max(2, round(height * scale)))
    return cv2.resize(rgb, to, interpolation=kernel if scale < 1 or kernel != cv2.INTER_AREA else cv2.INTER_LINEAR)


def through_jpeg(rgb: Picture, quality: int) -> Picture:
    """Encoded as JPEG 4:2:0 and decoded again."""
    encoded = io.BytesIO()
    Image.fromarray(rgb).save(encoded, "JPEG", quality=quality, subsampling=2)
    return np.asarray(Image.open(encoded).convert("RGB"))


def through_h264(rgb: Picture, crf: int, drift: tuple[int, int] = (0, 0)) -> Frame:
    """The last of a few slowly moving pictures, encoded by x264 and decoded again, in its own planes."""
    frames = through_codec(drifting(rgb, drift), "libx264", {"crf": str(crf), "preset": "veryfast"})
    return frames[-1]


def drifting(rgb: Picture, drift: tuple[int, int]) -> list[Picture]:
    """The picture after a few steps that led to it: whole-pixel moves, so that nothing is interpolated."""
    dx, dy = drift
    pad = DRIFT_FRAMES * max(abs(dx), abs(dy))
    height, width = rgb.shape[0] & ~1, rgb.shape[1] & ~1
    wide = np.pad(rgb, ((pad, pad), (pad, pad), (0, 0)), mode="reflect") if pad else rgb
    steps = range(DRIFT_FRAMES, -1, -1)
    return [wide[pad + k * dy :, pad + k * dx :][:height, :width] for k in steps]


def through_codec(
    pictures: list[Picture], codec: str, options: dict[str, str], fps: int = 25, bit_rate: int | None = None
) -> list[Frame]:
    """RGB pictures of one size encoded and decoded again in memory, as 4:2:0 BT.601 frames.

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
    if bit_rate:
        encoder.bit_rate = bit_rate
    packets = [packet for index, rgb in enumerate(pictures) for packet in encoder.encode(video_frame(rgb, index))]
    packets += encoder.encode(None)
    decoder = video_codec({"libx264": "h264", "libx265": "hevc"}.get(codec, codec), "r")
    decoder.thread_count = 1
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    decoded = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return [yuv420_frame(frame, index, fps) for index, frame in enumerate(decoded)]


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
