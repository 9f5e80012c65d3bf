"""Tells a camera that repeats its last picture from one that looks at something still."""

import math
from typing import Any

from stream_detect.decode.frame import Frame, faults_of_a_device

STILL_LOOK_S = 0.5  # how often a picture on a GPU is compared with the one before: each time the GPU is waited for
SPARSE_ROWS = 16  # every so manieth row is compared first to see whether a picture stands still


class Stillness:
    """Tells when a live picture stands still: a camera or server that repeats its last frame for ever.

    `after_s` is how long it may do so, in seconds; infinity for a source that may stand still, such as a file.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._luma: Any = None  # an array of NumPy or of a GPU
        self._since_s = self._looked_s = 0.0

    def is_frozen(self, frame: Frame) -> bool:
        """Whether the picture has not changed in a single pixel for `after_s` seconds of arrival time.

        Pictures on a GPU are compared every `STILL_LOOK_S` seconds.
        """
        if math.isinf(self._after_s):
            return False
        if frame.is_on_device and 0 <= frame.arrived_s - self._looked_s < STILL_LOOK_S:
            return frame.arrived_s - self._since_s > self._after_s
        self._looked_s = frame.arrived_s
        luma, before = frame.planes[0], self._luma
        self._luma = luma
        if before is None or not same(before, luma):
            self._since_s = frame.arrived_s
        return frame.arrived_s - self._since_s > self._after_s


def same(before: Any, after: Any) -> bool:
    """Whether two pictures are equal and in the same place; a few rows tell apart most that aren't."""
    if before.shape != after.shape or type(before) is not type(after):
        return False
    with faults_of_a_device(before):
        return bool((before[::SPARSE_ROWS] == after[::SPARSE_ROWS]).all()) and bool((before == after).all())
