"""How much fine detail each spot of a face has, against the surroundings of the face: the residual expert as a picture.

The filters are the expert's (`experts/residual.py`): SQUARE 3x3 of Fridrich and Kodovsky 2012, and the three
differences inside 2x2 blocks of NPR (Tan et al., CVPR 2024), cut off at four gray levels so that edges don't drown the
rest, at native resolution.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from stream_detect.decode.frame import Frame
from stream_detect.experts.residual import LIMIT, STEP, WEIGHTS, high_pass
from stream_detect.faces.crop import sound_box
from stream_detect.types import Face

RING_SHARE = 0.35  # width of the ring around the face, in sides of the box
LEAST_RING_PX = 24  # and at least so wide
LEAST_RING_AREA = 0.2  # of the box's area: a smaller ring inside the frame is nothing to compare with
SPOT_SHARE = 1 / 16  # side of the squares that energy is averaged over, in sides of the box
LEAST_SPOT_PX = 5
EXPOSED = (0.02, 0.98)  # luma of the pixels of the ring that are compared with
FLOOR = (0.02 * STEP) ** 2  # added to every energy: a fiftieth of a gray level


@dataclass(frozen=True, slots=True, eq=False)
class ResidualMap:
    """Energy of the residuals at each pixel, in decibels over that of the ring around the face."""

    db: np.ndarray  # (height, width) float32: of the face and its ring, as far as they lie in the frame
    box: tuple[float, float, float, float]  # of the face, xyxy in pixels of `db`
    face_db: float  # of the face as a whole; below 0: smoother than its surroundings
    has_ring: bool  # whether there are surroundings; if not, 0 dB is the mean of the face


def residual_map(frame: Frame, face: Face) -> ResidualMap:
    """The residual energy over a face and its ring, averaged over small squares.

    Each of the four filters counts the same: its energy is divided by its mean over the ring before they are averaged.

    Raises:
        ValueError: if the box holds no pixel of the frame, or isn't four finite numbers.
    """
    box = sound_box(face.box)
    x1, y1, x2, y2 = window = window_around(box, frame)
    within = box - np.array([x1, y1, x1, y1])
    inside = is_inside((y2 - y1, x2 - x1), within)
    if not inside.any():
        raise ValueError(f"expected a face inside the frame of {frame.width} x {frame.height} pixels, got {face.box}")
    around = ~inside & is_exposed(frame, window)
    has_ring = around.sum() >= LEAST_RING_AREA * inside.sum()
    energies = residual_energies(frame, window)
    ring = energies[around if has_ring else inside].mean(axis=0, dtype=np.float64)
    relative = (energies / ring).mean(axis=2)
    spot = max(LEAST_SPOT_PX, round(SPOT_SHARE * float(np.sqrt(np.prod(box[2:] - box[:2])))))
    smooth = cv2.boxFilter(relative, -1, (spot, spot), borderType=cv2.BORDER_REFLECT_101)
    left, top, right, bottom = within.tolist()
    return ResidualMap(
        decibels(np.asarray(smooth)),
        (left, top, right, bottom),
        float(decibels(relative[inside].mean(keepdims=True))[0]),
        bool(has_ring),
    )


def residual_energies(frame: Frame, window: tuple[int, int, int, int]) -> Float32[np.ndarray, "height width filters"]:
    """Squared residuals of each pixel of a window, of each filter at the scale of one gray level at its centre."""
    x1, y1, x2, y2 = window
    luma = frame.luma((x1 - 1, y1 - 1, x2 + 1, y2 + 1))
    bank = high_pass(luma)
    residuals = [
        bank["square3"] / WEIGHTS["square3"],
        bank["first_h"][1:-1, 1:],
        bank["first_v"][1:, 1:-1],
        (luma[1:, 1:] - luma[:-1, :-1])[1:, 1:],
    ]
    clipped = np.clip(np.stack(residuals, axis=-1), -LIMIT, LIMIT)
    return np.asarray(clipped**2 + FLOOR, np.float32)


def is_exposed(frame: Frame, window: tuple[int, int, int, int]) -> Bool[np.ndarray, "height width"]:
    """The pixels that are neither black nor white: bars and burnt-out skies have no detail to compare with."""
    luma = frame.luma(window)
    exposed: np.ndarray = (luma > EXPOSED[0]) & (luma < EXPOSED[1])
    return exposed


def window_around(box: np.ndarray, frame: Frame) -> tuple[int, int, int, int]:
    """The whole pixels of the frame in the box and its ring."""
    ring_px = max(LEAST_RING_PX, RING_SHARE * float(np.max(box[2:] - box[:2])))
    x1, y1 = np.maximum(np.floor(box[:2] - ring_px), 0).astype(int).tolist()
    x2, y2 = np.ceil(box[2:] + ring_px).astype(int).tolist()
    x2, y2 = min(x2, frame.width), min(y2, frame.height)
    if x1 >= x2 or y1 >= y2:
        raise ValueError(f"expected a face inside the frame of {frame.width} x {frame.height} pixels, got {box}")
    return x1, y1, x2, y2


def is_inside(shape: tuple[int, int], box: np.ndarray) -> Bool[np.ndarray, "height width"]:
    """The pixels of a picture whose middles lie in a box."""
    y, x = np.ogrid[0.5 : shape[0] : 1.0, 0.5 : shape[1] : 1.0]
    inside: np.ndarray = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
    return inside


def decibels(power: np.ndarray) -> Float32[np.ndarray, "*axes"]:
    return np.asarray(10 * np.log10(power), np.float32)
