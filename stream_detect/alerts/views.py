"""The feeds of a run as a person is shown them: their last lines, and what became of each."""

import time
from collections import deque
from dataclasses import dataclass, field

from stream_detect.alerts.sink import Line
from stream_detect.types import Alert, FrameVerdict, Status

RATE_WINDOW_S = 3.0  # over which analysed frames a second are counted
LATENCIES = 256  # of the last so many frames the middle and the slowest are shown
SHOWN_ALERTS = 8


@dataclass(slots=True)
class SourceView:
    """What is shown of one source."""

    status: Status
    last: FrameVerdict | None = None
    highest: float | None = None  # running probability of any track so far
    raised: int = 0
    analysed_at: deque[float] = field(default_factory=lambda: deque(maxlen=512))
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES))

    def take(self, frame: FrameVerdict, now_s: float) -> None:
        self.last = frame
        if not frame.reasons:
            self.analysed_at.append(now_s)
        if frame.latency_ms is not None:
            self.latencies_ms.append(frame.latency_ms)
        running = [face.track_probability for face in frame.faces if face.track_probability is not None]
        self.highest = max([*running, *([] if self.highest is None else [self.highest])], default=None)

    def rate_hz(self, now_s: float) -> float:
        """Analysed frames a second, lately."""
        recent = [at for at in self.analysed_at if now_s - at <= RATE_WINDOW_S]
        return (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 and recent[-1] > recent[0] else 0.0

    def latency_ms(self, share: float) -> float | None:
        """The latency that `share` of the last frames did not exceed."""
        if not self.latencies_ms:
            return None
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Views:
    """The sources of a run as they stand, and its last alerts."""

    def __init__(self) -> None:
        self.sources: dict[str, SourceView] = {}
        self.alerts: deque[Alert] = deque(maxlen=SHOWN_ALERTS)

    def take(self, line: Line) -> None:
        view = self.sources.get(line.source)
        if view is None:
            view = self.sources[line.source] = SourceView(Status(line.source, "connecting"))
        if isinstance(line, Status):
            view.status = line
        elif isinstance(line, FrameVerdict):
            view.take(line, time.monotonic())
        elif line.event != "updated":
            view.raised += line.event == "raised"
            self.alerts.append(line)
