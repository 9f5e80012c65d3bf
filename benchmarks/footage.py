"""The footage of the benchmarks: a talking head in 720p whose first picture follows its last, as H.264 packets.

The face is scikit-image's astronaut (NASA, public domain); a sensor's noise gives the decoder something to do.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

HEIGHT, WIDTH, FPS = 720, 1280, 30
LOOP_S = 4
FACE_CENTER, FACE_HEIGHT = (224.0, 120.0), 105.0  # of the astronaut, in pixels of her picture
SWAY_PX = 24
NOISE = 2.0  # of the sensor, in 8-bit steps
PACKETS = "%05d.h264"


def talking_head(num: int, face_px: float = 240) -> Iterator[np.ndarray]:
    """`num` pictures, (720, 1280, 3) uint8, of a face that sways once in that time."""
    import skimage.data

    portrait, scale = np.ascontiguousarray(skimage.data.astronaut()), face_px / FACE_HEIGHT
    rng = np.random.default_rng(0)
    noise = NOISE * rng.standard_normal((2 * HEIGHT, 2 * WIDTH, 1), np.float32)
    for angle in np.arange(num) * 2 * np.pi / num:
        x, y = WIDTH / 2 + SWAY_PX * np.sin(angle), HEIGHT * 0.48 + SWAY_PX / 3 * np.sin(2 * angle)
        grown = scale * (1 + 0.05 * np.cos(angle))
        matrix = np.array([[grown, 0, x - grown * FACE_CENTER[0]], [0, grown, y - grown * FACE_CENTER[1]]])
        view = cv2.warpAffine(portrait, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        top, left = rng.integers(0, (HEIGHT, WIDTH))
        noisy = view + noise[top : top + HEIGHT, left : left + WIDTH]
        yield np.clip(noisy + 0.5, 0, 255).astype(np.uint8)


def write_packets(folder: Path, kbps: int, face_px: float) -> str:
    """Write one loop as H.264, a file for each picture, and return the pattern of their paths."""
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    codec.framerate, codec.time_base, codec.bit_rate = Fraction(FPS), Fraction(1, FPS), kbps * 1000
    x264 = f"keyint={FPS}:scenecut=0:sliced-threads=0:repeat-headers=1:annexb=1"
    codec.options = {"preset": "veryfast", "tune": "zerolatency", "profile": "main", "x264-params": x264}
    packets = []
    for rgb in talking_head(LOOP_S * FPS, face_px):
        packets += codec.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24"))
    packets += codec.encode(None)
    for number, packet in enumerate(packets):
        (folder / (PACKETS % number)).write_bytes(bytes(packet))
    return str(folder / PACKETS)
