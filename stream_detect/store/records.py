"""What a store gives back: its alerts, their lines and marks, the scores of a second and the states of feeds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from stream_detect.types import Event, Rule, State, rounded

AlertState = Literal["raised", "cleared"]
MarkKind = Literal["acknowledged", "false_alarm", "note", "reopened"]
Marked = Literal["acknowledged", "false_alarm", "open"]  # what the last mark that is more than a note made of an alert
MARK_KINDS: tuple[MarkKind, ...] = get_args(MarkKind)


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """An alert as its lines left it, with what people made of it. Times of day are UTC, `_s` are of the stream."""

    id: str
    run: str
    feed: str
    track: int | None
    rule: Rule
    state: AlertState
    raised_at: str
    updated_at: str
    cleared_at: str | None
    started_s: float | None
    ended_s: float | None
    fake_probability: float | None  # of its newest line
    highest: float | None  # of any of its lines
    experts: Mapping[str, float | None]
    time_to_alert_s: float | None
    evidence: str | None
    clip: str | None
    marked: Marked = "open"
    position: int = 0  # in the order in which alerts came, whatever the clock said

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ALERT_FIELDS} | {"experts": dict(self.experts)}


ALERT_FIELDS = tuple(name for name in StoredAlert.__slots__ if name != "position")


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One line of an alert, as it was told."""

    alert: str
    event: Event
    taken_at: str
    line: Mapping[str, Any] = field(repr=False)
    sequence: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"taken_at": self.taken_at, **self.line}


@dataclass(frozen=True, slots=True)
class Mark:
    """What somebody said of an alert. Marks are never changed: the last one counts."""

    alert: str
    kind: MarkKind
    note: str
    who: str | None
    at: str

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "note": self.note, "who": self.who, "at": self.at}


@dataclass(frozen=True, slots=True)
class SecondScores:
    """What was said of the faces of a feed within one second; a second without a face has none."""

    feed: str
    second: int  # since 1970, UTC
    faces: int  # most faces in one frame
    judged: int  # how many judgements the mean is of
    mean_probability: float | None
    max_probability: float | None
    max_track_probability: float | None

    def to_json(self) -> dict[str, Any]:
        return {
            "second": datetime.fromtimestamp(self.second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "faces": self.faces,
            "judged": self.judged,
            "mean_probability": rounded(self.mean_probability),
            "max_probability": rounded(self.max_probability),
            "max_track_probability": rounded(self.max_track_probability),
        }


@dataclass(frozen=True, slots=True)
class FeedState:
    """A state that a feed came to, and its counts by then."""

    feed: str
    run: str
    at: str
    state: State
    reason: str
    frames: int
    analysed: int
    dropped: Mapping[str, int]
    reconnects: Mapping[str, int]
