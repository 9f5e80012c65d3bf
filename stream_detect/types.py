"""The nouns that flow: what a stage takes and what the next one gets, down to the JSON lines."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

SCHEMA = 1
TILE_PX = 64  # side of a fingerprint tile, in native pixels
INSIDE_TILES = 16  # tiles 0..15 of `FaceCrops.tiles` lie on the face
AROUND_TILES = 12  # tiles 16..27 lie on the ring around it
ALIGNED_PX = 256  # side of the aligned crop that networks see
PIXELS_PX = 64  # side of the grid of untouched native pixels for colour statistics

# What can be seen apart: a face that a network drew as a whole; a real one that a network drew anew; a foreign or
# altered face with a border inside the picture; an alteration of a part of the face alone.
Kind = Literal["synthesised", "resynthesised", "blended", "partial"]
KINDS: tuple[Kind, ...] = ("synthesised", "resynthesised", "blended", "partial")
LESSONS: dict[str, tuple[Kind, ...]] = {  # trunk of the attention expert: the kinds that it learns, in order
    "synthesised": ("synthesised", "resynthesised"),
    "border": ("blended", "partial"),
}

Verdict = Literal["fake", "real", "inconclusive"]
Reason = Literal["no_face", "small_face", "blurred", "over_compressed", "frozen", "corrupt", "disagreement"]
State = Literal["connecting", "live", "stalled", "reconnecting", "ended", "failed"]
Event = Literal["raised", "updated", "cleared"]
Rule = Literal["sustained", "spike", "feed_swap"]
Since = Literal["capture", "arrival"]  # what a latency counts from: the sender's clock, or when the packet came


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face in a frame.

    `box` is xyxy in pixels of the source frame, float32 (4,); `landmarks` (5, 2) float32 are left eye, right eye,
    nose, left and right corner of the mouth as seen in the picture; `confidence` in [0, 1] is the detector's.
    """

    box: np.ndarray
    landmarks: np.ndarray
    confidence: float
    track: int | None = None  # stable within a source; None before tracking


@dataclass(frozen=True, slots=True, eq=False)
class FaceCrops:
    """What the experts see of a batch of faces, which may come from several feeds.

    Fingerprints see native pixels that were never resized (`tiles`, `pixels`); networks see `aligned`.
    """

    tiles: np.ndarray  # (faces, 28, 64, 64) float32 luma in [0, 1]: 16 inside the face, then 12 around it
    pixels: np.ndarray  # (faces, 64, 64, 3) uint8 RGB: native pixels picked on a grid over the face, no interpolation
    aligned: np.ndarray  # (faces, 256, 256, 3) uint8 RGB: eyes and mouth at fixed places, anti-aliased
    face_px: np.ndarray  # (faces,) float32: geometric mean of the box's sides, in pixels
    around_share: np.ndarray  # (faces,) float32 in [0, 1]: share of the surrounding tiles' area outside the face box

    def __len__(self) -> int:
        return len(self.face_px)


@dataclass(frozen=True, slots=True)
class FaceVerdict:
    """What is said of one face in one frame; `None` where nothing could be judged."""

    track: int | None
    box: tuple[float, float, float, float]
    fake_probability: float | None
    llr: float | None
    track_probability: float | None
    verdict: Verdict
    reasons: tuple[Reason, ...]
    experts: Mapping[str, float | None]
    quality: float
    alert: str | None = None
    kinds: Mapping[str, float] = field(default_factory=dict)  # probability of each kind of forgery, where it is known

    def to_json(self) -> dict[str, Any]:
        line: dict[str, Any] = {
            "track": self.track,
            "box": [round(float(side), 1) for side in self.box],
            "fake_probability": rounded(self.fake_probability),
            "llr": rounded(self.llr),
            "track_probability": rounded(self.track_probability),
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "experts": {name: rounded(p) for name, p in self.experts.items()},
            "quality": rounded(self.quality),
            "alert": self.alert,
        }
        return line | said_of_kinds(self.kinds)


@dataclass(frozen=True, slots=True)
class FrameVerdict:
    """One analysed frame of one source and every face in it."""

    source: str
    frame: int
    pts_s: float
    seen_at: str
    latency_ms: float | None
    faces: tuple[FaceVerdict, ...]
    run: str = ""
    reasons: tuple[Reason, ...] = ()  # why a whole frame was not judged (corrupt, frozen)
    latency_from: Since = "arrival"

    def to_json(self) -> dict[str, Any]:
        line: dict[str, Any] = {
            "schema": SCHEMA,
            "type": "frame",
            "run": self.run,
            "source": self.source,
            "frame": self.frame,
            "pts_s": rounded(self.pts_s),
            "seen_at": self.seen_at,
            "latency_ms": rounded(self.latency_ms, 1),
            "latency_from": self.latency_from,
            "faces": [face.to_json() for face in self.faces],
        }
        if self.reasons:
            line["reasons"] = list(self.reasons)
        return line


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert raised, updated or cleared on one track of one source, or on its whole picture (track None).

    `evidence` names the alert's folder and `clip` the video in it, as paths within the folder of evidence; the clip
    comes with an `updated` line of its own, which may follow the `cleared` one.
    """

    event: Event
    id: str
    source: str
    track: int | None
    rule: Rule
    seen_at: str
    started_s: float
    ended_s: float | None
    fake_probability: float | None
    experts: Mapping[str, float | None] = field(default_factory=dict)
    time_to_alert_s: float | None = None
    evidence: str | None = None
    run: str = ""
    clip: str | None = None

    def to_json(self) -> dict[str, Any]:
        line: dict[str, Any] = {
            "schema": SCHEMA,
            "type": "alert",
            "run": self.run,
            "event": self.event,
            "id": self.id,
            "source": self.source,
            "track": self.track,
            "rule": self.rule,
            "seen_at": self.seen_at,
            "started_s": rounded(self.started_s),
            "ended_s": rounded(self.ended_s),
            "fake_probability": rounded(self.fake_probability),
            "experts": {name: rounded(p) for name, p in self.experts.items()},
            "time_to_alert_s": rounded(self.time_to_alert_s),
            "evidence": self.evidence,
        }
        return line if self.clip is None else line | {"clip": self.clip}


@dataclass(frozen=True, slots=True)
class Status:
    """What became of a source: its state, why, and where its frames went."""

    source: str
    state: State
    reason: str = ""
    frames: int = 0
    analysed: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    run: str = ""
    reconnects: Mapping[str, int] = field(default_factory=dict)  # lost connections and failed attempts, by `Fault`

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "type": "status",
            "run": self.run,
            "source": self.source,
            "state": self.state,
            "reason": self.reason,
            "frames": self.frames,
            "analysed": self.analysed,
            "dropped": dict(self.dropped),
            "reconnects": dict(self.reconnects),
        }


@dataclass(frozen=True, slots=True)
class Score:
    """What is said of one file as a whole."""

    path: str
    kind: Literal["image", "video"]
    fake_probability: float | None
    verdict: Verdict
    reasons: tuple[Reason, ...]
    faces: int
    frames: int
    judged: int
    experts: Mapping[str, float | None]
    worst_second: tuple[float, float] | None = None  # start in seconds, mean probability of that second
    kinds: Mapping[str, float] = field(default_factory=dict)  # probability of each kind of forgery, where it is known
    explanation: str | None = None  # name of the picture that explains it, if one was asked for

    def to_json(self) -> dict[str, Any]:
        worst = self.worst_second
        line: dict[str, Any] = {
            "schema": SCHEMA,
            "type": "score",
            "path": self.path,
            "kind": self.kind,
            "fake_probability": rounded(self.fake_probability),
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "faces": self.faces,
            "frames": self.frames,
            "judged": self.judged,
            "experts": {name: rounded(p) for name, p in self.experts.items()},
            "worst_second": worst and {"start_s": rounded(worst[0]), "fake_probability": rounded(worst[1])},
        }
        explained = {} if self.explanation is None else {"explanation": self.explanation}
        return line | said_of_kinds(self.kinds) | explained


def said_of_kinds(kinds: Mapping[str, float]) -> dict[str, Any]:
    """The key "kinds" of a JSON line, left out where nothing is known of kinds."""
    return {"kinds": {kind: rounded(p) for kind, p in kinds.items()}} if kinds else {}


def rounded(value: float | None, digits: int = 4) -> float | None:
    """`value` for a JSON line: a plain float, short, and never NaN or infinite."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), digits)
