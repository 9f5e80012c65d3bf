"""What a demonstration showed: frame by frame, in numbers, and whether it behaved as it should."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from stream_detect.decode.frame import Frame
from stream_detect.types import Alert, FaceVerdict, FrameVerdict

KEEP_EVERY_S = 0.5  # how often a frame itself is kept, for spectra and pictures
EARLY_S = 0.1  # the change may reach us so much before its time (the stream's clock starts with its first frame)


@dataclass(frozen=True, slots=True)
class Kept:
    """A frame that was kept with what was said of it."""

    frame: Frame
    verdict: FrameVerdict


@dataclass(slots=True)
class Recording:
    """Everything that was said during a demonstration, and some of its frames."""

    change_s: float | None  # when the face became forged; None: never
    verdicts: list[FrameVerdict] = field(default_factory=list)
    raised: list[tuple[float, Alert]] = field(default_factory=list)  # with the time in the stream, in seconds
    kept: list[Kept] = field(default_factory=list)

    def see(self, frame: Frame, verdict: FrameVerdict) -> None:
        """Keep a frame now and then, and the first one with an alert."""
        is_due = not self.kept or verdict.pts_s - self.kept[-1].verdict.pts_s >= KEEP_EVERY_S
        is_first = any(face.alert for face in verdict.faces) and not any(map(has_alert, self.kept))
        if is_due or is_first:
            self.kept.append(Kept(frame, verdict))

    def take(self, line: object) -> None:
        if isinstance(line, FrameVerdict):
            self.verdicts.append(line)
        elif isinstance(line, Alert) and line.event == "raised":
            self.raised.append((self.verdicts[-1].pts_s if self.verdicts else line.started_s, line))

    @property
    def alert_s(self) -> float | None:
        """When the first alert was raised, in seconds of the stream."""
        return self.raised[0][0] if self.raised else None

    @property
    def time_to_alert_s(self) -> float | None:
        """Seconds from the change to the first alert."""
        if self.alert_s is None or self.change_s is None:
            return None
        return self.alert_s - self.change_s

    def is_before(self, pts_s: float) -> bool:
        return self.change_s is None or pts_s < self.change_s - EARLY_S

    def faces(self, before: bool) -> list[FaceVerdict]:
        """The judged faces before or after the change."""
        return [
            face
            for verdict in self.verdicts
            if self.is_before(verdict.pts_s) == before
            for face in verdict.faces
            if face.fake_probability is not None
        ]

    def misbehaviour(self) -> str | None:
        """What went wrong, in words; None if the demonstration behaved as it should."""
        if self.alert_s is None:
            return None if self.change_s is None else "no alert was raised after the face was forged"
        if self.change_s is None:
            return f"an alert was raised at {self.alert_s:.1f} s, although nothing was forged"
        if self.is_before(self.alert_s):
            return f"an alert was raised at {self.alert_s:.1f} s, before the face was forged at {self.change_s:.1f} s"
        return None


def has_alert(kept: Kept) -> bool:
    return any(face.alert for face in kept.verdict.faces)


def expert_means(faces: Sequence[FaceVerdict]) -> dict[str, float | None]:
    """Mean probability of each expert, of all together ("together") and of the running score ("running")."""
    names = list(dict.fromkeys(name for face in faces for name in face.experts))
    means = {name: mean(faces, lambda face, name=name: face.experts.get(name)) for name in names}  # type: ignore[misc]
    together = mean(faces, lambda face: face.fake_probability)
    return {**means, "together": together, "running": mean(faces, lambda face: face.track_probability)}


def mean(faces: Sequence[FaceVerdict], of: Callable[[FaceVerdict], float | None]) -> float | None:
    known = [value for face in faces if (value := of(face)) is not None]
    return float(np.mean(known)) if known else None
