"""Tells a camera that repeats its last picture from one that looks at something still."""

import math
from collections import deque
from typing import Any

import cv2
import numpy as np

from stream_detect.decode.frame import Frame, faults_of_a_device

STILL_LOOK_S = 0.5  # how often a picture on a GPU is compared with the one before: each time the GPU is waited for
SPARSE_ROWS = 16  # every so manieth row is compared first to see whether a picture stands still

RECODED = 3.0  # a picture that is coded anew again and again must stand still for so many times as long
LEAST_PAIRS = 10  # of pictures that are compared before so much is said
CHANGED_SHARE = 0.004  # of the pixels from one to the next: a camera's noise changes five times as many, or more
BLOCKS_WIDE = 40
DRIFT_LEVELS = 3.0  # between a block's means, then and now; somebody who breathes moves them by ten


class Stillness:
    """Tells when a live picture stands still: a camera or server that repeats its last frame for ever.

    `after_s` is how long it may do so, in seconds; infinity for a source that may stand still, such as a file. Who
    repeats a picture may also code it anew each time: its pixels then change at key frames and hardly in between. That
    is told after three times as long, by pictures on the CPU alone.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._luma: Any = None  # an array of NumPy or of a GPU
        self._since_s = self._looked_s = 0.0
        self._recoded = Recoded(RECODED * after_s)

    def is_frozen(self, frame: Frame) -> bool:
        """Whether the picture has not changed in a single pixel for `after_s` seconds of arrival time, or is recoded.

        Pictures on a GPU are compared every `STILL_LOOK_S` seconds.
        """
        if math.isinf(self._after_s):
            return False
        if frame.is_on_device and 0 <= frame.arrived_s - self._looked_s < STILL_LOOK_S:
            return frame.arrived_s - self._since_s > self._after_s
        self._looked_s = frame.arrived_s
        luma, before = frame.planes[0], self._luma
        self._luma = luma
        is_recoded = not frame.is_on_device and self._recoded.is_still(before, luma, frame.arrived_s)
        if before is None or not same(before, luma):
            self._since_s = frame.arrived_s
        return is_recoded or frame.arrived_s - self._since_s > self._after_s


class Recoded:
    """Tells one picture that is coded anew each time from a camera's, whose noise never ends."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._pairs: deque[tuple[float, float]] = deque()  # when, and the share of pixels that changed
        self._blocks: np.ndarray | None = None  # as it began
        self._since_s = self._looked_s = -math.inf

    def is_still(self, before: Any, luma: np.ndarray, at_s: float) -> bool:
        """Whether nothing but coding has changed for `after_s` seconds; to be asked for each picture in turn."""
        if not isinstance(before, np.ndarray) or before.shape != luma.shape or at_s < self._looked_s:
            self._begin(luma, at_s)
            return False
        changed = before[::SPARSE_ROWS] != luma[::SPARSE_ROWS]
        self._pairs.append((at_s, np.count_nonzero(changed) / changed.size))
        while self._pairs[0][0] < at_s - self._after_s:
            self._pairs.popleft()
        if at_s - self._looked_s >= STILL_LOOK_S:
            self._looked_s = at_s
            if self._blocks is None or np.abs(means_of_blocks(luma) - self._blocks).max() > DRIFT_LEVELS:
                self._begin(luma, at_s)
        if at_s - self._since_s < self._after_s or len(self._pairs) < LEAST_PAIRS:
            return False
        return float(np.median([share for _, share in self._pairs])) <= CHANGED_SHARE

    def _begin(self, luma: np.ndarray, at_s: float) -> None:
        self._pairs.clear()
        self._blocks, self._since_s, self._looked_s = means_of_blocks(luma), at_s, at_s


def means_of_blocks(luma: np.ndarray) -> np.ndarray:
    """The picture brought to `BLOCKS_WIDE` columns of square blocks, as float32."""
    gray = luma if luma.ndim == 2 else luma[..., 1]  # of RGB green will do
    height, width = gray.shape
    columns = min(BLOCKS_WIDE, width)
    to = (columns, max(1, round(height * columns / width)))
    return cv2.resize(gray, to, interpolation=cv2.INTER_AREA).astype(np.float32)


def same(before: Any, after: Any) -> bool:
    """Whether two pictures are equal and in the same place; a few rows tell apart most that aren't."""
    if before.shape != after.shape or type(before) is not type(after):
        return False
    with faults_of_a_device(before):
        return bool((before[::SPARSE_ROWS] == after[::SPARSE_ROWS]).all()) and bool((before == after).all())
