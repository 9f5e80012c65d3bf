"""Lines as a run tells them, for stores."""

import time
from pathlib import Path

from stream_detect.store import Store
from stream_detect.types import Alert, FaceVerdict, FrameVerdict, Status

SEEN_AT = "2026-11-22T13:00:00.123Z"
PATIENCE_S = 30.0


def alert(id: str = "a1", event: str = "raised", **changes) -> Alert:
    """An alert of a track of cam1; any of its fields may be given."""
    known = {
        "source": "cam1",
        "track": 7,
        "rule": "sustained",
        "seen_at": SEEN_AT,
        "started_s": 3.2,
        "ended_s": None,
        "fake_probability": 0.91,
        "experts": {"mesonet": 0.8, "spectrum": None},
        "time_to_alert_s": 0.6,
        "run": "r1",
    }
    return Alert(event, id, **(known | changes))


def frame(seen_at: str, *probabilities: float | None, source: str = "cam1") -> FrameVerdict:
    """A judged frame with a face for each probability."""
    faces = tuple(
        FaceVerdict(k, (0.0, 0.0, 9.0, 9.0), p, None, p, "inconclusive", (), {}, 0.9)
        for k, p in enumerate(probabilities)
    )
    return FrameVerdict(source, 1, 0.1, seen_at, 20.0, faces, "r1")


def status(state: str = "live", reason: str = "", source: str = "cam1", frames: int = 3) -> Status:
    return Status(source, state, reason, frames, frames, {"stale": 1}, "r1", {"silent": 2})


def wait_until(condition, what: str = "what was waited for") -> None:
    """Wait for a condition; fails if it never holds."""
    until_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until_s, f"{what} did not come within {PATIENCE_S:g} s"
        time.sleep(0.01)


def ids(store: Store) -> set[str]:
    return {alert.id for alert in store.alerts()}


def journal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.journal")
