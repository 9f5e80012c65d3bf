"""Media made in milliseconds: frames with and without a face, written with PyAV as a file of any kind.

The face is scikit-image's astronaut (Eileen Collins; NASA, public domain), the only real one that a wheel brings.
"""

import functools
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

ENCODERS = {"h264": "libx264", "hevc": "libx265", "vp8": "libvpx", "vp9": "libvpx-vp9", "mjpeg": "mjpeg"}
FAST = {
    "h264": {"preset": "ultrafast", "crf": "18"},
    "hevc": {"preset": "ultrafast", "crf": "18", "x265-params": "log-level=none"},
    "vp8": {"deadline": "realtime", "cpu-used": "8", "crf": "10"},
    "vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "15"},
    "mjpeg": {"qmin": "2", "qmax": "3"},
}
FACE_CENTER = (224.0, 120.0)  # x, y of the astronaut's face in the 512 x 512 picture
FACE_PX = 105.0  # about the height of her face there


@functools.cache
def astronaut() -> np.ndarray:
    """The picture itself: (512, 512, 3) uint8 RGB."""
    import skimage.data

    return np.ascontiguousarray(skimage.data.astronaut())


def portrait(
    height: int = 360, width: int = 480, face_px: float = 120, center: tuple[float, float] | None = None
) -> np.ndarray:
    """The astronaut with a face about `face_px` high at `center` (x, y; default the middle): (height, width, 3)."""
    x, y = center or (width / 2, height / 2)
    scale = face_px / FACE_PX
    matrix = np.array([[scale, 0, x - scale * FACE_CENTER[0]], [0, scale, y - scale * FACE_CENTER[1]]], np.float32)
    return cv2.warpAffine(astronaut(), matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def talking_head(num: int = 10, height: int = 360, width: int = 480, face_px: float = 120) -> list[np.ndarray]:
    """`num` frames in which the astronaut's face sways a few pixels about the middle."""
    sway = min(height, width) / 30
    angles = np.arange(num) * 2 * np.pi / 25  # one round a second at 25 fps
    centers = [(width / 2 + sway * np.cos(a), height / 2 + sway * np.sin(a)) for a in angles]
    return [portrait(height, width, face_px, center) for center in centers]


def scenery(num: int = 10, height: int = 120, width: int = 160, seed: int = 0) -> list[np.ndarray]:
    """`num` frames of soft moving colours without a face; each is distinct."""
    rng = np.random.default_rng(seed)
    cloud = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    return [np.ascontiguousarray(np.roll(cloud, 3 * i, axis=1)) for i in range(num)]


def numbered(num: int = 10, height: int = 64, width: int = 96) -> list[np.ndarray]:
    """`num` grey frames whose brightness tells which one it is: see `number_of`."""
    return [np.full((height, width, 3), 20 + 4 * (i % 50), np.uint8) for i in range(num)]


def number_of(rgb: np.ndarray) -> int:
    """Which of the (at most 50) `numbered` frames this is, after compression too."""
    return round((float(rgb.mean()) - 20) / 4)


def write_clip(
    path: Path | str,
    frames: Iterable[np.ndarray],
    *,
    fps: float | Fraction = 25,
    codec: str = "h264",
    pix_fmt: str | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
    container_format: str | None = None,
) -> Path:
    """Write RGB frames as a video.

    Args:
        path: the suffix says the container: .mp4, .mkv, .webm, .avi, .ts ...
        frames: (height, width, 3) uint8 RGB of one size; an odd size needs a `pix_fmt` without subsampling.
        codec: one of h264, hevc, vp8, vp9, mjpeg.
        pix_fmt: FFmpeg's name; yuv420p unless given (yuvj420p for mjpeg). yuv420p10le gives 10 bits (h264, hevc, vp9).
        rotation: degrees counter-clockwise that a player must turn the picture, stored as the display matrix (mp4).
        options: the encoder's, over the fast defaults in `FAST`.
    """
    frames = iter(frames)
    first = next(frames)
    with av.open(str(path), "w", format=container_format) as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream(ENCODERS[codec], rate=rate, options={**FAST[codec], **(options or {})})
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = pix_fmt or ("yuvj420p" if codec == "mjpeg" else "yuv420p")
        if rotation:
            stream.set_display_rotation(rotation)
        for rgb in [first, *frames]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode(None))
    return Path(path)
