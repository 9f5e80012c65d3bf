"""Turns the verdicts of one source into alerts: one rule a track, one alert an event, one identifier an alert."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from stream_detect.config import DecisionSettings
from stream_detect.temporal.people import Box, is_again, is_same
from stream_detect.temporal.rule import Rule, RuleEvent, RuleState, forgetting, judged_face
from stream_detect.temporal.thresholds import Levels, Thresholds
from stream_detect.types import Alert, Event, FaceVerdict, FrameVerdict
from stream_detect.types import Rule as RuleName

MATERIAL_CHANGE = 0.1  # of the probability: worth an update before its time
LEAST_CHANGE = 0.0005  # less is no news at all
PICTURE = None  # stands for the whole picture where a track's number would stand


@dataclass(slots=True)
class ActiveAlert:
    """An alert that was raised and not yet cleared."""

    id: str
    rule: RuleName
    started_s: float
    raised_s: float
    told_s: float  # pts of the last line about it
    told_probability: float | None
    holders: set[int | None] = field(default_factory=set)  # tracks, or the picture, for which it is not over yet

    @property
    def track(self) -> int | None:
        """The track that its lines name; None while it is about the picture alone."""
        return min((number for number in self.holders if number is not PICTURE), default=None)


@dataclass(slots=True)
class Track:
    """What is known of one followed face."""

    state: RuleState = field(default_factory=RuleState)
    alert: ActiveAlert | None = None
    last: FaceVerdict | None = None  # the last one that could be judged
    box: Box = (0.0, 0.0, 0.0, 0.0)
    seen_s: float = 0.0  # pts when the face was last in the picture


class Decision:
    """The running decision on every face of one source, and on its picture as a whole.

    `judged` takes frames in order and gives them back with `track_probability` and `alert` filled in; `swapped` takes
    what became of the picture's fingerprint; `end` clears what is still active.
    """

    def __init__(
        self,
        source: str,
        settings: DecisionSettings,
        *,
        levels: Levels | None = None,
        rule: Rule = judged_face,
        run: str = "",
    ) -> None:
        self.source = source
        self.settings = settings
        self.levels = Thresholds().levels(settings) if levels is None else levels
        self.run = run
        self._rule = rule
        self._tracks: dict[int, Track] = {}
        self._of_picture: ActiveAlert | None = None
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
        self._recognised(frame.faces)
        faces = []
        for face in frame.faces:
            told, news = self._face(face, frame.pts_s)
            faces.append(told)
            alerts += news
        return replace(frame, faces=tuple(faces)), alerts

    def swapped(self, events: Sequence[RuleEvent]) -> list[Alert]:
        """What follows from changes of the whole picture (`swap`), at the time of the last frame that was judged."""
        alerts: list[Alert] = []
        for event in events:
            if event.kind == "raised" and self._of_picture is None:
                alerts += self._raised(PICTURE, event)
            elif event.kind == "cleared" and self._of_picture is not None:
                alert, self._of_picture = self._of_picture, None
                alerts += self._let_go(PICTURE, alert)
        return alerts

    def new_scene(self) -> None:
        """The picture was cut: whoever is seen from now on may be somebody else, however alike the places are."""
        for track in self._tracks.values():
            track.state = forgetting(track.state)

    def end(self) -> list[Alert]:
        """The source is over: every active alert is cleared."""
        alerts = [alert for number, track in self._tracks.items() if track.alert for alert in self._left(number, track)]
        self._tracks.clear()
        alert, self._of_picture = self._of_picture, None
        return alerts + ([] if alert is None else self._let_go(PICTURE, alert))

    def _passed_over(self, pts_s: float) -> list[Alert]:
        """Nothing could be said of a whole frame: the time it lasted speaks for no track, and against none."""
        alerts = []
        for number, track in self._tracks.items():
            alerts += self._step(number, track, pts_s, None)
        return alerts

    def _restart(self, pts_s: float) -> None:
        for track in self._tracks.values():
            track.seen_s = pts_s

    def _recognised(self, faces: Sequence[FaceVerdict]) -> None:
        """A face that comes back where one was lost a moment ago goes on as that one, with its alert."""
        seen = {face.track for face in faces}
        for face in faces:
            if face.track is None or face.track in self._tracks:
                continue
            lost = [number for number, track in self._tracks.items() if number not in seen]
            again = [number for number in lost if is_again(self._tracks[number].box, face.box)]
            if again:
                self._renumber(max(again, key=lambda number: self._tracks[number].seen_s), face.track)

    def _renumber(self, before: int, now: int) -> None:
        track = self._tracks[now] = self._tracks.pop(before)
        track.state = forgetting(track.state)
        if track.alert is not None:
            track.alert.holders.discard(before)
            track.alert.holders.add(now)

    def _face(self, face: FaceVerdict, pts_s: float) -> tuple[FaceVerdict, list[Alert]]:
        if face.track is None:
            return face, []
        track = self._tracks.setdefault(face.track, Track())
        track.seen_s, track.box = pts_s, face.box
        if face.llr is not None:
            track.last = face
        alerts = self._step(face.track, track, pts_s, face) or self._updated(track)
        return self._told(face, track), alerts

    def _told(self, face: FaceVerdict, track: Track) -> FaceVerdict:
        probability = None if track.last is None else track.state.probability
        return replace(face, track_probability=probability, alert=track.alert.id if track.alert else None)

    def _step(self, number: int, track: Track, pts_s: float, face: FaceVerdict | None) -> list[Alert]:
        track.state, events = self._rule(track.state, pts_s, face, self.settings, self.levels)
        alerts: list[Alert] = []
        for event in events:
            alerts += self._raised(number, event) if event.kind == "raised" else self._left(number, track)
        return alerts

    def _raised(self, number: int | None, event: RuleEvent) -> list[Alert]:
        """A new alert, or an update of the one that this is a part of."""
        alert = self._of_same_event(number)
        is_new = alert is None
        if alert is None:
            raised_s = self._pts_s
            alert = ActiveAlert(uuid.uuid4().hex[:12], event.rule, event.started_s, raised_s, raised_s, None)
        alert.holders.add(number)
        if number is None:
            self._of_picture = alert
        else:
            self._tracks[number].alert = alert
        return [self._line("raised" if is_new else "updated", alert)]

    def _of_same_event(self, number: int | None) -> ActiveAlert | None:
        """The active alert that a track's, or the picture's, belongs to: the same face, or a moment apart."""
        if number is None:
            recent = [track.alert for track in self._tracks.values() if track.alert and self._is_recent(track.alert)]
            return max(recent, key=lambda alert: alert.raised_s, default=None)
        box, seen_s = self._tracks[number].box, self._tracks[number].seen_s
        for other in self._tracks.values():
            if other.alert is not None and other.seen_s == seen_s and is_same(other.box, box):
                return other.alert
        picture = self._of_picture
        return picture if picture is not None and self._is_recent(picture) else None

    def _is_recent(self, alert: ActiveAlert) -> bool:
        return 0 <= self._pts_s - alert.raised_s <= self.settings.event_s

    def _updated(self, track: Track) -> list[Alert]:
        alert = track.alert
        if alert is None:
            return []
        probability, before = self._shown(alert)[0], alert.told_probability
        moved = 1.0 if probability is None or before is None else abs(probability - before)
        alert.told_s = min(alert.told_s, self._pts_s)  # a stream that began again
        is_due = self._pts_s - alert.told_s >= self.settings.update_every_s and moved >= LEAST_CHANGE
        return [self._line("updated", alert)] if is_due or moved >= MATERIAL_CHANGE else []

    def _left(self, number: int, track: Track) -> list[Alert]:
        """The alert is over for a track."""
        alert, track.alert = track.alert, None
        return [] if alert is None else self._let_go(number, alert)

    def _let_go(self, number: int | None, alert: ActiveAlert) -> list[Alert]:
        """One holder less; the last one clears the alert."""
        if alert.holders == {number}:
            return [self._line("cleared", alert, ended_s=self._pts_s)]
        alert.holders.discard(number)
        return []

    def _forgotten(self) -> list[Alert]:
        gone = [n for n, track in self._tracks.items() if self._pts_s - track.seen_s > self.settings.forget_s]
        alerts: list[Alert] = []
        for number in gone:
            alerts += self._left(number, self._tracks[number])
            del self._tracks[number]
        return alerts

    def _shown(self, alert: ActiveAlert) -> tuple[float | None, Mapping[str, float | None]]:
        """What a line of an alert says of the face that holds it: the most suspicious one of several."""
        held = [self._tracks[n] for n in alert.holders if n is not None and n in self._tracks]
        judged = [track for track in held if track.last is not None]
        if not judged:
            return None, {}
        worst = max(judged, key=lambda track: track.state.suspicion)
        return worst.state.suspicion, {} if worst.last is None else worst.last.experts

    def _line(self, event: Event, alert: ActiveAlert, ended_s: float | None = None) -> Alert:
        probability, experts = self._shown(alert)
        alert.told_s, alert.told_probability = self._pts_s, probability
        return Alert(
            event=event,
            id=alert.id,
            source=self.source,
            track=alert.track,
            rule=alert.rule,
            seen_at=self._seen_at,
            started_s=alert.started_s,
            ended_s=ended_s,
            fake_probability=probability,
            experts=experts,
            time_to_alert_s=max(0.0, alert.raised_s - alert.started_s),
            run=self.run,
        )
