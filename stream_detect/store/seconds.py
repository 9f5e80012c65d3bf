"""Frames brought together: what was said of the faces of each feed, second by second."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from stream_detect.store.records import SecondScores
from stream_detect.types import FrameVerdict

TO_THE_SECOND = len("2026-11-22T13:00:00")


@dataclass(slots=True, eq=False)
class Second:
    """The second of one feed that is not over yet."""

    at: str
    faces: int = 0
    judged: int = 0
    total: float = 0.0
    highest: float = 0.0
    highest_track: float | None = None

    def add(self, verdict: FrameVerdict) -> None:
        faces = verdict.faces
        self.faces = max(self.faces, len(faces))
        for face in faces:
            probability, of_track = face.fake_probability, face.track_probability
            if probability is not None:
                self.judged += 1
                self.total += probability
                self.highest = max(self.highest, probability)
            if of_track is not None and (self.highest_track is None or of_track > self.highest_track):
                self.highest_track = of_track

    def scores(self, feed: str) -> SecondScores:
        moment = datetime.fromisoformat(self.at).replace(tzinfo=UTC)
        mean, highest = (self.total / self.judged, self.highest) if self.judged else (None, None)
        return SecondScores(feed, int(moment.timestamp()), self.faces, self.judged, mean, highest, self.highest_track)


class Seconds:
    """The seconds of all feeds that are not over yet; for the thread that takes lines."""

    def __init__(self) -> None:
        self._open: dict[str, Second] = {}

    def add(self, verdict: FrameVerdict) -> SecondScores | None:
        """Count a frame; gives the feed's second before, if this frame is of a later one and there was a face."""
        at = verdict.seen_at[:TO_THE_SECOND]
        second = self._open.get(verdict.source)
        if second is not None and second.at == at:
            second.add(verdict)
            return None
        over = self.end(verdict.source)
        self._open[verdict.source] = second = Second(at)
        second.add(verdict)
        return over

    def end(self, feed: str) -> SecondScores | None:
        """What there is of a feed's last second, if there was a face."""
        second = self._open.pop(feed, None)
        return second.scores(feed) if second is not None and second.faces else None

    def end_all(self) -> Iterable[SecondScores]:
        ended = [self.end(feed) for feed in list(self._open)]
        return [scores for scores in ended if scores is not None]
