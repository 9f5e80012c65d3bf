"""Stand-ins for the detector and for connections: what they say is known beforehand, and they cost nothing."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from stream_detect.config import DecisionSettings
from stream_detect.decode.frame import Frame
from stream_detect.errors import SourceTimeout
from stream_detect.types import Face, FaceVerdict


class ScriptedDetector:
    """Finds one face in the middle of every frame and gives it the llr that `llr_at(pts_s)` says."""

    def __init__(
        self, llr_at=lambda pts_s: -2.0, decision: DecisionSettings | None = None, fails: bool = False
    ) -> None:
        self.decision = decision or DecisionSettings()
        self.batches: list[list[str]] = []
        self.searches: list[list[str]] = []
        self._llr_at = llr_at
        self._fails = fails

    def find_faces(self, frames: Sequence[Frame], max_side: int = 640) -> list[list[Face]]:
        self.searches.append([frame.source for frame in frames])
        return [[face_in_the_middle(frame)] for frame in frames]

    def judge(self, seen: Sequence[tuple[Frame, Sequence[Face]]]) -> list[tuple[FaceVerdict, ...]]:
        self.batches.append([frame.source for frame, _ in seen])
        if self._fails:
            raise ZeroDivisionError("a fault of the detector")
        return [tuple(self._verdict(face, frame.pts_s) for face in faces) for frame, faces in seen]

    def _verdict(self, face: Face, pts_s: float) -> FaceVerdict:
        llr = self._llr_at(pts_s)
        x1, y1, x2, y2 = face.box.tolist()
        probability = None if llr is None else float(1 / (1 + np.exp(-llr)))
        verdict = "inconclusive" if llr is None else "fake" if llr > 0 else "real"
        experts = {"mesonet": probability}
        return FaceVerdict(face.track, (x1, y1, x2, y2), probability, llr, None, verdict, (), experts, 0.9)


class ChoosyDetector(ScriptedDetector):
    """Has experts of which a feed may choose some; remembers who was asked about whom."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.experts = {"spectrum": None, "mesonet": None}
        self.asked: list[tuple[tuple[str, ...] | None, list[str]]] = []

    def judge(self, seen, experts=None):
        self.asked.append((experts, [frame.source for frame, _ in seen]))
        return super().judge(seen)


class SlowDetector(ScriptedDetector):
    """Takes so many seconds for each frame; `frame_s` may be changed meanwhile."""

    def __init__(self, frame_s: float) -> None:
        super().__init__()
        self.frame_s = frame_s

    def judge(self, seen):
        time.sleep(self.frame_s * len(seen))
        return super().judge(seen)


@dataclass
class SteadyOpener:
    """Opens connections that give a small moving picture so many times a second, until `ends` says otherwise."""

    rate_hz: float = 25.0
    late_s: float = 0.0  # how long after a frame's arrival it is decoded
    changed: Callable[[Frame], Frame] = lambda frame: frame
    pid: int | None = None
    num_opened: int = 0
    aborted: threading.Event = field(default_factory=threading.Event)

    def open(self, source, *, clock, ring, drops, first_index, may_skip) -> "SteadyConnection":
        self.num_opened += 1
        self.aborted.clear()
        return SteadyConnection(self, source.name, first_index)

    def abort(self, *, for_good: bool = False) -> None:
        self.aborted.set()

    def close(self) -> None:
        pass


@dataclass
class SteadyConnection:
    opener: SteadyOpener
    source: str
    first_index: int
    ends: bool = False
    comes_in_bursts: bool = False
    warning: str = ""
    decoding: str = "made up"
    began_s: float = field(default_factory=time.monotonic)

    def frames(self) -> Iterator[Frame]:
        index, due_s = self.first_index, time.monotonic()
        while True:
            luma = np.full((96, 128), 50 + 50 * (index % 2), np.uint8)
            frame = Frame(
                (luma,), "gray", self.source, index, due_s - self.began_s, arrived_s=due_s - self.opener.late_s
            )
            yield self.opener.changed(frame)
            index, due_s = index + 1, due_s + 1 / self.opener.rate_hz
            if self.opener.aborted.wait(max(0.0, due_s - time.monotonic())):
                raise SourceTimeout("aborted")

    def close(self) -> None:
        pass

    def __enter__(self) -> "SteadyConnection":
        return self

    def __exit__(self, *about) -> None:
        self.close()


def face_in_the_middle(frame: Frame) -> Face:
    height, width = frame.height, frame.width
    box = np.array([width * 0.4, height * 0.4, width * 0.6, height * 0.6], np.float32)
    x, y = width / 2, height / 2
    offsets = np.array([[-5, -5], [5, -5], [0, 0], [-4, 5], [4, 5]], np.float32)
    return Face(box, offsets + np.array([x, y], np.float32), 0.99)
