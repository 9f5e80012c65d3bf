"""Give faces names that last: match detections to tracks, follow tracks where no detection was made.

A tracker belongs to one source, and to one thread at a time. It says itself which frames need a detection:

    faces = tracker.detected(find_faces([frame], detector)[0], frame) if tracker.due(frame) else tracker.between(frame)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from jaxtyping import Float

from stream_detect.decode.frame import Frame
from stream_detect.faces.assignment import assign
from stream_detect.faces.flow import Luma, Motion, follow, reduction, small_luma
from stream_detect.faces.retinaface import iou
from stream_detect.types import Face

HALF_LIFE_S = 0.4  # in which the speed of a hidden face is halved
THUMBNAIL = (32, 18)  # width and height of the picture by which a change of scene is told
STILL = Motion(np.zeros(2), 1.0)
REFUSED = 1e6  # cost of a pair that can't be the same face


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """How faces are followed."""

    every: int = 5  # frames from one detection to the next
    keep_s: float = 1.0  # how long a face may be hidden and still get its number back
    pause_s: float = 2.0  # a stream that stood still longer, or went back further, starts with new numbers
    reach: float = 0.6  # how far from where it is expected a face may be found, in sides of its box
    reach_per_s: float = 1.0  # how much further for each second that it was hidden, in sides of its box
    max_growth: float = 2.0  # how many times larger or smaller it may be found
    smoothing: float = 0.4  # weight of the followed box against the detected one, so that crops don't jitter; 0: none
    scene_change: float = 0.08  # mean absolute difference of two frames' luma, in [0, 1], that asks for a detection
    flow_px: int = 480  # longer side of the picture that optical flow works on

    def __post_init__(self) -> None:
        if self.every < 1 or self.flow_px < 64:
            raise ValueError(f"every is at least 1 frame and flow_px at least 64 pixels, got {self}")
        if min(self.keep_s, self.reach_per_s) < 0 or min(self.pause_s, self.reach) <= 0 or self.max_growth <= 1:
            raise ValueError(f"times and reaches are 0 or more (pause_s, reach above), max_growth above 1, got {self}")
        if not (0 <= self.smoothing < 1 and 0 < self.scene_change <= 1):
            raise ValueError(f"smoothing lies in [0, 1) and scene_change in (0, 1], got {self}")


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """A face as the tracker knows it, in pixels of the frame."""

    number: int
    box: Float[np.ndarray, " 4"]
    landmarks: Float[np.ndarray, "5 2"]
    confidence: float
    seen_s: float  # pts when it was last seen
    velocity: Float[np.ndarray, " 2"] = field(default_factory=lambda: np.zeros(2))  # of its centre, in pixels a second
    misses: int = 0  # detections in a row that did not show it
    is_lost: bool = False

    @property
    def center(self) -> Float[np.ndarray, " 2"]:
        center: np.ndarray = (self.box[:2] + self.box[2:]) / 2
        return center

    @property
    def side(self) -> float:
        return float(np.sqrt(np.prod(np.maximum(self.box[2:] - self.box[:2], 1.0))))

    def moved(self, motion: Motion) -> "Track":
        """The track with its box and landmarks moved and scaled about its centre."""
        middle = self.center + motion.shift
        half = (self.box[2:] - self.box[:2]) / 2 * motion.scale
        landmarks = middle + (self.landmarks - self.center) * motion.scale
        return replace(self, box=np.concatenate([middle - half, middle + half]), landmarks=landmarks)


class Tracker:
    """Keeps the faces of one source apart; numbers count from 1 and are never given twice."""

    def __init__(self, settings: TrackerSettings = TrackerSettings()) -> None:
        self.settings = settings
        self.scenes = 0  # changes of scene so far, such as cuts; not told on a GPU
        self._tracks: list[Track] = []
        self._next_number = 1
        self._since_detection: int | None = None  # frames; None before the first one
        self._has_lost = False  # since the last detection
        self._luma: Luma | None = None  # of the frame before
        self._next: tuple[Frame, Luma] | None = None  # the frame that was asked about and is yet to come
        self._frame_sides: tuple[int, int] | None = None
        self._pts_s = 0.0

    def due(self, frame: Frame) -> bool:
        """Whether this frame needs a detection: the first, each k-th, after a loss, and when the scene changed.

        A frame on a GPU always does: a search there costs less than bringing luma to the host, where flow is.
        """
        if self._since_detection is None or self._luma is None or frame.is_on_device:
            return True
        if self._has_lost or self._since_detection + 1 >= self.settings.every:
            return True
        return self._difference(frame) > self.settings.scene_change

    def is_routine(self, frame: Frame) -> bool:
        """Whether the detection that is due in this frame is an ordinary one, which may as well come a frame later."""
        if self._since_detection is None or self._luma is None or self._has_lost:
            return False
        in_sight = any(not track.is_lost for track in self._tracks)
        return in_sight and self._difference(frame) <= self.settings.scene_change

    def detected(self, faces: Sequence[Face], frame: Frame) -> list[Face]:
        """The faces found in `frame`, each with the number of its track, in order of the numbers.

        A face that was followed up to here and is missing from `faces` is shown once more, and sought again in the
        next frame before it counts as lost.
        """
        expected = self._advance(frame)
        found = sorted(faces, key=canonical)
        column_of = dict(match(expected, found, frame.pts_s, self.settings))
        known = [
            self._updated(track, found[column_of[row]], frame) if row in column_of else missed(track)
            for row, track in enumerate(expected)
        ]
        new = [face for column, face in enumerate(found) if column not in column_of.values()]
        self._tracks = known + [self._started(face, frame) for face in new]
        self._since_detection = 0
        self._has_lost = any(track.misses == 1 and not track.is_lost for track in known)
        return self._visible(frame)

    def detected_before(self, faces: Sequence[Face], frame: Frame) -> list[Face]:
        """As `detected`, with faces found in the frame before; one that can't be followed from there is left out."""
        luma = self._small_luma(frame)
        found = [Track(0, face.box.astype(np.float64), face.landmarks, face.confidence, 0.0) for face in faces]
        motions = flow_of(found, self._luma, luma, frame, self.settings.flow_px)
        self._next = (frame, luma)
        moved = [track.moved(motion) for track, motion in zip(found, motions, strict=True) if motion is not None]
        shown = self.detected([to_face(track, frame) for track in moved], frame)
        self._since_detection = 1
        return shown

    def between(self, frame: Frame) -> list[Face]:
        """The faces of a frame without a detection, followed by optical flow, in order of the numbers.

        A face that can't be followed is lost: it isn't shown, moves on at its last speed and waits for a detection.
        """
        was_lost = {track.number for track in self._tracks if track.is_lost}
        self._tracks = self._advance(frame)
        self._has_lost |= any(track.is_lost and track.number not in was_lost for track in self._tracks)
        self._since_detection = None if self._since_detection is None else self._since_detection + 1
        return self._visible(frame)

    def _advance(self, frame: Frame) -> list[Track]:
        """The tracks as they should be in `frame`: by optical flow, or, where that fails, lost and at their speed."""
        elapsed_s = self._take_up(frame)
        motions = self._motions(frame)
        tracks = [moved_on(*pair, frame, elapsed_s) for pair in zip(self._tracks, motions, strict=True)]
        oldest_s = frame.pts_s - self.settings.keep_s
        return [track for track in tracks if not track.is_lost or track.seen_s >= oldest_s]

    def _difference(self, frame: Frame) -> float:
        """How much a frame that is yet to come differs from the one before."""
        self._next = (frame, self._small_luma(frame))
        return math.inf if self._luma is None else scene_difference(self._luma, self._next[1])

    def _motions(self, frame: Frame) -> list[Motion | None]:
        """How each track moved since the frame before; on a GPU, faces in sight are expected where they were."""
        before, self._luma = self._luma, None if frame.is_on_device else self._small_luma(frame)
        if self._luma is None:
            return [None if track.is_lost else STILL for track in self._tracks]
        if before is not None:
            self.scenes += scene_difference(before, self._luma) > self.settings.scene_change
        return flow_of(self._tracks, before, self._luma, frame, self.settings.flow_px)

    def _small_luma(self, frame: Frame) -> Luma:
        """The frame's luma, which may have been made already to tell whether a detection is due."""
        made, self._next = self._next, None
        return made[1] if made is not None and made[0] is frame else small_luma(frame, self.settings.flow_px)

    def _take_up(self, frame: Frame) -> float:
        """Fit the tracks to the frame's size and clock; the seconds since the frame before, 0 if it lay later."""
        sides, elapsed_s = (frame.height, frame.width), frame.pts_s - self._pts_s
        if self._frame_sides is not None and self._frame_sides != sides:
            self._tracks = [rescaled(track, self._frame_sides, sides) for track in self._tracks]
        if abs(elapsed_s) > self.settings.pause_s:
            self._tracks = []
        self._tracks = [replace(track, seen_s=min(track.seen_s, frame.pts_s)) for track in self._tracks]
        self._frame_sides, self._pts_s = sides, frame.pts_s
        return max(0.0, elapsed_s)

    def _updated(self, expected: Track, face: Face, frame: Frame) -> Track:
        """The track with what was detected, smoothed unless the face was hidden or jumped."""
        box, landmarks = face.box.astype(np.float64), face.landmarks.astype(np.float64)
        is_steady = not expected.is_lost and iou(expected.box[None], box[None])[0, 0] > 0.5
        kept = self.settings.smoothing if is_steady else 0.0
        return replace(
            expected,
            box=kept * expected.box + (1 - kept) * box,
            landmarks=kept * expected.landmarks + (1 - kept) * landmarks,
            confidence=face.confidence,
            seen_s=frame.pts_s,
            misses=0,
            is_lost=False,
        )

    def _started(self, face: Face, frame: Frame) -> Track:
        number, self._next_number = self._next_number, self._next_number + 1
        box, landmarks = face.box.astype(np.float64), face.landmarks.astype(np.float64)
        return Track(number, box, landmarks, face.confidence, frame.pts_s)

    def _visible(self, frame: Frame) -> list[Face]:
        """The faces in sight, boxes clipped to the frame."""
        in_sight = sorted((track for track in self._tracks if not track.is_lost), key=lambda track: track.number)
        return [to_face(track, frame) for track in in_sight]


def flow_of(
    tracks: Sequence[Track], before: Luma | None, after: Luma, frame: Frame, flow_px: int
) -> list[Motion | None]:
    """Optical flow of each track in sight, in pixels of the frame; None for those that were lost or get lost."""
    in_sight = [row for row, track in enumerate(tracks) if not track.is_lost]
    motions: list[Motion | None] = [None] * len(tracks)
    if before is None or not in_sight:
        return motions
    block = reduction(frame, flow_px)
    followed = follow(before, after, np.stack([tracks[row].box for row in in_sight]) / block)
    for row, motion in zip(in_sight, followed, strict=True):
        motions[row] = motion and Motion(motion.shift * block, motion.scale)
    return motions


def moved_on(track: Track, motion: Motion | None, frame: Frame, elapsed_s: float) -> Track:
    """The track one frame later: by its motion, or, where that isn't known, lost and carried on by its fading speed."""
    if motion is None:
        velocity = track.velocity * 0.5 ** (elapsed_s / HALF_LIFE_S)
        return replace(track.moved(Motion(velocity * elapsed_s, 1.0)), velocity=velocity, is_lost=True)
    moved = track.moved(motion)
    velocity = motion.shift / elapsed_s if elapsed_s > 0 else track.velocity
    is_lost = not is_in_frame(moved.center, frame)
    return replace(moved, velocity=velocity, seen_s=track.seen_s if is_lost else frame.pts_s, is_lost=is_lost)


def missed(track: Track) -> Track:
    """The track after a detection that didn't show it: lost at the second one in a row."""
    return replace(track, misses=track.misses + 1, is_lost=track.is_lost or track.misses >= 1)


def match(
    expected: Sequence[Track], found: Sequence[Face], pts_s: float, settings: TrackerSettings
) -> list[tuple[int, int]]:
    """Which track (row) is which face (column): the assignment of least total cost (Kuhn 1955)."""
    if not expected or not found:
        return []
    costs = pair_costs(expected, found, pts_s, settings)
    return [pair for pair in assign(costs) if costs[pair] < REFUSED]


def pair_costs(
    expected: Sequence[Track], found: Sequence[Face], pts_s: float, settings: TrackerSettings
) -> Float[np.ndarray, "tracks faces"]:
    """1 - IoU plus the distance of the centres in sides of the box; `REFUSED` where it can't be the same face."""
    boxes = np.stack([face.box for face in found]).astype(np.float64)
    sides = np.sqrt(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0), axis=1))
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    track_sides = np.array([track.side for track in expected])[:, None]
    track_centers = np.stack([track.center for track in expected])
    distance = np.linalg.norm(track_centers[:, None] - centers[None], axis=2) / np.maximum(track_sides, sides)
    costs = 1 - iou(np.stack([track.box for track in expected]), boxes) + distance
    possible = distance <= reaches(expected, pts_s, settings)[:, None]
    growth = sides / track_sides
    possible &= (growth <= settings.max_growth) & (growth >= 1 / settings.max_growth)
    return np.where(possible, costs, REFUSED)


def reaches(tracks: Sequence[Track], pts_s: float, settings: TrackerSettings) -> Float[np.ndarray, " tracks"]:
    """How far from where it is expected each face may be found, in sides of its box."""
    hidden_s = np.array([max(0.0, pts_s - track.seen_s) if track.is_lost else 0.0 for track in tracks])
    return settings.reach + settings.reach_per_s * hidden_s


def scene_difference(before: Luma, after: Luma) -> float:
    """Mean absolute difference of two pictures' thumbnails, in [0, 1]."""
    one, other = (cv2.resize(luma, THUMBNAIL, interpolation=cv2.INTER_AREA) for luma in (before, after))
    return float(cv2.norm(one, other, cv2.NORM_L1) / one.size / 255)


def is_in_frame(point: Float[np.ndarray, " 2"], frame: Frame) -> bool:
    return bool(0 <= point[0] < frame.width and 0 <= point[1] < frame.height)


def rescaled(track: Track, before: tuple[int, int], after: tuple[int, int]) -> Track:
    """The track in pixels of a frame that is now `after` (height, width) instead of `before`."""
    scale = np.array([after[1] / before[1], after[0] / before[0]])
    return replace(
        track,
        box=track.box * np.tile(scale, 2),
        landmarks=track.landmarks * scale,
        velocity=track.velocity * scale,
    )


def canonical(face: Face) -> tuple[float, ...]:
    """An order of faces that doesn't depend on how they were listed."""
    return (*face.box.tolist(), -face.confidence, *face.landmarks.ravel().tolist())


def to_face(track: Track, frame: Frame) -> Face:
    box = np.clip(track.box, 0, [frame.width, frame.height] * 2).astype(np.float32)
    return Face(box, track.landmarks.astype(np.float32), track.confidence, track.number)
