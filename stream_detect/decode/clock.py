"""Seconds since the start of a stream, from time stamps that may be missing, jump or run backwards."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction

SMALLEST_STEP_S = 0.001
SLOWEST_PACE = 0.5  # of wall time against the monotonic clock's, while it catches up
LARGEST_JUMP_S = 10.0  # a live stream whose stamps jump further than the wall clock by this much has a new clock


class StreamClock:
    """Gives each frame its `pts_s`: strictly rising, starting at 0, across reconnections too.

    Where a stamp is missing or makes no sense, a live stream goes on by arrival time, a file by its frame rate.
    """

    def __init__(self, is_live: bool, follows_arrival: bool = False) -> None:
        self._is_live = is_live
        self._follows_arrival = follows_arrival  # stamps of this stream count frames, not time
        self._origin_s: float | None = None  # the stamp, in seconds, of pts_s == 0
        self._last_s: float | None = None
        self._last_arrived_s = 0.0
        self._wall = WallTime()

    @property
    def last_s(self) -> float | None:
        """`pts_s` of the last frame; None before the first."""
        return self._last_s

    def rebase(self, follows_arrival: bool = False) -> None:
        """The next stamp is of a new connection: time goes on from here whatever it says."""
        self._origin_s = None
        self._follows_arrival = follows_arrival

    def follow(self, pts_s: float, arrived_s: float, seen_at: datetime) -> None:
        """A frame was stamped elsewhere, by a copy of this clock: go on from there."""
        self._last_s, self._last_arrived_s = pts_s, arrived_s
        self._wall.follow(seen_at)

    def seconds(self, pts: int | None, time_base: Fraction | None) -> float | None:
        """Where a stamp lies on this clock, if that can be said; moves nothing."""
        if pts is None or not time_base or self._origin_s is None:
            return None
        return float(pts * time_base) - self._origin_s

    def tick(self, pts: int | None, time_base: Fraction | None, arrived_s: float, frame_s: float = 0.04) -> float:
        """`pts_s` of the next frame, which arrived at `arrived_s` on the monotonic clock."""
        expected_s = self._expected(arrived_s, frame_s)
        stamp = None if pts is None or not time_base or self._follows_arrival else float(pts * time_base)
        if stamp is None:
            self._origin_s = None
            pts_s = expected_s
        else:
            if self._origin_s is None or self._makes_no_sense(stamp - self._origin_s, expected_s):
                self._origin_s = stamp - expected_s
                pts_s = expected_s  # a huge stamp would have rounded it away
            else:
                pts_s = stamp - self._origin_s
        self._last_s, self._last_arrived_s = pts_s, arrived_s
        return pts_s

    def seen_at(self, at_s: float) -> datetime:
        """The wall time of a moment on the monotonic clock; of a later frame it is never earlier."""
        return self._wall.at(at_s)

    def _expected(self, arrived_s: float, frame_s: float) -> float:
        if self._last_s is None:
            return 0.0
        step_s = arrived_s - self._last_arrived_s if self._is_live else frame_s
        return self._last_s + max(step_s, SMALLEST_STEP_S)

    def _makes_no_sense(self, pts_s: float, expected_s: float) -> bool:
        if self._last_s is None:
            return False
        return pts_s <= self._last_s or (self._is_live and abs(pts_s - expected_s) > LARGEST_JUMP_S)


class WallTime:
    """Wall time that never steps back: where it should, it runs at half its pace until the rest has caught up."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._last: datetime | None = None
        self._last_s = 0.0  # the monotonic clock's time when that was told

    def at(self, at_s: float) -> datetime:
        """The wall time (UTC) of a moment on the monotonic clock."""
        now_s = self._monotonic()
        told = datetime.fromtimestamp(self._wall() - (now_s - at_s), UTC)
        if self._last is not None:
            pace = timedelta(seconds=SLOWEST_PACE * max(0.0, now_s - self._last_s))
            told = max(told, self._last + pace)
        self._last, self._last_s = told, now_s
        return told

    def follow(self, told: datetime) -> None:
        """`told` was told elsewhere: nothing earlier is told from now on."""
        self._last, self._last_s = told, self._monotonic()
