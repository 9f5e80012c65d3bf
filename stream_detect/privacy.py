"""Faces made unrecognisable: what `--privacy blur` does to every picture that is shown, sent or kept.

A face becomes a few averages of its pixels with soft steps between them. Averages can't be turned back into what they
were made of, as the blur of a lens can; of a small face fewer are taken, so that none stands for a few pixels only.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import UInt8

from stream_detect.types import FaceVerdict, FrameVerdict

Box = tuple[float, float, float, float]
Rgb = UInt8[np.ndarray, "height width 3"]
Told = tuple[np.ndarray, FrameVerdict]  # a picture and what was said of it

MARGIN = 0.2  # on each side, in sides of the box: hair, chin and ears
CELLS = 3  # along the longer side of what is hidden, at most
SMALLEST_CELL_PX = 12.0
LEVELS = 16  # steps of brightness between two values that an average may have
AHEAD = 6  # frames: from where a face could be seen to where it has been found
SPREAD_PER_S = 0.5  # by how much a box grows while its face is out of sight, in sides of the box a second


def blurred(rgb: Rgb, boxes: Sequence[Box]) -> Rgb:
    """A copy of the picture in which nobody is recognised by what lies in the boxes, nor a fifth of a side around them.

    Args:
        boxes: xyxy in pixels of the picture; parts outside it don't matter. One that is not finite hides all of it.
    """
    hidden = np.array(rgb)
    for window in (window_of(box, *rgb.shape[:2]) for box in boxes):
        if window is not None:
            x1, y1, x2, y2 = window
            hidden[y1:y2, x1:x2] = smeared(hidden[y1:y2, x1:x2])
    return hidden


def window_of(box: Box, height: int, width: int) -> tuple[int, int, int, int] | None:
    """The pixels to hide for a box, in a picture of that size; None if they lie outside it."""
    x1, y1, x2, y2 = (float(side) for side in box)
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        return 0, 0, width, height
    wide, high = grown((x1, x2)), grown((y1, y2))
    window = (
        max(0, math.floor(wide[0])),
        max(0, math.floor(high[0])),
        min(width, math.ceil(wide[1])),
        min(height, math.ceil(high[1])),
    )
    return window if window[0] < window[2] and window[1] < window[3] else None


def grown(side: tuple[float, float], margin: float = MARGIN) -> tuple[float, float]:
    """A side of a box, from and to, with its margins; never shorter than one cell."""
    middle = (side[0] + side[1]) / 2
    half = max(abs(side[1] - side[0]) * (0.5 + margin), SMALLEST_CELL_PX / 2)
    return middle - half, middle + half


def smeared(part: np.ndarray) -> np.ndarray:
    """A few averages in place of the pixels, and a soft way from one to the next."""
    height, width = part.shape[:2]
    cell = max(SMALLEST_CELL_PX, max(height, width) / CELLS)
    cells = (max(1, round(width / cell)), max(1, round(height / cell)))  # OpenCV's order
    averages = cv2.resize(part, cells, interpolation=cv2.INTER_AREA).reshape(cells[1], cells[0], 3)
    coarse = (averages // LEVELS * LEVELS + LEVELS // 2).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).reshape(part.shape).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Sighting:
    """Which faces were where in a frame."""

    pts_s: float
    faces: tuple[FaceVerdict, ...]


@dataclass(slots=True)
class Remembered:
    """What is remembered of one source."""

    seen: deque[Sighting] = field(default_factory=deque)
    waiting: deque[Told] = field(default_factory=deque)


class FaceHider:
    """Hides the faces of videos, those that were not found for a moment too, and frames that were not judged.

        for rgb, verdict in hider.take(rgb, verdict): ...

    Args:
        hold_s: for so long a face that is no longer seen stays hidden where it was, in seconds.
        ahead: pictures are given out when so many later ones have come, so that a face is hidden from where it was
            first to be seen: it is sought in one of five frames and found in the sixth. 0: at once.
    """

    def __init__(self, hold_s: float = 1.0, ahead: int = AHEAD) -> None:
        self._hold_s = hold_s
        self._ahead = ahead
        self._feeds: dict[str, Remembered] = {}

    def take(self, rgb: Rgb, verdict: FrameVerdict) -> list[Told]:
        """Pictures that can be shown now that this one came, in order, without their faces."""
        feed = self._feeds.setdefault(verdict.source, Remembered())
        given = self._let_out(feed) if self._is_elsewhere(feed, verdict.pts_s) else []
        feed.seen.append(Sighting(verdict.pts_s, verdict.faces))
        feed.waiting.append((rgb, verdict))
        while len(feed.waiting) > self._ahead:
            given.append(self._hidden(feed))
        self._forget(feed)
        return given

    def rest(self) -> list[Told]:
        """The pictures that still wait: no more will come."""
        return [one for feed in self._feeds.values() for one in self._let_out(feed)]

    def _is_elsewhere(self, feed: Remembered, pts_s: float) -> bool:
        """Whether the source began anew: its time went back."""
        return bool(feed.seen) and pts_s < feed.seen[-1].pts_s

    def _let_out(self, feed: Remembered) -> list[Told]:
        out = [self._hidden(feed) for _ in range(len(feed.waiting))]
        feed.seen.clear()
        return out

    def _hidden(self, feed: Remembered) -> Told:
        rgb, verdict = feed.waiting.popleft()
        if verdict.reasons:  # corrupt or frozen: nobody looked for faces in it
            return blurred(rgb, [(0.0, 0.0, float(rgb.shape[1]), float(rgb.shape[0]))]), verdict
        near = [one for one in feed.seen if one.pts_s >= verdict.pts_s - self._hold_s]
        return blurred(rgb, nearest(near, verdict.pts_s)), verdict

    def _forget(self, feed: Remembered) -> None:
        oldest_s = feed.waiting[0][1].pts_s if feed.waiting else feed.seen[-1].pts_s
        while feed.seen and feed.seen[0].pts_s < oldest_s - self._hold_s:
            feed.seen.popleft()


def nearest(seen: Sequence[Sighting], pts_s: float) -> list[Box]:
    """Where each face is to be hidden at a time: where it was when it was seen nearest to that, and around it."""
    boxes: dict[object, Box] = {}
    for one in sorted(seen, key=lambda one: -abs(one.pts_s - pts_s)):
        for face in one.faces:
            key = face.box if face.track is None else face.track
            boxes[key] = spread(face.box, abs(one.pts_s - pts_s))
    return list(boxes.values())


def spread(box: Box, age_s: float) -> Box:
    """A box with as much around it as its face may have moved in so many seconds out of sight."""
    (x1, x2), (y1, y2) = (grown(side, SPREAD_PER_S * age_s) for side in ((box[0], box[2]), (box[1], box[3])))
    return x1, y1, x2, y2
