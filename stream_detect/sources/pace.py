"""Keeping time with a stream: not faster than it was filmed, and not ever later."""

import math
import threading
import time
from collections.abc import Callable

TOO_LATE_S = 1.0  # after a stall of this length the stream goes on from now instead of hurrying after itself
BEHIND_S = 1.5  # a live stream whose frames came this much later than usual has a backlog
IDLE_SHARE = 0.3  # whoever spends more of the time waiting for packets than this has no backlog


class Pacer:
    """Holds the frames of what comes in bursts (files, HLS segments) back until their time, counted from the first."""

    def __init__(self, stop: threading.Event, clock: Callable[[], float] = time.monotonic) -> None:
        self._stop = stop
        self._clock = clock
        self._zero_s: float | None = None  # when pts_s == 0 was, or would have been, shown

    def wait(self, pts_s: float) -> None:
        """Return when the frame of `pts_s` is due, or when everything stops."""
        now_s = self._clock()
        if self._zero_s is None or now_s - self._zero_s - pts_s > TOO_LATE_S:
            self._zero_s = now_s - pts_s
        if (early_s := self._zero_s + pts_s - now_s) > 0:
            self._stop.wait(early_s)


class Backlog:
    """Tells whether decoding falls behind a live stream: its frames get older while reading hardly ever has to wait.

    A sender that is merely late is not a backlog: then reading waits, and the new lag becomes the usual one.
    """

    def __init__(self) -> None:
        self._idle_share = 1.0  # of the last second or so, how much was spent waiting for the source
        self._usual_lag_s = math.inf

    def read(self, waited_s: float, since_last_s: float) -> None:
        """A packet came after `waited_s` seconds of waiting, `since_last_s` seconds after the one before."""
        if since_last_s > 0:
            weight = 1 - math.exp(-since_last_s)
            self._idle_share += weight * (min(1.0, waited_s / since_last_s) - self._idle_share)

    def is_behind(self, lag_s: float) -> bool:
        """Whether frames are to be skipped; `lag_s` is arrival time minus time stamp, from any fixed origin."""
        if self._idle_share > IDLE_SHARE:
            self._usual_lag_s = lag_s
        self._usual_lag_s = min(self._usual_lag_s, lag_s)
        return lag_s - self._usual_lag_s > BEHIND_S
