"""Tells from pictures alone that a decoder had to make up part of them, where its own flags say nothing.

Measured: FFmpeg flags no cut MJPEG picture (the rest is green) and no damaged HEVC picture (blocks are smeared).
"""

from collections import deque
from typing import Any

import cv2
import numpy as np

from stream_detect.decode.frame import SUBSAMPLING, Layout

GRID_PX = 8  # pixels are looked at so far apart, in both directions
FILLED_SHARE = 0.02  # of a picture that must be filled for it to count as damaged
GREY = 128  # in all planes: what codecs begin with where nothing is known; a studio's or a slide's grey is another
GREY_ROWS = 2  # of the grid that must be grey from edge to edge: nothing else is cut into slices
GREEN_CHROMA, GREEN_LUMA = 24, 120  # both chroma planes and luma below these: greener than any colour there is

BLOCK_PX = 8  # the smallest blocks of HEVC, at whose borders smears begin and end
LINES = 90  # about so many rows, and as many columns, are looked at for steps
HARD_STEP = 20  # levels between two pixels of a smear's border
ALONE = 4  # times as high as the steps beside it
STRAIGHT = 0.08  # of a border's length count at most: a longer step is a drawn line, such as a window's edge
REMEMBERED = 25  # pictures that say how many such steps are usual
LEARNED = 5  # of them at least before anything can be unusual
UNUSUAL, AT_LEAST = 4.0, 0.004  # times the most seen, and so many more of the borders looked at
GIVEN_UP = 50  # damaged pictures in a row after which they are what is usual
HARD_BESIDE = np.clip(ALONE * np.arange(256), HARD_STEP, 255).astype(np.uint8)  # by the highest step beside it


def damage_of(planes: tuple[Any, ...], layout: Layout) -> str | None:
    """How a picture is visibly damaged: "grey" or "green" where nothing was decoded; None if it is not.

    `planes` are NumPy's, as a `Frame` has them; only YUV layouts can be told.
    """
    if layout not in SUBSAMPLING:
        return None
    luma, first, second = on_grid(planes, layout)
    green = (first < GREEN_CHROMA) & (second < GREEN_CHROMA) & (luma < GREEN_LUMA)
    if np.count_nonzero(green) >= max(1.0, FILLED_SHARE * green.size):
        return "green"
    grey = (luma == GREY) & (first == GREY) & (second == GREY)
    full_rows = np.count_nonzero(grey.all(axis=1))
    if full_rows >= max(GREY_ROWS, FILLED_SHARE * len(grey)) and not grey.all():
        return "grey"
    return None


def on_grid(planes: tuple[Any, ...], layout: Layout) -> list[np.ndarray]:
    """Luma and chroma of every `GRID_PX`th pixel of every `GRID_PX`th row."""
    steps = [(1, 1), SUBSAMPLING[layout], SUBSAMPLING[layout]]
    parts = [
        plane[GRID_PX // rows // 2 :: GRID_PX // rows, GRID_PX // columns // 2 :: GRID_PX // columns]
        for plane, (rows, columns) in zip(planes, steps, strict=True)
    ]
    height, width = (min(part.shape[axis] for part in parts) for axis in (0, 1))
    return [part[:height, :width] for part in parts]


class Smears:
    """Notices when the pictures of one stream suddenly have hard steps between blocks that lie alone.

    Coded video has few of them, and always about as many; where blocks are built on wrong ones there are many.
    """

    def __init__(self) -> None:
        self._usual: deque[float] = deque(maxlen=REMEMBERED)
        self._in_a_row = 0

    def is_smeared(self, luma: np.ndarray) -> bool:
        """Whether a picture has many more such steps than those before it; to be asked for each in turn."""
        share = hard_steps(luma)
        known = len(self._usual) >= LEARNED
        if known and share > UNUSUAL * max(self._usual) + AT_LEAST and self._in_a_row < GIVEN_UP:
            self._in_a_row += 1
            return True
        if self._in_a_row >= GIVEN_UP:
            self._usual.clear()
        self._in_a_row = 0
        self._usual.append(share)
        return False


def hard_steps(luma: np.ndarray) -> float:
    """The share of the borders between blocks with a hard step there, less that of other places; 0 or more."""
    rows, columns = (max(4, length // LINES) for length in luma.shape)
    along_rows, along_columns = luma[rows // 2 :: rows], np.ascontiguousarray(luma[:, columns // 2 :: columns].T)
    return steps_between_blocks(along_rows) + steps_between_blocks(along_columns)


def steps_between_blocks(lines: np.ndarray) -> float:
    """As `hard_steps`, along the given lines of pixels."""
    if len(lines) == 0 or lines.shape[1] < 4 * BLOCK_PX:
        return 0.0
    steps = cv2.absdiff(lines[:, 1:], lines[:, :-1])
    around = cv2.max(steps[:, :-2], steps[:, 2:])
    is_hard = cv2.compare(steps[:, 1:-1], cv2.LUT(around, HARD_BESIDE), cv2.CMP_GT)
    whole = is_hard.shape[1] // BLOCK_PX * BLOCK_PX  # the first step lies before pixel 2
    shares = cv2.reduce(is_hard[:, :whole], 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F).reshape(-1, BLOCK_PX) / 255
    shares = np.minimum(shares, STRAIGHT).mean(axis=0)
    at_borders = shares[BLOCK_PX - 2]
    return max(0.0, float(at_borders - np.delete(shares, BLOCK_PX - 2).max()))
