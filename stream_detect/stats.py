"""What a run tells of itself beside its lines: figures of each feed at any moment, and how long each stage took."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from stream_detect.types import State

Stage = Literal["decode", "wait", "faces", "judge", "tell"]  # from arrival to verdict, in the order of a frame's way


@dataclass(frozen=True, slots=True)
class FeedStats:
    """One feed at one moment; counts are of the whole run."""

    name: str
    address: str  # redacted
    kind: str
    is_live: bool
    state: State
    reason: str
    since_s: float  # how long it has been in that state, in seconds
    frames: int  # decoded
    analysed: int
    dropped: Mapping[str, int] = field(default_factory=dict)  # frames that were not judged, by cause
    reconnects: Mapping[str, int] = field(default_factory=dict)  # lost connections and failed attempts, by fault
    in_hz: float = 0.0  # decoded frames a second, lately
    analysed_hz: float = 0.0
    faces: int = 0  # in its last analysed frame
    age_s: float | None = None  # of the frame last judged, when its verdict was told
    last_frame_s: float | None = None  # how long ago the last frame was decoded
    alerts: int = 0  # raised so far
    active_alerts: int = 0
    pid: int | None = None  # of the process that decodes it, where that is one of its own


@runtime_checkable
class Observer(Protocol):
    """Hears of each piece of work when it is done, in the loop's thread; must not wait."""

    def stage(self, feed: str, stage: Stage, seconds: float) -> None:
        """A frame of a feed spent so long in a stage; of work on a batch, its share."""

    def age(self, feed: str, seconds: float) -> None:
        """A frame of a feed was so old when its verdict was told."""

    def batch(self, frames: int, seconds: float) -> None:
        """So many frames were judged together in so long."""
