"""Stand-ins for the detector: what they say is known beforehand, and they cost nothing."""

from collections.abc import Sequence

import numpy as np

from stream_detect.config import DecisionSettings
from stream_detect.decode.frame import Frame
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


def face_in_the_middle(frame: Frame) -> Face:
    height, width = frame.height, frame.width
    box = np.array([width * 0.4, height * 0.4, width * 0.6, height * 0.6], np.float32)
    x, y = width / 2, height / 2
    offsets = np.array([[-5, -5], [5, -5], [0, 0], [-4, 5], [4, 5]], np.float32)
    return Face(box, offsets + np.array([x, y], np.float32), 0.99)
