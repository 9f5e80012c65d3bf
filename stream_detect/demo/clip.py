"""The demonstration's clip: a real face before a blurred background, which turns into a forged one half-way.

The face is scikit-image's astronaut (Eileen Collins; NASA, public domain), seen as by a webcam: moved, zoomed, lit,
blurred, with the noise of a sensor, then compressed like a call. It is a still picture that moves, not footage.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from stream_detect.demo.swap import FaceSwap
from stream_detect.errors import UsageError

Picture = UInt8[np.ndarray, "height width 3"]
FPS = 25
HEIGHT, WIDTH = 480, 640
FACE_CENTER = (224.0, 116.0)  # of the astronaut, x and y in her 512 x 512 picture
NOISE = 2.0  # of the sensor, in 8-bit steps
MARGIN = 256  # pixels by which the field of noise is larger than a frame; each frame shows another part of it
SHOULDER = 60.0  # pixels over which the picture fades into the background
ENCODER = {"preset": "veryfast", "tune": "zerolatency", "profile": "main", "x264-params": "keyint=50:scenecut=0"}
BIT_RATE = 1_000_000  # bits a second: a good call at this size


@dataclass(frozen=True, slots=True)
class DemoClip:
    """A clip that was made, and what is true of it."""

    path: Path
    seconds: float
    change_s: float | None  # when the face becomes forged; None if it stays real


def make_demo_clip(
    path: Path | str,
    forged: bool = True,
    seconds: float = 24.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> DemoClip:
    """Write the clip as H.264 at 25 frames a second; with `forged`, the second half shows a swapped face.

    Args:
        seed: another seed, other movements, light and noise.
        progress: hears how many frames are done, and of how many.

    Raises:
        UsageError: if there is no scikit-image, which brings the picture.
    """
    change_s = seconds / 2 if forged else None
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=ENCODER)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = HEIGHT, WIDTH, "yuv420p", BIT_RATE
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, FPS)
        for index, rgb in enumerate(demo_frames(seconds, change_s, seed), start=1):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
            if progress is not None:
                progress(index, round(seconds * FPS))
        container.mux(stream.encode(None))
    return DemoClip(Path(path), seconds, change_s)


def demo_frames(seconds: float, change_s: float | None, seed: int = 0) -> Iterator[Picture]:
    """The frames before compression; from `change_s` on the face is a swapped one."""
    camera, swap = Camera(astronaut(), seed), FaceSwap(seed)
    for index in range(round(seconds * FPS)):
        pts_s = index / FPS
        rgb, to_frame = camera(pts_s)
        yield swap(rgb, to_frame) if change_s is not None and pts_s >= change_s else rgb


def astronaut() -> Picture:
    """NASA's portrait of Eileen Collins: (512, 512, 3).

    Raises:
        UsageError: if scikit-image is not installed.
    """
    try:
        import skimage.data
    except ImportError as exc:
        raise UsageError("the demo's face comes with scikit-image: pip install 'stream-detect[demo]'") from exc
    return np.ascontiguousarray(skimage.data.astronaut())  # type: ignore[no-untyped-call]


class Camera:
    """A webcam before a sitting person: sways, zooms, changes its exposure and focus; its sensor is noisy."""

    def __init__(self, portrait: Picture, seed: int) -> None:
        self.portrait = portrait
        self.rng = np.random.default_rng(seed)
        self.phases = self.rng.uniform(0, 2 * np.pi, 8)
        height, width = portrait.shape[:2]
        self.fade = faded_edges(height, width)
        self.background = cv2.GaussianBlur(cv2.resize(portrait, (WIDTH, HEIGHT)), (0, 0), 35).astype(np.float32)
        self.noise = NOISE * self.rng.standard_normal((HEIGHT + MARGIN, WIDTH + MARGIN, 3), np.float32)

    def __call__(self, pts_s: float) -> tuple[Picture, Float32[np.ndarray, "2 3"]]:
        """The picture at a time, and the affine map from the portrait's pixels to the picture's."""
        to_frame = self.pose(pts_s)
        view = cv2.warpAffine(self.portrait, to_frame, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)
        weight = cv2.warpAffine(self.fade, to_frame, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)[..., None]
        scene = self.background + weight * (view.astype(np.float32) - self.background)
        return self.sensor(self.lens(self.light(scene, pts_s), pts_s)), to_frame

    def pose(self, pts_s: float) -> Float32[np.ndarray, "2 3"]:
        zoom = 1.25 + 0.12 * self.wave(0, pts_s, 0.05)
        angle = 3.5 * self.wave(1, pts_s, 0.11)
        x = WIDTH / 2 + 35 * self.wave(2, pts_s, 0.13) + 6 * self.wave(3, pts_s, 0.6)
        y = HEIGHT * 0.45 + 14 * self.wave(4, pts_s, 0.17) + 4 * self.wave(5, pts_s, 0.5)
        to_frame = cv2.getRotationMatrix2D(FACE_CENTER, angle, zoom)
        to_frame[:, 2] += np.array([x - FACE_CENTER[0], y - FACE_CENTER[1]])
        return to_frame.astype(np.float32)

    def light(self, scene: np.ndarray, pts_s: float) -> np.ndarray:
        """Exposure within 12 %, and a little warmer or cooler."""
        gain = 0.96 + 0.12 * self.wave(6, pts_s, 0.09)
        warmth = 0.03 * self.wave(7, pts_s, 0.07)
        lit: np.ndarray = scene * np.array([gain * (1 + warmth), gain, gain * (1 - warmth)], np.float32)
        return lit

    def lens(self, scene: np.ndarray, pts_s: float) -> np.ndarray:
        """Out of focus for about a second, every six."""
        sigma = 1.1 * max(0.0, float(np.sin(2 * np.pi * pts_s / 6)) - 0.5) * 2
        return cv2.GaussianBlur(scene, (0, 0), sigma) if sigma > 0.2 else scene

    def sensor(self, scene: np.ndarray) -> Picture:
        top, left = self.rng.integers(0, MARGIN, 2)
        noisy = scene + self.noise[top : top + HEIGHT, left : left + WIDTH]
        return np.asarray(np.clip(noisy + 0.5, 0, 255), np.uint8)

    def wave(self, which: int, pts_s: float, rate_hz: float) -> float:
        return float(np.sin(2 * np.pi * rate_hz * pts_s + self.phases[which]))


def faded_edges(height: int, width: int) -> Float32[np.ndarray, "height width"]:
    """1 in the middle of a picture, falling to 0 at its edges but the lower one."""
    x = np.minimum(np.arange(width), np.arange(width)[::-1]) / SHOULDER
    y = np.arange(height) / SHOULDER
    weight = np.clip(np.minimum(x[None, :], y[:, None]), 0, 1)
    return np.asarray(weight * weight * (3 - 2 * weight), np.float32)
