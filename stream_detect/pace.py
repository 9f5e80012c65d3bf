"""Which frames of a feed are worth judging, in which faces are only followed, and which are let go."""

from typing import Literal

Due = Literal["judge", "follow", "pass"]


class Pace:
    """Spreads a rate evenly over the frames of one feed, by their times.

    Args:
        analyse_hz: so many frames a second are judged; None: every one.
        follow_hz: in so many a second, the judged ones included, faces are followed; None: in every one.
        phase: in [0, 1), of the time from one judged frame to the next: by so much the second one comes later, so that
            feeds with different phases are not all due at once.
    """

    def __init__(self, analyse_hz: float | None = None, follow_hz: float | None = None, phase: float = 0.0) -> None:
        later_s = phase / analyse_hz if analyse_hz else 0.0
        self._judged, self._followed = Beat(analyse_hz, later_s), Beat(follow_hz, later_s)

    def due(self, pts_s: float) -> Due:
        """What the next frame of the feed is good for."""
        is_judged, is_followed = self._judged.falls_on(pts_s), self._followed.falls_on(pts_s)
        if is_judged:
            return "judge"
        return "follow" if is_followed else "pass"


class Beat:
    """Picks the frames nearest to evenly spaced times; all of them where they come more slowly.

    Args:
        rate_hz: how often; None: every frame.
        later_s: by so much, or what is left of it after whole periods, the second time comes later.
    """

    def __init__(self, rate_hz: float | None, later_s: float = 0.0) -> None:
        if rate_hz is not None and not rate_hz > 0:
            raise ValueError(f"a rate is more than 0 Hz, or None for every frame, got {rate_hz}")
        self._period_s = 0.0 if rate_hz is None else 1 / rate_hz
        self._later_s = later_s % self._period_s if self._period_s else 0.0
        self._due_s: float | None = None
        self._before_s = 0.0

    def falls_on(self, pts_s: float) -> bool:
        """Whether the frame at `pts_s` is picked. Stamps rise; after a step back counting starts afresh."""
        step_s, self._before_s = pts_s - self._before_s, pts_s
        if self._due_s is None or step_s < 0:
            self._due_s = pts_s + self._period_s + self._later_s
            return True
        if pts_s + max(0.0, min(step_s, self._period_s)) / 2 < self._due_s:
            return False
        late_s = pts_s - self._due_s
        self._due_s = (self._due_s if late_s < self._period_s else pts_s) + self._period_s
        return True
