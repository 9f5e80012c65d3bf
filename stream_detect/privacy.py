"""Faces made unrecognisable in pictures that are kept or shown: what is taken away is gone, not scrambled."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

Box = tuple[float, float, float, float]

GROWN = 0.25  # of a face's sides, on each of them: hair and chin belong to it
BLOCKS = 6  # that are left of a face along each side
LINGER_S = 0.5  # a face that is lost stays hidden where it was for so long


def blurred(rgb: np.ndarray, boxes: Iterable[Box]) -> np.ndarray:
    """A copy of a picture in which every face is reduced to a few blocks, smoothly drawn.

    Args:
        rgb: (height, width, 3) uint8.
        boxes: xyxy in pixels; they may reach beyond the picture.
    """
    hidden = rgb.copy()
    height, width = rgb.shape[:2]
    for box in boxes:
        x1, y1, x2, y2 = grown(box, height, width)
        if x2 > x1 and y2 > y1:
            blocks = (min(BLOCKS, x2 - x1), min(BLOCKS, y2 - y1))
            few = cv2.resize(rgb[y1:y2, x1:x2], blocks, interpolation=cv2.INTER_AREA)
            hidden[y1:y2, x1:x2] = cv2.resize(few, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
    return hidden


def grown(box: Box, height: int, width: int) -> tuple[int, int, int, int]:
    """The whole pixels that are hidden for a box, as far as the picture goes."""
    x1, y1, x2, y2 = box
    more_x, more_y = GROWN * (x2 - x1), GROWN * (y2 - y1)
    left, top = int(np.floor(x1 - more_x)), int(np.floor(y1 - more_y))
    right, bottom = int(np.ceil(x2 + more_x)), int(np.ceil(y2 + more_y))
    return max(0, left), max(0, top), min(width, right), min(height, bottom)


class FaceHider:
    """Hides the faces of a video; one that is lost for a moment stays hidden where it was."""

    def __init__(self, linger_s: float = LINGER_S) -> None:
        self._linger_s = linger_s
        self._seen: list[tuple[float, Box]] = []

    def hide(self, rgb: np.ndarray, boxes: Sequence[Box], pts_s: float) -> np.ndarray:
        """A copy of the picture without the faces of now and of a moment ago."""
        kept = [(at, box) for at, box in self._seen if 0 <= pts_s - at <= self._linger_s]
        self._seen = kept + [(pts_s, box) for box in boxes]
        return blurred(rgb, [box for _, box in self._seen])


def hide_all(rgb: np.ndarray) -> np.ndarray:
    """A copy of a picture in which nobody looked for faces: nothing of it is left but a few blocks."""
    return blurred(rgb, [(0.0, 0.0, float(rgb.shape[1]), float(rgb.shape[0]))])
