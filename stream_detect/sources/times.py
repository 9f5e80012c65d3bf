"""When a picture was taken: by the sender's own clock, where it tells one that can be believed."""

import math
import time
from collections.abc import Callable

EARLY_S, LATE_S = 0.1, 10.0  # a picture that arrives sooner or later after it was taken was stamped by a wrong clock
STEP_BACK_S = 0.5  # stamps that step back so far are of another clock than the report
DRIFT = 100e-6  # how far two good quartz clocks run apart, a second
STEADY_S, STEADY_WITHIN_S = 2.0, 0.3  # a clock is believed once the delay has stayed so much the same for so long
WINDOW_S = 30.0  # a drift shows in the smallest delay of so long
PACE_S = 20.0  # stamps whose delay grows or shrinks twice running, each time within so long,
ASTRAY = 0.075  # by more than this share of it, don't count seconds


class SenderClock:
    """Capture times of one connection, from the first report that a sender gives of its clock (RTCP).

    FFmpeg tells the first report only. From then on stamps count, and the smallest delay of each half minute keeps
    their clock and ours together. Stamps that jump, or lie beyond what a network can delay, end the belief until the
    next connection.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        steady_s: float = STEADY_S,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._steady_s = steady_s
        self._zero_s: float | None = None  # on the monotonic clock, when stamp 0 was taken
        self._is_wrong = False
        self._trial: tuple[float, float] | None = None  # arrival and delay of the picture that the trial began with
        self._is_believed = False
        self._last_stamp_s = -math.inf
        self._last_s = -math.inf
        self._window_s: float | None = None  # when the present window began
        self._least_s = math.inf  # the smallest delay in it
        self._usual_s: float | None = None  # the smallest delay of the window before

    def captured_s(self, stamp_s: float | None, start_us: int | None, arrived_s: float) -> float | None:
        """When a picture was taken, on the monotonic clock and not after it arrived; None where nobody can say.

        `start_us` is when stamp 0 was taken, in microseconds of the sender's wall clock.
        """
        if self._is_wrong or stamp_s is None or start_us is None:
            return None
        if self._zero_s is None:
            self._zero_s = start_us / 1e6 - (self._wall() - self._monotonic())
        delay_s = arrived_s - self._zero_s - stamp_s
        is_step_back = stamp_s < self._last_stamp_s - STEP_BACK_S
        if is_step_back or not -EARLY_S <= delay_s <= LATE_S:
            self._is_wrong = True
            return None
        self._last_stamp_s = stamp_s
        if not self._is_steady(delay_s, arrived_s):
            return None
        self._last_s = min(arrived_s, max(self._last_s, arrived_s - delay_s))
        self._follow(delay_s, arrived_s)
        return self._last_s

    def _is_steady(self, delay_s: float, arrived_s: float) -> bool:
        """Whether stamps have been seen to move as time does: some senders give every picture the same."""
        if self._trial is None or (not self._is_believed and abs(delay_s - self._trial[1]) > STEADY_WITHIN_S):
            self._trial = (arrived_s, delay_s)
        self._is_believed = self._is_believed or arrived_s - self._trial[0] >= self._steady_s
        return self._is_believed

    def _follow(self, delay_s: float, arrived_s: float) -> None:
        """Keep the smallest delay what it was, as far as two clocks may have run apart."""
        if self._window_s is None or arrived_s - self._window_s < WINDOW_S:
            self._window_s = arrived_s if self._window_s is None else self._window_s
            self._least_s = min(self._least_s, delay_s)
            return
        usual_s = self._least_s if self._usual_s is None else self._usual_s
        drift_s = self._least_s - usual_s
        if abs(drift_s) > DRIFT * (arrived_s - self._window_s):
            usual_s = self._least_s  # the network's doing
        elif self._zero_s is not None:
            self._zero_s += drift_s
        self._usual_s, self._window_s, self._least_s = usual_s, arrived_s, delay_s - drift_s


class Pace:
    """Tells whether a live stream's stamps run at the pace of time: cameras stamp 25 pictures a second and send 21."""

    def __init__(self) -> None:
        self._begun_s: float | None = None
        self._least_s = math.inf
        self._before_s: float | None = None  # the smallest delay of the window before
        self._last_step = 0  # its sign: +1 if that was astray late, -1 early

    def is_astray(self, stamp_s: float, arrived_s: float) -> bool:
        """Whether stamps count something else than seconds, as far as a picture of this stamp shows."""
        delay_s = arrived_s - stamp_s
        if self._begun_s is None or arrived_s - self._begun_s < PACE_S:
            self._begun_s = arrived_s if self._begun_s is None else self._begun_s
            self._least_s = min(self._least_s, delay_s)
            return False
        change_s = 0.0 if self._before_s is None else self._least_s - self._before_s
        step = 0 if abs(change_s) <= ASTRAY * PACE_S else int(math.copysign(1, change_s))
        is_astray = step != 0 and step == self._last_step
        self._begun_s, self._before_s, self._least_s, self._last_step = arrived_s, self._least_s, delay_s, step
        return is_astray
