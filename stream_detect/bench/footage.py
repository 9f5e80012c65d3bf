"""The footage of every benchmark: a talking head whose first picture follows its last, as H.264 packets or a clip.

The face is scikit-image's astronaut (NASA, public domain); a sensor's noise gives the decoder something to do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from jaxtyping import UInt8

from stream_detect.demo.clip import astronaut

HEIGHT, WIDTH, FPS = 720, 1280, 30
KBPS = 4000
FACE_PX = 240.0  # height of the face
LOOP_S = 4
FACE_CENTER, FACE_HEIGHT = (224.0, 120.0), 105.0  # of the astronaut, in pixels of her picture
SWAY = 1 / 30  # of the picture's height
NOISE = 2.0  # of the sensor, in 8-bit steps
X264 = f"keyint={FPS}:scenecut=0:sliced-threads=0:repeat-headers=1:annexb=1"
PACKETS = "%05d.h264"


@dataclass(frozen=True, slots=True)
class Coded:
    """One picture as H.264 (Annex B, with its headers)."""

    data: bytes
    is_key: bool


def talking_head(
    num: int, face_px: float = FACE_PX, height: int = HEIGHT
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """`num` pictures of 16:9, uint8 RGB, of a face that sways once in that time; the same ones each time.

    Raises:
        UsageError: if there is no scikit-image, which brings the face.
    """
    portrait, scale, width = astronaut(), face_px / FACE_HEIGHT, round(height * 16 / 9)
    rng = np.random.default_rng(0)
    noise = NOISE * rng.standard_normal((2 * height, 2 * width, 1), np.float32)
    for angle in np.arange(num) * 2 * np.pi / num:
        sway_px = SWAY * height
        x, y = width / 2 + sway_px * np.sin(angle), height * 0.48 + sway_px / 3 * np.sin(2 * angle)
        grown = scale * (1 + 0.05 * np.cos(angle))
        matrix = np.array([[grown, 0, x - grown * FACE_CENTER[0]], [0, grown, y - grown * FACE_CENTER[1]]])
        view = cv2.warpAffine(portrait, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        top, left = rng.integers(0, (height, width))
        noisy = view + noise[top : top + height, left : left + width]
        yield np.asarray(np.clip(noisy + 0.5, 0, 255), np.uint8)


def coded(kbps: int = KBPS, face_px: float = FACE_PX, height: int = HEIGHT, num: int = LOOP_S * FPS) -> list[Coded]:
    """One loop of the talking head, picture by picture, as a camera codes it: no B frames, a key frame a second."""
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = round(height * 16 / 9), height, "yuv420p"
    codec.framerate, codec.time_base, codec.bit_rate = Fraction(FPS), Fraction(1, FPS), kbps * 1000
    codec.options = {"preset": "veryfast", "tune": "zerolatency", "profile": "main", "x264-params": X264}
    packets = []
    for rgb in talking_head(num, face_px, height):
        packets += codec.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24"))
    packets += codec.encode(None)
    return [Coded(bytes(packet), packet.is_keyframe) for packet in packets]


def write_packets(folder: Path, pictures: list[Coded]) -> str:
    """Write a file for each coded picture and return the pattern of their paths."""
    for number, picture in enumerate(pictures):
        (folder / (PACKETS % number)).write_bytes(picture.data)
    return str(folder / PACKETS)


def write_clip(path: Path, pictures: list[Coded], seconds: float, height: int = HEIGHT) -> Path:
    """Write a clip of `seconds`, of the kind that the suffix names, by repeating the coded pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = round(height * 16 / 9), height, "yuv420p"
        for number in range(round(seconds * FPS)):
            picture = pictures[number % len(pictures)]
            packet = av.Packet(picture.data)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, FPS), stream, picture.is_key
            container.mux(packet)
    return path
