"""What is remembered of one feed, in case an alert is raised: verdicts, the frames that tell most, perhaps pictures."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from stream_detect.decode.frame import Frame
from stream_detect.types import FaceVerdict, FrameVerdict

PICTURES_HZ = 10.0  # where a source has no packets, so many pictures a second are kept
LONGEST_SIDE_PX = 960  # of those
JPEG_QUALITY = 90
MOST_KEPT = 12  # telling frames of a feed, whoever is to be seen in them
APART_S = 0.2  # the telling frames of a face lie at least so far apart
MOST_MOMENTS = 4000  # frames whose verdicts are remembered, whatever their rate

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A frame that tells much about a face."""

    pts_s: float
    rgb: np.ndarray  # (height, width, 3) uint8, of its own
    face: FaceVerdict

    @property
    def suspicion(self) -> float:
        return -np.inf if self.face.llr is None else self.face.llr


@dataclass(slots=True)
class FeedMemory:
    """The last seconds of a feed.

    Args:
        keep_s: how long anything is remembered, in seconds of the feed.
        pictures: telling frames of each face.
    """

    keep_s: float
    pictures: int
    verdicts: deque[FrameVerdict] = field(default_factory=lambda: deque(maxlen=MOST_MOMENTS))
    telling: dict[int, list[Kept]] = field(default_factory=dict)
    small: deque[tuple[float, bytes]] = field(default_factory=deque)  # JPEG pictures with their times
    width_px: int = 0  # of the feed's frames
    held: list[float] = field(default_factory=list)  # times from which on all is kept, whatever its age

    @property
    def now_s(self) -> float:
        """Time of the last frame, in seconds of the feed."""
        return self.verdicts[-1].pts_s if self.verdicts else 0.0

    def saw(self, frame: Frame, verdict: FrameVerdict, has_packets: bool) -> None:
        """One judged frame."""
        if verdict.pts_s < self.now_s:  # the stream began again
            self._forget_all()
        self.verdicts.append(verdict)
        self.width_px = frame.width
        self._forget(min([verdict.pts_s - self.keep_s, *self.held]))
        rgb: np.ndarray | None = None
        for face in verdict.faces:
            if face.track is not None and self._is_telling(face, verdict.pts_s):
                rgb = whole(frame) if rgb is None else rgb
                self._keep(Kept(verdict.pts_s, rgb, face))
        if not has_packets and (not self.small or verdict.pts_s - self.small[-1][0] >= 1 / PICTURES_HZ):
            self.small.append((verdict.pts_s, as_jpeg(whole(frame) if rgb is None else rgb)))

    def scale_of(self, width_px: int) -> float:
        """How much smaller a picture of this width is than the feed's."""
        return width_px / self.width_px if self.width_px else 1.0

    def boxes_at(self, pts_s: float, within_s: float) -> list[Box]:
        """Where faces were about a time."""
        near = [verdict for verdict in tuple(self.verdicts) if abs(verdict.pts_s - pts_s) <= within_s]
        return [face.box for verdict in near for face in verdict.faces]

    def is_looked_at(self, pts_s: float, within_s: float) -> bool:
        """Whether faces were looked for about a time, and no picture there was damaged or frozen."""
        near = [verdict for verdict in tuple(self.verdicts) if abs(verdict.pts_s - pts_s) <= within_s]
        return bool(near) and not any(verdict.reasons for verdict in near)

    def pictures_between(self, start_s: float, end_s: float) -> Iterator[tuple[float, np.ndarray]]:
        """The pictures that were kept: RGB (height, width, 3) uint8."""
        for pts_s, data in tuple(self.small):
            if start_s <= pts_s <= end_s:
                yield pts_s, of_jpeg(data)

    def _is_telling(self, face: FaceVerdict, pts_s: float) -> bool:
        kept = self.telling.get(face.track or 0, [])
        suspicion = -np.inf if face.llr is None else face.llr
        near = [one for one in kept if abs(one.pts_s - pts_s) < APART_S]
        if near:
            return suspicion > max(one.suspicion for one in near)
        return len(kept) < self.pictures or suspicion > min(one.suspicion for one in kept)

    def _keep(self, one: Kept) -> None:
        kept = self.telling.setdefault(one.face.track or 0, [])
        kept[:] = [other for other in kept if abs(other.pts_s - one.pts_s) >= APART_S] + [one]
        if len(kept) > self.pictures:
            kept.remove(min(kept, key=lambda other: other.suspicion))
        everyone = [(other.suspicion, number) for number, some in self.telling.items() for other in some]
        if len(everyone) > MOST_KEPT:
            least = self.telling[min(everyone)[1]]
            least.remove(min(least, key=lambda other: other.suspicion))

    def _forget(self, before_s: float) -> None:
        while self.verdicts and self.verdicts[0].pts_s < before_s:
            self.verdicts.popleft()
        while self.small and self.small[0][0] < before_s:
            self.small.popleft()
        for track, kept in list(self.telling.items()):
            kept[:] = [one for one in kept if one.pts_s >= before_s]
            if not kept:
                del self.telling[track]

    def _forget_all(self) -> None:
        self.verdicts.clear()
        self.small.clear()
        self.telling.clear()


def whole(frame: Frame) -> np.ndarray:
    """All of a frame in RGB, of its own: whoever keeps it holds no decoder's memory."""
    return np.array(frame.rgb((0, 0, frame.width, frame.height)))


def as_jpeg(rgb: np.ndarray) -> bytes:
    scale = min(1.0, LONGEST_SIDE_PX / max(rgb.shape[:2]))
    if scale < 1:
        to = tuple(max(2, round(side * scale)) for side in rgb.shape[1::-1])
        rgb = np.asarray(cv2.resize(rgb, to, interpolation=cv2.INTER_AREA), np.uint8)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(data)


def of_jpeg(data: bytes) -> np.ndarray:
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
