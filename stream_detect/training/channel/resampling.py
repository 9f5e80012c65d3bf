"""Changing a picture's size as cameras, calls and screens do, without moving anything in it by a whole pixel."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

Picture = UInt8[np.ndarray, "_ _ 3"]  # (height, width, 3); what is given back may have another size
Kernel = Literal["nearest", "area", "linear", "cubic", "lanczos"]
KERNELS: tuple[Kernel, ...] = ("nearest", "area", "linear", "cubic", "lanczos")
POINTWISE = {  # OpenCV's: but for "area" as wide as the source's pixels, which aliases when it reduces, as GPUs do
    "nearest": cv2.INTER_NEAREST_EXACT,
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
SMOOTH: dict[Kernel, Image.Resampling] = {  # Pillow's: as wide as the result's pixels, as in browsers and editors
    "linear": Image.Resampling.BILINEAR,
    "cubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, slots=True)
class Detour:
    """A size on the way: the picture is brought to `factor` of its size, is sent so, and comes back to its own size."""

    factor: float
    to: Kernel = "area"
    back: Kernel = "linear"
    shift: tuple[float, float] = (0.0, 0.0)  # of the picture that comes back, in its pixels to the right and down

    def out(self, rgb: Picture) -> Picture:
        height, width = rgb.shape[:2]
        return resized(rgb, max(16, round(self.factor * height)), max(16, round(self.factor * width)), self.to, True)

    def home(self, rgb: Picture, height: int, width: int) -> Picture:
        if self.shift == (0.0, 0.0):
            return resized(rgb, height, width, self.back, rgb.shape[0] > height)
        x_scale, y_scale = width / rgb.shape[1], height / rgb.shape[0]
        dx, dy = 0.5 * x_scale - 0.5 + self.shift[0], 0.5 * y_scale - 0.5 + self.shift[1]
        matrix = np.array([[x_scale, 0, dx], [0, y_scale, dy]], np.float64)
        flags = {"nearest": cv2.INTER_NEAREST, "area": cv2.INTER_LINEAR}.get(self.back, POINTWISE[self.back])
        moved = cv2.warpAffine(rgb, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(moved, np.uint8)


def scaled(rgb: Picture, scale: float, kernel: Kernel, is_smooth: bool = True) -> Picture:
    """The picture scaled; the same array where nothing is to be done."""
    if scale == 1.0:
        return rgb
    height, width = rgb.shape[:2]
    return resized(rgb, max(2, round(scale * height)), max(2, round(scale * width)), kernel, is_smooth)


def resized(rgb: Picture, height: int, width: int, kernel: Kernel, is_smooth: bool) -> Picture:
    """The picture at another size; pixel areas stay where they are: x becomes (x + 1/2) * scale - 1/2."""
    if rgb.shape[:2] == (height, width):
        return rgb
    if is_smooth and kernel in SMOOTH:
        return np.asarray(Image.fromarray(rgb).resize((width, height), SMOOTH[kernel]))
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=POINTWISE[kernel]), np.uint8)
