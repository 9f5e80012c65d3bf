"""Turns the verdicts of one source into alerts: one rule a track, one identifier an alert."""

import uuid
from dataclasses import dataclass, field, replace
from typing import Literal

from stream_detect.config import DecisionSettings
from stream_detect.temporal.rule import Rule, RuleEvent, RuleState, sustained
from stream_detect.types import Alert, FaceVerdict, FrameVerdict

MATERIAL_CHANGE = 0.1  # of the running probability: worth an update before its time


@dataclass(slots=True)
class ActiveAlert:
    """An alert that was raised and not yet cleared."""

    id: str
    started_s: float
    raised_s: float
    told_s: float  # pts of the last line about it
    told_probability: float


@dataclass(slots=True)
class Track:
    """What is known of one followed face."""

    state: RuleState = field(default_factory=RuleState)
    alert: ActiveAlert | None = None
    last: FaceVerdict | None = None  # the last one that could be judged
    seen_s: float = 0.0  # pts when the face was last in the picture


class Decision:
    """The running decision on every face of one source.

    `judged` takes frames in order and gives them back with `track_probability` and `alert` filled in; `end` clears what
    is still active.
    """

    def __init__(self, source: str, settings: DecisionSettings, *, rule: Rule = sustained, run: str = "") -> None:
        self.source = source
        self.settings = settings
        self.run = run
        self._rule = rule
        self._tracks: dict[int, Track] = {}
        self._seen_at = ""
        self._pts_s = 0.0

    def judged(self, frame: FrameVerdict) -> tuple[FrameVerdict, list[Alert]]:
        """The frame with the running state of its tracks, and what became of alerts in it.

        A frame with reasons of its own (corrupt, frozen) is nobody's evidence.
        """
        if frame.pts_s < self._pts_s:
            self._restart(frame.pts_s)
        self._pts_s, self._seen_at = frame.pts_s, frame.seen_at
        alerts = self._forgotten()
        if frame.reasons:
            alerts += self._passed_over(frame.pts_s)
        faces = []
        for face in frame.faces:
            told, news = self._face(face, frame.pts_s)
            faces.append(told)
            alerts += news
        return replace(frame, faces=tuple(faces)), alerts

    def end(self) -> list[Alert]:
        """The source is over: every active alert is cleared."""
        alerts = [self._cleared(number, track) for number, track in self._tracks.items() if track.alert]
        self._tracks.clear()
        return alerts

    def _passed_over(self, pts_s: float) -> list[Alert]:
        """Nothing could be said of a whole frame: the time it lasted speaks for no track, and against none."""
        alerts = []
        for number, track in self._tracks.items():
            track.state, events = self._rule(track.state, pts_s, None, 0.0, self.settings)
            alerts += [self._alert(number, track, event) for event in events]
        return alerts

    def _restart(self, pts_s: float) -> None:
        for track in self._tracks.values():
            track.seen_s = pts_s

    def _face(self, face: FaceVerdict, pts_s: float) -> tuple[FaceVerdict, list[Alert]]:
        if face.track is None:
            return face, []
        track = self._tracks.setdefault(face.track, Track())
        track.seen_s = pts_s
        if face.llr is not None:
            track.last = face
        track.state, events = self._rule(track.state, pts_s, face.llr, face.quality, self.settings)
        alerts = [self._alert(face.track, track, event) for event in events] or self._updated(face.track, track)
        return self._told(face, track), alerts

    def _told(self, face: FaceVerdict, track: Track) -> FaceVerdict:
        probability = None if track.last is None else track.state.probability
        return replace(face, track_probability=probability, alert=track.alert.id if track.alert else None)

    def _alert(self, number: int, track: Track, event: RuleEvent) -> Alert:
        if event.kind == "cleared":
            return self._cleared(number, track)
        probability = track.state.probability
        track.alert = ActiveAlert(uuid.uuid4().hex[:12], event.started_s, event.pts_s, event.pts_s, probability)
        return self._line("raised", number, track, track.alert)

    def _updated(self, number: int, track: Track) -> list[Alert]:
        alert, probability = track.alert, track.state.probability
        if alert is None or probability == alert.told_probability:
            return []
        alert.told_s = min(alert.told_s, self._pts_s)  # a stream that began again
        is_due = self._pts_s - alert.told_s >= self.settings.update_every_s
        if not is_due and abs(probability - alert.told_probability) < MATERIAL_CHANGE:
            return []
        alert.told_s, alert.told_probability = self._pts_s, probability
        return [self._line("updated", number, track, alert)]

    def _cleared(self, number: int, track: Track) -> Alert:
        alert, track.alert = track.alert, None
        assert alert is not None
        return self._line("cleared", number, track, alert, ended_s=self._pts_s)

    def _forgotten(self) -> list[Alert]:
        gone = [n for n, track in self._tracks.items() if self._pts_s - track.seen_s > self.settings.forget_s]
        tracks = [(number, self._tracks.pop(number)) for number in gone]
        return [self._cleared(number, track) for number, track in tracks if track.alert]

    def _line(
        self,
        event: Literal["raised", "updated", "cleared"],
        number: int,
        track: Track,
        alert: ActiveAlert,
        ended_s: float | None = None,
    ) -> Alert:
        return Alert(
            event=event,
            id=alert.id,
            source=self.source,
            track=number,
            rule="sustained",
            seen_at=self._seen_at,
            started_s=alert.started_s,
            ended_s=ended_s,
            fake_probability=track.state.probability,
            experts={} if track.last is None else track.last.experts,
            time_to_alert_s=max(0.0, alert.raised_s - alert.started_s),
            run=self.run,
        )
