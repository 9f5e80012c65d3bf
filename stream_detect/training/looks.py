"""Everything that is seen while a file is scored: each face of each frame, what every expert said, how it was lit.

From these looks a file's score can be made again with fewer experts, or with another detector's logits in their place.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from stream_detect.decode.frame import Frame
from stream_detect.detector import Detector
from stream_detect.experts.table import Expert
from stream_detect.fusion.quality import QUALITY_NAMES, measure_quality
from stream_detect.scoring import Observation, mean_llr, tracks_that_count
from stream_detect.training.facts import FileFacts
from stream_detect.training.manifest import Item
from stream_detect.types import Face, FaceCrops, FaceVerdict, Score

Beside = Mapping[str, Callable[[FaceCrops], np.ndarray]]  # other detectors: crops -> (faces,) logits
SHARPNESS, EXPOSURE = QUALITY_NAMES.index("sharpness"), QUALITY_NAMES.index("exposure")


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One face in one analysed frame; `logits`, `beside` and `quality` only where the face was judged."""

    pts_s: float
    verdict: FaceVerdict
    turn: float  # how far the nose lies from the middle between the eyes, in their distance: 0 is a frontal face
    logits: Mapping[str, np.ndarray] = field(default_factory=dict)  # expert -> () or (kinds,), as the fusion gets them
    beside: Mapping[str, float] = field(default_factory=dict)  # other detector -> logit
    quality: np.ndarray | None = None  # (measures,) in the order of QUALITY_NAMES

    @property
    def face_px(self) -> float:
        """Geometric mean of the box's sides, in pixels."""
        x1, y1, x2, y2 = self.verdict.box
        return float(np.sqrt(max(0.0, x2 - x1) * max(0.0, y2 - y1)))


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A file, what was said of it, what its container alone would give away, and every look at its faces."""

    item: Item
    score: Score
    facts: FileFacts
    looks: tuple[Look, ...] = ()

    @property
    def judged(self) -> list[Look]:
        return [look for look in self.looks if look.verdict.llr is not None]

    @property
    def main(self) -> list[Look]:
        """The largest face of each frame."""
        by_frame: dict[float, Look] = {}
        for look in self.looks:
            if look.pts_s not in by_frame or look.face_px > by_frame[look.pts_s].face_px:
                by_frame[look.pts_s] = look
        return list(by_frame.values())


class Recorder:
    """Listens while a detector judges. Only one file at a time, from one thread.

    Args:
        beside: other detectors, which look at the same crops.
    """

    def __init__(self, detector: Detector, beside: Beside | None = None) -> None:
        self.looks: list[Look] = []
        self._detector = detector
        self._beside = beside or {}
        self._crops: list[FaceCrops] = []
        self._said: dict[str, list[np.ndarray]] = {}

    @contextlib.contextmanager
    def listening(self) -> Iterator["Recorder"]:
        """Hear what the detector's experts say and what it makes of it, until the end of the block."""
        judge, experts = self._detector.judge, dict(self._detector.experts)
        first = next(iter(experts))
        for name, expert in experts.items():
            self._detector.experts[name] = self._overheard(expert, keeps_crops=name == first)

        def heard(seen: Sequence[tuple[Frame, Sequence[Face]]]) -> list[tuple[FaceVerdict, ...]]:
            self._crops, self._said = [], {name: [] for name in experts}
            verdicts = judge(seen)
            self._note(seen, verdicts)
            return verdicts

        self._detector.judge = heard  # type: ignore[method-assign, assignment]
        try:
            with self._detector.looking_on_cpu():
                yield self
        finally:
            del self._detector.judge
            self._detector.experts.update(experts)

    def take(self) -> tuple[Look, ...]:
        """What was seen since the last time."""
        looks, self.looks = tuple(self.looks), []
        return looks

    def _overheard(self, expert: Expert, keeps_crops: bool) -> Expert:
        def extract(crops: FaceCrops) -> np.ndarray:
            if keeps_crops:
                self._crops.append(crops)
            return expert.extract(crops)

        def head(features: np.ndarray) -> np.ndarray:
            logits = expert.head(features)
            self._said[expert.name].append(np.asarray(logits, np.float32))
            return logits

        return replace(expert, extract=extract, head=head)

    def _note(self, seen: Sequence[tuple[Frame, Sequence[Face]]], verdicts: Sequence[tuple[FaceVerdict, ...]]) -> None:
        rows = self._rows()
        for (frame, faces), said in zip(seen, verdicts, strict=True):
            for face, verdict in zip(faces, said, strict=True):
                look = Look(frame.pts_s, verdict, turn_of(face.landmarks))
                self.looks.append(replace(look, **next(rows)) if was_shown(verdict) else look)

    def _rows(self) -> Iterator[dict[str, Any]]:
        """What belongs to each face that the experts were shown, in order."""
        if not self._crops:
            return
        logits = {name: np.concatenate(parts) for name, parts in self._said.items()}
        beside = {name: np.concatenate([ask(crops) for crops in self._crops]) for name, ask in self._beside.items()}
        quality = np.concatenate([measure_quality(crops) for crops in self._crops])
        for row, measures in enumerate(quality):
            yield {
                "logits": {name: column[row, ...] for name, column in logits.items()},
                "beside": {name: float(column[row]) for name, column in beside.items()},
                "quality": measures,
            }


def was_shown(verdict: FaceVerdict) -> bool:
    """Whether the experts saw this face; where its picture is too poor, they don't."""
    return verdict.llr is not None or "disagreement" in verdict.reasons


def turn_of(landmarks: Float32[np.ndarray, "5 2"]) -> float:
    """How far the nose lies from the middle between the eyes along their line, in their distance.

    0 for a frontal face, about 0.2 for one turned by 20 degrees, above 0.5 for one seen from the side: a rough measure,
    which five landmarks allow.
    """
    left, right, nose = landmarks[0].astype(np.float64), landmarks[1], landmarks[2]
    line = right - left
    return float(abs((nose - (left + right) / 2) @ line) / max(float(line @ line), 1e-6))


def file_llr(one: Scored, llr: Float[np.ndarray, " judged"]) -> float:
    """The score of a file as `score` makes it, of other log likelihood ratios of its judged looks; NaN without any."""
    given = zip(one.judged, llr.tolist(), strict=True)
    said = [Observation(look.pts_s, look.verdict, own) for look, own in given if np.isfinite(own)]
    if one.item.kind == "image":
        return max((look.llr for look in said), default=float("nan"))
    return max((mean_llr(track) for track in tracks_that_count(said)), default=float("nan"))
