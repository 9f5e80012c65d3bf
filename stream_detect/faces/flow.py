"""Follow points of faces from one frame to the next on small luma pictures.

Pyramidal Lucas-Kanade optical flow, believed where following a point forward and back again leads home, and summed up
as median shift and median scale: Kalal, Mikolajczyk and Matas, "Forward-Backward Error", 2010.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from stream_detect.decode.frame import Frame

Luma = UInt8[np.ndarray, "_ _"]

GRID = 4  # points a side, spread over the inner part of a box
INSET = 0.15  # of the box's sides: its rim shows more background than face
WINDOW_PX = 13  # side of the patch that is compared, in pixels of the small picture
LEVELS = 3  # pyramid levels above the small picture
MAX_RETURN_PX = 1.0  # a point that doesn't come back to within this many small pixels is not believed
MIN_SHARE = 0.5  # of a face's points that must be believed
MAX_SCALE = 1.25  # a face grows or shrinks no more from one frame to the next


@dataclass(frozen=True, slots=True)
class Motion:
    """How a box moved: its centre by `shift` (x, y) in pixels, its sides `scale` times as long."""

    shift: Float[np.ndarray, " 2"]
    scale: float


def small_luma(frame: Frame, max_side: int) -> Luma:
    """The frame's luma as it is stored, averaged in whole blocks so that no side is above `max_side` pixels.

    A block has `reduction(frame, max_side)` pixels a side; what doesn't fill one at the right and bottom is left out.
    """
    plane = frame.planes[0]
    for _ in range(reduction(frame, max_side).bit_length() - 1):
        rows, columns = (max(1, side // 2) for side in plane.shape[:2])  # halving is OpenCV's fast case
        plane = cv2.resize(plane[: 2 * rows, : 2 * columns], (columns, rows), interpolation=cv2.INTER_AREA)
    small = cv2.cvtColor(plane, cv2.COLOR_RGB2GRAY) if plane.ndim == 3 else plane
    reduced: Luma = small.astype(np.uint8, copy=False)
    return reduced


def reduction(frame: Frame, max_side: int) -> int:
    """Pixels of the frame for one of its small luma, along a side: a power of two."""
    return 1 << (-(-max(frame.height, frame.width) // max_side) - 1).bit_length()


def follow(before: Luma, after: Luma, boxes: Float[np.ndarray, "faces 4"]) -> list[Motion | None]:
    """How each box, in pixels of these pictures, moved from one to the other; None where that can't be told."""
    if not len(boxes) or before.shape != after.shape:
        return [None] * len(boxes)
    start = grid_points(boxes)
    end, is_sound = flow_there_and_back(before, after, start)
    return [sum_up(*points) for points in zip(start, end, is_sound, strict=True)]


def grid_points(boxes: Float[np.ndarray, "faces 4"]) -> Float32[np.ndarray, "faces 16 2"]:
    steps = np.linspace(INSET, 1 - INSET, GRID)
    x, y = (grid.ravel() for grid in np.meshgrid(steps, steps))
    low, sides = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
    points: np.ndarray = low + sides * np.stack([x, y], axis=1)
    return points.astype(np.float32)


def flow_there_and_back(
    before: Luma, after: Luma, start: Float32[np.ndarray, "faces points 2"]
) -> tuple[Float32[np.ndarray, "faces points 2"], Bool[np.ndarray, "faces points"]]:
    """Where the points went, and which of them found their way back."""
    flat = start.reshape(-1, 1, 2) - np.float32(0.5)  # OpenCV's pixel 0 is at 0, ours covers 0..1
    end, went = lucas_kanade(before, after, flat)
    back, came = lucas_kanade(after, before, end)
    off = np.linalg.norm((back - flat).reshape(-1, 2), axis=1)
    is_sound = went & came & (off <= MAX_RETURN_PX)
    return (end + np.float32(0.5)).reshape(start.shape), is_sound.reshape(start.shape[:2])


def lucas_kanade(
    before: Luma, after: Luma, points: Float32[np.ndarray, "points 1 2"]
) -> tuple[Float32[np.ndarray, "points 1 2"], Bool[np.ndarray, " points"]]:
    """Where points of one picture are in the other, and which were found."""
    size = (WINDOW_PX, WINDOW_PX)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, None, winSize=size, maxLevel=LEVELS)  # type: ignore[call-overload]
    return moved, found.ravel() == 1


@lru_cache(maxsize=GRID * GRID)
def pairs_of(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of so many points, once."""
    one, other = np.triu_indices(points, 1)
    return one, other


def sum_up(
    start: Float32[np.ndarray, "points 2"], end: Float32[np.ndarray, "points 2"], is_sound: Bool[np.ndarray, " points"]
) -> Motion | None:
    """Median shift and median growth of the distances between the sound points; None if too few are sound."""
    if is_sound.mean() < MIN_SHARE:
        return None
    start, end = start[is_sound].astype(np.float64), end[is_sound].astype(np.float64)
    one, other = pairs_of(len(start))
    lengths, grown = (np.hypot(*(points[one] - points[other]).T) for points in (start, end))
    scale = float(median(grown / np.maximum(lengths, 1e-6)))
    if not 1 / MAX_SCALE <= scale <= MAX_SCALE:
        return None
    return Motion(median(end - start), scale)


def median(values: np.ndarray) -> Any:
    """What `np.median` gives over the first axis, in a fifth of its time where it is short."""
    ordered = np.sort(values, axis=0)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
